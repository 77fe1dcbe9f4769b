//! Single changes, to the write.

use cellwall_datapath_common::Active;
use cellwall_policy::compiled::{
    AddressEntry, Cell, Change, Interface, PeerClass, PeerId, PolicyId, RuleCard, RuleSlot, ServiceKey, ServiceScope,
    Spans, Table, TableId,
};
use cellwall_policy::model::{Action, Address, Hook, Reason, Transport};

use super::{Realiser, small_kernel};
use crate::image::Probe;
use crate::inspect::inspect;
use crate::memory::MemoryKernel;
use crate::port::{Kernel, MapName};

fn drop_by(slot: u32) -> Cell {
    Cell {
        action: Action::Drop,
        reason: Reason::Rule,
        rule: Some(RuleSlot(slot)),
        ..Cell::NO_RULE
    }
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn table(slot: u32) -> Table {
    let tcp = Spans::from_sorted([(0, drop_by(slot)), (443, Cell::NO_RULE), (444, drop_by(slot))]).unwrap();
    Table {
        tcp,
        ..Table::constant(drop_by(slot))
    }
}

/// One pod that may be reached at 443 alone.
pub(super) fn web() -> Vec<Change> {
    let interface = Interface {
        ifindex: 19,
        master: 2,
        pod: Some("uid-web".into()),
        mac: [2, 0, 0, 0, 0, 1],
        addresses: vec![
            address("192.0.2.1"),
            address("192.0.2.9"),
            address("2001:db8::1"),
            address("fe80::1"),
        ],
        egress: PolicyId(0),
        ingress: PolicyId(1),
        startup: false,
    };
    let card = RuleCard {
        name: "deny-all".into(),
        uid: "uid-1".into(),
        priority: 1000,
        action: Action::Drop,
    };
    let entry = AddressEntry {
        peer: PeerId::new(PeerClass::LocalPod, 1),
        since: 0,
        ifindex: 19,
    };
    let service = ServiceKey {
        scope: ServiceScope::Address(address("198.51.100.1")),
        transport: Transport::Tcp,
        port: 80,
        v4: true,
    };
    vec![
        Change::Rule(RuleSlot(0), Some(card)),
        Change::Table(TableId(0), Some(table(0).into())),
        Change::Table(TableId(1), Some(Table::constant(Cell::NO_RULE).into())),
        Change::Policy(PolicyId(1), PeerId::plain(PeerClass::World), Some(TableId(0))),
        Change::Policy(PolicyId(0), PeerId::plain(PeerClass::World), Some(TableId(1))),
        Change::Interface(19, Some(interface.into())),
        Change::Address(address("192.0.2.1"), Some(entry)),
        Change::Prefix(
            "203.0.113.0/24".parse().unwrap(),
            Some(PeerId::new(PeerClass::World, 4)),
        ),
        Change::ServicePort(service, Some(PeerId::new(PeerClass::ServicePort, 2))),
    ]
}

pub(super) fn kernel_with_web() -> (MemoryKernel, Realiser) {
    let mut kernel = small_kernel();
    let mut realiser = Realiser::adopt(&kernel).unwrap();
    realiser.attached(19, 5_000);
    realiser.want(web());
    realiser.realise(&mut kernel).unwrap();
    realiser.settle(&mut kernel).unwrap();
    kernel.take_journal();
    (kernel, realiser)
}

#[test]
fn a_lookup_over_the_image_finds_pod_peer_and_port() {
    let (kernel, _) = kernel_with_web();
    let image = inspect(&kernel).unwrap();
    let probe = |port| Probe {
        ifindex: 19,
        hook: Hook::ToPod,
        peer: address("203.0.113.7"),
        protocol: 6,
        port,
    };
    assert_eq!(image.judge(&probe(443)), Cell::NO_RULE);
    assert_eq!(image.judge(&probe(80)), drop_by(0));
    let own = Probe {
        hook: Hook::FromPod,
        peer: address("192.0.2.9"),
        ..probe(80)
    };
    assert_eq!(image.judge(&own).reason, Reason::SelfTraffic);
    let unknown = Probe {
        ifindex: 20,
        ..probe(80)
    };
    assert_eq!(
        image.explain(&unknown),
        "interface 20 from 203.0.113.7 (World:4) protocol 6 port 80: DROP STARTUP"
    );
}

#[test]
fn one_rule_changed_costs_its_own_entries_and_the_flip() {
    let (mut kernel, mut realiser) = kernel_with_web();
    let entry = Change::Policy(PolicyId(1), PeerId::plain(PeerClass::World), Some(TableId(2)));
    realiser.want([
        Change::Table(TableId(0), None),
        Change::Table(TableId(2), Some(Table::constant(drop_by(0)).into())),
        entry,
    ]);
    let report = realiser.realise(&mut kernel).unwrap();
    let written: Vec<_> = report
        .writes
        .iter()
        .map(|(map, writes)| (*map, writes.updates))
        .collect();
    assert_eq!(
        written,
        [(MapName::Active, 1), (MapName::Policy, 1), (MapName::Tables, 1)]
    );
    assert_eq!(report.graces, 0);
    assert_eq!(report.generation, 2);
}

#[test]
fn generations_go_on_when_their_number_wraps() {
    let (mut kernel, _) = kernel_with_web();
    let last = Active::sealed(u32::MAX, 0, 0);
    kernel.activate(last).unwrap();
    let mut realiser = Realiser::adopt(&kernel).unwrap();
    realiser.want(web());
    realiser.want([Change::Policy(
        PolicyId(1),
        PeerId::plain(PeerClass::World),
        Some(TableId(1)),
    )]);
    realiser.realise(&mut kernel).unwrap();
    assert_eq!(realiser.generation(), 1);
    let probe = Probe {
        ifindex: 19,
        hook: Hook::ToPod,
        peer: address("203.0.113.7"),
        protocol: 6,
        port: 80,
    };
    assert_eq!(inspect(&kernel).unwrap().judge(&probe), Cell::NO_RULE);
}

#[test]
fn a_range_inside_another_answers_as_before_until_the_flip() {
    let (mut kernel, mut realiser) = kernel_with_web();
    let inner = PeerId::new(PeerClass::World, 9);
    realiser.want([Change::Prefix("203.0.113.0/28".parse().unwrap(), Some(inner))]);
    let mut shadow = kernel.clone();
    realiser.realise(&mut kernel).unwrap();
    let journal = kernel.take_journal();
    assert_eq!(journal.len(), 2);
    shadow.replay(&journal[0]).unwrap();
    let inside = address("203.0.113.1");
    assert_eq!(
        inspect(&shadow).unwrap().identity(inside),
        PeerId::new(PeerClass::World, 4)
    );
    assert_eq!(inspect(&kernel).unwrap().identity(inside), inner);
    realiser.want([
        Change::Prefix("203.0.113.0/28".parse().unwrap(), None),
        Change::Prefix(
            "203.0.113.0/24".parse().unwrap(),
            Some(PeerId::new(PeerClass::World, 5)),
        ),
    ]);
    realiser.realise(&mut kernel).unwrap();
    assert_eq!(
        inspect(&kernel).unwrap().identity(inside),
        PeerId::new(PeerClass::World, 5)
    );
    realiser.settle(&mut kernel).unwrap();
    assert_eq!(kernel.len(MapName::Prefixes4), 1);
    assert_eq!(
        inspect(&kernel).unwrap().identity(inside),
        PeerId::new(PeerClass::World, 5)
    );
}

#[test]
fn an_interface_whose_place_is_taken_is_found_besides() {
    let (mut kernel, mut realiser) = kernel_with_web();
    let Some(Change::Interface(_, Some(web))) =
        web().into_iter().find(|change| matches!(change, Change::Interface(..)))
    else {
        panic!("web has an interface")
    };
    realiser.want([Change::Interface(3, Some(Interface { ifindex: 3, ..*web }.into()))]);
    realiser.realise(&mut kernel).unwrap();
    assert!(realiser.image().interfaces[&3].extra);
    realiser.want([Change::Interface(19, None)]);
    realiser.realise(&mut kernel).unwrap();
    realiser.settle(&mut kernel).unwrap();
    let image = inspect(&kernel).unwrap();
    assert_eq!(image.interfaces.keys().collect::<Vec<_>>(), [&3]);
    assert_eq!(kernel.len(MapName::EndpointIndex), 0);
    assert_eq!(image.own(3).count(), 4);
    assert_eq!(image.own(19).count(), 0);
}

#[test]
fn counters_of_a_rule_go_on_when_only_its_priority_changes() {
    let (mut kernel, mut realiser) = kernel_with_web();
    let card = |name: &str, priority| {
        let card = RuleCard {
            name: name.into(),
            uid: "uid-1".into(),
            priority,
            action: Action::Drop,
        };
        Change::Rule(RuleSlot(0), Some(card))
    };
    realiser.want([card("deny-all", 7)]);
    let report = realiser.realise(&mut kernel).unwrap();
    assert!(!report.writes.contains_key(&MapName::RuleCounters));
    realiser.want([card("another", 7)]);
    let report = realiser.realise(&mut kernel).unwrap();
    assert_eq!(report.writes[&MapName::RuleCounters].zeros, 1);
    let adopted = inspect(&kernel).unwrap();
    let names: Vec<_> = adopted
        .adopted_rules()
        .map(|(slot, card)| (slot.0, card.name.to_string()))
        .collect();
    assert_eq!(names, [(0, "another".to_owned())]);
}

#[test]
fn the_last_change_of_owner_is_remembered_over_a_restart() {
    let (mut kernel, mut realiser) = kernel_with_web();
    let peer = PeerId::new(PeerClass::LocalPod, 1);
    let entry = |since, ifindex| Change::Address(address("192.0.2.1"), Some(AddressEntry { peer, since, ifindex }));
    realiser.want([entry(2, 19)]);
    realiser.realise(&mut kernel).unwrap();
    let mut second = Realiser::adopt(&kernel).unwrap();
    second.want(web());
    second.realise(&mut kernel).unwrap();
    assert_eq!(inspect(&kernel).unwrap().addresses[&address("192.0.2.1")].since, 2);
    let mut third = Realiser::adopt(&kernel).unwrap();
    third.want(web());
    third.want([entry(0, 23)]);
    third.realise(&mut kernel).unwrap();
    let found = inspect(&kernel).unwrap().addresses[&address("192.0.2.1")];
    assert_eq!((found.since, found.ifindex), (third.generation(), 23));
}
