//! TCP and UDP through real hooks: protocol x family x direction x wiring x action. What the client sees and what is
//! recorded is what the reference says.

use std::net::{IpAddr, SocketAddr};

use cellwall_controller::lab::{
    GATEWAY_V4, GATEWAY_V6, NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, Outcome, Server, Wiring,
};
use cellwall_tests::Cluster;

const PASS: u16 = 1001;
const ALERT: u16 = 1002;
const DROP: u16 = 1003;

/// Port 1001 passes, 1002 alerts, 1003 is dropped, between everybody; the node gets no exception.
const RULES: &str = r#"
apiVersion: cellwall.io/v1alpha1
kind: ClusterDefense
metadata: {name: default}
spec: {localNode: Enforce}
---
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: everybody}
spec: {namespaces: ["*"]}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: passes}
spec: {source: {entity: Any}, destination: {entity: Any}, ports: [{protocol: Any, port: 1001}], action: Pass, priority: 10}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: alerts}
spec: {source: {entity: Any}, destination: {entity: Any}, ports: [{protocol: Any, port: 1002}], action: Alert, priority: 10}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: drops}
spec: {source: {entity: Any}, destination: {entity: Any}, ports: [{protocol: Any, port: 1003}], action: Drop, priority: 10}
"#;

fn every_way_is_judged(wiring: Wiring) {
    let mut cluster = Cluster::new(wiring, &["a", "b"]);
    cluster.save_pods();
    cluster.save("rules.yaml", RULES);
    cluster.start();
    let mut servers = Vec::new();
    let mut of_node: Vec<IpAddr> = vec![NODE_V4.into(), NODE_V6.into()];
    if wiring == Wiring::Bridged {
        of_node.extend([IpAddr::from(GATEWAY_V4), GATEWAY_V6.into()]);
    }
    for port in [PASS, ALERT, DROP] {
        for place in ["a", "b", "outside"] {
            servers.push(Server::start(&cluster.netns(place), port).expect("a server"));
        }
        for address in &of_node {
            servers.push(Server::start_at(&cluster.netns("node"), *address, port).expect("a server"));
        }
    }
    let asks = asks(&cluster, wiring);
    let seen: Vec<Outcome> = std::thread::scope(|scope| {
        // Each way asks in turn, all ways at once.
        let ask = |ask: &Ask| match ask.protocol {
            "TCP" => cluster.tcp(ask.from, ask.to),
            _ => cluster.udp(ask.from, ask.to),
        };
        let ways: Vec<_> = asks
            .chunks(ASKS_A_WAY)
            .map(|way| scope.spawn(move || way.iter().map(ask).collect::<Vec<_>>()))
            .collect();
        ways.into_iter()
            .flat_map(|way| way.join().expect("a way is asked to its end"))
            .collect()
    });
    for (ask, seen) in asks.iter().zip(seen) {
        let refused = ask.expected.0 == "DROP";
        let expected = if refused { Outcome::Silence } else { Outcome::Answered };
        let Ask { from, to, protocol, .. } = ask;
        assert_eq!(seen, expected, "{wiring:?} {from} -> {to}/{protocol}");
        let source = (*from != "node").then(|| source(&cluster, from, to.is_ipv4()));
        let record = cluster.record(|r| {
            r["destination"]["ip"] == to.ip().to_string()
                && r["destination"]["port"] == to.port()
                && r["protocol"] == *protocol
                && source.as_ref().is_none_or(|source| r["source"]["ip"] == *source)
        });
        let record = record.unwrap_or_else(|| panic!("no record of {from} -> {to}/{protocol}"));
        assert_eq!(
            [&record["verdict"], &record["rule"]["name"]],
            [ask.expected.0, ask.expected.1],
            "{record}"
        );
        let source = record["source"]["ip"].as_str().expect("an address");
        let answer = cluster.explain(&format!("{source} {} {}/{protocol}", to.ip(), to.port()));
        for field in ["verdict", "applied", "reason"] {
            assert_eq!(answer[field], record[field], "the reference says {answer}");
        }
        assert_eq!(
            answer["rule"]["name"], record["rule"]["name"],
            "the reference says {answer}"
        );
    }
    println!("{} connections judged as the rules say, {wiring:?}", asks.len());
}

/// A connection, and what comes of it: verdict and rule.
struct Ask {
    from: &'static str,
    to: SocketAddr,
    protocol: &'static str,
    expected: (&'static str, &'static str),
}

/// Three ports by two protocols.
const ASKS_A_WAY: usize = 6;

/// Every way, [`ASKS_A_WAY`] for each.
fn asks(cluster: &Cluster, wiring: Wiring) -> Vec<Ask> {
    let (a, b) = (cluster.pod("a"), cluster.pod("b"));
    let mut asks = Vec::new();
    for v4 in [true, false] {
        let node: IpAddr = if v4 { NODE_V4.into() } else { NODE_V6.into() };
        let outside: IpAddr = if v4 { OUTSIDE_V4.into() } else { OUTSIDE_V6.into() };
        let mut ways = vec![
            ("a", b.address(v4)),
            ("b", a.address(v4)),
            ("node", a.address(v4)),
            ("a", node),
            ("outside", a.address(v4)),
            ("b", outside),
        ];
        if wiring == Wiring::Bridged {
            ways.push(("a", if v4 { GATEWAY_V4.into() } else { GATEWAY_V6.into() }));
        }
        for (from, to) in ways {
            let ports = [
                (PASS, ("PASS", "passes")),
                (ALERT, ("ALERT", "alerts")),
                (DROP, ("DROP", "drops")),
            ];
            for (port, expected) in ports {
                asks.extend(["TCP", "UDP"].map(|protocol| Ask {
                    from,
                    to: SocketAddr::new(to, port),
                    protocol,
                    expected,
                }));
            }
        }
    }
    asks
}

fn source(cluster: &Cluster, name: &str, v4: bool) -> String {
    match (name, v4) {
        ("outside", true) => OUTSIDE_V4.to_string(),
        ("outside", false) => OUTSIDE_V6.to_string(),
        (pod, v4) => cluster.pod(pod).address(v4).to_string(),
    }
}

#[test]
fn case_27_routed_pods_are_judged_in_every_way() {
    every_way_is_judged(Wiring::Routed);
}

#[test]
fn case_27_bridged_pods_are_judged_in_every_way() {
    every_way_is_judged(Wiring::Bridged);
}
