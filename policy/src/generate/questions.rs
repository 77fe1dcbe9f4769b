//! Questions about a world: its own addresses and ports, and those just beside them.

use super::dice::Dice;
use super::{cluster, pools};
use crate::evaluate::{AskedProtocol, End, HookQuestion, Question};
use crate::model::{Address, Cidr, Entity, Hook, Name, PortMatch, Protocol, Selector};
use crate::world::World;

/// `count` questions to hooks of local pods, now and then to an interface whose pod is not known.
///
/// Some (loopback, a pod to itself, router messages, tunnels) are answered before any table is asked; the reason of the
/// answer tells.
pub fn questions(seed: u64, world: &World, count: usize) -> Vec<HookQuestion> {
    questions_by(&mut Dice::new(seed), world, count)
}

/// The [`questions`] that these dice give.
pub fn questions_by(dice: &mut Dice, world: &World, count: usize) -> Vec<HookQuestion> {
    let local = world.pods().filter(|pod| world.is_local(pod) && !pod.host_network);
    let local: Vec<Name> = local.map(|pod| pod.uid.clone()).collect();
    let peers = addresses(world);
    let numbers = ports(world);
    let question = |dice: &mut Dice| {
        let peer = *dice.pick(&peers);
        let (protocol, port) = traffic(dice, &numbers, peer.is_v4());
        let unknown = local.is_empty() || dice.chance(1, 8);
        HookQuestion {
            hook: *dice.pick(&[Hook::FromPod, Hook::FromPod, Hook::ToPod]),
            pod: if unknown { None } else { Some(dice.pick(&local).clone()) },
            peer,
            protocol,
            port,
        }
    };
    (0..count).map(|_| question(dice)).collect()
}

/// `count` questions from end to end. Some have no answer (ends without a family in common, pods that have ended).
pub fn flow_questions(seed: u64, world: &World, count: usize) -> Vec<Question> {
    let dice = &mut Dice::new(seed);
    let pods: Vec<(Name, Name)> = world
        .pods()
        .map(|pod| (pod.namespace.clone(), pod.name.clone()))
        .collect();
    let peers = addresses(world);
    let numbers = ports(world);
    let end = |dice: &mut Dice| match dice.between(0, 5) {
        0 => End::Member(*dice.pick(&Entity::ALL)),
        1 | 2 => End::Address(*dice.pick(&peers)),
        _ if pods.is_empty() => End::Member(Entity::Cluster),
        _ => {
            let (namespace, name) = dice.pick(&pods).clone();
            End::Pod(namespace, name)
        }
    };
    let question = |dice: &mut Dice| {
        let (from, to) = (end(dice), end(dice));
        let v4 = dice.chance(2, 3);
        let (protocol, port) = traffic(dice, &numbers, v4);
        let (protocol, port) = match protocol {
            _ if dice.chance(1, 12) => (AskedProtocol::Unnamed, None),
            Protocol::Tcp => (AskedProtocol::Tcp, port),
            Protocol::Udp => (AskedProtocol::Udp, port),
            Protocol::Sctp => (AskedProtocol::Sctp, port),
            Protocol::Icmp => (AskedProtocol::Icmp, port),
            Protocol::Icmpv6 => (AskedProtocol::Icmpv6, port),
            Protocol::Other(number) => (AskedProtocol::Number(number), None),
        };
        Question {
            from,
            to,
            protocol,
            port,
        }
    };
    (0..count).map(|_| question(dice)).collect()
}

/// Every address that a document names, the edges of every range, and some strays.
fn addresses(world: &World) -> Vec<Address> {
    let mut found = cluster::addresses(pools::STRAY);
    found.extend(world.pods().flat_map(|pod| pod.addresses.iter().chain(&pod.link_local)));
    found.extend(world.nodes().flat_map(|node| node.addresses.iter()));
    found.extend(world.reports().flat_map(|report| report.addresses.iter()));
    for service in world.services() {
        // Several times: they are where most of the rules are.
        for _ in 0..3 {
            found.extend(service.cluster_ips.iter().chain(&service.external_ips));
        }
    }
    found.extend(
        world
            .slices()
            .flat_map(|slice| slice.endpoints.iter().map(|one| one.address)),
    );
    for object in world.objects() {
        if let Selector::Cidrs(entries) = &object.selector {
            for entry in entries {
                found.extend([entry.cidr].iter().chain(&entry.except).flat_map(|range| edges(*range)));
            }
        }
    }
    found.extend(
        ["127.0.0.1", "::1"]
            .iter()
            .filter_map(|one| one.parse::<Address>().ok()),
    );
    found
}

/// First and last address of a range, and those just outside it.
fn edges(range: Cidr) -> Vec<Address> {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    match range.network().ip() {
        IpAddr::V4(first) => {
            let first = u32::from(first);
            let last = first | u32::MAX.checked_shr(u32::from(range.prefix())).unwrap_or(0);
            let around = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
            around.map(|bits| Address::from(Ipv4Addr::from(bits))).to_vec()
        }
        IpAddr::V6(first) => {
            let first = u128::from(first);
            let last = first | u128::MAX.checked_shr(u32::from(range.prefix())).unwrap_or(0);
            let around = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
            around.map(|bits| Address::from(Ipv6Addr::from(bits))).to_vec()
        }
    }
}

/// Every port that a document names, and its neighbours.
fn ports(world: &World) -> Vec<u16> {
    let mut found = vec![0, 1, 65535, 4789, 6081, 8472];
    found.extend(pools::PORTS);
    found.extend(pools::NODE_PORTS);
    for entry in world.rules().flat_map(|rule| rule.ports.iter().flatten()) {
        if let PortMatch::Range(first, last) = entry.ports {
            found.extend([first, last, first.saturating_sub(1), last.saturating_add(1)]);
        }
    }
    found
}

/// A protocol of the family, and its port.
fn traffic(dice: &mut Dice, ports: &[u16], v4: bool) -> (Protocol, Option<u16>) {
    let port = Some(*dice.pick(ports));
    match dice.between(0, 15) {
        0..=7 => (Protocol::Tcp, port),
        8..=10 => (Protocol::Udp, port),
        11 => (Protocol::Sctp, port),
        12 | 13 if v4 => (Protocol::Icmp, Some(*dice.pick(&[0, 3, 5, 8, 9, 13, 255]))),
        12 | 13 => (
            Protocol::Icmpv6,
            Some(*dice.pick(&[0, 1, 128, 129, 134, 135, 137, 255])),
        ),
        _ => (Protocol::of(*dice.pick(&[0, 2, 4, 41, 47, 50, 89, 255]), v4), None),
    }
}
