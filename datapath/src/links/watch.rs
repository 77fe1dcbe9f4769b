//! Tells when interfaces, addresses or namespaces have changed, so that nobody polls.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use netlink_packet_core::NetlinkBuffer;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, SocketAddr, TokioSocket};

use crate::netlink::{NetlinkError, failed};

/// RTNLGRP_LINK, _TC, _IPV4_IFADDR, _IPV6_IFADDR, _NSID.
const GROUPS: [u32; 5] = [1, 4, 5, 9, 28];

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWQDISC: u16 = 36;
const RTM_DELTFILTER: u16 = 45;
const RTM_NEWNSID: u16 = 88;
const RTM_DELNSID: u16 = 89;

/// Bytes of events the kernel keeps for us (it doubles the figure and caps it at `net.core.rmem_max`).
const QUEUE: libc::c_int = 1 << 20;
/// Bytes of one read: events are single messages.
const READ: usize = 32 * 1024;
/// Reads made before what was heard is told.
const BURST: u32 = 1024;

/// What has changed since it was last asked.
#[allow(clippy::struct_excessive_bools, reason = "independent facts, each looked at alone")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Interfaces came, went, or changed.
    pub links: bool,
    /// Addresses came or went.
    pub addresses: bool,
    /// Namespaces were numbered, or a number was taken back.
    pub namespaces: bool,
    /// Queueing disciplines or filters were changed, by us or by another.
    pub filters: bool,
    /// Events were lost: anything may have changed. The other fields are set as well.
    pub overflow: bool,
}

impl Change {
    /// Whether there is anything to look at.
    pub fn any(self) -> bool {
        let Self {
            links,
            addresses,
            namespaces,
            filters,
            overflow,
        } = self;
        links || addresses || namespaces || filters || overflow
    }

    const fn everything() -> Self {
        Self {
            links: true,
            addresses: true,
            namespaces: true,
            filters: true,
            overflow: true,
        }
    }

    fn hear(&mut self, kind: u16) {
        match kind {
            RTM_NEWLINK | RTM_DELLINK => self.links = true,
            RTM_NEWADDR | RTM_DELADDR => self.addresses = true,
            RTM_NEWNSID | RTM_DELNSID => self.namespaces = true,
            RTM_NEWQDISC..=RTM_DELTFILTER => self.filters = true,
            _ => {}
        }
    }
}

/// A subscription to the kernel's events.
pub struct Watch {
    socket: TokioSocket,
    buffer: Vec<u8>,
    hears_pods: bool,
}

impl Watch {
    /// Subscribes, in the calling thread's network namespace and within a tokio runtime. Subscribe first and list
    /// afterwards: what changes in between is then told.
    pub fn open() -> Result<Self, NetlinkError> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE).map_err(failed("open"))?;
        let raw = socket.socket_mut();
        raw.bind(&SocketAddr::new(0, 0)).map_err(failed("bind"))?;
        raw.set_rx_buf_sz(QUEUE).map_err(failed("set SO_RCVBUF"))?;
        // Needs CAP_NET_BROADCAST. Without it only our own interfaces are heard.
        let hears_pods = raw.set_listen_all_namespaces(true).is_ok();
        for group in GROUPS {
            raw.add_membership(group).map_err(failed("subscribe"))?;
        }
        let buffer = Vec::with_capacity(READ);
        Ok(Self {
            socket,
            buffer,
            hears_pods,
        })
    }

    /// Whether changes inside pods' namespaces are told too; otherwise they must be looked for on a timer.
    pub fn hears_pods(&self) -> bool {
        self.hears_pods
    }

    /// Waits for the next change. What has piled up meanwhile is one change; nothing is lost when the returned
    /// future is dropped.
    pub async fn changed(&mut self) -> Result<Change, NetlinkError> {
        poll_fn(|context| self.poll_changed(context)).await
    }

    fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<Result<Change, NetlinkError>> {
        let mut change = Change::default();
        for _ in 0..BURST {
            self.buffer.clear();
            match self.socket.poll_recv_from(context, &mut self.buffer) {
                // Another process may write to our socket; only the kernel (port 0) is believed.
                Poll::Ready(Ok(sender)) if sender.port_number() == 0 => hear_all(&self.buffer, &mut change),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => change = Change::everything(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(failed("receive")(error))),
                Poll::Pending if change.any() => return Poll::Ready(Ok(change)),
                Poll::Pending => return Poll::Pending,
            }
        }
        if change.any() {
            return Poll::Ready(Ok(change));
        }
        // A burst of what nobody asked for: let the others have their turn.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

fn hear_all(mut rest: &[u8], change: &mut Change) {
    while let Ok(message) = NetlinkBuffer::new_checked(rest) {
        change.hear(message.message_type());
        let length = usize::try_from(message.length())
            .unwrap_or(usize::MAX)
            .saturating_add(3)
            & !3;
        rest = rest.get(length..).unwrap_or_default();
    }
    // A message that cannot be read tells that something happened, and not what.
    if !rest.is_empty() {
        *change = Change::everything();
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, hear_all};

    fn message(kind: u16) -> Vec<u8> {
        let mut bytes = 16_u32.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&[0; 10]);
        bytes
    }

    #[test]
    fn several_messages_of_one_read_are_one_change() {
        let mut change = Change::default();
        hear_all(&[message(16), message(20)].concat(), &mut change);
        assert_eq!(
            change,
            Change {
                links: true,
                addresses: true,
                ..Change::default()
            }
        );
    }

    #[test]
    fn a_message_that_cannot_be_read_means_that_anything_changed() {
        for bytes in [&b"\x01"[..], &[0xff; 16], &[0; 16]] {
            let mut change = Change::default();
            hear_all(bytes, &mut change);
            assert_eq!(change, Change::everything(), "{bytes:?}");
        }
    }

    #[test]
    fn what_nobody_asked_for_is_no_change() {
        let mut change = Change::default();
        hear_all(&message(24), &mut change);
        assert!(!change.any());
    }
}
