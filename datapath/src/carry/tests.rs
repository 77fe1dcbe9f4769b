//! What goes from one layout to the next, what does not, and what a second time changes.

use cellwall_datapath_common::policy::Versioned;
use cellwall_datapath_common::record::event;
use cellwall_datapath_common::{Active, AddressValue, Counter, FlowKey4, FlowValue, RuleCardValue, flow_flags};

use super::{Carried, after, before, cards};
use crate::layout::Layout;
use crate::memory::MemoryKernel;
use crate::port::{Entries, Kernel as _, MapName, Reads as _};

/// Generation that decides in the old layout.
const ACTIVE: u32 = 50;
/// The programs' time.
const NOW: u32 = 1_000_000;
/// Interface of the pod whose address ends in 1.
const POD: u32 = 7;

fn put(kernel: &mut MemoryKernel, map: MapName, key: &impl Layout, value: &impl Layout) {
    let mut one = Entries::new(map);
    one.push(&key.to_bytes(), &value.to_bytes());
    kernel.update(&one).unwrap();
}

fn address(kernel: &mut MemoryKernel, last: u8, since: u32, ifindex: u32) {
    let value = AddressValue {
        peer: Versioned::sealed(1, 1, 1, 0),
        since,
        ifindex,
    };
    put(kernel, MapName::Addresses4, &[192, 0, 2, last], &value);
}

/// Two layouts; the pod's address is known in both.
fn layouts() -> (MemoryKernel, MemoryKernel) {
    let (mut old, mut new) = (MemoryKernel::new(), MemoryKernel::new());
    old.activate(Active::sealed(ACTIVE, 0, 0)).unwrap();
    for kernel in [&mut old, &mut new] {
        address(kernel, 1, 0, POD);
    }
    (old, new)
}

/// TCP from the pod to 192.0.2.`to`.
fn key(to: u8) -> FlowKey4 {
    FlowKey4 {
        lo: [192, 0, 2, 1],
        hi: [192, 0, 2, to],
        lo_port: [128, 0],
        hi_port: [0, 80],
        protocol: 6,
        pad: [0; 3],
    }
}

fn flow(born: u32) -> FlowValue {
    FlowValue {
        revision: ACTIVE,
        cell: 3,
        last_seen: NOW - 1,
        born,
        lo_ifindex: POD,
        hi_ifindex: 0,
        flags: flow_flags::FROM_LO | flow_flags::ANSWERED,
        peer: 9,
    }
}

fn found(kernel: &MemoryKernel, map: MapName, key: FlowKey4) -> Option<FlowValue> {
    let bytes = kernel.lookup(map, &key.to_bytes()).unwrap();
    bytes.and_then(|bytes| FlowValue::from_bytes(&bytes))
}

#[test]
fn a_flow_is_handed_on_with_its_direction_and_without_a_verdict_that_would_hold() {
    let (mut old, mut new) = layouts();
    put(&mut old, MapName::Flows4, &key(2), &flow(40));
    let carried = before(&old, &mut new, NOW).unwrap();
    assert_eq!(carried.flows, 1);
    let now = found(&new, MapName::Flows4, key(2)).unwrap();
    assert_eq!((now.revision, now.born, now.peer), (0, 0, u32::MAX));
    let (flags, cell) = (flow(40).flags, flow(40).cell);
    assert_eq!((now.flags, now.cell, now.lo_ifindex), (flags, cell, POD));
}

#[test]
fn a_flow_of_an_address_that_changed_hands_since_is_not_handed_on() {
    let (mut old, mut new) = layouts();
    // Another owner since generation 45, and one from generation 51 on, which does not count yet.
    for (last, since) in [(2, 45), (3, ACTIVE + 1)] {
        address(&mut old, last, since, 0);
        address(&mut new, last, 0, 0);
        put(&mut old, MapName::Flows4, &key(last), &flow(40));
    }
    // Born with the owner that it has now.
    address(&mut old, 4, 45, 0);
    put(&mut old, MapName::Flows4, &key(4), &flow(45));
    let carried = before(&old, &mut new, NOW).unwrap();
    assert_eq!((carried.flows, carried.released), (2, 1));
    assert_eq!(found(&new, MapName::Flows4, key(2)), None);
}

#[test]
fn a_flow_of_an_address_that_is_another_interfaces_in_the_new_layout_is_not_handed_on() {
    let (mut old, mut new) = layouts();
    put(&mut old, MapName::Flows4, &key(2), &flow(40));
    address(&mut new, 1, 0, POD + 1);
    let carried = before(&old, &mut new, NOW).unwrap();
    assert_eq!((carried.flows, carried.released), (0, 1));
}

#[test]
fn a_flow_that_is_over_is_left_behind() {
    let (mut old, mut new) = layouts();
    let over = FlowValue {
        flags: flow_flags::FROM_LO | flow_flags::FIN_LO | flow_flags::FIN_HI,
        last_seen: 1,
        ..flow(40)
    };
    put(&mut old, MapName::Flows4, &key(2), &over);
    assert_eq!(before(&old, &mut new, NOW).unwrap(), Carried::default());
}

#[test]
fn the_second_time_what_went_on_meanwhile_follows_and_what_the_new_programs_judged_is_left_alone() {
    let (mut old, mut new) = layouts();
    for to in [2, 3, 4] {
        put(&mut old, MapName::Flows4, &key(to), &flow(40));
    }
    before(&old, &mut new, NOW).unwrap();
    let went_on = FlowValue {
        last_seen: NOW,
        ..flow(40)
    };
    put(&mut old, MapName::Flows4, &key(3), &went_on);
    put(&mut old, MapName::Flows4, &key(4), &went_on);
    put(&mut old, MapName::Flows4, &key(5), &flow(49));
    let judged = FlowValue {
        revision: 1,
        born: 1,
        ..flow(40)
    };
    put(&mut new, MapName::Flows4, &key(4), &judged);
    assert_eq!(after(&old, &mut new, NOW).unwrap().flows, 2);
    assert_eq!(found(&new, MapName::Flows4, key(3)).unwrap().last_seen, NOW);
    assert_eq!(found(&new, MapName::Flows4, key(4)), Some(judged));
    assert!(found(&new, MapName::Flows4, key(5)).is_some());
    assert_eq!(after(&old, &mut new, NOW).unwrap().flows, 0);
}

#[test]
fn unanswered_flows_that_are_handed_on_count_as_opened_once() {
    let (mut old, mut new) = layouts();
    let opening = FlowValue {
        flags: flow_flags::FROM_LO,
        ..flow(40)
    };
    put(&mut old, MapName::Opening4, &key(2), &opening);
    before(&old, &mut new, NOW).unwrap();
    before(&old, &mut new, NOW).unwrap();
    let opened = new.lookup(MapName::EventCounters, &event::OPENED.to_bytes()).unwrap();
    assert_eq!(u64::from_bytes(&opened.unwrap()), Some(1));
    assert!(found(&new, MapName::Opening4, key(2)).is_some());
}

#[test]
fn a_table_that_is_full_takes_no_more_and_says_so() {
    let (mut old, new) = layouts();
    let mut new = new.with_capacity(MapName::Flows4, 1);
    for to in [2, 3] {
        put(&mut old, MapName::Flows4, &key(to), &flow(40));
    }
    assert!(before(&old, &mut new, NOW).unwrap().full);
}

fn card(name: u8) -> RuleCardValue {
    let mut card = RuleCardValue::from_bytes(&[0; size_of::<RuleCardValue>()]).unwrap();
    (card.name[0], card.uid[0]) = (name, name);
    card
}

fn counter(packets: u64) -> Counter {
    Counter {
        flows: 1,
        packets,
        bytes: packets * 100,
        last: packets,
    }
}

#[test]
fn a_rules_counters_go_on_where_it_has_its_slot_and_never_go_back() {
    let (mut old, mut new) = layouts();
    for (slot, packets) in [(0_u32, 10), (1, 20), (2, 30)] {
        put(&mut old, MapName::RuleCards, &slot, &card(b'a'));
        put(&mut old, MapName::RuleCounters, &slot, &counter(packets));
    }
    cards(&old, &mut new).unwrap();
    // Another rule took the second slot, and the third has been counted on.
    put(&mut new, MapName::RuleCards, &1_u32, &card(b'b'));
    put(&mut new, MapName::RuleCounters, &2_u32, &counter(31));
    for _ in 0..2 {
        before(&old, &mut new, NOW).unwrap();
        let read = |slot: u32| new.lookup(MapName::RuleCounters, &slot.to_bytes()).unwrap().unwrap();
        let packets = [0, 1, 2].map(|slot| Counter::from_bytes(&read(slot)).unwrap().packets);
        assert_eq!(packets, [10, 0, 31]);
    }
}

#[test]
fn where_a_policy_was_realised_the_names_of_rules_stay_as_they_are() {
    let (mut old, mut new) = layouts();
    put(&mut old, MapName::RuleCards, &0_u32, &card(b'a'));
    new.activate(Active::sealed(1, 0, 0)).unwrap();
    cards(&old, &mut new).unwrap();
    let card = new.lookup(MapName::RuleCards, &0_u32.to_bytes()).unwrap().unwrap();
    assert!(card.iter().all(|byte| *byte == 0));
}
