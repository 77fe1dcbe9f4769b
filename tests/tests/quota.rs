//! Each pod has a share of the table of answered flows: one that fills it leaves the others theirs.

use std::net::SocketAddr;
use std::time::Duration;

use cellwall_controller::lab::{Wiring, inside};
use cellwall_datapath::abi::limits;
use cellwall_datapath::counters::{self, Flow};
use cellwall_datapath::kernel::{Maps, Place, count};
use cellwall_datapath::port::MapName;
use cellwall_tests::blast::Blast;
use cellwall_tests::frames::{link, link_address, make};
use cellwall_tests::idle::Idle;
use cellwall_tests::{Cluster, wait_for};

/// Source ports of the filler.
const SOURCES: u64 = 60_000;
/// Where idle connections end.
const QUIET: u16 = 1003;

/// The filler's openings may pass to the one that answers, and nothing else that the two say to one another.
const RULES: &str = "
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: filler}
spec: {apps: [a]}
---
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: answers}
spec: {apps: [b]}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: unasked}
spec: {source: {object: answers}, destination: {object: filler}, action: Drop, priority: 10}
";

/// Answered TCP flows.
fn connections(maps: &Maps) -> usize {
    let mut connections = 0;
    let each = |flow| {
        let protocol = match flow {
            Flow::V4(key, _) => key.protocol,
            Flow::V6(key, _) => key.protocol,
        };
        connections += usize::from(protocol == 6);
    };
    counters::flows(maps, false, each).expect("the flows can be read");
    connections
}

/// Index of the node's end of a pod's interface.
fn interface(cluster: &Cluster, pod: &str) -> u32 {
    let name = cluster.pod(pod).host_interface;
    let found = inside(&cluster.netns("node"), || link(&name)).expect("the node's namespace");
    u32::try_from(found.expect("the interface").ifindex()).expect("an index")
}

/// Datagrams between two pods at full speed, from or to one of these flows after the other.
fn datagrams(cluster: &Cluster, from: &str, to: &str, there: bool, flows: u64) -> Blast {
    let (own, other) = (cluster.pod(from), cluster.pod(to));
    let hardware = link_address(&own.netns, "eth0").expect("the pod's interface");
    let gateway = link_address(&cluster.netns("node"), &own.host_interface).expect("its other end");
    let mut packet = make::ip(own.v4.into(), other.v4.into(), 17, &make::udp(1, 2, b"fill"));
    make::sum_v4(&mut packet);
    let frame = make::ethernet(gateway, hardware, make::ethertype(other.v4.into()), &packet);
    let ports = make::ETHERNET + 20;
    let write = move |_thread, number: u64, out: &mut Vec<u8>| {
        let number = number % flows;
        let port = |least: u64, of: u64| u16::try_from(least + of).expect("a port").to_be_bytes();
        let (asks, answers) = (port(1_024, number % SOURCES), port(2_000, number / SOURCES));
        out.extend_from_slice(&frame);
        let (source, destination) = if there { (asks, answers) } else { (answers, asks) };
        out[ports..][..2].copy_from_slice(&source);
        out[ports + 2..][..2].copy_from_slice(&destination);
    };
    Blast::start(&own.netns, 1, write).expect("a packet socket")
}

#[test]
fn case_39_a_pod_that_fills_its_share_of_answered_flows_leaves_the_others_theirs() {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b", "c", "d"]).with_flow_log("/dev/null");
    cluster.save_pods();
    cluster.save("rules.yaml", RULES);
    cluster.start();
    let maps = Maps::open(&Place::new(cluster.instance()).expect("a place")).expect("the pinned maps");
    let ifindex = interface(&cluster, "a");
    let share = u64::from(limits::FLOW_QUOTA);
    let held = || {
        counters::held(&maps)
            .expect("the accounts")
            .get(&ifindex)
            .copied()
            .unwrap_or(0)
    };
    let over = || counters::events(&maps).expect("the events").flows_quota;
    // Half as many again as its share, and answers to each of them.
    let flows = share * 3 / 2;
    let blasts = [
        datagrams(&cluster, "a", "b", true, flows),
        datagrams(&cluster, "b", "a", false, flows),
    ];
    let full = wait_for(Duration::from_mins(1), || (over() > 0).then_some(()));
    let sent = blasts.map(|blast| blast.end().expect("the flood ends").sent);
    assert!(full.is_some(), "{} of {share} after {sent:?} datagrams", held());
    let there = u64::from(count(&maps, MapName::Flows4).expect("the table"));
    println!(
        "{sent:?} datagrams there and back: {there} answered flows, {} on the pod's account, {} tries beyond",
        held(),
        over()
    );
    // Two CPUs may look at once.
    assert!(
        (share..share + 64).contains(&there),
        "{there} answered flows, a share is {share}"
    );

    // Of another pod, a flow is answered and entered; the full one's own goes on working without.
    let before = (connections(&maps), over());
    let mut idle = Vec::new();
    for from in ["c", "a"] {
        let addresses = [true, false].map(|v4| SocketAddr::new(cluster.pod("d").address(v4), QUIET));
        idle.push(Idle::open(&cluster.netns(from), &cluster.netns("d"), addresses, 10).expect("connections open"));
    }
    assert_eq!(idle.iter_mut().map(|idle| idle.working(1)).sum::<usize>(), 20);
    assert_eq!(connections(&maps) - before.0, 10, "those of the other pod alone");
    assert!(over() > before.1);

    let told = wait_for(Duration::from_secs(10), || {
        let status = cluster.status()?;
        let conditions = status["conditions"].as_array()?.clone();
        conditions
            .into_iter()
            .find(|one| one["type"] == "CapacityOk" && one["status"] == "False")
    });
    let told = told.expect("the node says so");
    let message = told["message"].as_str().unwrap_or_default();
    assert!(told["reason"] == "FlowsFull" && message.contains("(ns-0/a)"), "{told}");
    assert_eq!(cluster.metric("cellwall_flows_over_quota_total", ""), over());
}
