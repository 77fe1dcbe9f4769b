//! What a record of the kernel costs the agent, counted and not timed: memory asked for on the way from the ring to a line
//! of the flow log. A flood pays it for every line, and nothing for what repeats.

use std::sync::Arc;

use allocation_counter::measure;
use cellwall_controller::json_line;
use cellwall_controller::records::Directory;
use cellwall_controller::records::fold::{Fold, Told};
use cellwall_datapath::abi::record::record_flags;
use cellwall_datapath::abi::{Cell, Record};
use cellwall_datapath::layout::Layout as _;
use cellwall_policy::compiled::{RuleCard, RuleSlot};
use cellwall_policy::generate::Scale;
use cellwall_policy::model::{Action, Reason};
use jiff::Timestamp;

/// Records of each measurement.
const MANY: u64 = 100;
/// Allocations for a record that is told with its names.
const TOLD: u64 = 10;

fn record(scale: &Scale) -> Record {
    let mut addresses = scale
        .world
        .pods()
        .flat_map(|pod| pod.addresses.iter())
        .filter_map(|address| match address.ip() {
            std::net::IpAddr::V4(ip) => Some(ip.to_ipv6_mapped().octets()),
            std::net::IpAddr::V6(_) => None,
        });
    let blank = Record::from_bytes(&[0; size_of::<Record>()]).expect("a record of zeros");
    Record {
        source: addresses.next().expect("a pod"),
        destination: addresses.next().expect("another"),
        source_port: 40_000,
        destination_port: 80,
        protocol: 6,
        family: 4,
        dropped: 1,
        cell: Cell::new(2, Reason::Rule as u32, 0, 3).0,
        flags: record_flags::PORTS,
        generation: 1,
        ..blank
    }
}

#[test]
fn a_repeat_asks_for_no_memory_and_a_line_for_so_much() {
    let scale = Scale::new(50, 20, false);
    let directory = Directory::new(scale.world.clone());
    directory.world_changed(scale.world.clone(), 1, &[], []);
    let card = RuleCard {
        name: "refused".into(),
        uid: "uid".into(),
        priority: 7,
        action: Action::Drop,
    };
    directory.rule(RuleSlot(3).0, card);
    let record = record(&scale);
    let mut fold = Fold::default();
    assert!(fold.push(&record, 0).is_some());
    let repeated = measure(|| {
        for _ in 0..MANY {
            assert!(fold.push(&record, 0).is_none());
        }
    });
    assert_eq!(repeated.count_total, 0, "repeats");

    let told = Told::from(record);
    let describe = || Arc::new(directory.describe(&told, |_| Timestamp::UNIX_EPOCH));
    let flow = describe();
    let text = json_line::text(&flow).expect("a line");
    assert!(
        text.contains("\"refused\"") && text.contains("\"pod\":\"") && text.contains("RULE"),
        "{text}"
    );
    let described = measure(|| (0..MANY).for_each(|_| drop(describe())));
    let mut lines = Vec::with_capacity(text.len() * 2 * usize::try_from(MANY).expect("a number"));
    let written = measure(|| {
        for _ in 0..MANY {
            json_line::write(&mut lines, &flow).expect("memory takes it");
        }
    });
    let (described, written) = (described.count_total / MANY, written.count_total / MANY);
    println!("{described} allocations to name a record, {written} to write its line");
    assert!(described <= TOLD, "{described} allocations for a record");
    assert_eq!(written, 0, "allocations for a line");
}
