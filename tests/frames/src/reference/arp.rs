//! ARP: who says to have an address.

use std::net::{IpAddr, Ipv4Addr};

use super::{Reason, Sender, World};

/// What is wrong with an ARP packet.
pub(super) fn faults(world: &World, sender: Sender, body: &[u8]) -> Option<Reason> {
    faults_of(body, |address| match sender {
        Sender::Pod(pod) => world.pods[pod].has(address),
        Sender::Stranger => true,
    })
}

/// What is wrong with an ARP packet of a sender who has the addresses that `own` says.
pub(super) fn faults_of(body: &[u8], own: impl Fn(IpAddr) -> bool) -> Option<Reason> {
    // Ethernet, IPv4, six and four bytes of address.
    if body.len() < 28 || body[..6] != [0, 1, 8, 0, 6, 4] {
        return Some(Reason::Malformed);
    }
    let (says, asks) = (address(&body[14..18]), address(&body[24..28]));
    let own = |address: Ipv4Addr| own(IpAddr::V4(address));
    let probe = says.is_unspecified() && own(asks);
    (!own(says) && !probe).then_some(Reason::Spoofed)
}

fn address(bytes: &[u8]) -> Ipv4Addr {
    Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])
}
