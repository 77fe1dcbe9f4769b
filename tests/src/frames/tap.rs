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
pub struct Tap {
    socket: OwnedFd,
    buffer: RefCell<Vec<u8>>,
    /// The interface's own address.
    pub mac: [u8; 6],
}

/// A frame that a tap heard.
#[derive(Debug)]
pub struct Heard {
    /// From the Ethernet header on.
    pub frame: Vec<u8>,
    /// Whether it left through the interface instead of arriving.
    pub left: bool,
}

/// An interface of this thread's namespace, to bind packet sockets to.
pub fn link(interface: &str) -> nix::Result<LinkAddr> {
    let mut all = getifaddrs()?.filter(|one| one.interface_name == interface);
    let own = all.find_map(|one| one.address?.as_link_addr().copied());
    own.ok_or(Errno::ENODEV)
}

/// Link address of an interface of a namespace.
pub fn link_address(netns: &str, interface: &str) -> io::Result<[u8; 6]> {
    let own = inside(netns, || link(interface)).map_err(io::Error::other)??;
    Ok(own.addr().ok_or(Errno::ENODEV)?)
}

impl Tap {
    /// Opens one.
    pub fn open(netns: &str) -> io::Result<Self> {
        inside(netns, || {
            let own = link("eth0")?;
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
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty())?;
        Ok(())
    }

    /// The next frame, waited for up to `patience` milliseconds.
    pub fn hear(&self, patience: u8) -> io::Result<Option<Heard>> {
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
