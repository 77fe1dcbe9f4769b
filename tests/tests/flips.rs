//! The policy flipped between two versions under full load. They differ in objects, rules, priorities and ports, so that
//! identities, tables and addresses are written anew each time, and judge this traffic alike: a packet judged otherwise
//! met half of one of them.
//!
//! `CELLWALL_FLIPS` is how often it is flipped (100).

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cellwall_controller::lab::{Outcome, Server, Wiring, inside, tcp_ask};
use cellwall_datapath::counters;
use cellwall_datapath::kernel::{Maps, Place};
use cellwall_tests::numbered::{Heard, Numbered};
use cellwall_tests::{Cluster, patience};

/// Refused to datagrams and to connections, under both versions; permitted to both.
const SHUT: u16 = 1001;
const SHUT_TCP: u16 = 1004;
const OPEN: u16 = 1005;
const OPEN_TCP: u16 = 1002;
/// Where streams flow.
const BULK: u16 = 1003;

/// Refuses and permits by name, and by a rule over everything.
const A: &str = r#"
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: senders}
spec: {apps: [a, other-a]}
---
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: receivers}
spec: {namespaces: ["ns-*"], apps: [b]}
---
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: only-in-one}
spec: {apps: ["?"]}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: shut}
spec:
  source: {object: senders}
  destination: {object: receivers}
  ports: [{protocol: UDP, port: 1001}, {port: 1004}]
  action: Drop
  priority: 10
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: open}
spec: {source: {entity: Cluster}, destination: {object: receivers}, ports: [{port: 1002}, {port: 1003}, {protocol: UDP, port: 1005}], action: Pass, priority: 20}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: only-in-one}
spec: {source: {object: only-in-one}, destination: {object: only-in-one}, ports: [{protocol: UDP, port: 2000, endPort: 3000}], action: Alert, priority: 15}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: rest}
spec: {source: {entity: Any}, destination: {object: receivers}, action: Drop, priority: 900}
"#;

/// Refuses a range of ports and permits some of it before that.
const B: &str = r#"
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: senders}
spec: {namespaces: ["ns-0"]}
---
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: receivers}
spec: {apps: [b, c]}
---
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: somewhere}
spec: {cidrs: [{cidr: 203.0.113.0/24}, {cidr: "2001:db8:5::/48"}]}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: shut}
spec: {source: {object: senders}, destination: {entity: Cluster}, ports: [{protocol: Any, port: 1000, endPort: 1010}], action: Drop, priority: 700}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: open}
spec: {source: {object: senders}, destination: {entity: Any}, ports: [{protocol: Any, port: 1002, endPort: 1003}, {protocol: UDP, port: 1004, endPort: 1006}], action: Pass, priority: 600}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: somewhere}
spec: {source: {object: senders}, destination: {object: somewhere}, action: Drop, priority: 3}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: others}
spec: {source: {object: receivers}, destination: {object: senders}, ports: [{protocol: SCTP}], action: Alert, priority: 4}
"#;

fn flips() -> u32 {
    let given = std::env::var("CELLWALL_FLIPS").ok();
    given.map_or(100, |text| text.parse().expect("CELLWALL_FLIPS is a number"))
}

/// What flows from pod a to pod b while the policy is flipped.
struct Load {
    stop: Arc<AtomicBool>,
    datagrams: Numbered,
    writers: Vec<JoinHandle<u64>>,
    readers: Vec<JoinHandle<u64>>,
    connections: JoinHandle<u32>,
    refusals: JoinHandle<u32>,
}

impl Load {
    fn start(cluster: &Cluster) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (from, to) = (cluster.netns("a"), cluster.pod("b"));
        let bulk = inside(&to.netns, || TcpListener::bind((Ipv6Addr::UNSPECIFIED, BULK)));
        let bulk = bulk.expect("a namespace").expect("a listener");
        let (mut writers, mut readers) = (Vec::new(), Vec::new());
        for v4 in [true, false] {
            let at = SocketAddr::new(to.address(v4), BULK);
            let near = inside(&from, || TcpStream::connect(at)).expect("a namespace");
            let (near, far) = (near.expect("a connection"), bulk.accept().expect("its other end").0);
            let stop = stop.clone();
            writers.push(std::thread::spawn(move || write(near, &stop)));
            readers.push(std::thread::spawn(move || read(far)));
        }
        let both = [to.v4.into(), to.v6.into()];
        let connections = {
            let (stop, from) = (stop.clone(), from.clone());
            std::thread::spawn(move || every(&stop, |number| connects(&from, both[number % 2])))
        };
        let refusals = {
            let (stop, from) = (stop.clone(), from.clone());
            std::thread::spawn(move || every(&stop, |number| is_refused(&from, both[number % 2])))
        };
        Self {
            stop,
            datagrams: Numbered::start(cluster, "a", "b", [SHUT, OPEN], Duration::from_micros(20)),
            writers,
            readers,
            connections,
            refusals,
        }
    }

    fn end(self) -> Seen {
        let heard = self.datagrams.end();
        self.stop.store(true, Ordering::Relaxed);
        let sum = |threads: Vec<JoinHandle<u64>>| -> u64 {
            let ended = threads.into_iter().map(|thread| thread.join().expect("a stream ends"));
            ended.sum()
        };
        let (written, read) = (sum(self.writers), sum(self.readers));
        assert_eq!(written, read, "bytes of the streams");
        Seen {
            heard,
            streamed: read,
            connected: self.connections.join().expect("every connection works"),
            refused: self.refusals.join().expect("every refusal is one"),
        }
    }
}

/// What came of the load.
struct Seen {
    heard: Heard,
    streamed: u64,
    connected: u32,
    refused: u32,
}

/// Writes without an end, until it is told to.
fn write(mut stream: TcpStream, stop: &AtomicBool) -> u64 {
    let limit = patience(Duration::from_secs(20));
    stream.set_write_timeout(Some(limit)).expect("a time-out");
    let (block, mut written) = (vec![7; 65_536], 0);
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&block).expect("the stream flows");
        written += block.len() as u64;
    }
    written
}

fn read(mut stream: TcpStream) -> u64 {
    let (mut block, mut read) = (vec![0; 1 << 20], 0);
    loop {
        match stream.read(&mut block).expect("the stream flows") {
            0 => return read,
            some => read += some as u64,
        }
    }
}

/// Does it again and again: how often.
fn every(stop: &AtomicBool, does: impl Fn(usize)) -> u32 {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        does(number as usize);
        number += 1;
    }
    number
}

fn connects(from: &str, to: IpAddr) {
    let seen = tcp_ask(from, SocketAddr::new(to, OPEN_TCP), patience(Duration::from_secs(10)));
    assert_eq!(
        seen.expect("the client runs"),
        Outcome::Answered,
        "a connection to {to}"
    );
}

fn is_refused(from: &str, to: IpAddr) {
    let seen = tcp_ask(from, SocketAddr::new(to, SHUT_TCP), Duration::from_millis(20));
    assert_eq!(seen.expect("the client runs"), Outcome::Silence, "a connection to {to}");
}

/// Packets that queues on the way gave up, and datagrams that found the receiver's buffer full: what no policy did.
fn given_up(cluster: &Cluster) -> u64 {
    let queue = |netns: &str, interface: &str| {
        let words = ["-n", netns, "-s", "-j", "link", "show", interface];
        let output = Command::new("ip").args(words).output().expect("ip runs");
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("ip says JSON");
        told[0]["stats64"]["tx"]["dropped"].as_u64().expect("a number")
    };
    let (a, b) = (cluster.pod("a"), cluster.pod("b"));
    let buffers = inside(&b.netns, || {
        let four = std::fs::read_to_string("/proc/thread-self/net/snmp").expect("counters");
        let six = std::fs::read_to_string("/proc/thread-self/net/snmp6").expect("counters");
        let mut udp = four.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let at = udp
            .next()
            .and_then(|names| names.split(' ').position(|name| name == "RcvbufErrors"));
        let four = udp
            .next()
            .zip(at)
            .and_then(|(numbers, at)| numbers.split(' ').nth(at)?.parse().ok());
        let six = six
            .lines()
            .find_map(|line| line.strip_prefix("Udp6RcvbufErrors")?.trim().parse().ok());
        four.zip(six).map(|(four, six): (u64, u64)| four + six)
    });
    let buffers = buffers.expect("a namespace").expect("the counters of datagrams");
    queue(&a.netns, "eth0") + queue(&cluster.netns("node"), &b.host_interface) + buffers
}

#[test]
fn case_63_policies_flipped_under_full_load_judge_no_packet_otherwise() {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]).with_flow_log("/dev/null");
    cluster.save_pods();
    cluster.save("rules.yaml", A);
    cluster.start();
    let _server = Server::start(&cluster.netns("b"), OPEN_TCP).expect("a server");
    let shut = inside(&cluster.netns("b"), || {
        TcpListener::bind((Ipv6Addr::UNSPECIFIED, SHUT_TCP))
    });
    let shut = shut.expect("a namespace").expect("a listener");
    shut.set_nonblocking(true).expect("no waiting");
    let first = cluster.generation();
    let given_up_before = given_up(&cluster);
    let load = Load::start(&cluster);
    let began = Instant::now();
    for flip in 0..flips() {
        cluster.change("rules.yaml", if flip % 2 == 0 { B } else { A });
    }
    let took = began.elapsed();
    let seen = load.end();
    let Heard { sent, missed, leaked } = seen.heard;
    let given_up = given_up(&cluster) - given_up_before;
    let generations = cluster.generation() - first;
    let maps = Maps::open(&Place::new(cluster.instance()).expect("a place")).expect("the pinned maps");
    let torn = counters::events(&maps).expect("the events").torn;
    let dropped = cluster.metric("cellwall_packets_total{", "applied=\"Drop\"");
    let by_rule = cluster.rule("shut")["packets"].as_u64().expect("a number");
    println!(
        "{} flips in {:.1} s ({generations} generations): {sent} datagrams permitted, {missed} missed, of which queues gave up \
         {given_up}; {sent} refused, {leaked} arrived; {} MB of two streams whole; {} connections opened, all worked; {} \
         refused, none opened; {dropped} packets dropped, {by_rule} of them by the rule that both versions have; torn values {torn}",
        flips(),
        took.as_secs_f64(),
        seen.streamed / 1_000_000,
        seen.connected,
        seen.refused,
    );
    assert!(generations >= u64::from(flips()), "{generations} generations");
    assert!(shut.accept().is_err(), "a refused connection was opened");
    assert_eq!(leaked, 0, "refused datagrams that arrived, of {sent}");
    assert!(
        u64::from(missed) <= given_up,
        "{missed} of {sent} permitted datagrams are missing, queues gave up {given_up}"
    );
    assert_eq!(dropped, by_rule, "packets dropped, and those that the rule refused");
    assert_eq!(torn, 0, "values that were never whole");
    assert!(
        by_rule + given_up >= u64::from(sent) + u64::from(seen.refused),
        "{by_rule} refused of {sent}"
    );
}
