//! Packets whose transport header does not lie where a program can look at it directly.
//!
//! A raw socket is given the segment in two parts: the kernel lays the first one behind the IP header, and keeps the
//! second one in pages beside the buffer. Cut within the transport header, a program that reads no further than the
//! buffer's end sees a part of it or nothing. (A ring of `PACKET_TX_RING` would have the IP header in pages too; it
//! takes a mapping that no safe crate offers for our toolchain.)

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use cellwall_controller::lab::inside;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket};

/// The protocols that are sent: with the number, the name, and bytes that the kernel wants in the first part.
pub(super) const PROTOCOLS: [(bool, u8, SockProtocol, usize); 7] = [
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
pub(super) struct Raw(OwnedFd);

impl Raw {
    /// Opens one.
    pub(super) fn open(netns: &str, v4: bool, protocol: SockProtocol) -> io::Result<Self> {
        let family = if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let open = || socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol);
        Ok(Self(inside(netns, open).map_err(io::Error::other)??))
    }

    /// Sends one packet that is cut behind `first` bytes of its segment.
    pub(super) fn send(&self, to: IpAddr, segment: &[u8], first: usize) -> io::Result<()> {
        let to = SockaddrStorage::from(SocketAddr::new(to, 0));
        let (head, rest) = segment.split_at(first);
        for (part, flags) in [(head, MsgFlags::from_bits_retain(libc::MSG_MORE)), (rest, MsgFlags::empty())] {
            sendto(self.0.as_raw_fd(), part, &to, flags)?;
        }
        Ok(())
    }
}
