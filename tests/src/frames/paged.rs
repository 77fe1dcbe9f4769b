//! Packets whose transport header does not lie where a program can look at it directly.
//!
//! A raw socket is given the segment in two parts: the kernel lays the first one behind the IP header, and keeps the
//! second one in pages beside the buffer. Cut within the transport header, a program that reads no further than the
//! buffer's end sees a part of it or nothing. (A ring of `PACKET_TX_RING` would have the IP header in pages too; it
//! takes a mapping that no safe crate offers for our toolchain.)

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use cellwall_controller::lab::inside;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket};

use super::corpus::{FREE, REFUSED};
use super::range::{PATIENCE, PODS, Range, hex};
use super::reference::{Expected, Sender};
use super::wiring::run;

/// The protocols that are sent: with the number, the name, and bytes that the kernel wants in the first part.
const PROTOCOLS: [(bool, u8, SockProtocol, usize); 7] = [
    (true, 17, SockProtocol::Udp, 1),
    (true, 6, SockProtocol::Tcp, 1),
    (true, 1, SockProtocol::Icmp, 2),
    (true, 132, SockProtocol::Sctp, 1),
    (false, 17, SockProtocol::Udp, 1),
    (false, 6, SockProtocol::Tcp, 1),
    (false, 58, SockProtocol::IcmpV6, 4),
];

/// A raw socket of one protocol in a namespace.
#[derive(Debug)]
struct Raw(OwnedFd);

impl Raw {
    /// Opens one.
    fn open(netns: &str, v4: bool, protocol: SockProtocol) -> io::Result<Self> {
        let family = if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let open = || socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol);
        Ok(Self(inside(netns, open).map_err(io::Error::other)??))
    }

    /// Sends one packet that is cut behind `first` bytes of its segment.
    fn send(&self, to: IpAddr, segment: &[u8], first: usize) -> io::Result<()> {
        let to = SockaddrStorage::from(SocketAddr::new(to, 0));
        let (head, rest) = segment.split_at(first);
        for (part, flags) in [
            (head, MsgFlags::from_bits_retain(libc::MSG_MORE)),
            (rest, MsgFlags::empty()),
        ] {
            sendto(self.0.as_raw_fd(), part, &to, flags)?;
        }
        Ok(())
    }
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
        for (v4, protocol, name, least) in PROTOCOLS {
            let socket = Raw::open(&netns, v4, name).expect("a raw socket in a pod");
            let mut due: HashMap<[u8; 12], String> = HashMap::new();
            let mut refused = due.clone();
            for port in [FREE, REFUSED] {
                let length = places.segment(protocol, port).0.len();
                for first in least..=length - least {
                    let (segment, stamp) = places.segment(protocol, port);
                    let expected = self
                        .reference
                        .judge(sender, receiver, &places.packet(v4, protocol, &segment));
                    self.tally.take(sender, &expected);
                    let name = format!("protocol {protocol} to {port} cut behind {first} bytes: {expected}");
                    match expected {
                        Expected::Pass => due.insert(stamp, name),
                        _ => refused.insert(stamp, name),
                    };
                    let sent = socket.send(places.ends(v4).1, &segment, first);
                    sent.unwrap_or_else(|error| panic!("protocol {protocol} cut behind {first}: {error}"));
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
