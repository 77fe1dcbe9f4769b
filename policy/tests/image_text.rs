//! The compiled state as text: every kind of entry, with numbers and without.

use cellwall_policy::compile::{Compiler, Image, Link};
use cellwall_policy::compiled::{PeerClass, PeerId, PolicyId, Spans, Table, TableId};
use cellwall_policy::scenario::Scenario;

const LINES: &str = "scenario text
node node-a at=192.0.2.1
pod shop/web at=198.51.100.2 label:app=web
pod shop/far on=node-b at=198.51.100.3
service shop/s cluster=203.0.113.10 port=:80/TCP@30080
slice shop/s-1 for=s target=:8080/TCP ready=203.0.113.200
object net cidr=203.0.113.128/25
rule deny 1 Drop Any -> @net on TCP/8080-8081
rule alert 2 Alert Any -> Cluster on UDP/4789
";

fn image() -> Image {
    let world = Scenario::read(LINES).unwrap()[0].world();
    let link = |ifindex, pod: Option<&str>| Link {
        ifindex,
        master: 5,
        pod: pod.map(Into::into),
        mac: [0; 6],
    };
    let mut compiler = Compiler::new("node-a");
    compiler.update(&world, &[], &[link(10, Some("shop/web")), link(20, None)], 7);
    compiler.image()
}

const ONE_ALERT: &str = "TCP 0: PASS NO_RULE; UDP 0: PASS NO_RULE, 4789: ALERT RULE alert named, 4790: PASS NO_RULE; \
     SCTP 0: PASS NO_RULE; ICMP 0: PASS NO_RULE; ICMPv6 0: PASS NO_RULE; other 0: PASS NO_RULE";
const ONE_DROP: &str = "TCP 0: PASS NO_RULE, 8080: DROP RULE deny, 8082: PASS NO_RULE; UDP 0: PASS NO_RULE; \
     SCTP 0: PASS NO_RULE; ICMP 0: PASS NO_RULE; ICMPv6 0: PASS NO_RULE; other 0: PASS NO_RULE";

#[track_caller]
fn assert_has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|one| one == *line), "{line:?} is not in\n{text}");
    }
}

#[test]
fn without_numbers_everything_is_called_after_the_first_that_has_it() {
    let text = image().canonical();
    let quiet = ONE_ALERT.replace("alert named", "alert quiet named");
    assert_has(
        &text,
        &[
            "address 198.51.100.2 LocalPod interface 10",
            "interface 10 master 5 pod shop/web mac 00:00:00:00:00:00 egress 10/egress ingress 10/ingress startup false \
             from 198.51.100.2",
            "interface 20 master 5 pod unknown mac 00:00:00:00:00:00 egress 20/egress ingress 20/ingress startup true \
             from",
            "policy 10/egress ClusterIp PASS NO_RULE",
            &format!("policy 10/egress LocalPod {ONE_ALERT}"),
            &format!("policy 10/egress RemotePod {quiet}"),
            &format!("policy 10/egress World as 203.0.113.128/25 {ONE_DROP}"),
            "policy 10/egress ServicePort PASS SERVICE",
            "policy 10/egress ServicePort as 203.0.113.10 TCP/80 IPv4 DROP RULE deny",
            "policy 10/egress ServicePort as LocalNode TCP/30080 IPv4 DROP RULE deny",
            "policy 20/egress World PASS STARTUP",
            "policy 20/egress ServicePort as 203.0.113.10 TCP/80 IPv4 DROP STARTUP deny",
            "range 203.0.113.128/25 World as 203.0.113.128/25",
            "range ff00::/8 Multicast",
            "rule deny uid deny priority 1 Drop",
            "service port 203.0.113.10 TCP/80 IPv4 ServicePort as 203.0.113.10 TCP/80 IPv4",
            "service port LocalNode TCP/30080 IPv6 ServicePort as LocalNode TCP/30080 IPv6",
        ],
    );
}

#[test]
fn with_numbers_everything_is_called_by_its_own() {
    let image = image();
    let slot = |name: &str| image.rules.iter().find(|(_, card)| *card.name == *name).unwrap().0.0;
    let numbered = |text: &str| {
        let text = text.replace("RULE alert", &format!("RULE rule {}", slot("alert")));
        text.replace("RULE deny", &format!("RULE rule {}", slot("deny")))
    };
    let net = image.prefixes[&"203.0.113.128/25".parse().unwrap()];
    let (egress, ingress) = (image.interfaces[&10].egress, image.interfaces[&10].ingress);
    let table = |peer: PeerId| image.policies[&(egress, peer)].0;
    let (plain, pods) = (PeerId::plain(PeerClass::World), PeerId::plain(PeerClass::LocalPod));
    assert_has(
        &image.to_string(),
        &[
            "address 198.51.100.2 LocalPod:- interface 10 since 0",
            &format!(
                "interface 10 master 5 pod shop/web mac 00:00:00:00:00:00 egress {} ingress {} startup false \
                 from 198.51.100.2",
                egress.0, ingress.0
            ),
            &format!("range 203.0.113.128/25 World:{}", net.number()),
            &format!("policy {} World:{} table {}", egress.0, net.number(), table(net)),
            &format!("policy {} World:- table {}", egress.0, table(plain)),
            &format!("table {} PASS NO_RULE", table(plain)),
            &format!("table {} {}", table(net), numbered(ONE_DROP)),
            &format!("table {} {}", table(pods), numbered(ONE_ALERT)),
            &format!("slot {} rule deny uid deny priority 1 Drop", slot("deny")),
        ],
    );
}

#[test]
fn what_nothing_has_is_called_nobodys() {
    let whole = image();
    let (world, table) = (PeerClass::World, TableId(7));
    let policies = [PeerId::plain(world), PeerId::new(world, 5)].map(|peer| ((PolicyId(3), peer), table));
    let mut tables = whole.tables.values();
    let mut cells = Table::clone(tables.find(|one| one.tcp.entries().len() > 1).unwrap());
    cells.udp = Spans::constant(cells.tcp.at(8080));
    for spans in [
        &mut cells.tcp,
        &mut cells.sctp,
        &mut cells.icmp,
        &mut cells.icmpv6,
        &mut cells.other,
    ] {
        *spans = cells.udp.clone();
    }
    let image = Image {
        policies: policies.into(),
        tables: [(table, cells.into())].into(),
        ..Image::default()
    };
    assert_has(
        &image.canonical(),
        &[
            "policy of nobody World DROP RULE of no name",
            "policy of nobody World of nobody DROP RULE of no name",
            "tables 1",
        ],
    );
}

#[test]
fn peers_are_counted_by_class_each_once() {
    let image = image();
    let count = |class| image.peers(class);
    assert_eq!(
        PeerClass::ALL.map(count),
        [1, 1, 1, 0, 0, 1, 1, 0, 1, 0, 3],
        "in the order of their numbers: {image}"
    );
}
