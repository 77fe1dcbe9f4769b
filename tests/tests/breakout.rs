//! What root inside a pod, or a host outside, may try; and what open connections live through.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use cellwall_controller::lab::{OUTSIDE_V4, OUTSIDE_V6, Outcome, Server, Wiring, inside};
use cellwall_tests::Cluster;
use cellwall_tests::agent::pod;

const OPEN: u16 = 1001;
const SHUT: u16 = 1003;

/// Nobody reaches port 1003 of b, and b opens nothing to a.
const RULES: &str = "
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: a}
spec: {apps: [a]}
---
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: b}
spec: {apps: [b]}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: shut}
spec: {source: {entity: Any}, destination: {object: b}, ports: [{protocol: Any, port: 1003}], action: Drop, priority: 10}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: b-opens-nothing}
spec: {source: {object: b}, destination: {object: a}, action: Drop, priority: 10}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: not-from-outside}
spec: {source: {entity: World}, destination: {object: a}, action: Drop, priority: 10}
";

/// Pods whose addresses the manifests state: what is found inside is not asked.
fn cluster(wiring: Wiring) -> Cluster {
    let mut cluster = Cluster::new(wiring, &["a", "b"]);
    for name in ["a", "b"] {
        let place = cluster.pod(name);
        let (v4, v6) = (place.v4, place.v6);
        let addresses = format!("status: {{podIPs: [{{ip: {v4}}}, {{ip: \"{v6}\"}}]}}\n");
        cluster.save(&format!("{name}.yaml"), &(pod("ns-0", name, &place.netns) + &addresses));
    }
    cluster.save("rules.yaml", RULES);
    cluster.start();
    cluster
}

/// Runs a command line as root inside a pod; answers whether it succeeded.
fn root_in(netns: &str, line: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns]).args(line.split(' '));
    let status = command.stdin(Stdio::null()).stderr(Stdio::null()).status();
    status.expect("ip is there").success()
}

#[test]
fn case_30_what_root_does_inside_its_pod_opens_nothing() {
    let cluster = cluster(Wiring::Bridged);
    let (a, b) = (cluster.pod("a"), cluster.pod("b"));
    let _servers = [OPEN, SHUT].map(|port| Server::start(&b.netns, port).expect("a server"));
    let another = "192.0.2.77";
    for line in [
        "tc qdisc add dev eth0 clsact",
        "tc qdisc del dev eth0 clsact",
        "tc qdisc replace dev eth0 root pfifo",
        "tc qdisc del dev eth0 root",
        "ip link set eth0 promisc on",
        "ip link set eth0 txqueuelen 0",
        "ip link set lo up",
    ] {
        assert!(root_in(&a.netns, line), "{line}");
    }
    assert!(root_in(&a.netns, &format!("ip addr add {another}/24 dev eth0")));
    for v4 in [true, false] {
        let shut = SocketAddr::new(b.address(v4), SHUT);
        assert_eq!(cluster.tcp("a", shut), Outcome::Silence);
        assert_eq!(cluster.udp("a", shut), Outcome::Silence);
        assert_eq!(
            cluster.tcp("a", SocketAddr::new(b.address(v4), OPEN)),
            Outcome::Answered
        );
    }
    // An address that root gave itself is not the pod's.
    let answered = inside(&a.netns, || {
        let socket = UdpSocket::bind((another.parse::<Ipv4Addr>().unwrap(), 0)).expect("the address is there");
        socket
            .set_read_timeout(Some(Duration::from_millis(300)))
            .expect("a time-out");
        socket
            .send_to(b"?", (IpAddr::from(b.v4), OPEN))
            .expect("the packet leaves the pod");
        socket.recv(&mut [0; 8]).is_ok()
    });
    assert!(!answered.expect("the pod's namespace"));
    let record = cluster.record(|record| record["reason"] == "SPOOFED" && record["source"]["ip"] == another);
    assert!(record.is_some(), "the forged source is on record");
}

#[test]
fn case_30a_a_host_outside_that_routes_to_a_pods_address_is_judged() {
    for wiring in [Wiring::Routed, Wiring::Bridged] {
        let cluster = cluster(wiring);
        let (a, b) = (cluster.pod("a"), cluster.pod("b"));
        let _servers = [&a, &b].map(|pod| Server::start(&pod.netns, OPEN).expect("a server"));
        for (v4, from) in [(true, IpAddr::from(OUTSIDE_V4)), (false, OUTSIDE_V6.into())] {
            let target = SocketAddr::new(a.address(v4), OPEN);
            assert_eq!(cluster.tcp("outside", target), Outcome::Silence, "{wiring:?}");
            assert_eq!(
                cluster.tcp("outside", SocketAddr::new(b.address(v4), OPEN)),
                Outcome::Answered,
                "{wiring:?}"
            );
            let told = cluster.record(|record| {
                record["rule"]["name"] == "not-from-outside" && record["source"]["ip"] == from.to_string()
            });
            assert!(told.is_some(), "{wiring:?}: the refusal is on record");
        }
    }
}

#[test]
fn case_43_an_open_connection_outlives_a_killed_agent_and_the_start_of_the_next() {
    let mut cluster = cluster(Wiring::Routed);
    let (a, b) = (cluster.pod("a"), cluster.pod("b"));
    let _server = Server::start(&b.netns, OPEN).expect("a server");
    let target = SocketAddr::new(b.address(true), OPEN);
    let mut stream =
        inside(&a.netns, || TcpStream::connect(target).expect("the connection opens")).expect("a namespace");
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("a time-out");
    // Answers are b's packets to a, which only the flow lets through: b may open nothing to a.
    let mut answers = |when: &str| {
        stream.write_all(b"?").expect(when);
        stream.read_exact(&mut [0; 1]).expect(when);
    };
    answers("with the agent");
    cluster.kill();
    answers("without an agent");
    cluster.start();
    answers("with the next agent");
    let _other = Server::start(&a.netns, OPEN).expect("a server");
    assert_eq!(
        cluster.tcp("b", SocketAddr::new(a.address(true), OPEN)),
        Outcome::Silence
    );
}
