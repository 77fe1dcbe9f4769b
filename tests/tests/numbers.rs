//! Packets bear a number from one hook to the other (`tc_index`). A pod's root can write one, too: with the means that
//! every pod has, its own traffic control.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use cellwall_controller::lab::{Outcome, Server, Wiring, udp_ask};
use cellwall_tests::Cluster;

const CLOSED: u16 = 1001;
const OPEN: u16 = 1002;

const RULES: &str = "
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: b}
spec: {apps: [b]}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: closed}
spec: {source: {entity: Any}, destination: {object: b}, ports: [{protocol: UDP, port: 1001}], action: Drop, priority: 10}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: open}
spec: {source: {entity: Any}, destination: {object: b}, action: Pass, priority: 20}
";

fn tc(netns: &str, words: &str) {
    let output = Command::new("tc").args(["-n", netns]).args(words.split(' ')).output();
    let output = output.expect("tc runs (iproute2)");
    assert!(
        output.status.success(),
        "tc {words}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn case_31_a_pod_that_numbers_its_packets_gains_nothing() {
    for wiring in [Wiring::Routed, Wiring::Bridged] {
        let mut cluster = Cluster::new(wiring, &["a", "b"]);
        cluster.save_pods();
        cluster.save("rules.yaml", RULES);
        cluster.start();
        let (a, b) = (cluster.pod("a"), cluster.pod("b"));
        let _servers = [CLOSED, OPEN].map(|port| Server::start(&b.netns, port).expect("a server"));
        tc(&a.netns, "qdisc add dev eth0 clsact");
        // Numbers that notes have had, and others.
        for number in [1, 2, 3, 5, 16, 17, 0xffff] {
            tc(
                &a.netns,
                &format!("filter add dev eth0 egress prio 1 u32 match u32 0 0 classid 1:{number:x}"),
            );
            for address in [b.v4.into(), b.v6.into()] {
                let ask = |port, patience| {
                    let to = SocketAddr::new(address, port);
                    udp_ask(&a.netns, to, Duration::from_millis(patience)).expect("a question")
                };
                // Between packets that are let through, whose notes are there.
                assert_eq!(ask(OPEN, 2_000), Outcome::Answered, "{wiring:?}, {address}, {number}");
                assert_eq!(ask(CLOSED, 50), Outcome::Silence, "{wiring:?}, {address}, {number}");
                assert_eq!(ask(OPEN, 2_000), Outcome::Answered, "{wiring:?}, {address}, {number}");
            }
            tc(&a.netns, "filter del dev eth0 egress prio 1");
        }
        let closed = cluster.rule("closed");
        assert_eq!(closed["packets"].as_u64(), Some(14), "each counted once: {closed}");
        let open = cluster.rule("open");
        assert_eq!(
            open["packets"].as_u64(),
            Some(2 * 28),
            "there and back, each once: {open}"
        );
    }
}
