//! Which packets the self-test runs: a sample of the pods at hand, of their peers, and of the rules' ports, another one
//! each time; and what the reference says of each.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use cellwall_datapath::selftest::{Opening, Said};
use cellwall_policy::evaluate::{HookQuestion, at_hook};
use cellwall_policy::generate::Dice;
use cellwall_policy::model::{Action, Address, Hook, Name, PortMatch, Protocol, ProtocolMatch, Selector};
use cellwall_policy::world::World;

/// Addresses of nobody, so that `World` is asked about where no document names any (RFC 5737, RFC 3849).
const NOBODY: [&str; 2] = ["203.0.113.77", "2001:db8:ffff:ffff::77"];
/// Peers that a sample draws from at most: a world of a hundred thousand pods is not copied for each.
const PEERS: usize = 4_096;
/// First source port or identifier.
const FIRST: u16 = 20_000;
/// Ports that are asked about where no rule names any, and beside those that rules name.
const PORTS: [u16; 5] = [1, 80, 443, 5_432, 40_000];

/// A packet, and what is to become of it.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) ifindex: u32,
    pub(super) question: HookQuestion,
    pub(super) packet: Opening,
    pub(super) expected: Said,
    /// The rule that is credited.
    pub(super) rule: Option<Name>,
}

/// Up to `count` probes of these dice. `pods` are the guarded interfaces whose pod is known, `rules` the slots of rules.
pub(super) fn sample(
    dice: &mut Dice,
    world: &World,
    pods: &[(u32, Name)],
    rules: &HashMap<Name, u32>,
    count: usize,
) -> Vec<Probe> {
    let local: HashSet<Address> = world
        .pods()
        .filter(|pod| world.is_local(pod))
        .flat_map(|pod| pod.addresses.iter().chain(&pod.link_local).copied())
        .collect();
    let contested = contested(world);
    let peers = peers(dice, world);
    let ports = ports(world);
    let mut probes = Vec::new();
    for number in 0..count {
        let Some((ifindex, uid)) = dice.choose(pods) else { break };
        let Some(peer) = dice.choose(&peers).copied() else {
            break;
        };
        // What one pod of this node sends to another is judged where it leaves the sender.
        let hook = if dice.chance(1, 3) && !local.contains(&peer) {
            Hook::ToPod
        } else {
            Hook::FromPod
        };
        let (protocol, port) = traffic(dice, &ports, peer.is_v4());
        let question = HookQuestion {
            hook,
            pod: Some(uid.clone()),
            peer,
            protocol,
            port: Some(port),
        };
        let fresh = FIRST + u16::try_from(number).unwrap_or(0);
        probes.extend(probe(dice, world, *ifindex, question, fresh, (rules, &contested)));
    }
    probes
}

/// Addresses that several live pods say they have: one of them has it, and from the others it is forged.
fn contested(world: &World) -> HashSet<Address> {
    let mut seen = HashSet::new();
    let pods = world.pods().filter(|pod| pod.phase.is_live() && !pod.host_network);
    let all = pods.flat_map(|pod| pod.addresses.iter().copied());
    all.filter(|address| !seen.insert(*address)).collect()
}

/// The probe of a question; none where the pod has no address to be asked about.
fn probe(
    dice: &mut Dice,
    world: &World,
    ifindex: u32,
    question: HookQuestion,
    fresh: u16,
    (rules, contested): (&HashMap<Name, u32>, &HashSet<Address>),
) -> Option<Probe> {
    let pod = world.pod(question.pod.as_deref()?)?;
    let of_family = |own: &&Address| own.is_v4() == question.peer.is_v4() && !contested.contains(*own);
    let own: Vec<IpAddr> = pod.addresses.iter().filter(of_family).map(|own| own.ip()).collect();
    let own = *dice.choose(&own)?;
    let peer = question.peer.ip();
    let (source, destination) = match question.hook {
        Hook::FromPod => (own, peer),
        Hook::ToPod => (peer, own),
    };
    let packet = Opening {
        source,
        destination,
        protocol: question.protocol.number(),
        port: question.port.unwrap_or(0),
        fresh,
    };
    let answer = at_hook(world, &question);
    let rule = answer.rule.map(|rule| rule.name);
    let expected = Said {
        dropped: answer.applied == Action::Drop,
        action: match answer.verdict {
            Action::Pass => 0,
            Action::Alert => 1,
            Action::Drop => 2,
        },
        reason: answer.reason as u8,
        slot: rule.as_ref().and_then(|rule| rules.get(rule).copied()),
    };
    Some(Probe {
        ifindex,
        question,
        packet,
        expected,
        rule,
    })
}

/// Whom pods are asked about: pods, nodes, Services, what `cidrs` name, and nobody.
fn peers(dice: &mut Dice, world: &World) -> Vec<Address> {
    let pods = world.pods().filter(|pod| pod.phase.is_live() && !pod.host_network);
    let pods: Vec<Address> = pods.flat_map(|pod| pod.addresses.iter().copied()).collect();
    let mut peers: Vec<Address> = if pods.len() <= PEERS {
        pods
    } else {
        (0..PEERS).filter_map(|_| dice.choose(&pods).copied()).collect()
    };
    peers.extend(
        world
            .nodes()
            .flat_map(|node| node.addresses.iter().copied())
            .take(PEERS),
    );
    let services = world
        .services()
        .flat_map(|one| one.cluster_ips.iter().chain(&one.external_ips));
    peers.extend(services.copied().take(PEERS));
    for object in world.objects() {
        if let Selector::Cidrs(entries) = &object.selector {
            let ranges = entries
                .iter()
                .flat_map(|entry| std::iter::once(&entry.cidr).chain(&entry.except));
            peers.extend(ranges.map(|range| range.network()).take(PEERS));
        }
    }
    peers.extend(NOBODY.iter().filter_map(|text| text.parse::<Address>().ok()));
    let ordinary = |peer: &Address| {
        let special = peer.is_loopback() || peer.is_link_local() || peer.is_multicast_or_broadcast();
        !special && !peer.ip().is_unspecified()
    };
    peers.retain(ordinary);
    peers
}

/// First and last port of each range that rules name, what lies beside, and a few that anybody may use.
fn ports(world: &World) -> Vec<(Option<Protocol>, u16)> {
    let mut ports: Vec<(Option<Protocol>, u16)> = PORTS.iter().map(|port| (None, *port)).collect();
    for entry in world.rules().flat_map(|rule| rule.ports.iter().flatten()) {
        let protocol = match entry.protocol {
            ProtocolMatch::Tcp => Some(Protocol::Tcp),
            ProtocolMatch::Udp => Some(Protocol::Udp),
            ProtocolMatch::Sctp => Some(Protocol::Sctp),
            ProtocolMatch::Any => None,
            ProtocolMatch::Icmp | ProtocolMatch::Icmpv6 | ProtocolMatch::Number(_) => continue,
        };
        if let PortMatch::Range(first, last) = entry.ports {
            let named = [first, last, first.saturating_sub(1).max(1), last.saturating_add(1)];
            ports.extend(named.map(|port| (protocol, port)));
        }
    }
    for port in world.services().flat_map(|service| &service.ports) {
        ports.push((None, port.port));
        ports.extend(port.node_port.map(|port| (None, port)));
    }
    ports
}

fn traffic(dice: &mut Dice, ports: &[(Option<Protocol>, u16)], v4: bool) -> (Protocol, u16) {
    let (named, port) = dice.choose(ports).copied().unwrap_or((None, 80));
    match (named, dice.between(0, 9)) {
        (_, 0) if v4 => (Protocol::Icmp, 8),
        (_, 0) => (Protocol::Icmpv6, 128),
        (Some(protocol), _) => (protocol, port),
        (None, 1..=5) => (Protocol::Tcp, port),
        (None, 6..=8) => (Protocol::Udp, port),
        (None, _) => (Protocol::Sctp, port),
    }
}
