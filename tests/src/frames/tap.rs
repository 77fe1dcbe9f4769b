//! Packet sockets inside network namespaces.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use cellwall_controller::lab::inside;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, send, setsockopt, socket,
};

/// `PACKET_OUTGOING`: the frame leaves through the interface.
const OUTGOING: u8 = 4;

/// A socket on the interface `eth0` of a namespace: it sends whole frames, and hears every frame that others send or
/// that arrives.
#[derive(Debug)]
pub(super) struct Tap {
    socket: OwnedFd,
    buffer: RefCell<Vec<u8>>,
    /// The interface's own address.
    pub(super) mac: [u8; 6],
}

/// A frame that a tap heard.
#[derive(Debug)]
pub(super) struct Heard {
    /// From the Ethernet header on.
    pub(super) frame: Vec<u8>,
    /// Whether it left through the interface instead of arriving.
    pub(super) left: bool,
}

impl Tap {
    /// Opens one.
    pub(super) fn open(netns: &str) -> io::Result<Self> {
        inside(netns, || {
            let own = getifaddrs()?
                .filter(|interface| interface.interface_name == "eth0")
                .find_map(|interface| interface.address?.as_link_addr().copied());
            let own: LinkAddr = own.ok_or(Errno::ENODEV)?;
            let socket = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                SockProtocol::EthAll,
            )?;
            setsockopt(&socket, RcvBufForce, &(64 << 20))?;
            bind(socket.as_raw_fd(), &own)?;
            let mac = own.addr().ok_or(Errno::ENODEV)?;
            Ok(Self {
                socket,
                buffer: RefCell::new(vec![0; 65_536]),
                mac,
            })
        })
        .map_err(io::Error::other)?
    }

    /// Sends a frame as it is.
    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty())?;
        Ok(())
    }

    /// The next frame, waited for up to `patience` milliseconds.
    pub(super) fn hear(&self, patience: u8) -> io::Result<Option<Heard>> {
        let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        if patience > 0 && poll(&mut ready, PollTimeout::from(patience))? == 0 {
            return Ok(None);
        }
        let mut buffer = self.buffer.borrow_mut();
        match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
            Ok((length, from)) => Ok(Some(Heard {
                frame: buffer[..length].to_vec(),
                left: from.is_some_and(|from| from.pkttype() == OUTGOING),
            })),
            Err(Errno::EAGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
