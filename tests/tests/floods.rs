//! Floods of openings from one pod at full speed, while a thousand established connections say nothing: these stay, what
//! is refused stays refused, everything is counted, and nobody's memory grows.
//!
//! `CELLWALL_FLOOD_SECONDS` is how long each flood lasts (5).

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cellwall_controller::lab::{Outcome, Server, Wiring, inside, tcp_ask, udp_ask};
use cellwall_datapath::counters::{self, Flow};
use cellwall_datapath::kernel::{Maps, Place, count};
use cellwall_datapath::port::MapName;
use cellwall_tests::blast::{Blast, Blasted};
use cellwall_tests::frames::{link_address, make};
use cellwall_tests::idle::Idle;
use cellwall_tests::{Cluster, memory, patience, wait_for};

/// Where the flood is refused.
const REFUSED: u16 = 9;
/// Source ports of a flood, and destination ports of each of its threads.
const SOURCES: u64 = 60_000;
const PORTS: u64 = 30_000;
/// Frames that fill the tables of the unanswered.
const LEAST: u64 = 150_000;
/// Where the other pods' attempts are refused while the flood lasts, and where they pass.
const SHUT: u16 = 1001;
const OPEN: u16 = 1002;
/// Where idle connections end.
const QUIET: u16 = 1003;

const RULES: &str = "
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: flooder}
spec: {apps: [a]}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: refused}
spec: {source: {object: flooder}, destination: {entity: Any}, ports: [{protocol: Any, port: 9}], action: Drop, priority: 10}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: flooded}
spec: {source: {object: flooder}, destination: {entity: Any}, action: Pass, priority: 100}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: shut}
spec: {source: {entity: Cluster}, destination: {entity: Cluster}, ports: [{protocol: Any, port: 1001}], action: Drop, priority: 10}
";

/// Inside the flooded pod, so that nothing answers: each frame of a flood is a flow, and no other packet is.
const SILENCE: &str = "
table inet silence {
  chain input {
    type filter hook input priority 0; policy accept;
    tcp dport { 9, 2000-65535 } drop
    udp dport { 9, 2000-65535 } drop
  }
}
";

fn seconds() -> Duration {
    let given = std::env::var("CELLWALL_FLOOD_SECONDS").ok();
    let seconds = given.map_or(5, |text| text.parse().expect("CELLWALL_FLOOD_SECONDS is a number"));
    Duration::from_secs(seconds)
}

/// A frame of the flood but for its ports.
#[derive(Clone)]
struct Template {
    frame: Vec<u8>,
    ports: usize,
    refused: bool,
}

/// Frames to the flooded pod over both families, to hosts that are not there, and one of eight to the refused port.
fn templates(cluster: &Cluster, protocol: u8) -> Vec<Template> {
    let (a, b) = (cluster.pod("a"), cluster.pod("b"));
    let own = link_address(&a.netns, "eth0").expect("the pod's interface");
    let gateway = link_address(&cluster.netns("node"), &a.host_interface).expect("its other end");
    let segment = |port| match protocol {
        6 => make::tcp(1, port, 2, &[]),
        _ => make::udp(1, port, b"flood"),
    };
    let template = |number: u8| {
        let refused = number % 8 == 7;
        let to: IpAddr = match number % 8 {
            0 | 4 => b.v4.into(),
            7 if (number / 8).is_multiple_of(2) => b.v4.into(),
            1 | 5 | 7 => b.v6.into(),
            _ => Ipv4Addr::new(203, 0, 113, number).into(),
        };
        let segment = segment(if refused { REFUSED } else { 0 });
        let mut packet = make::ip(a.address(to.is_ipv4()), to, protocol, &segment);
        if to.is_ipv4() {
            make::sum_v4(&mut packet);
        }
        Template {
            ports: make::ETHERNET + packet.len() - segment.len(),
            frame: make::ethernet(gateway, own, make::ethertype(to), &packet),
            refused,
        }
    };
    (0..64).map(template).collect()
}

/// Writes frame `number` of a thread: no two of them, and no two threads', are of one flow.
fn write(templates: &[Template], thread: u8, number: u64, frame: &mut Vec<u8>) {
    let kinds = templates.len() as u64;
    let template = &templates[usize::try_from(number % kinds).expect("a place")];
    let port = |least: u64, range: u64, of: u64| u16::try_from(least + of % range).expect("a port").to_be_bytes();
    frame.extend_from_slice(&template.frame);
    frame[template.ports..][..2].copy_from_slice(&port(1_024, SOURCES, number));
    if !template.refused {
        let destination = port(2_000 + u64::from(thread) * PORTS, PORTS, number / SOURCES);
        frame[template.ports + 2..][..2].copy_from_slice(&destination);
    }
}

/// Frames that the pod's own interface could not hand over.
fn unsent(cluster: &Cluster) -> u64 {
    let output = Command::new("ip")
        .args(["-n", &cluster.netns("a"), "-s", "-j", "link", "show", "eth0"])
        .output();
    let told: serde_json::Value = serde_json::from_slice(&output.expect("ip runs").stdout).expect("ip says JSON");
    told[0]["stats64"]["tx"]["dropped"].as_u64().expect("a number")
}

fn silence(cluster: &Cluster) {
    let mut nft = Command::new("ip")
        .args(["netns", "exec", &cluster.netns("b"), "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("nft runs; its Debian package is nftables, and scripts/setup.sh installs it");
    let mut input = nft.stdin.take().expect("a pipe");
    input.write_all(SILENCE.as_bytes()).expect("nft reads");
    drop(input);
    assert!(nft.wait().expect("nft ends").success());
    for words in [
        "route add blackhole 203.0.113.0/24",
        "-6 route add blackhole 2001:db8:ff::/48",
    ] {
        let node = cluster.netns("node");
        let done = Command::new("ip").args(["-n", &node]).args(words.split(' ')).status();
        assert!(done.expect("ip runs").success(), "{words}");
    }
}

/// Established flows of the kernel's tables, with the generation at which each was opened.
fn established(maps: &Maps) -> BTreeMap<String, u32> {
    let mut flows = BTreeMap::new();
    let each = |flow| match flow {
        Flow::V4(key, value) if key.protocol == 6 => drop(flows.insert(format!("{key:?}"), value.born)),
        Flow::V6(key, value) if key.protocol == 6 => drop(flows.insert(format!("{key:?}"), value.born)),
        _ => {}
    };
    counters::flows(maps, false, each).expect("the flows can be read");
    flows
}

/// What the agent tells.
#[derive(Debug, Clone, Copy)]
struct Told {
    flooded: u64,
    refused: u64,
    flows: u64,
    received: u64,
    lost: u64,
    evicted: u64,
}

impl Told {
    fn read(cluster: &Cluster) -> Self {
        let flows = |rule: &str| cluster.rule(rule)["flows"].as_u64().expect("a number");
        Self {
            flooded: flows("flooded"),
            refused: flows("refused"),
            flows: cluster.metric("cellwall_flows_total{", ""),
            received: cluster.metric("cellwall_records_received_total", ""),
            lost: cluster.metric("cellwall_records_lost_total{", "ring_full"),
            evicted: cluster.metric("cellwall_map_evicted_total{", ""),
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            flooded: self.flooded - before.flooded,
            refused: self.refused - before.refused,
            flows: self.flows - before.flows,
            received: self.received - before.received,
            lost: self.lost - before.lost,
            evicted: self.evicted - before.evicted,
        }
    }
}

/// Attempts of another pod while a flood lasts: what is to pass passes, what is to be refused is silence. Answers how
/// many there were of each.
fn attempts(cluster: &Cluster, over: &AtomicBool) -> [u32; 2] {
    let (from, to) = (cluster.netns("c"), cluster.pod("d"));
    let mut counted = [0; 2];
    let mut v4 = true;
    while !over.load(Ordering::Relaxed) {
        let at = |port| SocketAddr::new(to.address(v4), port);
        let passes = tcp_ask(&from, at(OPEN), patience(Duration::from_secs(8))).expect("the client runs");
        assert_eq!(passes, Outcome::Answered, "to {} during the flood", at(OPEN));
        let short = Duration::from_millis(100);
        let asked = [tcp_ask(&from, at(SHUT), short), udp_ask(&from, at(SHUT), short)];
        for asked in asked {
            assert_eq!(asked.expect("the client runs"), Outcome::Silence, "to {}", at(SHUT));
        }
        counted[0] += 1;
        counted[1] += 2;
        v4 = !v4;
    }
    counted
}

/// The scene of all floods.
struct Flooded {
    cluster: Cluster,
    place: Place,
    maps: Maps,
    idle: Vec<Idle>,
    leak: UdpSocket,
    _servers: Vec<Server>,
}

impl Flooded {
    fn new() -> Self {
        let mut cluster = Cluster::new(Wiring::Routed, &["a", "b", "c", "d"]).with_flow_log("/dev/null");
        cluster.save_pods();
        cluster.save("rules.yaml", RULES);
        cluster.start();
        silence(&cluster);
        let open = |from: &str, to: &str, count| {
            let addresses = [true, false].map(|v4| SocketAddr::new(cluster.pod(to).address(v4), QUIET));
            Idle::open(&cluster.netns(from), &cluster.netns(to), addresses, count).expect("connections open")
        };
        // Of others, of the flooding pod itself, and of the one that is flooded.
        let idle = vec![
            open("c", "d", 600),
            open("a", "d", 200),
            open("a", "b", 100),
            open("c", "b", 100),
        ];
        let servers = [SHUT, OPEN].map(|port| Server::start(&cluster.netns("d"), port).expect("a server"));
        let leak = inside(&cluster.netns("b"), || {
            UdpSocket::bind((Ipv6Addr::UNSPECIFIED, REFUSED))
        });
        let leak = leak.expect("a namespace").expect("a socket");
        leak.set_nonblocking(true).expect("no waiting");
        let place = Place::new(cluster.instance()).expect("a place");
        let maps = Maps::open(&place).expect("the pinned maps");
        Self {
            cluster,
            place,
            maps,
            idle,
            leak,
            _servers: servers.into(),
        }
    }

    fn connections(&self) -> usize {
        self.idle.iter().map(Idle::count).sum()
    }

    fn working(&mut self, every: usize) -> usize {
        self.idle.iter_mut().map(|idle| idle.working(every)).sum()
    }

    fn resident(&self) -> u64 {
        memory::resident(self.cluster.pid().expect("an agent"))
    }

    /// A flood of this protocol from the pod `a`; no two of different `part` have flows in common.
    fn blast(&self, protocol: u8, part: u64) -> Blast {
        let templates = templates(&self.cluster, protocol);
        let first = part * SOURCES * PORTS / 2;
        let make = move |thread, number, frame: &mut Vec<u8>| write(&templates, thread, first + number, frame);
        Blast::start(&self.cluster.netns("a"), 2, make).expect("packet sockets")
    }

    /// What is told when all records have been read and the evictions reckoned.
    fn told(&self) -> Told {
        let settled = wait_for(Duration::from_mins(1), || {
            let events = counters::events(&self.maps).ok()?;
            let there: u64 = [MapName::Opening4, MapName::Opening6]
                .map(|map| u64::from(count(&self.maps, map).unwrap_or(0)))
                .iter()
                .sum();
            let told = Told::read(&self.cluster);
            let evicted = events.opened.saturating_sub(events.answered + there);
            (told.received == events.sent.iter().sum::<u64>() && told.evicted == evicted).then_some(told)
        });
        settled.unwrap_or_else(|| {
            let events = counters::events(&self.maps);
            panic!("never settled: {:?}, {events:?}", Told::read(&self.cluster))
        })
    }
}

/// Refused and passed, received and lost: the sums of a flood in which every frame is a flow of its own.
fn adds_up(name: &str, blasted: Blasted, unsent: u64, told: Told, attempts: [u32; 2]) {
    let judged = told.flooded + told.refused;
    assert_eq!(
        judged,
        blasted.sent - unsent,
        "{name}: {blasted:?}, {unsent} not handed over, {told:?}"
    );
    assert_eq!(
        told.received + told.lost,
        told.flows,
        "{name}: records and verdicts, {told:?}"
    );
    let per_second = |count: u64| u128::from(count) * 1_000 / blasted.took.as_millis().max(1);
    println!(
        "{name}, {:.1} s: {} frames sent ({}/s), {unsent} of them dropped before the hook, {judged} judged ({}/s): {} refused, {} \
         passed; {} records received + {} counted lost = {} verdicts told; {} unanswered flows made room; of other pods {} \
         attempts passed and {} were refused meanwhile",
        blasted.took.as_secs_f64(),
        blasted.sent,
        per_second(blasted.sent),
        per_second(judged),
        told.refused,
        told.flooded,
        told.received,
        told.lost,
        told.flows,
        told.evicted,
        attempts[0],
        attempts[1],
    );
}

#[test]
fn case_39_floods_of_openings_leave_a_thousand_established_connections_as_they_were() {
    const MIB: u64 = 1 << 20;
    let mut flooded = Flooded::new();
    let all = flooded.connections();
    assert_eq!((all, flooded.working(1)), (1_000, 1_000), "before anything");
    // The agent keeps the last records: it has its size when there are that many.
    let warm = flooded.blast(17, 0);
    std::thread::sleep(Duration::from_secs(2));
    warm.end().expect("the flood ends");
    flooded.told();
    let before = established(&flooded.maps);
    assert!(before.len() >= all, "{} flows of {all} connections", before.len());
    let (resident, kernel) = (flooded.resident(), memory::of_maps(&flooded.place));
    for (name, protocol) in [("SYN flood", 6), ("UDP flood", 17)] {
        let (told, unsent_before) = (flooded.told(), unsent(&flooded.cluster));
        let blast = flooded.blast(protocol, 1);
        let over = AtomicBool::new(false);
        let attempted = std::thread::scope(|scope| {
            let attempts = scope.spawn(|| attempts(&flooded.cluster, &over));
            std::thread::sleep(seconds());
            // On a slow machine until it is a flood.
            wait_for(Duration::from_mins(1), || (blast.sent() > LEAST).then_some(()));
            over.store(true, Ordering::Relaxed);
            attempts.join()
        });
        let working = flooded.working(50);
        let blasted = blast.end().expect("the flood ends");
        let attempted = attempted.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert_eq!(
            working,
            all / 50,
            "{name}: of each fiftieth connection, while it lasted"
        );
        let unsent = unsent(&flooded.cluster) - unsent_before;
        let now = flooded.told();
        let since = now.since(told);
        adds_up(name, blasted, unsent, since, attempted);
        assert!(attempted[0] > 0 && since.refused > 0, "{since:?}");
        assert!(since.evicted > 0, "{name} was too small for the table: {since:?}");
        assert!(
            flooded.leak.recv(&mut [0; 64]).is_err(),
            "{name}: what was refused arrived"
        );
        let status = flooded.cluster.status().expect("a status").to_string();
        assert!(
            status.contains(&format!("{} unanswered flows made room", now.evicted)),
            "{name}: {status}"
        );
        let left = established(&flooded.maps);
        let lost = before.iter().filter(|(flow, born)| left.get(*flow) != Some(born));
        assert_eq!(
            lost.count(),
            0,
            "{name}: established flows evicted, of {}",
            before.len()
        );
        assert_eq!(flooded.working(1), all, "{name}: connections that work afterwards");
    }
    let (after, kernel_after) = (flooded.resident(), memory::of_maps(&flooded.place));
    println!(
        "{all} of {all} connections work, none of their flows was evicted; agent {} MiB before, {} MiB after; maps {} KiB before, \
         {} KiB after",
        resident / MIB,
        after / MIB,
        kernel / 1024,
        kernel_after / 1024,
    );
    // What it keeps is bounded: 100,000 records to be asked for, 65,536 windows of repeats, some 400 bytes each.
    assert!(
        after < resident + 96 * MIB,
        "the agent grew from {resident} to {after} bytes"
    );
    // Maps without preallocation are counted by their entries: those few attempts of other pods.
    assert!(
        kernel_after < kernel + MIB / 4,
        "maps grew from {kernel} to {kernel_after} bytes"
    );
}
