//! What one hook of one pod says of a packet that opens a flow.

use super::Packet;
use super::answer::{Answer, Backend, Judgement};
use super::ends::{Kind, Own, Peer, pod_party, some_pod};
use super::identity::{identify, without_address};
use super::rules::{self, Party};
use super::service::{StandsFor, stands_for};
use crate::model::{Action, Address, Hook, LocalNodeMode, Mode, Name, Protocol, Reason, Startup};
use crate::world::World;

/// A question to one hook of one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookQuestion {
    /// Which hook.
    pub hook: Hook,
    /// UID of the interface's pod. None, or one that no pod of the world has (a host-network pod has no interface of
    /// its own): the interface is judged by `startup`, as one of the local node.
    pub pod: Option<Name>,
    /// The other end: the destination at from-pod, the source at to-pod. Its family is the packet's.
    pub peer: Address,
    /// Protocol.
    pub protocol: Protocol,
    /// Destination port, or ICMP type.
    pub port: Option<u16>,
}

/// What a hook says of a packet that opens a flow.
pub fn at_hook(world: &World, question: &HookQuestion) -> Answer {
    let known = question.pod.as_deref().and_then(|uid| world.pod(uid));
    let own = match known.filter(|pod| !pod.host_network) {
        Some(pod) => Own::Pod(pod.clone()),
        None => Own::Startup,
    };
    let packet = Packet {
        protocol: Some(question.protocol),
        port: question.port,
        v4: question.peer.is_v4(),
    };
    let peer = Peer::from(identify(world, question.peer));
    judge(world, question.hook, &own, &peer, packet)
}

/// The verdict of a hook.
pub(super) fn judge(world: &World, hook: Hook, own: &Own, peer: &Peer, packet: Packet) -> Answer {
    let mode = world.defense().mode;
    let judgement = if mode == Mode::Off {
        Judgement::bare(Action::Pass, Reason::Off)
    } else {
        without_rules(hook, own, peer, packet)
            .or_else(|| refused_tunnel(world, hook, own, peer, packet))
            .unwrap_or_else(|| judge_as_pod(world, hook, own, peer, packet))
    };
    judgement.answer(Some(hook), mode)
}

/// What is decided before any rule: loopback, what neighbours and routers say, a pod to itself.
fn without_rules(hook: Hook, own: &Own, peer: &Peer, packet: Packet) -> Option<Judgement> {
    if matches!(peer.kind, Kind::Loopback) {
        return Some(Judgement::bare(Action::Drop, Reason::Loopback));
    }
    if hook == Hook::FromPod && is_router_message(packet) {
        return Some(Judgement::bare(Action::Drop, Reason::Router));
    }
    if is_neighbourhood(packet) {
        return Some(Judgement::bare(Action::Pass, Reason::Neighbour));
    }
    match (own, &peer.kind) {
        // What a pod sends to itself ends here. A packet of its own that reaches it anew went by a Service, whose
        // address was rewritten on the way: that one is judged as from itself to itself.
        (Own::Pod(own), Kind::Pod(other)) if hook == Hook::FromPod && own.uid == other.uid => {
            Some(Judgement::bare(Action::Pass, Reason::SelfTraffic))
        }
        _ => None,
    }
}

/// Router advertisements and redirects, of both families.
fn is_router_message(packet: Packet) -> bool {
    match packet.protocol {
        Some(Protocol::Icmp) => matches!(packet.port, Some(5 | 9)),
        Some(Protocol::Icmpv6) => matches!(packet.port, Some(134 | 137)),
        _ => false,
    }
}

/// IGMP, MLD and what neighbour discovery needs.
fn is_neighbourhood(packet: Packet) -> bool {
    match packet.protocol {
        Some(Protocol::Other(2)) => packet.v4,
        Some(Protocol::Icmpv6) => matches!(packet.port, Some(130..=136 | 143)),
        _ => false,
    }
}

/// Encapsulation from a pod to a node's address, unless the rule that decides for that address names it and lets it.
fn refused_tunnel(world: &World, hook: Hook, own: &Own, peer: &Peer, packet: Packet) -> Option<Judgement> {
    if hook != Hook::FromPod || !peer.is_node() || !rules::is_tunnel(packet) {
        return None;
    }
    let plain = judge_own(world, own, |own| direct(world, hook, own, peer, packet));
    let permitted = plain.rule.is_some_and(|rule| rules::permits_tunnel(&rule, packet));
    (!permitted).then(|| Judgement::bare(Action::Drop, Reason::Tunnel))
}

fn judge_as_pod(world: &World, hook: Hook, own: &Own, peer: &Peer, packet: Packet) -> Judgement {
    judge_own(world, own, |own| match hook {
        Hook::FromPod => from_pod(world, own, peer, packet),
        Hook::ToPod => to_pod(world, own, peer, packet),
    })
}

/// Judges as the pod of the interface; while that is not known, as `startup` says.
fn judge_own(world: &World, own: &Own, judge: impl Fn(&Own) -> Judgement) -> Judgement {
    let Own::Startup = own else { return judge(own) };
    let local = without_address(world).filter(|pod| world.is_local(pod));
    let candidates = local.cloned().map(Own::Pod);
    guarded(world, Reason::Startup, candidates.map(|own| judge(&own)), || {
        judge(&Own::SomePod)
    })
}

/// The three choices for somebody unknown; `each`: the verdicts for each pod that it could be, `nobody`: the verdict for
/// a pod in no object.
fn guarded(
    world: &World,
    reason: Reason,
    each: impl Iterator<Item = Judgement>,
    nobody: impl FnOnce() -> Judgement,
) -> Judgement {
    match world.defense().startup {
        Startup::Open => Judgement::bare(Action::Pass, reason),
        Startup::Closed => Judgement::bare(Action::Drop, reason),
        Startup::Guarded => Judgement {
            reason,
            ..Judgement::strictest(each).unwrap_or_else(nobody)
        },
    }
}

/// A flow that the pod opens.
fn from_pod(world: &World, own: &Own, peer: &Peer, packet: Packet) -> Judgement {
    match stands_for(world, peer, own.node(world), packet) {
        Some(stands_for) => through(world, own, peer, packet, &stands_for),
        None => direct(world, Hook::FromPod, own, peer, packet),
    }
}

/// A flow that is opened to the pod.
fn to_pod(world: &World, own: &Own, peer: &Peer, packet: Packet) -> Judgement {
    let judgement = direct(world, Hook::ToPod, own, peer, packet);
    let from_own_node = match &peer.kind {
        Kind::OwnNode => true,
        Kind::Node(names) => names.contains(own.node(world)),
        _ => false,
    };
    let probed = match (own, packet.protocol, packet.port) {
        (Own::Pod(pod), Some(Protocol::Tcp), Some(port)) => pod.probe_ports.contains(&port),
        _ => false,
    };
    let exception = match world.defense().local_node {
        LocalNodeMode::Pass if from_own_node => Reason::LocalNode,
        LocalNodeMode::Probes if from_own_node && probed => Reason::NodeProbe,
        LocalNodeMode::Pass | LocalNodeMode::Probes | LocalNodeMode::Enforce => return judgement,
    };
    Judgement {
        action: Action::Pass,
        reason: exception,
        rule: None,
        ..judgement
    }
}

/// Between the pod of the interface and the other end itself.
fn direct(world: &World, hook: Hook, own: &Own, peer: &Peer, packet: Packet) -> Judgement {
    let own_party = own.party(world);
    let against = |other: &Party| match hook {
        Hook::FromPod => rules::judge(world, &own_party, other, packet),
        Hook::ToPod => rules::judge(world, other, &own_party, packet),
    };
    if let Kind::Unresolved = peer.kind {
        let each = without_address(world).map(|pod| against(&pod_party(world, pod)));
        return guarded(world, Reason::Unresolved, each, || against(&some_pod()));
    }
    against(&peer.party(world, own.node(world), hook == Hook::ToPod))
}

/// To an address that stands for others: against each of them at its own port.
fn through(world: &World, own: &Own, peer: &Peer, packet: Packet, stands_for: &StandsFor) -> Judgement {
    let mut judged = Vec::new();
    if stands_for.node_itself {
        judged.push((false, direct(world, Hook::FromPod, own, peer, packet)));
    }
    for (address, port) in &stands_for.backends {
        let backend = Peer::from(identify(world, *address));
        let port_packet = Packet {
            port: Some(*port),
            ..packet
        };
        let mut judgement = direct(world, Hook::FromPod, own, &backend, port_packet);
        let named = Backend {
            address: *address,
            port: *port,
            pod: match &backend.kind {
                Kind::Pod(pod) => Some(format!("{}/{}", pod.namespace, pod.name)),
                _ => None,
            },
        };
        for considered in &mut judgement.considered {
            considered.backend = Some(named.clone());
        }
        judged.push((!stands_for.node_itself && backend.is_seen_again(world), judgement));
    }
    together(judged)
}

/// The verdict for an address that stands for all of `judged`: (whether a hook sees it again, its verdict).
fn together(judged: Vec<(bool, Judgement)>) -> Judgement {
    let considered = judged.iter().flat_map(|(_, one)| one.considered.clone()).collect();
    let all_drop = judged.iter().all(|(_, one)| one.action == Action::Drop);
    let unseen_drop = judged.iter().any(|(seen, one)| !seen && one.action == Action::Drop);
    let verdict = if judged.is_empty() {
        Judgement::bare(Action::Pass, Reason::NoRule)
    } else if all_drop || unseen_drop {
        credited(judged.into_iter().map(|(_, one)| one), Action::Drop)
    } else if judged.iter().any(|(seen, one)| !seen && one.action == Action::Alert) {
        let unseen = judged.into_iter().filter(|(seen, _)| !seen);
        credited(unseen.map(|(_, one)| one), Action::Alert)
    } else {
        Judgement::bare(Action::Pass, Reason::Service)
    };
    Judgement { considered, ..verdict }
}

/// `action`, by the first in deciding order of the rules that gave it.
fn credited(judged: impl Iterator<Item = Judgement>, action: Action) -> Judgement {
    let first = Judgement::strictest(judged.filter(|one| one.action == action));
    let first = first.unwrap_or_else(|| Judgement::bare(action, Reason::Internal));
    let reason = if first.rule.is_some() {
        Reason::Rule
    } else {
        first.reason
    };
    Judgement { reason, ..first }
}
