//! Maps, counters and the ring of records in a real kernel.

mod namespaces;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use cellwall_datapath::counters;
use cellwall_datapath::events::Records;
use cellwall_datapath::kernel::{Capacities, Instance, Maps, Options, Place};
use cellwall_datapath::port::{Cause, Entries, Kernel as _, MapKind, MapName, Reads as _};
use cellwall_datapath_common::{Active, flow_flags, switches};
use namespaces::Node;
use namespaces::flood::Flood;

/// An instance with maps of 64 entries that evaluates nothing.
fn open(place: &Place) -> Instance {
    let options = Options {
        capacities: Capacities::tiny(64),
        ..Options::default()
    };
    let (mut instance, _) = Instance::open(place.clone(), options).unwrap();
    instance
        .maps_mut()
        .activate(Active::sealed(1, switches::OFF, 0))
        .unwrap();
    instance
}

/// The same on the pod's interface.
fn attached(node: &Node, place: &Place) -> Instance {
    let link = node.link("veth-0");
    node.within(|| {
        let mut instance = open(place);
        instance.attach(&link).unwrap();
        instance
    })
}

#[test]
fn the_maps_say_full_missing_and_denied_as_the_port_says() {
    let mut node = Node::new();
    let place = node.place();
    let mut instance = open(&place);
    let maps = instance.maps_mut();
    let mut entries = Entries::new(MapName::Policy);
    for policy in 0..65_u32 {
        entries.push(&[policy, 0].map(u32::to_ne_bytes).concat(), &[7; 16]);
    }
    let full = maps.update(&entries).unwrap_err();
    assert_eq!((full.cause, full.map), (Cause::Full, Some(MapName::Policy)));
    assert_eq!(
        full.key.as_deref(),
        Some(&[64_u32, 0].map(u32::to_ne_bytes).concat()[..])
    );
    assert_eq!(maps.capacity(MapName::Policy).unwrap(), 64);
    let mut seen = 0;
    maps.visit(MapName::Policy, &mut |_, value| seen += u32::from(value == [7; 16]))
        .unwrap();
    assert_eq!(seen, 64);
    maps.delete(&entries).unwrap();
    assert_eq!(maps.lookup(MapName::Policy, &[0; 8]).unwrap(), None);

    let mut ranges = Entries::new(MapName::Prefixes4);
    for network in 0..65_u8 {
        ranges.push(&[&24_u32.to_ne_bytes()[..], &[10, 0, network, 0]].concat(), &[1; 16]);
    }
    assert_eq!(maps.update(&ranges).unwrap_err().cause, Cause::Full);
    let inside = [&32_u32.to_ne_bytes()[..], &[10, 0, 3, 4]].concat();
    assert_eq!(maps.lookup(MapName::Prefixes4, &inside).unwrap(), Some(vec![1; 16]));

    let mut beyond = Entries::new(MapName::Tables);
    beyond.push(&64_u32.to_ne_bytes(), &[0; 24]);
    assert_eq!(maps.update(&beyond).unwrap_err().cause, Cause::Full);
    assert_eq!(maps.lookup(MapName::Tables, &64_u32.to_ne_bytes()).unwrap(), None);
    maps.zero(MapName::RuleCounters, &[0, 63]).unwrap();
    assert_eq!(maps.zero(MapName::RuleCounters, &[64]).unwrap_err().cause, Cause::Full);
    maps.grace().unwrap();
}

#[test]
fn every_entry_of_a_large_map_is_visited_once_with_its_value() {
    const MANY: u32 = 3_000;
    let mut node = Node::new();
    let options = Options {
        capacities: Capacities::tiny(4_096),
        ..Options::default()
    };
    let (mut instance, _) = Instance::open(node.place(), options).unwrap();
    let kinds = [
        MapName::Policy,
        MapName::Addresses4,
        MapName::Addresses6,
        MapName::Prefixes4,
        MapName::Prefixes6,
        MapName::ServicePorts,
        MapName::Tables,
        MapName::Spans,
    ];
    for map in kinds {
        let mut written = BTreeMap::new();
        let mut entries = Entries::new(map);
        for number in 1..=MANY {
            let mut key = vec![0; map.key_size()];
            let at = match map.kind() {
                MapKind::Trie => {
                    let bits = u32::try_from(8 * (map.key_size() - 4)).unwrap();
                    key[..4].copy_from_slice(&bits.to_ne_bytes());
                    4
                }
                _ => 0,
            };
            key[at..at + 4].copy_from_slice(&number.to_ne_bytes());
            let value: Vec<u8> = (0_u8..)
                .zip(number.to_ne_bytes().iter().cycle())
                .take(map.value_size())
                .map(|(place, byte)| place ^ byte)
                .collect();
            entries.push(&key, &value);
            written.insert(key, value);
        }
        instance.maps_mut().update(&entries).unwrap();
        let mut seen = BTreeMap::new();
        let mut visits = 0;
        let maps = instance.maps();
        maps.visit(map, &mut |key, value| {
            visits += 1;
            seen.insert(key.to_vec(), value.to_vec());
        })
        .unwrap();
        assert!(seen == written, "{map}: {} of {} entries", seen.len(), written.len());
        assert_eq!(visits, MANY, "{map}");
    }
}

#[test]
fn what_one_process_writes_another_reads_without_the_lock() {
    let mut node = Node::new();
    let place = node.place();
    let instance = open(&place);
    let beside = Maps::open(&place).unwrap();
    assert_eq!(
        beside.lookup(MapName::Active, &[0; 4]),
        instance.maps().lookup(MapName::Active, &[0; 4])
    );
    let events = counters::events(&beside).unwrap();
    assert_eq!((events.torn, events.lost), (0, [0; 3]));
    assert!(counters::refused(&beside, 0).unwrap().is_empty());
    assert_eq!(counters::rules(&beside, &[0, 1]).unwrap().len(), 2);
}

#[test]
fn case_38_the_sweep_deletes_what_is_over_and_nothing_else() {
    let mut node = Node::new();
    let place = node.place();
    let mut instance = open(&place);
    let now = counters::tick();
    let old = now.wrapping_sub(cellwall_datapath_common::ticks(400));
    let mut entries = Entries::new(MapName::Flows4);
    for port in 0..60_u16 {
        let mut key = vec![192, 0, 2, 1, 192, 0, 2, 2];
        key.extend_from_slice(&port.to_be_bytes());
        key.extend_from_slice(&[0, 53, 17, 0, 0, 0]);
        let last_seen = if port % 3 == 0 { now } else { old };
        // Opened by a pod at interface 7, or by one off the node and answered by the pod at 8.
        let (lo, hi, from) = if port % 2 == 0 {
            (7, 8, flow_flags::FROM_LO)
        } else {
            (8, 0, 0)
        };
        let value = [1, 0, last_seen, 1, lo, hi, flow_flags::ANSWERED | from, 0]
            .map(u32::to_ne_bytes)
            .concat();
        entries.push(&key, &value);
    }
    instance.maps_mut().update(&entries).unwrap();
    let mut entered = Entries::new(MapName::Entered);
    for (ifindex, count) in [(7_u32, 1_000_u64), (9, 40)] {
        entered.push(&ifindex.to_ne_bytes(), &count.to_ne_bytes());
    }
    instance.maps_mut().update(&entered).unwrap();
    assert_eq!(counters::held(instance.maps()).unwrap(), [(7, 1_000), (9, 40)].into());
    let mut pauses = 0;
    let swept = counters::sweep(&place, 7, |_| {
        pauses += 1;
        ControlFlow::Continue(())
    });
    let swept = swept.unwrap();
    assert_eq!((swept.seen, swept.deleted, swept.revived), (60, 40, 0));
    assert_eq!(pauses, 8);
    let mut left = 0;
    counters::flows(instance.maps(), false, |_| left += 1).unwrap();
    assert_eq!(left, 20);
    assert_eq!(counters::held(instance.maps()).unwrap(), [(7, 10), (8, 10)].into());
    let written = instance.maps().lookup(MapName::Entered, &9_u32.to_ne_bytes());
    assert_eq!(written.unwrap(), None, "of a pod without flows nothing is kept");
    let ended = counters::sweep(&place, 7, |_| ControlFlow::Break(())).unwrap();
    assert!(ended.seen <= 7, "a pass that is ended does no more work: {ended:?}");
}

#[test]
fn case_82_records_received_and_records_counted_lost_are_all_there_were() {
    let mut node = Node::new();
    let (place, pod) = (node.place(), node.pod("veth-0", 1));
    let mut instance = attached(&node, &place);
    // Nobody's interface: every packet is refused and recorded, into a ring of one page.
    instance.maps_mut().activate(Active::sealed(1, 0, 0)).unwrap();
    let flood = Flood::start(&node, &pod);
    let mut records = Records::open(&place).unwrap();
    let (mut seen, mut refused) = (0, 0);
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(20));
        seen += records
            .drain(u64::MAX, |record| refused += u64::from(record.dropped))
            .records;
    }
    drop(flood);
    instance
        .maps_mut()
        .activate(Active::sealed(1, switches::OFF, 0))
        .unwrap();
    instance.maps_mut().grace().unwrap();
    seen += records
        .drain(u64::MAX, |record| refused += u64::from(record.dropped))
        .records;
    let events = counters::events(instance.maps()).unwrap();
    let (sent, lost) = (events.sent.iter().sum::<u64>(), events.lost.iter().sum::<u64>());
    assert!(lost > 0 && sent > 0, "{events:?}");
    assert_eq!((seen, refused, records.malformed()), (sent, sent, 0), "{events:?}");
    let verdicts: u64 = counters::reasons(instance.maps())
        .unwrap()
        .iter()
        .filter(|count| count.dropped)
        .map(|count| count.counter.packets)
        .sum();
    assert_eq!(verdicts, sent + lost);
    assert_eq!(events.no_endpoint, sent + lost);
}

#[test]
fn a_drain_ends_at_its_limit_and_says_that_there_is_more() {
    let mut node = Node::new();
    let (place, pod) = (node.place(), node.pod("veth-0", 1));
    let mut instance = attached(&node, &place);
    instance.maps_mut().activate(Active::sealed(1, 0, 0)).unwrap();
    let flood = Flood::start(&node, &pod);
    std::thread::sleep(Duration::from_millis(200));
    drop(flood);
    let mut records = Records::open(&place).unwrap();
    let drained = records.drain(3, |_| {});
    assert_eq!((drained.records, drained.more), (3, true));
    assert!(!records.drain(u64::MAX, |_| {}).more);
}
