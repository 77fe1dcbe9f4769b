//! Packets whose transport header does not lie where a program can look at it directly.
//!
//! A raw socket is given the segment in two parts: the kernel lays the first one behind the IP header, and keeps the
//! second one in pages beside the buffer. Cut within the transport header, a program that reads no further than the
//! buffer's end sees a part of it or nothing. (A ring of `PACKET_TX_RING` would have the IP header in pages too; it
//! takes a mapping that no safe crate offers for our toolchain.)

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use cellwall_controller::lab::inside;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::corpus::{FREE, Places, REFUSED};
use super::range::{PATIENCE, PODS, Range, hex};
use super::reference::{Expected, Sender};
use super::wiring::run;

/// What is sent.
#[derive(Debug, Clone, Copy)]
struct Kind {
    v4: bool,
    /// Protocol, or the first extension header, of the raw socket.
    outer: u8,
    /// Extension headers.
    chain: &'static [u8],
    /// Protocol behind them.
    protocol: u8,
    /// Bytes that the kernel wants to see in each part.
    least: usize,
}

const fn bare(v4: bool, protocol: u8, least: usize) -> Kind {
    behind(v4, protocol, &[], protocol, least)
}

const fn behind(v4: bool, outer: u8, chain: &'static [u8], protocol: u8, least: usize) -> Kind {
    Kind {
        v4,
        outer,
        chain,
        protocol,
        least,
    }
}

const KINDS: [Kind; 16] = [
    bare(true, 17, 1),
    bare(true, 6, 1),
    bare(true, 1, 2),
    bare(true, 132, 1),
    bare(true, 47, 1),
    bare(true, 50, 1),
    bare(false, 17, 1),
    bare(false, 6, 1),
    bare(false, 58, 4),
    bare(false, 132, 1),
    behind(false, 60, &[17, 0, 1, 4, 0, 9, 0, 9], 17, 1),
    behind(false, 43, &[6, 0, 4, 0, 0, 9, 0, 9], 6, 1),
    behind(false, 51, &[17, 1, 0, 9, 0, 9, 0, 9, 0, 9, 0, 9], 17, 1),
    behind(false, 44, &[132, 0, 0, 0, 0, 9, 0, 9], 132, 1),
    // Refused whatever follows: a source route, and a second Fragment header.
    behind(false, 43, &[17, 0, 4, 1, 0, 9, 0, 9], 17, 1),
    behind(
        false,
        44,
        &[
            60, 0, 0, 0, 0, 9, 0, 9, 44, 0, 1, 4, 0, 9, 0, 9, 17, 0, 0, 0, 0, 9, 0, 9,
        ],
        17,
        1,
    ),
];

impl Kind {
    /// Everything behind the IP header, and the stamp in it.
    fn segment(&self, places: &mut Places, port: u16) -> (Vec<u8>, [u8; 12]) {
        let (segment, stamp) = places.segment(self.protocol, port);
        ([self.chain, &segment].concat(), stamp)
    }

    fn socket(&self, netns: &str) -> io::Result<Socket> {
        let domain = if self.v4 { Domain::IPV4 } else { Domain::IPV6 };
        let protocol = Protocol::from(i32::from(self.outer));
        inside(netns, || Socket::new(domain, Type::RAW, Some(protocol))).map_err(io::Error::other)?
    }
}

/// Sends one packet that is cut behind `first` bytes of its segment.
fn send(socket: &Socket, to: IpAddr, segment: &[u8], first: usize) -> io::Result<()> {
    let to = SockAddr::from(SocketAddr::new(to, 0));
    let (head, rest) = segment.split_at(first);
    socket.send_to_with_flags(head, &to, libc::MSG_MORE)?;
    socket.send_to(rest, &to)?;
    Ok(())
}

impl Range {
    /// Sends packets by the pod's own network stack, cut behind each byte of their segments, so that a transport header
    /// lies partly or wholly outside of the buffer that a program sees.
    pub fn fire_paged(&mut self, receiver: usize) {
        let sender = Sender::Pod(0);
        let mut places = self.places(sender, receiver);
        let netns = self.cluster.netns(PODS[0]);
        let mac = places.destination_mac.map(|byte| format!("{byte:02x}")).join(":");
        for v4 in [true, false] {
            let to = places.ends(v4).1;
            run(
                "ip",
                &format!("-n {netns} neigh replace {to} lladdr {mac} dev eth0 nud permanent"),
            );
        }
        for kind in KINDS {
            let socket = kind.socket(&netns).expect("a raw socket in a pod");
            let mut due: HashMap<[u8; 12], String> = HashMap::new();
            let mut refused = due.clone();
            for port in [FREE, REFUSED] {
                let length = kind.segment(&mut places, port).0.len();
                for first in kind.least..=length - kind.least {
                    let (segment, stamp) = kind.segment(&mut places, port);
                    let frame = places.packet(kind.v4, kind.outer, &segment);
                    let expected = self.reference.judge(sender, receiver, &frame);
                    self.tally.take(sender, &expected);
                    let name = format!("{kind:?} to {port} cut behind {first} bytes: {expected}");
                    match expected {
                        Expected::Pass => due.insert(stamp, name),
                        _ => refused.insert(stamp, name),
                    };
                    let sent = send(&socket, places.ends(kind.v4).1, &segment, first);
                    sent.unwrap_or_else(|error| panic!("{kind:?} cut behind {first}: {error}"));
                }
            }
            self.stamps(receiver, due, &refused);
        }
        self.given = places.given;
    }

    /// Waits for frames that are known by the stamp in them.
    fn stamps(&mut self, receiver: usize, mut due: HashMap<[u8; 12], String>, refused: &HashMap<[u8; 12], String>) {
        let deadline = Instant::now() + PATIENCE;
        while !due.is_empty() && Instant::now() < deadline {
            let Some(heard) = self.taps[receiver].hear(20).expect("the receiver's socket") else {
                continue;
            };
            let stamp = heard.frame.windows(12).find(|window| window.starts_with(b"cellwall"));
            let stamp = stamp.and_then(|stamp| <[u8; 12]>::try_from(stamp).ok());
            match stamp {
                _ if heard.left => self.tally.noise += u64::from(stamp.is_none()),
                Some(stamp) if due.remove(&stamp).is_some() => self.tally.seen += 1,
                Some(stamp) => {
                    let what = refused.get(&stamp).map_or("twice", String::as_str);
                    self.tally.problem(format!("ARRIVED {what}: {}", hex(&heard.frame)));
                }
                None => {}
            }
        }
        for name in due.into_values() {
            self.tally.problem(format!("did not arrive: {name}"));
        }
    }
}
