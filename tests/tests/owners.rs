//! Who owns addresses and flows, with real sockets: every address of a pod, the next owner of one, flows that are older
//! than the agent, and flows whose ends are both here.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use cellwall_controller::lab::{NODE_V4, Outcome, Server, Wiring, inside, tcp_ask};
use cellwall_tests::frames::{Tap, link_address, make};
use cellwall_tests::{Cluster, pod, wait_for};

const PORT: u16 = 1001;

/// Only pod a may open anything to pod b, and b nothing to a.
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
metadata: {name: a-to-b}
spec: {source: {object: a}, destination: {object: b}, action: Pass, priority: 10}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: to-b}
spec: {source: {entity: Any}, destination: {object: b}, action: Drop, priority: 20}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: b-to-a}
spec: {source: {object: b}, destination: {object: a}, action: Drop, priority: 20}
";

fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().expect("ip runs");
    assert!(
        output.status.success(),
        "ip {words}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A UDP socket of a pod, bound to an address and port and to its only peer.
fn socket(netns: &str, own: SocketAddr, peer: SocketAddr) -> UdpSocket {
    let made = inside(netns, || {
        let socket = UdpSocket::bind(own)?;
        socket.connect(peer)?;
        socket.set_read_timeout(Some(Duration::from_millis(400)))?;
        Ok::<_, std::io::Error>(socket)
    });
    made.expect("a namespace").expect("a socket")
}

fn answers(socket: &UdpSocket) -> bool {
    socket.send(b"?").is_ok() && socket.recv(&mut [0; 8]).is_ok()
}

#[test]
fn case_26_every_address_of_a_pod_is_guarded_and_bound_to_it() {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b", "c"]);
    let (b, node) = (cluster.pod("b"), cluster.netns("node"));
    let more: [(IpAddr, u8); 2] = [
        ("192.0.2.99".parse().unwrap(), 32),
        ("2001:db8:1::99".parse().unwrap(), 128),
    ];
    for (address, length) in more {
        let family = if address.is_ipv4() { "-4" } else { "-6" };
        ip(&format!("-n {} addr add {address}/{length} dev eth0", b.netns));
        ip(&format!(
            "-n {node} {family} route add {address}/{length} dev {}",
            b.host_interface
        ));
    }
    cluster.save_pods();
    cluster.save("rules.yaml", RULES);
    cluster.start();
    let _server = Server::start(&b.netns, PORT).expect("a server");
    for to in [b.v4.into(), b.v6.into(), more[0].0, more[1].0] {
        let at = SocketAddr::new(to, PORT);
        let ready = wait_for(Duration::from_secs(5), || {
            (cluster.tcp("a", at) == Outcome::Answered).then_some(())
        });
        assert!(ready.is_some(), "a -> {at}");
        assert_eq!(cluster.tcp("c", at), Outcome::Silence, "c -> {at}");
        let record = cluster.record(|one| one["destination"]["ip"] == to.to_string() && one["source"]["pod"] == "c");
        let record = record.expect("a record of the refusal");
        assert_eq!(
            [&record["rule"]["name"], &record["destination"]["pod"]],
            ["to-b", "b"],
            "{record}"
        );
    }
}

#[test]
fn case_42_the_next_pod_of_an_address_goes_on_with_no_flow_of_the_last_one() {
    // The lab numbers pods as they are added: the one that follows the last has its addresses.
    let mut cluster = Cluster::new(Wiring::Routed, &["b", "a"]);
    cluster.save_pods();
    cluster.save("rules.yaml", RULES);
    cluster.start();
    let _server = Server::start(&cluster.netns("b"), PORT).expect("a server");
    let (a, b) = (cluster.pod("a"), cluster.pod("b"));
    let ends = [true, false].map(|v4| {
        (
            SocketAddr::new(a.address(v4), 4_000),
            SocketAddr::new(b.address(v4), PORT),
        )
    });
    let first = ends.map(|(own, peer)| socket(&a.netns, own, peer));
    assert!(first.iter().all(answers), "a's flows are open");
    drop(first);
    cluster.lab.remove_pod("a");
    let next = cluster.lab.add_pod("x").expect("another pod");
    assert_eq!((next.v4, next.v6), (a.v4, a.v6), "the same addresses");
    let all = [pod("ns-0", "b", &b.netns), pod("ns-0", "x", &next.netns)];
    cluster.change("pods.yaml", &all.join("---\n"));
    cluster.wait_ready();
    for (own, peer) in ends {
        assert!(
            !answers(&socket(&next.netns, own, peer)),
            "{own} to {peer}, the same ports"
        );
        let record =
            cluster.record(|one| one["destination"]["ip"] == peer.ip().to_string() && one["source"]["pod"] == "x");
        let record = record.expect("a record of the refusal");
        assert_eq!(
            [&record["verdict"], &record["rule"]["name"]],
            ["DROP", "to-b"],
            "{record}"
        );
    }
}

#[test]
fn case_44_connections_that_were_open_before_the_agent_go_on() {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
    cluster.save_pods();
    cluster.save("rules.yaml", RULES);
    let (a, b) = (cluster.pod("a"), cluster.pod("b"));
    let listener = inside(&b.netns, || TcpListener::bind(("::", PORT)))
        .expect("a namespace")
        .expect("a listener");
    let mut open: Vec<(TcpStream, TcpStream)> = Vec::new();
    for number in 0..4 {
        let at = SocketAddr::new(b.address(number % 2 == 0), PORT);
        let near = inside(&a.netns, || TcpStream::connect(at))
            .expect("a namespace")
            .expect("a connection");
        open.push((near, listener.accept().expect("its other end").0));
    }
    cluster.start();
    // Of the first ones the initiator speaks first, of the others the responder.
    for (number, (near, far)) in open.iter_mut().enumerate() {
        let turns = if number < 2 {
            [(&*near, &*far), (&*far, &*near)]
        } else {
            [(&*far, &*near), (&*near, &*far)]
        };
        for (mut from, mut to) in turns {
            to.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
            from.write_all(b"!").expect("the connection goes on");
            to.read_exact(&mut [0; 1])
                .unwrap_or_else(|error| panic!("connection {number} goes on: {error}"));
        }
    }
    // What is new is judged as ever.
    let back = inside(&a.netns, || TcpListener::bind(("::", PORT)))
        .expect("a namespace")
        .expect("a listener");
    for v4 in [true, false] {
        let seen = tcp_ask(
            &b.netns,
            SocketAddr::new(a.address(v4), PORT),
            Duration::from_millis(400),
        );
        assert_eq!(seen.expect("the client runs"), Outcome::Silence, "b opens none to a");
    }
    drop(back);
}

#[test]
fn case_45_a_flow_whose_ends_are_both_here_is_one_flow_and_counted_once() {
    const ASKS: u16 = 10;
    for wiring in [Wiring::Routed, Wiring::Bridged] {
        let mut cluster = Cluster::new(wiring, &["a", "b"]);
        cluster.save_pods();
        cluster.save("rules.yaml", RULES);
        cluster.start();
        let (a, b) = (cluster.pod("a"), cluster.pod("b"));
        let _server = Server::start(&b.netns, PORT).expect("a server");
        for number in 0..ASKS {
            let v4 = number % 2 == 0;
            let (own, peer) = (
                SocketAddr::new(a.address(v4), 5_000 + number),
                SocketAddr::new(b.address(v4), PORT),
            );
            assert!(answers(&socket(&a.netns, own, peer)), "{wiring:?} {own} to {peer}");
        }
        let counted = cluster.rule("a-to-b");
        let asks = u64::from(ASKS);
        assert_eq!(
            [&counted["flows"], &counted["packets"]],
            [asks, 2 * asks],
            "{wiring:?}: {counted}"
        );
        let there = cluster.metric("cellwall_flows_total{", "reason=\"RULE\"");
        assert_eq!(there, asks, "{wiring:?}: at both hooks together");
    }
}

#[test]
fn case_45_nobody_outside_uses_the_verdict_about_a_flow_whose_ends_are_both_here() {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
    cluster.save_pods();
    cluster.save("rules.yaml", RULES);
    cluster.start();
    let (a, b) = (cluster.pod("a"), cluster.pod("b"));
    let server = inside(&b.netns, || UdpSocket::bind(("::", PORT)))
        .expect("a namespace")
        .expect("a socket");
    server
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a time-out");
    let outside = Tap::open(&cluster.netns("outside")).expect("a packet socket");
    let uplink = link_address(&cluster.netns("node"), "up0").expect("the node's uplink");
    let mut buffer = [0; 64];
    for v4 in [true, false] {
        let (own, peer) = (
            SocketAddr::new(a.address(v4), 6_000),
            SocketAddr::new(b.address(v4), PORT),
        );
        let real = socket(&a.netns, own, peer);
        real.send(b"before").expect("a datagram");
        assert_eq!(server.recv(&mut buffer).expect("it arrives"), 6);
        // The same flow, to the byte, by the node's uplink.
        let mut segment = make::udp(own.port(), peer.port(), b"forged!!");
        make::sum_segment(own.ip(), peer.ip(), 17, &mut segment);
        let mut packet = make::ip(own.ip(), peer.ip(), 17, &segment);
        if v4 {
            make::sum_v4(&mut packet);
        }
        let forged = cluster.metric("cellwall_packets_total{", "reason=\"SPOOFED\"");
        outside
            .send(&make::ethernet(uplink, outside.mac, make::ethertype(own.ip()), &packet))
            .expect("a frame leaves");
        let refused = wait_for(Duration::from_secs(5), || {
            (cluster.metric("cellwall_packets_total{", "reason=\"SPOOFED\"") > forged).then_some(())
        });
        assert!(
            refused.is_some(),
            "{own} from outside is refused as forged, by way of {NODE_V4}"
        );
        real.send(b"afterwards").expect("a datagram");
        assert_eq!(
            server.recv(&mut buffer).expect("it arrives"),
            10,
            "and nothing else did"
        );
    }
}
