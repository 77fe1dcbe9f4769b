//! Which rules apply between two parties, and which of them decides.

use std::sync::Arc;

use super::Packet;
use super::answer::{Considered, Judgement, WhyNot};
use crate::model::{Action, DefenseRule, Entity, Name, PortEntry, PortMatch, Protocol, ProtocolMatch, Reason, Side};
use crate::world::World;

/// One end of a flow, as rules see it: the entities and objects that contain it.
#[derive(Debug, Clone)]
pub(super) struct Party {
    pub(super) entities: Vec<Entity>,
    pub(super) objects: Vec<Name>,
}

impl Party {
    fn is_in(&self, side: &Side) -> bool {
        match side {
            Side::Object(name) => self.objects.contains(name),
            Side::Entity(entity) => self.entities.contains(entity),
        }
    }
}

/// Lets the rules decide: the first in deciding order of those that apply; without one the flow passes.
pub(super) fn judge(world: &World, initiator: &Party, responder: &Party, packet: Packet) -> Judgement {
    let mut rules: Vec<&Arc<DefenseRule>> = world.rules().collect();
    rules.sort_by(|left, right| comes_first(left, right));
    let mut judgement = Judgement::bare(Action::Pass, Reason::NoRule);
    for rule in rules {
        let why_not = why_not(rule, initiator, responder, packet);
        judgement.considered.push(Considered {
            rule: rule.name.clone(),
            why_not,
            backend: None,
        });
        if why_not.is_none() && judgement.rule.is_none() {
            judgement.action = rule.action;
            judgement.reason = Reason::Rule;
            judgement.rule = Some(rule.clone());
        }
    }
    judgement
}

/// Smallest priority; then Drop, Alert, Pass; then the smaller name.
fn comes_first(left: &DefenseRule, right: &DefenseRule) -> std::cmp::Ordering {
    let strictness = |action: Action| match action {
        Action::Drop => 0,
        Action::Alert => 1,
        Action::Pass => 2,
    };
    let by_priority = left.priority.cmp(&right.priority);
    let by_strictness = strictness(left.action).cmp(&strictness(right.action));
    let by_name = left.name.as_bytes().cmp(right.name.as_bytes());
    by_priority.then(by_strictness).then(by_name)
}

fn why_not(rule: &DefenseRule, initiator: &Party, responder: &Party, packet: Packet) -> Option<WhyNot> {
    if !rule.enabled {
        return Some(WhyNot::Disabled);
    }
    if !initiator.is_in(&rule.source) {
        return Some(WhyNot::Source);
    }
    if !responder.is_in(&rule.destination) {
        return Some(WhyNot::Destination);
    }
    let ports = rule.ports.as_ref();
    if ports.is_some_and(|entries| !entries.iter().any(|entry| entry_contains(*entry, packet))) {
        return Some(WhyNot::Ports);
    }
    None
}

fn entry_contains(entry: PortEntry, packet: Packet) -> bool {
    let on_port = match entry.ports {
        PortMatch::All => true,
        PortMatch::Range(first, last) => packet.port.is_some_and(|port| first <= port && port <= last),
    };
    let whole = entry.ports == PortMatch::All;
    let is = |protocol| packet.protocol == Some(protocol);
    match entry.protocol {
        ProtocolMatch::Any if whole => true,
        ProtocolMatch::Any => on_port && (is(Protocol::Tcp) || is(Protocol::Udp) || is(Protocol::Sctp)),
        ProtocolMatch::Number(number) => whole && packet.protocol.is_some_and(|p| p.number() == number),
        ProtocolMatch::Tcp => on_port && is(Protocol::Tcp),
        ProtocolMatch::Udp => on_port && is(Protocol::Udp),
        ProtocolMatch::Sctp => on_port && is(Protocol::Sctp),
        ProtocolMatch::Icmp => on_port && is(Protocol::Icmp),
        ProtocolMatch::Icmpv6 => on_port && is(Protocol::Icmpv6),
    }
}

/// Whether `packet` is encapsulation: IPIP, 6in4, GRE, VXLAN or Geneve.
pub(super) fn is_tunnel(packet: Packet) -> bool {
    match packet.protocol {
        Some(Protocol::Other(number)) => [4, 41, 47].contains(&number),
        Some(Protocol::Udp) => packet.port.is_some_and(|port| [4789, 8472, 6081].contains(&port)),
        _ => false,
    }
}

/// Whether `rule` lets the tunnel `packet` pass by naming its protocol number or its port.
pub(super) fn permits_tunnel(rule: &DefenseRule, packet: Packet) -> bool {
    let names = |entry: PortEntry| {
        let numbered = matches!(packet.protocol, Some(Protocol::Other(_))) && entry.protocol != ProtocolMatch::Any;
        let ported = entry.ports != PortMatch::All;
        entry_contains(entry, packet) && (numbered || ported)
    };
    rule.action != Action::Drop && rule.ports.iter().flatten().copied().any(names)
}
