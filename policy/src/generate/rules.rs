//! What Cellwall's own documents say: objects, rules, the switches.

use super::cluster::ranges;
use super::dice::Dice;
use super::{numbered, pools};
use crate::model::{
    Action, Cidr, CidrEntry, Defense, DefenseRule, Entity, Glob, LabelSelector, LocalNodeMode, Mode, Name,
    NetworkObject, Operator, PortEntry, PortMatch, ProtocolMatch, Recovery, Requirement, Selector, Side, Startup,
    WorkloadSelector,
};
use crate::world::Document;

pub(super) fn objects(dice: &mut Dice, count: usize) -> Vec<Document> {
    let one = |number| {
        let name = numbered("object", number);
        let selector = if dice.chance(2, 5) {
            Selector::Cidrs(entries(dice))
        } else {
            Selector::Workloads(workloads(dice))
        };
        Document::NetworkObject(NetworkObject {
            uid: name.clone(),
            name,
            selector,
        })
    };
    (0..count).map(one).collect()
}

fn entries(dice: &mut Dice) -> Vec<CidrEntry> {
    let mut entries = Vec::new();
    for _ in 0..dice.between(1, 3) {
        let all = ranges(pools::RANGES);
        let cidr = *dice.pick(&all);
        let inside = |hole: &Cidr| cidr.covers(*hole) && hole.prefix() > cidr.prefix();
        let holes: Vec<Cidr> = ranges(pools::HOLES).into_iter().filter(inside).collect();
        let except = if dice.chance(1, 2) {
            dice.some(&holes, 2)
        } else {
            Vec::new()
        };
        entries.push(CidrEntry { cidr, except });
    }
    entries
}

fn workloads(dice: &mut Dice) -> WorkloadSelector {
    let mut selector = WorkloadSelector::default();
    if dice.chance(1, 2) {
        selector.namespaces = Some(globs(dice, pools::NAMESPACE_GLOBS));
    }
    if dice.chance(1, 3) {
        selector.apps = Some(globs(dice, pools::APP_GLOBS));
    }
    if dice.chance(1, 5) {
        selector.images = Some(globs(dice, pools::IMAGE_GLOBS));
    }
    if dice.chance(1, 4) {
        selector.pod_selector = Some(labels(dice));
    }
    if dice.chance(1, 5) {
        selector.namespace_selector = Some(labels(dice));
    }
    if selector == WorkloadSelector::default() {
        selector.namespaces = Some(globs(dice, &["*"]));
    }
    selector
}

fn globs(dice: &mut Dice, pool: &[&str]) -> Vec<Glob> {
    let wanted = dice.between(1, 2);
    (0..wanted)
        .filter_map(|_| {
            let text: &&str = dice.pick(pool);
            Glob::new(text).ok()
        })
        .collect()
}

fn labels(dice: &mut Dice) -> LabelSelector {
    let mut requirements = Vec::new();
    for _ in 0..dice.between(1, 2) {
        let operator = *dice.pick(&[
            Operator::In,
            Operator::In,
            Operator::NotIn,
            Operator::Exists,
            Operator::DoesNotExist,
        ]);
        let key = *dice.pick(&["tier", "tier", "app", "kubernetes.io/metadata.name"]);
        let value = match key {
            "tier" => *dice.pick(pools::TIERS),
            "app" => *dice.pick(pools::APPS),
            _ => *dice.pick(pools::NAMESPACES),
        };
        let values = match operator {
            Operator::In | Operator::NotIn => vec![value.into()],
            Operator::Exists | Operator::DoesNotExist => Vec::new(),
        };
        requirements.push(Requirement {
            key: key.into(),
            operator,
            values,
        });
    }
    LabelSelector { requirements }
}

pub(super) fn rules(dice: &mut Dice, count: usize) -> Vec<Document> {
    (0..count).map(|number| rule(dice, number)).collect()
}

pub(super) fn rule(dice: &mut Dice, number: usize) -> Document {
    let name = numbered("rule", number);
    Document::DefenseRule(DefenseRule {
        uid: name.clone(),
        name,
        source: side(dice),
        destination: side(dice),
        ports: ports(dice),
        action: *dice.pick(&[Action::Pass, Action::Alert, Action::Drop, Action::Drop]),
        priority: *dice.pick(pools::PRIORITIES),
        enabled: dice.chance(9, 10),
    })
}

/// An object (now and then one that does not exist) or an entity.
fn side(dice: &mut Dice) -> Side {
    if dice.chance(2, 3) {
        let number: Name = numbered("object", usize::try_from(dice.between(0, 7)).unwrap_or(0));
        return Side::Object(number);
    }
    Side::Entity(*dice.pick(&[
        Entity::Any,
        Entity::Any,
        Entity::Any,
        Entity::Cluster,
        Entity::Cluster,
        Entity::World,
        Entity::World,
        Entity::Node,
        Entity::LocalNode,
    ]))
}

/// Entries that do not overlap.
fn ports(dice: &mut Dice) -> Option<Vec<PortEntry>> {
    use ProtocolMatch::{Any, Icmp, Icmpv6, Number, Sctp, Tcp, Udp};
    let entry = |protocol, ports| PortEntry { protocol, ports };
    let on = |protocol, first, last| entry(protocol, PortMatch::Range(first, last));
    let disjoint = [
        on(Tcp, 80, 80),
        on(Tcp, 443, 445),
        on(Tcp, 8080, 8080),
        on(Udp, 53, 53),
        on(Udp, 4789, 6081),
        on(Sctp, 80, 80),
        on(Icmp, 8, 8),
        on(Icmpv6, 128, 128),
        entry(Number(47), PortMatch::All),
    ];
    let alone = [
        entry(Tcp, PortMatch::All),
        entry(Udp, PortMatch::All),
        entry(Icmp, PortMatch::All),
        entry(Icmpv6, PortMatch::All),
        entry(Any, PortMatch::All),
        on(Any, 80, 80),
        on(Any, 53, 443),
        on(Any, 4789, 4789),
        on(Tcp, 1, 65535),
        on(Tcp, 443, 65535),
        entry(Number(1), PortMatch::All),
        entry(Number(6), PortMatch::All),
        entry(Number(41), PortMatch::All),
        entry(Number(58), PortMatch::All),
    ];
    match dice.between(0, 9) {
        0..=3 => None,
        4..=6 => {
            let several = dice.some(&disjoint, 8);
            (!several.is_empty()).then_some(several)
        }
        _ => Some(vec![*dice.pick(&alone)]),
    }
}

/// The switches, or nothing: all defaults.
pub(super) fn switches(dice: &mut Dice) -> Vec<Document> {
    if dice.chance(1, 4) {
        return Vec::new();
    }
    let mode = match dice.between(0, 15) {
        0 => Mode::Off,
        1 | 2 => Mode::AlertOnly,
        _ => Mode::Enforce,
    };
    vec![Document::Defense(Defense {
        mode,
        recovery: *dice.pick(&[Recovery::Automatic, Recovery::Manual]),
        local_node: *dice.pick(&[LocalNodeMode::Probes, LocalNodeMode::Pass, LocalNodeMode::Enforce]),
        startup: *dice.pick(&[Startup::Guarded, Startup::Guarded, Startup::Open, Startup::Closed]),
        pod_cidrs: if dice.chance(1, 3) {
            ranges(&["198.51.100.192/26"])
        } else {
            Vec::new()
        },
        confirmed: None,
    })]
}
