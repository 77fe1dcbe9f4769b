//! Services end to end: cluster IP, node port and host port, translated on the node by nftables as a Service proxy does.
//! The node routes, since between ports of a bridge no translation would see the way back.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;

use cellwall_controller::lab::{NODE_V4, NODE_V6, OUTSIDE_V4, Outcome, Server, Wiring};
use cellwall_tests::Cluster;
use serde_json::Value;

/// The Service's addresses and port; its backends are pods b and c at port 8080.
const CLUSTER_V4: &str = "203.0.113.10";
const CLUSTER_V6: &str = "2001:db8:3::10";
const PORT: u16 = 80;
const TARGET: u16 = 8080;
const NODE_PORT: u16 = 30080;
/// Pod c's host port, which leads to its port 8080 too.
const HOST_PORT: u16 = 9090;
/// A second Service: one backend is pod b, the other the host outside, where no hook sees what arrives.
const MIXED: &str = "203.0.113.11";
/// A third one, of pod b alone, which calls it itself.
const OWN: &str = "203.0.113.12";

/// Connections to one address and port: two backends take turns, so that an even number reaches both alike.
const TRIES: usize = 2;

const SERVICES: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web, namespace: ns-0}
spec:
  type: NodePort
  clusterIPs: ["203.0.113.10", "2001:db8:3::10"]
  ports:
  - {name: tcp, port: 80, protocol: TCP, nodePort: 30080}
  - {name: udp, port: 80, protocol: UDP, nodePort: 30080}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-4, namespace: ns-0, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: tcp, port: 8080, protocol: TCP}, {name: udp, port: 8080, protocol: UDP}]
endpoints: [{addresses: ["192.0.2.11"]}, {addresses: ["192.0.2.12"]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-6, namespace: ns-0, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
ports: [{name: tcp, port: 8080, protocol: TCP}, {name: udp, port: 8080, protocol: UDP}]
endpoints: [{addresses: ["2001:db8:1::b"]}, {addresses: ["2001:db8:1::c"]}]
---
apiVersion: v1
kind: Service
metadata: {name: mixed, namespace: ns-0}
spec: {clusterIPs: ["203.0.113.11"], ports: [{name: tcp, port: 80, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: mixed-4, namespace: ns-0, labels: {kubernetes.io/service-name: mixed}}
addressType: IPv4
ports: [{name: tcp, port: 8080, protocol: TCP}]
endpoints: [{addresses: ["192.0.2.11"]}, {addresses: ["198.51.100.2"]}]
---
apiVersion: v1
kind: Service
metadata: {name: own, namespace: ns-0}
spec: {clusterIPs: ["203.0.113.12"], ports: [{name: tcp, port: 80, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: own-4, namespace: ns-0, labels: {kubernetes.io/service-name: own}}
addressType: IPv4
ports: [{name: tcp, port: 8080, protocol: TCP}]
endpoints: [{addresses: ["192.0.2.11"]}]
---
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: b}
spec: {apps: [b]}
---
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: c}
spec: {apps: [c]}
"#;

/// What a Service proxy writes: backends in turn; what came to a node port, and what a pod sends to itself, leaves under
/// the node's own address.
const TRANSLATION: &str = r"
table inet services {
  chain backends4 {
    meta l4proto { tcp, udp } numgen inc mod 2 0 dnat ip to 192.0.2.11:8080
    meta l4proto { tcp, udp } dnat ip to 192.0.2.12:8080
  }
  chain backends6 {
    meta l4proto { tcp, udp } numgen inc mod 2 0 dnat ip6 to [2001:db8:1::b]:8080
    meta l4proto { tcp, udp } dnat ip6 to [2001:db8:1::c]:8080
  }
  chain prerouting {
    type nat hook prerouting priority dstnat;
    ip daddr 203.0.113.10 th dport 80 goto backends4
    ip6 daddr 2001:db8:3::10 th dport 80 goto backends6
    ip daddr 203.0.113.11 tcp dport 80 numgen inc mod 2 0 dnat ip to 192.0.2.11:8080
    ip daddr 203.0.113.11 tcp dport 80 dnat ip to 198.51.100.2:8080
    ip daddr 203.0.113.12 tcp dport 80 dnat ip to 192.0.2.11:8080
    ip daddr 198.51.100.1 th dport 30080 meta mark set 1 goto backends4
    ip6 daddr 2001:db8:2::1 th dport 30080 meta mark set 1 goto backends6
    ip daddr 198.51.100.1 tcp dport 9090 meta mark set 1 dnat ip to 192.0.2.12:8080
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    meta mark 1 masquerade
    ip saddr 192.0.2.11 ip daddr 192.0.2.11 masquerade
  }
}
";

/// The node, with its Services translated and pods b and c serving; the agent runs, no rule is there.
struct Stage {
    cluster: Cluster,
    _servers: Vec<Server>,
}

impl Stage {
    fn new() -> Self {
        let mut cluster = Cluster::new(Wiring::Routed, &["a", "b", "c"]);
        cluster.save_pods();
        let c = cellwall_tests::pod("ns-0", "c", &cluster.pod("c").netns);
        let host_port =
            format!("containers: [{{name: c, image: i, ports: [{{containerPort: {TARGET}, hostPort: {HOST_PORT}}}]}}]");
        let all = ["a", "b"].map(|name| cellwall_tests::pod("ns-0", name, &cluster.pod(name).netns));
        cluster.save(
            "pods.yaml",
            &format!("{}---\n{}---\n{c}spec:\n  {host_port}\n", all[0], all[1]),
        );
        cluster.save("services.yaml", SERVICES);
        cluster.save("rules.yaml", "");
        translate(&cluster);
        cluster.start();
        let servers =
            ["b", "c", "outside"].map(|place| Server::start(&cluster.netns(place), TARGET).expect("a server"));
        Self {
            cluster,
            _servers: servers.into(),
        }
    }

    /// Puts rules in force: (name, source, destination, action) on TCP and UDP 8080.
    fn rule(&self, rules: &[(&str, &str, &str, &str)]) {
        let documents = rules.iter().map(|(name, source, destination, action)| {
            format!(
                "apiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {{name: {name}}}\nspec: {{source: {source}, \
                 destination: {destination}, ports: [{{protocol: Any, port: {TARGET}}}], action: {action}, priority: 10}}\n"
            )
        });
        self.cluster
            .change("rules.yaml", &documents.collect::<Vec<_>>().join("---\n"));
    }

    /// Connects several times; answers how often it was answered. Whatever else happens is silence.
    fn connect(&self, from: &str, to: SocketAddr, protocol: &str) -> usize {
        let ask = || match protocol {
            "TCP" => self.cluster.tcp(from, to),
            _ => self.cluster.udp(from, to),
        };
        let seen: Vec<Outcome> = (0..TRIES).map(|_| ask()).collect();
        assert!(!seen.contains(&Outcome::Refused), "{from} -> {to}: {seen:?}");
        seen.iter().filter(|one| **one == Outcome::Answered).count()
    }

    /// The record that a hook gave of `to` at this generation.
    fn record(&self, hook: &str, to: SocketAddr, protocol: &str) -> Value {
        let generation = self.cluster.generation();
        let found = self.cluster.record(|record| {
            record["hook"] == hook
                && record["generation"] == generation
                && record["destination"]["ip"] == to.ip().to_string()
                && record["destination"]["port"] == to.port()
                && record["protocol"] == protocol
        });
        found.unwrap_or_else(|| panic!("no record at {hook} of {to}/{protocol}: {:#?}", self.cluster.records()))
    }

    /// Connects from pod a, counts the answers, and holds the record of a's own hook against the reference and against
    /// (verdict, reason, rule).
    fn holds(&self, to: SocketAddr, protocol: &str, answered: usize, expected: [&str; 3]) {
        let seen = self.connect("a", to, protocol);
        let record = self.record("FROM_POD", to, protocol);
        let told = [&record["verdict"], &record["reason"], &record["rule"]["name"]];
        assert_eq!(
            told.map(|value| value.as_str().unwrap_or("-")),
            expected,
            "{to}/{protocol}: {record}"
        );
        let answer = self
            .cluster
            .explain(&format!("ns-0/a {} {}/{protocol}", to.ip(), to.port()));
        for field in ["verdict", "applied", "reason"] {
            assert_eq!(
                answer[field], record[field],
                "{to}/{protocol}: the reference says {answer}"
            );
        }
        assert_eq!(
            answer["rule"]["name"], record["rule"]["name"],
            "the reference says {answer}"
        );
        assert_eq!(seen, answered, "of {TRIES} to {to}/{protocol} as {expected:?}");
    }
}

fn translate(cluster: &Cluster) {
    let mut nft = cluster.lab.node().command("nft");
    let spawned = nft
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut nft = spawned.expect("nft runs; its Debian package is nftables, and scripts/setup.sh installs it");
    nft.stdin
        .take()
        .expect("a pipe")
        .write_all(TRANSLATION.as_bytes())
        .expect("nft reads");
    let output = nft.wait_with_output().expect("nft ends");
    assert!(
        output.status.success(),
        "nft: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), port)
}

const ANY: &str = "{entity: Any}";
const B: &str = "{object: b}";
const C: &str = "{object: c}";

#[test]
fn a_cluster_ip_is_judged_by_its_backends_at_the_sender_and_where_it_arrives() {
    let stage = Stage::new();
    let ways = [(CLUSTER_V4, "TCP"), (CLUSTER_V4, "UDP"), (CLUSTER_V6, "TCP")];
    // Without a rule: SERVICE at the sender, and what the backends answer comes back under the Service's address.
    stage.rule(&[("other", ANY, "{entity: World}", "Drop")]);
    for (ip, protocol) in ways {
        stage.holds(at(ip, PORT), protocol, TRIES, ["PASS", "SERVICE", "-"]);
    }
    // One backend is refused: half of the connections reach it, and its own hook refuses them.
    stage.rule(&[("no-b", ANY, B, "Drop")]);
    for (ip, protocol) in ways {
        stage.holds(at(ip, PORT), protocol, TRIES / 2, ["PASS", "SERVICE", "-"]);
        let b = SocketAddr::new(stage.cluster.pod("b").address(ip == CLUSTER_V4), TARGET);
        let record = stage.record("TO_POD", b, protocol);
        assert_eq!(
            [&record["verdict"], &record["rule"]["name"]],
            ["DROP", "no-b"],
            "{record}"
        );
        assert_eq!(record["source"]["pod"], "a", "{record}");
    }
    // Every backend is refused: at the sender, by the first of the rules that say so.
    stage.rule(&[("no-c", ANY, C, "Drop"), ("no-b", ANY, B, "Drop")]);
    for (ip, protocol) in ways {
        stage.holds(at(ip, PORT), protocol, 0, ["DROP", "RULE", "no-b"]);
    }
    // One attempt is one alert, and the node of the pod that it reaches tells it.
    stage.rule(&[("alert", ANY, "{entity: Cluster}", "Alert")]);
    for (ip, protocol) in ways {
        stage.holds(at(ip, PORT), protocol, TRIES, ["PASS", "SERVICE", "-"]);
        let c = SocketAddr::new(stage.cluster.pod("c").address(ip == CLUSTER_V4), TARGET);
        let record = stage.record("TO_POD", c, protocol);
        assert_eq!(
            [&record["verdict"], &record["rule"]["name"]],
            ["ALERT", "alert"],
            "{record}"
        );
    }
}

#[test]
fn a_backend_that_no_hook_sees_again_is_judged_at_the_sender() {
    let stage = Stage::new();
    let to = at(MIXED, PORT);
    stage.rule(&[("no-b", ANY, B, "Drop")]);
    stage.holds(to, "TCP", TRIES / 2, ["PASS", "SERVICE", "-"]);
    stage.rule(&[("no-world", ANY, "{entity: World}", "Drop")]);
    stage.holds(to, "TCP", 0, ["DROP", "RULE", "no-world"]);
    stage.rule(&[("alert-world", ANY, "{entity: World}", "Alert")]);
    stage.holds(to, "TCP", TRIES, ["ALERT", "RULE", "alert-world"]);
}

#[test]
fn node_ports_and_host_ports_stand_for_the_node_and_for_their_backends() {
    let stage = Stage::new();
    let node = |v4: bool| if v4 { IpAddr::from(NODE_V4) } else { NODE_V6.into() };
    let node_ports = [(true, "TCP"), (true, "UDP"), (false, "TCP")];
    let host_port = SocketAddr::new(node(true), HOST_PORT);
    stage.rule(&[("other", ANY, "{entity: World}", "Drop")]);
    for (v4, protocol) in node_ports {
        stage.holds(
            SocketAddr::new(node(v4), NODE_PORT),
            protocol,
            TRIES,
            ["PASS", "SERVICE", "-"],
        );
    }
    stage.holds(host_port, "TCP", TRIES, ["PASS", "SERVICE", "-"]);
    // The source is rewritten on the way: a Drop for one backend is given at the sender, for all.
    stage.rule(&[("no-c", ANY, C, "Drop")]);
    for (v4, protocol) in node_ports {
        stage.holds(
            SocketAddr::new(node(v4), NODE_PORT),
            protocol,
            0,
            ["DROP", "RULE", "no-c"],
        );
    }
    stage.holds(host_port, "TCP", 0, ["DROP", "RULE", "no-c"]);
    stage.rule(&[
        ("no-b", "{object: b}", B, "Drop"),
        ("alert-c", "{entity: Cluster}", C, "Alert"),
    ]);
    stage.holds(
        SocketAddr::new(node(true), NODE_PORT),
        "TCP",
        TRIES,
        ["ALERT", "RULE", "alert-c"],
    );
    stage.holds(host_port, "TCP", TRIES, ["ALERT", "RULE", "alert-c"]);
}

#[test]
fn case_21_a_pod_that_calls_itself_by_its_service_is_judged_as_from_itself_to_itself() {
    let stage = Stage::new();
    let to = at(OWN, PORT);
    let told = || {
        let record = stage.record("FROM_POD", to, "TCP");
        let told = [&record["verdict"], &record["reason"], &record["rule"]["name"]];
        told.map(|value| value.as_str().unwrap_or("-").to_owned())
    };
    // What is about others is not about it.
    stage.rule(&[("others", C, B, "Drop"), ("away", B, C, "Drop")]);
    assert_eq!(stage.connect("b", to, "TCP"), TRIES);
    assert_eq!(told(), ["PASS", "SERVICE", "-"]);
    stage.rule(&[("to-itself", B, B, "Drop")]);
    assert_eq!(stage.connect("b", to, "TCP"), 0);
    assert_eq!(told(), ["DROP", "RULE", "to-itself"]);
    // By its own address it never leaves the pod.
    let itself = SocketAddr::new(stage.cluster.pod("b").v4.into(), TARGET);
    assert_eq!(stage.connect("b", itself, "TCP"), TRIES);
    // Who else calls the Service is no business of that rule.
    assert_eq!(stage.connect("c", to, "TCP"), TRIES);
}

#[test]
fn what_comes_from_outside_by_a_node_port_is_judged_where_it_reaches_a_pod() {
    let stage = Stage::new();
    let to = SocketAddr::new(NODE_V4.into(), NODE_PORT);
    stage.rule(&[("other", ANY, "{entity: World}", "Drop")]);
    assert_eq!(stage.connect("outside", to, "TCP"), TRIES);
    // It comes under the node's address, which is what rules about outside do not speak of.
    let c = SocketAddr::new(stage.cluster.pod("c").v4.into(), TARGET);
    let record = stage.record("TO_POD", c, "TCP");
    assert_ne!(record["source"]["ip"], OUTSIDE_V4.to_string(), "{record}");
    assert_eq!(record["source"]["entity"], "LocalNode", "{record}");
    stage.rule(&[("no-node", "{entity: LocalNode}", C, "Drop")]);
    assert_eq!(stage.connect("outside", to, "TCP"), TRIES / 2);
    let record = stage.record("TO_POD", c, "TCP");
    assert_eq!(
        [&record["verdict"], &record["rule"]["name"]],
        ["DROP", "no-node"],
        "{record}"
    );
}
