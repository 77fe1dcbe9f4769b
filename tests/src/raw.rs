//! Packets of any IP protocol by raw sockets, and who heard them. A raw socket hears what the kernel delivers, whether
//! the kernel knows the protocol or not, so an [`Ear`] is what a program inside a pod would have received.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::time::Duration;

use cellwall_controller::lab::inside;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketType, bind, recv, sendto};

use crate::frames::make::checksum;
use crate::wait_for;

/// What every packet of ours carries before its number.
const MARK: [u8; 8] = *b"cellwall";
/// Bytes of a mark and its number.
const MARKED: usize = 16;

/// A packet that opens a flow, or would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// An SCTP INIT chunk to this port.
    SctpInit(u16),
    /// An ICMP or ICMPv6 message of this type, whichever the family has.
    Icmp(u8),
    /// Nothing but the mark, as this protocol.
    Other(u8),
}

impl Message {
    /// IP protocol number over a family.
    pub fn protocol(self, v4: bool) -> u8 {
        match self {
            Self::SctpInit(_) => 132,
            Self::Icmp(_) if v4 => 1,
            Self::Icmp(_) => 58,
            Self::Other(number) => number,
        }
    }

    /// The payload that carries `number`, another one for each packet: source port and identifier come of it.
    fn bytes(self, number: u64, v4: bool) -> Vec<u8> {
        let mark = [MARK, number.to_be_bytes()].concat();
        let fresh = u16::try_from(20_000 + number % 40_000).unwrap_or(20_000).to_be_bytes();
        match self {
            Self::SctpInit(port) => {
                let [port, zero] = [port.to_be_bytes(), [0; 2]];
                // Ports, verification tag, checksum; INIT with its tag, window, streams and first number, then the
                // mark as a parameter that a receiver skips.
                let header = [&fresh[..], &port, &zero, &zero, &zero, &zero].concat();
                let chunk = [1, 0, 0, 40, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1];
                [&header[..], &chunk, &[0x80, 0, 0, 20], &mark].concat()
            }
            Self::Icmp(kind) => {
                let mut bytes = [&[kind, 0, 0, 0], &fresh[..], &[0, 1], &mark].concat();
                if v4 {
                    // The kernel fills in ICMPv6's.
                    let sum = checksum(&bytes);
                    bytes[2..4].copy_from_slice(&sum);
                }
                bytes
            }
            Self::Other(_) => mark,
        }
    }
}

fn socket(v4: bool, protocol: u8) -> io::Result<OwnedFd> {
    let family = if v4 { AddressFamily::INET } else { AddressFamily::INET6 };
    let protocol = NonZeroU32::new(protocol.into()).map(Protocol::from_raw);
    Ok(rustix::net::socket(family, SocketType::RAW, protocol)?)
}

/// Sends `message` number `number` from an address of `netns`.
pub fn send(netns: &str, from: IpAddr, to: IpAddr, message: Message, number: u64) -> io::Result<()> {
    let v4 = to.is_ipv4();
    let sent = inside(netns, || {
        let socket = socket(v4, message.protocol(v4))?;
        bind(&socket, &SocketAddr::new(from, 0))?;
        let (bytes, to) = (message.bytes(number, v4), SocketAddr::new(to, 0));
        match sendto(&socket, &bytes, SendFlags::empty(), &to) {
            // What a program on the way out drops, IPv6 tells its sender so.
            Err(Errno::NOBUFS) => Ok(()),
            sent => Ok(sent.map(drop)?),
        }
    });
    sent.map_err(io::Error::other)?
}

/// Hears packets of some protocols in one namespace.
#[derive(Debug)]
pub struct Ear {
    sockets: Vec<OwnedFd>,
    heard: BTreeSet<u64>,
}

impl Ear {
    /// Listens in `netns` from now on, to these protocols over IPv4 (true) and IPv6.
    pub fn new(netns: &str, protocols: &[(bool, u8)]) -> io::Result<Self> {
        let sockets = inside(netns, || {
            protocols
                .iter()
                .map(|(v4, protocol)| socket(*v4, *protocol))
                .collect::<io::Result<Vec<_>>>()
        });
        Ok(Self {
            sockets: sockets.map_err(io::Error::other)??,
            heard: BTreeSet::new(),
        })
    }

    /// Whether packet `number` has arrived, or does within `patience`.
    pub fn hears(&mut self, number: u64, patience: Duration) -> bool {
        wait_for(patience, || self.has_heard(number).then_some(())).is_some()
    }

    /// Whether packet `number` has arrived.
    pub fn has_heard(&mut self, number: u64) -> bool {
        let mut buffer = [0; 2_048];
        for socket in &self.sockets {
            while let Ok((length, _)) = recv(socket, &mut buffer, RecvFlags::DONTWAIT) {
                let marks = buffer[..length]
                    .windows(MARKED)
                    .filter(|window| window.starts_with(&MARK));
                self.heard.extend(marks.filter_map(|window| {
                    let number = window[MARK.len()..].try_into().ok()?;
                    Some(u64::from_be_bytes(number))
                }));
            }
        }
        self.heard.contains(&number)
    }
}
