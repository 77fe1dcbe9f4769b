//! What follows the IP headers: lengths, flags, types, and the rule.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::datagram::Datagram;
use super::{Reason, Sender, TCP, What, World, be16};

pub(super) const ICMP: u8 = 1;
const IGMP: u8 = 2;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;
pub(super) const SCTP: u8 = 132;

/// The protocol, with ICMP and ICMPv6 only where they belong.
pub(super) fn is(datagram: &Datagram<'_>, protocol: u8) -> bool {
    let crossed = match protocol {
        ICMP | IGMP => datagram.source.is_ipv6(),
        ICMPV6 => datagram.source.is_ipv4(),
        _ => false,
    };
    datagram.protocol == protocol && !crossed
}

/// Bytes that the protocol's header has at least.
fn shortest(datagram: &Datagram<'_>) -> usize {
    let lengths = [(TCP, 20), (UDP, 8), (ICMP, 8), (ICMPV6, 8), (SCTP, 12)];
    let own = lengths.into_iter().find(|(protocol, _)| is(datagram, *protocol));
    own.map_or(0, |(_, length)| length)
}

/// What two first fragments are told apart by: the begin of the transport header (of TCP all of it, of others eight bytes,
/// which have all that rules ask for), where it lies, of which protocol it is, and how much the fragment carries, since
/// what a longer one has more of lies over the next.
pub(super) fn header(datagram: &Datagram<'_>) -> Header {
    let begin = if is(datagram, TCP) { 20 } else { 8 };
    Header {
        bytes: datagram.segment.get(..begin).unwrap_or_default().to_vec(),
        at: datagram.at,
        protocol: datagram.protocol,
        carries: datagram.segment.len(),
    }
}

/// See [`header`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    bytes: Vec<u8>,
    at: usize,
    protocol: u8,
    carries: usize,
}

/// What is wrong with a packet that is whole.
pub(super) fn whole(world: &World, sender: Sender, datagram: &Datagram<'_>, astray: bool) -> BTreeSet<Reason> {
    let malformed = malformed(datagram);
    if malformed.is_empty() {
        open(world, sender, datagram, astray)
    } else {
        malformed
    }
}

/// What is wrong with a first fragment.
pub(super) fn first(world: &World, sender: Sender, datagram: &Datagram<'_>, astray: bool) -> BTreeSet<Reason> {
    let malformed = malformed_first(datagram);
    if malformed.is_empty() {
        open(world, sender, datagram, astray)
    } else {
        malformed
    }
}

/// What no rule has a say in, of a packet that is whole.
pub(super) fn malformed(datagram: &Datagram<'_>) -> BTreeSet<Reason> {
    let malformed = datagram.segment.len() < shortest(datagram) || lies(datagram, true);
    malformed.then_some(Reason::Malformed).into_iter().collect()
}

/// What no rule has a say in, of a first fragment.
pub(super) fn malformed_first(datagram: &Datagram<'_>) -> BTreeSet<Reason> {
    if datagram.segment.len() < shortest(datagram) {
        return [Reason::Fragment].into();
    }
    if lies(datagram, false) {
        return [Reason::Malformed].into();
    }
    // Options that go on in another fragment: no header that is whole.
    let options = is(datagram, TCP) && usize::from(datagram.segment[12] >> 4) * 4 > datagram.segment.len();
    if options {
        return [Reason::Malformed, Reason::Fragment].into();
    }
    BTreeSet::new()
}

/// Whether lengths or flags cannot be: a fragment's end says nothing of where the datagram ends.
fn lies(datagram: &Datagram<'_>, whole: bool) -> bool {
    let segment = datagram.segment;
    if is(datagram, TCP) {
        let offset = usize::from(segment[12] >> 4) * 4;
        let flags = segment[13];
        let (fin, syn, reset) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
        return offset < 20
            || (whole && offset > segment.len())
            || !(0..6).any(|bit| flags >> bit & 1 == 1)
            || (syn && (fin || reset));
    }
    if is(datagram, UDP) {
        let length = be16(segment, 4).map_or(0, usize::from);
        return length < 8 || (whole && length > segment.len());
    }
    // A solicitation or an advertisement of a neighbour names its target.
    is(datagram, ICMPV6) && matches!(segment[0], 135 | 136) && segment.len() < 24
}

/// `astray`: at the end of a pod that it is not for, when the hook of the pod that sent it has noted its flow.
fn open(world: &World, sender: Sender, datagram: &Datagram<'_>, astray: bool) -> BTreeSet<Reason> {
    let mut faults = BTreeSet::new();
    if let Sender::Pod(pod) = sender {
        if is_of_a_router(datagram) {
            faults.insert(Reason::Router);
        }
        if names_anothers_target(|target| world.pods[pod].has(target), datagram) {
            faults.insert(Reason::Spoofed);
        }
        if is_tunnel(datagram) && world.node.contains(&datagram.destination) {
            faults.insert(Reason::Tunnel);
        }
    }
    if !always_passes(datagram) && refused(world, datagram, astray) {
        faults.insert(Reason::Rule);
    }
    faults
}

pub(super) fn is_of_a_router(datagram: &Datagram<'_>) -> bool {
    let kind = datagram.segment.first();
    (is(datagram, ICMP) && matches!(kind, Some(5 | 9))) || (is(datagram, ICMPV6) && matches!(kind, Some(134 | 137)))
}

/// Whether it speaks for an address that is not the sender's.
pub(super) fn names_anothers_target(own: impl Fn(IpAddr) -> bool, datagram: &Datagram<'_>) -> bool {
    if !is(datagram, ICMPV6) {
        return false;
    }
    let target = || {
        let octets: [u8; 16] = datagram.segment[8..24].try_into().expect("sixteen bytes");
        IpAddr::from(octets)
    };
    match datagram.segment[0] {
        135 => datagram.source.is_unspecified() && !own(target()),
        136 => !own(target()),
        _ => false,
    }
}

/// Whether a later fragment goes on with a tunnel from a pod to the node: of those that are known by their protocol alone.
pub(super) fn tunnels_on(world: &World, sender: Sender, datagram: &Datagram<'_>) -> bool {
    matches!(sender, Sender::Pod(_)) && is_tunnel_by_itself(datagram) && world.node.contains(&datagram.destination)
}

fn is_tunnel_by_itself(datagram: &Datagram<'_>) -> bool {
    matches!(datagram.protocol, 4 | 41 | 47)
}

pub(super) fn is_tunnel(datagram: &Datagram<'_>) -> bool {
    match datagram.protocol {
        _ if is_tunnel_by_itself(datagram) => true,
        UDP => matches!(be16(datagram.segment, 2), Some(4789 | 8472 | 6081)),
        _ => false,
    }
}

/// Membership of groups and discovery of neighbours.
pub(super) fn always_passes(datagram: &Datagram<'_>) -> bool {
    is(datagram, IGMP) || (is(datagram, ICMPV6) && matches!(datagram.segment[0], 130..=136 | 143))
}

fn refused(world: &World, datagram: &Datagram<'_>, astray: bool) -> bool {
    let (source, destination) = (datagram.source, datagram.destination);
    let segment = datagram.segment;
    if world.is_one_pod(source, destination) {
        return false;
    }
    if is(datagram, ICMP) {
        return world.drops(destination, |what| what == What::Icmp(segment[0]));
    }
    if is(datagram, ICMPV6) {
        return world.drops(destination, |what| what == What::Icmpv6(segment[0]));
    }
    let port = |at| be16(segment, at).expect("the header is whole");
    match datagram.protocol {
        UDP | SCTP => world.drops(destination, |what| what == What::Port(port(2))),
        TCP => {
            let opens = segment[13] & 0x12 == 2;
            let forth = world.drops(destination, |what| what == What::Port(port(2)));
            let back = world.drops(source, |what| what == What::Port(port(0)));
            // In mid-stream nobody knows who opened: where the two orientations differ, the packet passes at first. Not so
            // where its flow is known to be another's; a reset leaves none to be known.
            let known = astray && segment[13] & 4 == 0;
            forth && (opens || known || back)
        }
        protocol => world.drops(destination, |what| what == What::Protocol(protocol)),
    }
}

/// Whether some packet of this protocol between these two could be dropped.
pub(super) fn could_drop(world: &World, datagram: &Datagram<'_>) -> bool {
    let protocol = datagram.protocol;
    if world.is_one_pod(datagram.source, datagram.destination) {
        return false;
    }
    // Over IPv6 only the first fragment says which protocol it is.
    let unknown = datagram.source.is_ipv6();
    world.drops(datagram.destination, |what| match what {
        _ if unknown => true,
        What::Port(_) => matches!(protocol, TCP | UDP | SCTP),
        What::Icmp(_) => is(datagram, ICMP),
        What::Icmpv6(_) => false,
        // Memberships are never dropped.
        What::Protocol(number) => protocol == number && !is(datagram, IGMP),
    })
}
