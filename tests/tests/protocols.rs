//! SCTP, ICMP and ICMPv6 of several types, GRE, ESP and a protocol that nobody knows, in every direction, under each
//! action and under alert-only: what arrives and what is recorded is what the reference says of the same question.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use cellwall_controller::lab::{GATEWAY_V4, GATEWAY_V6, NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, Wiring};
use cellwall_tests::raw::{Ear, Message, send};
use cellwall_tests::{Cluster, wait_for};
use serde_json::Value;

/// What is sent each way. Types: echo, timestamp and extended echo (queries), unreachable without a quote (an error of
/// no flow), a reply that nobody asked for, a redirect and a router's advertisement (a pod may send neither).
const OVER_V4: [Message; 10] = [
    Message::SctpInit(1001),
    Message::Icmp(8),
    Message::Icmp(13),
    Message::Icmp(42),
    Message::Icmp(3),
    Message::Icmp(0),
    Message::Icmp(5),
    Message::Other(47),
    Message::Other(50),
    Message::Other(253),
];
const OVER_V6: [Message; 10] = [
    Message::SctpInit(1001),
    Message::Icmp(128),
    Message::Icmp(160),
    Message::Icmp(200),
    Message::Icmp(1),
    Message::Icmp(129),
    Message::Icmp(137),
    Message::Other(47),
    Message::Other(50),
    Message::Other(253),
];

/// The rule over all of them, and the switches.
fn rules(mode: &str, action: &str) -> String {
    format!(
        r#"
apiVersion: cellwall.io/v1alpha1
kind: ClusterDefense
metadata: {{name: default}}
spec: {{localNode: Enforce, mode: {mode}}}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {{name: all}}
spec:
  source: {{entity: Any}}
  destination: {{entity: Any}}
  ports: [{{protocol: SCTP, port: 1001}}, {{protocol: ICMP}}, {{protocol: ICMPv6}}, {{protocol: "47"}}, {{protocol: "50"}}, {{protocol: "253"}}]
  action: {action}
  priority: 10
"#
    )
}

/// One packet, and what became of it.
struct Sent {
    from: IpAddr,
    to: IpAddr,
    receiver: &'static str,
    message: Message,
    number: u64,
}

impl Sent {
    /// `PORT/PROTOCOL` as people ask about it.
    fn traffic(&self) -> String {
        match self.message {
            Message::SctpInit(port) => format!("{port}/SCTP"),
            Message::Icmp(kind) if self.to.is_ipv4() => format!("{kind}/ICMP"),
            Message::Icmp(kind) => format!("{kind}/ICMPv6"),
            Message::Other(number) => format!("/{number}"),
        }
    }

    fn is_told_by(&self, record: &Value, generation: u64) -> bool {
        let (protocol, port, kind) = match self.message {
            Message::SctpInit(port) => ("SCTP".to_owned(), Some(u64::from(port)), None),
            Message::Icmp(kind) if self.to.is_ipv4() => ("ICMP".to_owned(), None, Some(u64::from(kind))),
            Message::Icmp(kind) => ("ICMPv6".to_owned(), None, Some(u64::from(kind))),
            Message::Other(number) => (number.to_string(), None, None),
        };
        record["generation"] == generation
            && record["source"]["ip"] == self.from.to_string()
            && record["destination"]["ip"] == self.to.to_string()
            && record["protocol"] == protocol
            && (port.is_none() || record["destination"]["port"].as_u64() == port)
            && record["icmp_type"].as_u64() == kind
    }
}

/// Who sends to whom: no two of one pair of places, for what comes back would ride on the flow that is there.
fn ways(cluster: &Cluster, wiring: Wiring, v4: bool) -> Vec<(&'static str, IpAddr, &'static str, IpAddr)> {
    let of = |four: Ipv4Addr, six: Ipv6Addr| if v4 { IpAddr::from(four) } else { six.into() };
    let pod = |name| cluster.pod(name).address(v4);
    let (node, outside) = (of(NODE_V4, NODE_V6), of(OUTSIDE_V4, OUTSIDE_V6));
    let mut ways = vec![
        ("a", pod("a"), "b", pod("b")),
        ("node", node, "a", pod("a")),
        ("b", pod("b"), "node", node),
        ("outside", outside, "a", pod("a")),
        ("b", pod("b"), "outside", outside),
    ];
    if wiring == Wiring::Bridged {
        let gateway = of(GATEWAY_V4, GATEWAY_V6);
        ways.push(("node", gateway, "a", pod("a")));
        ways.push(("b", pod("b"), "node", gateway));
    }
    ways
}

fn every_protocol_is_judged(wiring: Wiring) {
    let mut cluster = Cluster::new(wiring, &["a", "b"]);
    cluster.save_pods();
    cluster.save("rules.yaml", &rules("Enforce", "Pass"));
    cluster.start();
    let heard = [true, false].map(|v4| [132, if v4 { 1 } else { 58 }, 47, 50, 253].map(|protocol| (v4, protocol)));
    let ear = |place: &str| Ear::new(&cluster.netns(place), heard.as_flattened()).expect("raw sockets");
    let mut ears = ["a", "b", "node", "outside"].map(|place| (place, ear(place)));
    let (mut number, mut judged) = (0, 0);
    for (mode, action) in [
        ("Enforce", "Pass"),
        ("Enforce", "Alert"),
        ("AlertOnly", "Drop"),
        ("Enforce", "Drop"),
    ] {
        if number > 0 {
            cluster.change("rules.yaml", &rules(mode, action));
        }
        let generation = cluster.generation();
        let mut sent = Vec::new();
        for v4 in [true, false] {
            for (sender, from, receiver, to) in ways(&cluster, wiring, v4) {
                for message in if v4 { OVER_V4 } else { OVER_V6 } {
                    number += 1;
                    send(&cluster.netns(sender), from, to, message, number)
                        .unwrap_or_else(|error| panic!("{sender} {from} -> {to} {message:?}: {error}"));
                    sent.push(Sent {
                        from,
                        to,
                        receiver,
                        message,
                        number,
                    });
                }
            }
        }
        let title = format!("{wiring:?} {mode} {action}");
        judged += sent.len();
        compare(&cluster, &title, generation, &sent, &mut ears);
    }
    println!("{judged} packets judged as the reference says, {wiring:?}");
}

/// Arrival and record of each packet against the reference. What is to arrive is waited for first, so that what is not
/// to arrive has had the same time.
fn compare(cluster: &Cluster, title: &str, generation: u64, sent: &[Sent], ears: &mut [(&str, Ear); 4]) {
    let answers: Vec<Value> = sent
        .iter()
        .map(|one| cluster.explain(&format!("{} {} {}", one.from, one.to, one.traffic())))
        .collect();
    let mut heard = |one: &Sent, patience| {
        let ear = ears.iter_mut().find(|(place, _)| *place == one.receiver);
        ear.expect("everybody has an ear").1.hears(one.number, patience)
    };
    let mut wrong = Vec::new();
    for arrives in ["Pass", "Drop"] {
        let patience = Duration::from_secs(if arrives == "Pass" { 2 } else { 0 });
        for (one, answer) in sent
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| answer["applied"] == arrives)
        {
            if heard(one, patience) != (arrives == "Pass") {
                let (from, to, traffic) = (one.from, one.to, one.traffic());
                wrong.push(format!("{title}: {from} -> {to} {traffic} is to {arrives}: {answer}"));
            }
        }
    }
    // Records of everything, waited for together.
    let mut untold = Vec::new();
    let told = wait_for(Duration::from_secs(4), || {
        let records = cluster.records();
        let of = |one: &Sent| {
            records
                .iter()
                .find(|record| one.is_told_by(record, generation))
                .cloned()
        };
        let found: Vec<Option<Value>> = sent.iter().map(of).collect();
        untold = sent
            .iter()
            .zip(&found)
            .filter(|(_, found)| found.is_none())
            .map(|(one, _)| one.number)
            .collect();
        untold.is_empty().then_some(found)
    });
    let found = told.unwrap_or_default();
    for (one, answer) in sent
        .iter()
        .zip(&answers)
        .filter(|(one, _)| untold.contains(&one.number))
    {
        wrong.push(format!(
            "{title}: no record of {} -> {} {}: {answer}",
            one.from,
            one.to,
            one.traffic()
        ));
    }
    for ((one, answer), record) in sent.iter().zip(&answers).zip(found.iter().flatten()) {
        let same = ["verdict", "applied", "reason"]
            .iter()
            .all(|field| record[field] == answer[field])
            && record["rule"]["name"] == answer["rule"]["name"];
        if !same {
            let (from, to, traffic) = (one.from, one.to, one.traffic());
            wrong.push(format!(
                "{title}: {from} -> {to} {traffic}: reference {answer}, recorded {record}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn routed_pods_are_judged_in_every_protocol() {
    every_protocol_is_judged(Wiring::Routed);
}

#[test]
fn bridged_pods_are_judged_in_every_protocol() {
    every_protocol_is_judged(Wiring::Bridged);
}
