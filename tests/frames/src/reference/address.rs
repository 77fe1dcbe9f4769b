//! Addresses that a packet may not carry.

use std::net::{IpAddr, Ipv6Addr};

use super::datagram::Datagram;
use super::{Reason, Sender, World};

fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[0] == 127,
        IpAddr::V6(v6) => v6 == Ipv6Addr::LOCALHOST,
    }
}

/// Loopback addresses never leave a host.
pub(super) fn loopback(source: IpAddr, destination: IpAddr) -> Vec<Reason> {
    if is_loopback(source) || is_loopback(destination) {
        vec![Reason::Loopback]
    } else {
        Vec::new()
    }
}

/// A pod sends from its own addresses only, and nobody else sends from a pod's. `packet` is what could be read.
pub(super) fn source(world: &World, sender: Sender, source: IpAddr, packet: Option<&Datagram<'_>>) -> Option<Reason> {
    let forged = match sender {
        Sender::Pod(pod) => !world.pods[pod].has(source) && !packet.is_some_and(|p| asks_for_itself(p)),
        Sender::Stranger => world.pods.iter().any(|pod| pod.has(source)),
    };
    forged.then_some(Reason::Spoofed)
}

/// What a host sends before it has an address: a solicitation for the address it is about to take (judged by its
/// target), one for routers, and the memberships that go with them.
pub(super) fn asks_for_itself(packet: &Datagram<'_>) -> bool {
    let unspecified = packet.source == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    unspecified && packet.protocol == 58 && matches!(packet.segment.first(), Some(131..=133 | 135 | 143))
}
