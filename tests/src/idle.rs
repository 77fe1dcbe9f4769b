//! TCP connections that are open and say nothing, and whether they still work.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use cellwall_controller::lab::inside;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::patience;

/// How long a byte may be on its way: a lost packet is sent again after a second or three.
const PATIENCE: Duration = Duration::from_secs(8);

/// Connections from one place of a lab to another: both ends of each.
#[derive(Debug)]
pub struct Idle(Vec<(TcpStream, TcpStream)>);

impl Idle {
    /// Opens `count` connections from `from` to a port of `to`, alternately to the one and the other address.
    pub fn open(from: &str, to: &str, addresses: [SocketAddr; 2], count: usize) -> io::Result<Self> {
        let most = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit {
            current: most,
            maximum: most,
        };
        setrlimit(Resource::Nofile, limit)?;
        let port = addresses[0].port();
        let listener = inside(to, || TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))).map_err(io::Error::other)??;
        let opened = inside(from, || {
            let open = |number: usize| {
                let near = TcpStream::connect_timeout(&addresses[number % 2], patience(PATIENCE))?;
                let (far, _) = listener.accept()?;
                for end in [&near, &far] {
                    end.set_read_timeout(Some(patience(PATIENCE)))?;
                }
                Ok((near, far))
            };
            (0..count).map(open).collect::<io::Result<Vec<_>>>()
        });
        opened.map_err(io::Error::other)?.map(Self)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How many of them carry a byte both ways; `every` one, or each so many.
    pub fn working(&mut self, every: usize) -> usize {
        let carries = |from: &mut TcpStream, to: &mut TcpStream| {
            let mut byte = [0];
            from.write_all(b"!").is_ok() && to.read_exact(&mut byte).is_ok() && byte == *b"!"
        };
        let pairs = self.0.iter_mut().step_by(every);
        pairs
            .filter_map(|(near, far)| (carries(near, far) && carries(far, near)).then_some(()))
            .count()
    }
}
