//! Echo requests by datagram ICMP sockets: real ones, the kernel fills in the identifier.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use cellwall_controller::lab::{Outcome, inside};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

/// Sends an echo request from `netns` and waits for the reply.
pub fn ping(netns: &str, to: IpAddr, patience: Duration) -> Outcome {
    let ask = move || -> nix::Result<usize> {
        let (family, protocol, kind) = match to {
            IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8),
            IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128),
        };
        let socket = socket(family, SockType::Datagram, SockFlag::empty(), protocol)?;
        let patience = TimeVal::new(
            patience.as_secs().try_into().unwrap_or(1),
            patience.subsec_micros().into(),
        );
        setsockopt(&socket, sockopt::ReceiveTimeout, &patience)?;
        let echo = [kind, 0, 0, 0, 0, 0, 0, 1, b'?'];
        sendto(
            socket.as_raw_fd(),
            &echo,
            &SockaddrStorage::from(SocketAddr::new(to, 0)),
            MsgFlags::empty(),
        )?;
        recv(socket.as_raw_fd(), &mut [0; 64], MsgFlags::empty())
    };
    let answered = inside(netns, move || {
        // Who may use such sockets is a setting of each namespace, nobody by default.
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").expect("the range of groups is set");
        ask()
    });
    match answered.expect("the client runs") {
        Ok(_) => Outcome::Answered,
        Err(nix::Error::ECONNREFUSED) => Outcome::Refused,
        Err(_) => Outcome::Silence,
    }
}
