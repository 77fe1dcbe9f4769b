//! Real servers and clients on a lab's namespaces.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{LabError, inside};

/// What a client saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// An answer came.
    Answered,
    /// Nothing came back in time: what a drop looks like from the client's chair.
    Silence,
    /// The other end refused: the packet got through and nobody listens.
    Refused,
}

/// TCP and UDP servers on one port of both families, answering what they are sent; ends when dropped.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts the servers in `netns`.
    pub fn start(netns: &str, port: u16) -> Result<Self, LabError> {
        // One socket a protocol, bound to the unspecified IPv6 address, serves both families.
        Self::start_at(netns, std::net::Ipv6Addr::UNSPECIFIED.into(), port)
    }

    /// Starts the servers on one address: where a host has several, a datagram is answered from the one it came to.
    pub fn start_at(netns: &str, address: IpAddr, port: u16) -> Result<Self, LabError> {
        let enter = |source| LabError::Enter {
            name: netns.to_owned(),
            source,
        };
        let (tcp, udp) = inside(netns, || {
            Ok::<_, io::Error>((TcpListener::bind((address, port))?, UdpSocket::bind((address, port))?))
        })?
        .map_err(enter)?;
        tcp.set_nonblocking(true).map_err(enter)?;
        udp.set_read_timeout(Some(Duration::from_millis(20))).map_err(enter)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (tcp_stop, udp_stop) = (stop.clone(), stop.clone());
        let threads = vec![
            std::thread::spawn(move || serve_tcp(&tcp, &tcp_stop)),
            std::thread::spawn(move || serve_udp(&udp, &udp_stop)),
        ];
        Ok(Self { stop, threads })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve_tcp(listener: &TcpListener, stop: &Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let stop = stop.clone();
                std::thread::spawn(move || echo(stream, &stop));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn echo(mut stream: TcpStream, stop: &AtomicBool) {
    let mut buffer = [0; 4_096];
    if stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_read_timeout(Some(Duration::from_millis(50))))
        .is_err()
    {
        return;
    }
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) if stream.write_all(&buffer[..n]).is_err() => return,
            Ok(_) => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

fn serve_udp(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = [0; 2_048];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((n, from)) = socket.recv_from(&mut buffer) {
            // An answer that cannot be sent is a silence that the client sees.
            let _ = socket.send_to(&buffer[..n], from);
        }
    }
}

/// Opens a TCP connection from `netns` and sends one byte each way.
pub fn tcp_ask(netns: &str, to: SocketAddr, patience: Duration) -> Result<Outcome, LabError> {
    inside(netns, || match TcpStream::connect_timeout(&to, patience) {
        Ok(mut stream) => {
            let answered = stream
                .set_read_timeout(Some(patience))
                .and_then(|()| stream.write_all(b"?"))
                .and_then(|()| stream.read_exact(&mut [0; 1]));
            if answered.is_ok() {
                Outcome::Answered
            } else {
                Outcome::Silence
            }
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Outcome::Refused,
        Err(_) => Outcome::Silence,
    })
}

/// Sends one datagram from `netns` and waits for the answer.
pub fn udp_ask(netns: &str, to: SocketAddr, patience: Duration) -> Result<Outcome, LabError> {
    inside(netns, || {
        let any: IpAddr = if to.is_ipv4() {
            std::net::Ipv4Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        };
        let asked = UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.connect(to)?;
            socket.set_read_timeout(Some(patience))?;
            socket.send(b"?")?;
            socket.recv(&mut [0; 16])
        });
        match asked {
            Ok(_) => Outcome::Answered,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Outcome::Refused,
            Err(_) => Outcome::Silence,
        }
    })
}
