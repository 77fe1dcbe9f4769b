//! Real traffic through real hooks, and what changes it: rules under open flows, agents that end.

use std::net::SocketAddr;
use std::time::Duration;

use cellwall_controller::lab::{Outcome, Server, Wiring};
use cellwall_tests::Cluster;
use cellwall_tests::ping::ping;

const PASS: u16 = 1001;
const ALERT: u16 = 1002;
const DROP: u16 = 1003;

#[test]
fn echo_requests_are_judged_by_type_and_replies_ride_back() {
    for wiring in [Wiring::Routed, Wiring::Bridged] {
        let mut cluster = Cluster::new(wiring, &["a", "b"]);
        cluster.save_pods();
        cluster.save(
            "rules.yaml",
            "
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: b}
spec: {apps: [b]}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: no-echo-to-b}
spec:
  source: {entity: Any}
  destination: {object: b}
  ports: [{protocol: ICMP, port: 8}, {protocol: ICMPv6, port: 128}]
  action: Drop
  priority: 10
",
        );
        cluster.start();
        let patience = Duration::from_millis(400);
        for v4 in [true, false] {
            let (a, b) = (cluster.pod("a"), cluster.pod("b"));
            assert_eq!(
                ping(&b.netns, a.address(v4), patience),
                Outcome::Answered,
                "{wiring:?} b -> a"
            );
            assert_eq!(
                ping(&a.netns, b.address(v4), patience),
                Outcome::Silence,
                "{wiring:?} a -> b"
            );
            assert_eq!(
                ping(&cluster.netns("outside"), b.address(v4), patience),
                Outcome::Silence,
                "{wiring:?} outside -> b"
            );
            assert_eq!(
                ping(&cluster.netns("outside"), a.address(v4), patience),
                Outcome::Answered,
                "{wiring:?} outside -> a"
            );
        }
    }
}

const ONE_RULE: &str = "
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: b}
spec: {apps: [b]}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: to-b}
spec: {source: {entity: Any}, destination: {object: b}, ports: [{protocol: Any, port: 1001}], action: ACTION, priority: 10}
";

#[test]
fn case_41_a_rule_flipped_under_open_flows_cuts_them_and_lets_them_go_on() {
    use std::io::{Read, Write};
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
    cluster.save_pods();
    cluster.save("rules.yaml", &ONE_RULE.replace("ACTION", "Pass"));
    cluster.start();
    let _server = Server::start(&cluster.netns("b"), PASS).expect("a server");
    let target = SocketAddr::new(cluster.pod("b").address(true), PASS);
    let (mut tcp, udp) = cellwall_controller::lab::inside(&cluster.netns("a"), || {
        let tcp = std::net::TcpStream::connect(target).expect("the connection opens");
        let udp = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
        udp.connect(target).expect("a peer");
        (tcp, udp)
    })
    .expect("the pod's namespace");
    let patience = Some(Duration::from_millis(300));
    tcp.set_read_timeout(patience).expect("a time-out");
    udp.set_read_timeout(patience).expect("a time-out");
    let mut tcp_answers = || tcp.write_all(b"?").is_ok() && tcp.read_exact(&mut [0; 1]).is_ok();
    let udp_answers = || udp.send(b"?").is_ok() && udp.recv(&mut [0; 8]).is_ok();
    assert!(tcp_answers() && udp_answers(), "both flows are open");

    cluster.change("rules.yaml", &ONE_RULE.replace("ACTION", "Drop"));
    assert!(!udp_answers(), "the UDP stream is cut at its next packet");
    assert!(!tcp_answers(), "the TCP connection is cut at its next packet");
    assert_eq!(
        cluster.tcp("a", target),
        Outcome::Silence,
        "a new connection is refused"
    );

    cluster.change("rules.yaml", &ONE_RULE.replace("ACTION", "Pass"));
    assert_eq!(cluster.tcp("a", target), Outcome::Answered, "a new connection works");
    assert!(udp_answers(), "the UDP stream goes on");
}

#[test]
fn enforcement_stands_while_the_agent_is_dead_and_the_next_one_adopts_it() {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
    cluster.save_pods();
    cluster.save("rules.yaml", &ONE_RULE.replace("ACTION", "Drop"));
    cluster.start();
    let _server = Server::start(&cluster.netns("b"), PASS).expect("a server");
    let _other = Server::start(&cluster.netns("b"), ALERT).expect("a server");
    let refused = SocketAddr::new(cluster.pod("b").address(true), PASS);
    let passed = SocketAddr::new(cluster.pod("b").address(true), ALERT);
    let both = |cluster: &Cluster, when: &str| {
        assert_eq!(cluster.tcp("a", refused), Outcome::Silence, "{when}");
        assert_eq!(cluster.tcp("a", passed), Outcome::Answered, "{when}");
    };
    both(&cluster, "with the agent");
    let hits = cluster.rule("to-b")["flows"].as_u64().expect("a number");
    cluster.kill();
    both(&cluster, "without an agent");
    cluster.start();
    both(&cluster, "with the next agent");
    assert!(cluster.log().contains("adopted"), "{}", cluster.log());
    let after = cluster.rule("to-b")["flows"].as_u64().expect("a number");
    assert!(after >= hits + 2, "the rule's counters went on: {hits} then {after}");
}

#[test]
fn what_a_pod_was_refused_can_be_read_after_the_pod_has_changed_and_after_a_restart() {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
    cluster.save_pods();
    cluster.save("rules.yaml", &ONE_RULE.replace("ACTION", "Drop"));
    cluster.start();
    let refused = |port| SocketAddr::new(cluster.pod("b").address(true), port);
    assert_eq!(cluster.udp("a", refused(PASS)), Outcome::Silence);
    let ports = |cluster: &Cluster| -> Vec<u64> {
        let all = cluster.refused("a");
        all.iter()
            .filter_map(|one| one["destination"]["port"].as_u64())
            .collect()
    };
    assert_eq!(ports(&cluster), [u64::from(PASS)]);
    // Each further rule gives the pod other tables, so that its endpoint is written anew, and in turn in the same places.
    for (number, port) in [(1, ALERT), (2, 2000), (3, 2001), (4, 2002), (5, DROP)] {
        let rule = ONE_RULE
            .replace("to-b", &format!("to-b-{number}"))
            .replace("1001", &port.to_string())
            .replace("{entity: Any}", "{object: a}")
            .replace(
                "metadata: {name: b}\nspec: {apps: [b]}",
                "metadata: {name: a}\nspec: {apps: [a]}",
            )
            .replace("ACTION", "Drop");
        cluster.change("more.yaml", &rule);
        if port < 2000 {
            assert_eq!(cluster.udp("a", refused(port)), Outcome::Silence);
        }
    }
    assert_eq!(ports(&cluster), [PASS, ALERT, DROP].map(u64::from));
    cluster.kill();
    cluster.start();
    assert_eq!(ports(&cluster), [PASS, ALERT, DROP].map(u64::from));
}

#[test]
fn sigterm_ends_the_agent_within_a_second_and_opens_nothing() {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
    cluster.save_pods();
    cluster.save("rules.yaml", &ONE_RULE.replace("ACTION", "Drop"));
    cluster.start();
    let _server = Server::start(&cluster.netns("b"), PASS).expect("a server");
    let refused = SocketAddr::new(cluster.pod("b").address(true), PASS);
    let pid = nix::unistd::Pid::from_raw(cluster.pid().expect("an agent").try_into().expect("a process id"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("a signal");
    let ended = cellwall_tests::wait_for(Duration::from_secs(1), || (!cluster.is_running()).then_some(()));
    assert!(ended.is_some(), "the agent runs on a second after SIGTERM");
    assert_eq!(cluster.tcp("a", refused), Outcome::Silence);
}
