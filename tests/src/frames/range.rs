//! The range: three pods and a stranger on one bridge, which forwards whatever comes, so that a frame that does not
//! arrive was refused by the hooks and by nobody else.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use cellwall_controller::lab::{GATEWAY_V4, GATEWAY_V6, LabPod, NODE_V4, NODE_V6, Namespace, Wiring};
use serde_json::Value;

use super::corpus::{FREE, Places, REFUSED, Shot};
use super::paged::{PROTOCOLS, Raw};
use super::reference::{Expected, PodAddresses, Reference, Sender, What, World};
use super::tap::Tap;
use super::totals::Counted;
use crate::{Cluster, wait_for};

/// Frames between two looks at what arrived.
const BATCH: usize = 200;
/// How long a frame may be on its way.
const PATIENCE: Duration = Duration::from_secs(5);
/// The sending pod, and the two that receive: the second is guarded by a rule, the third is not.
const PODS: [&str; 3] = ["a", "b", "c"];

const RULES: &str = r#"
apiVersion: cellwall.io/v1alpha1
kind: ClusterDefense
metadata: {name: default}
spec: {localNode: Enforce}
---
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: guarded}
spec: {apps: [a, b]}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: refuses}
spec:
  source: {entity: Any}
  destination: {object: guarded}
  ports:
  - {protocol: Any, port: 9}
  - {protocol: ICMP, port: 13}
  - {protocol: ICMPv6, port: 135}
  - {protocol: ICMPv6, port: 139}
  - {protocol: "2"}
  - {protocol: "50"}
  action: Drop
  priority: 10
"#;

/// The same rule for the second opinion.
const DROPS: [What; 6] = [
    What::Port(REFUSED),
    What::Icmp(13),
    What::Icmpv6(135),
    What::Icmpv6(139),
    What::Protocol(2),
    What::Protocol(50),
];

/// The range.
pub struct Range {
    cluster: Cluster,
    world: World,
    reference: Reference,
    taps: [Tap; 3],
    stranger: (Tap, Namespace),
    before: Counted,
    tally: Tally,
    given: u32,
}

/// What was sent and what became of it.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    from_pod: u64,
    seen: u64,
    /// Refusals by reason: how many are surely of it, and how many may be.
    refused: BTreeMap<&'static str, (u64, u64)>,
    refusals: u64,
    /// Frames that were not ours, by who sent them.
    noise: u64,
    problems: Vec<String>,
}

fn link_address(number: u8) -> [u8; 6] {
    [2, 0xce, 0x11, 0, 0, number]
}

fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    let bytes = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f];
    Ipv6Addr::from(bytes)
}

impl Range {
    /// Makes it, with an agent that enforces.
    pub fn open() -> Self {
        let mut cluster = Cluster::new(Wiring::Bridged, &PODS);
        let stranger = join_stranger(&cluster);
        forward_everything(&cluster);
        for (number, pod) in (0..).zip(cluster.lab.pods()) {
            lead(&cluster, &link_address(number), &pod.host_interface);
        }
        cluster.save_pods();
        cluster.save("rules.yaml", RULES);
        cluster.start();
        let pods: Vec<LabPod> = PODS.map(|name| cluster.pod(name)).to_vec();
        let taps = [0, 1, 2].map(|n: usize| Tap::open(&pods[n].netns).expect("a packet socket in a pod"));
        let addresses = pods.iter().zip(&taps).map(|(pod, tap)| PodAddresses {
            v4: pod.v4,
            v6: pod.v6,
            link_local: link_local(tap.mac),
        });
        let stranger = (
            Tap::open(stranger.name()).expect("a packet socket at the stranger"),
            stranger,
        );
        let world = World {
            pods: addresses.collect(),
            node: vec![GATEWAY_V4.into(), GATEWAY_V6.into(), NODE_V4.into(), NODE_V6.into()],
            guarded: vec![0, 1],
            drops: DROPS.to_vec(),
        };
        let before = quiet(&cluster, &taps);
        Self {
            reference: Reference::new(world.clone()),
            cluster,
            world,
            taps,
            stranger,
            before,
            tally: Tally::default(),
            given: 0,
        }
    }
}

/// A host on the bridge that is no pod.
fn join_stranger(cluster: &Cluster) -> Namespace {
    let node = cluster.netns("node");
    let prefix = node.trim_end_matches("-node");
    let stranger = Namespace::create(&format!("{prefix}-x")).expect("a namespace");
    let host = format!("{prefix}x");
    for command in [
        format!(
            "link add {host} netns {node} type veth peer name eth0 netns {}",
            stranger.name()
        ),
        format!("-n {} link set eth0 up", stranger.name()),
        format!("-n {node} link set {host} master br0 up"),
    ] {
        run("ip", &command);
    }
    stranger
}

/// Where the bridge hands packets to the IP layer's filters, it drops those whose headers are wrong: that is to be the
/// hooks' work here.
fn forward_everything(cluster: &Cluster) {
    for name in ["iptables", "ip6tables", "arptables"] {
        let path = format!("/proc/sys/net/bridge/bridge-nf-call-{name}");
        let done = cluster.lab.node().inside(|| {
            if std::path::Path::new(&path).exists() {
                std::fs::write(&path, "0")
            } else {
                Ok(())
            }
        });
        done.expect("the node's namespace")
            .expect("the bridge's filters can be turned off");
    }
}

/// What is counted at a moment at which no pod's own network stack sends anything.
fn quiet(cluster: &Cluster, taps: &[Tap]) -> Counted {
    let heard = || {
        let all = |tap: &Tap| std::iter::from_fn(|| tap.hear(0).expect("a pod's socket")).count();
        taps.iter().map(all).sum::<usize>()
    };
    let counted = wait_for(Duration::from_secs(10), || {
        heard();
        let counted = Counted::read(cluster);
        (heard() == 0).then_some(counted)
    });
    counted.expect("the pods are quiet for a moment")
}

/// Has the bridge send what is for this link address to this port: nobody has the address, so nobody answers.
fn lead(cluster: &Cluster, mac: &[u8; 6], port: &str) {
    let [a, b, c, d, e, f] = mac;
    let node = cluster.netns("node");
    run(
        "bridge",
        &format!("-n {node} fdb add {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} dev {port} master static"),
    );
}

fn run(program: &str, words: &str) {
    let output = std::process::Command::new(program).args(words.split(' ')).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words}: {said}");
}

impl Range {
    fn places(&self, sender: Sender, receiver: usize) -> Places {
        let (tap, own) = match sender {
            Sender::Pod(number) => (&self.taps[number], self.world.pods[number].clone()),
            Sender::Stranger => (&self.stranger.0, stranger_addresses(self.stranger.0.mac)),
        };
        let number = u8::try_from(receiver).expect("three pods");
        let mut places = Places::new(
            (tap.mac, link_address(number)),
            [&own, &self.world.pods[receiver], &self.world.pods[3 - receiver]],
            (GATEWAY_V4, GATEWAY_V6),
        );
        places.given = self.given;
        places
    }

    /// Sends what `make` makes, from one place to one pod, and watches what arrives.
    pub fn fire(&mut self, sender: Sender, receiver: usize, make: impl FnOnce(&mut Places) -> Vec<Shot>) {
        let mut places = self.places(sender, receiver);
        let shots = make(&mut places);
        assert!(!shots.is_empty(), "a category has frames");
        for batch in shots.chunks(BATCH) {
            let marker = places.marker();
            self.volley(sender, receiver, batch.iter().chain([&marker]));
        }
        self.given = places.given;
    }

    fn volley<'a>(&mut self, sender: Sender, receiver: usize, shots: impl Iterator<Item = &'a Shot>) {
        let mut due: HashMap<&[u8], Vec<&str>> = HashMap::new();
        let mut refused: HashMap<&[u8], String> = HashMap::new();
        for shot in shots {
            let expected = self.reference.judge(sender, receiver, &shot.frame);
            self.tally.take(sender, &expected);
            match &expected {
                Expected::Pass => due.entry(&shot.frame).or_default().push(&shot.name),
                Expected::Refuse(_) | Expected::RefuseThere(_) => {
                    refused.insert(&shot.frame, format!("{}: {expected}", shot.name));
                }
            }
            let tap = match sender {
                Sender::Pod(number) => &self.taps[number],
                Sender::Stranger => &self.stranger.0,
            };
            if let Err(error) = tap.send(&shot.frame) {
                panic!("{} cannot be sent: {error}", shot.name);
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while !due.is_empty() && Instant::now() < deadline {
            let Some(heard) = self.taps[receiver].hear(20).expect("the receiver's socket") else {
                continue;
            };
            if heard.left {
                self.tally.noise += u64::from(!is_ours(&heard.frame));
                continue;
            }
            let frame = heard.frame.as_slice();
            if let Some(names) = due.get_mut(frame) {
                self.tally.seen += 1;
                names.pop();
                if names.is_empty() {
                    due.remove(frame);
                }
            } else if let Some(what) = refused.get(frame) {
                self.tally.problem(format!("ARRIVED {what}: {}", hex(frame)));
            } else if is_ours(frame) {
                self.tally.problem(format!("arrived changed or twice: {}", hex(frame)));
            }
        }
        for (frame, names) in due {
            self.tally
                .problem(format!("did not arrive: {}: {}", names.join(", "), hex(frame)));
        }
    }

    /// Sends packets by the pod's own network stack, cut behind each byte of their segments, so that a transport header
    /// lies partly or wholly outside of the buffer that a program sees.
    pub fn fire_paged(&mut self, receiver: usize) {
        let sender = Sender::Pod(0);
        let mut places = self.places(sender, receiver);
        let netns = self.cluster.netns(PODS[0]);
        let mac = places.destination_mac.map(|byte| format!("{byte:02x}")).join(":");
        for v4 in [true, false] {
            let to = places.ends(v4).1;
            run("ip", &format!("-n {netns} neigh replace {to} lladdr {mac} dev eth0 nud permanent"));
        }
        for (v4, protocol, name, least) in PROTOCOLS {
            let socket = Raw::open(&netns, v4, name).expect("a raw socket in a pod");
            let mut due: HashMap<[u8; 12], String> = HashMap::new();
            let mut refused = due.clone();
            for port in [FREE, REFUSED] {
                let length = places.segment(protocol, port).0.len();
                for first in least..=length - least {
                    let (segment, stamp) = places.segment(protocol, port);
                    let expected = self.reference.judge(sender, receiver, &places.packet(v4, protocol, &segment));
                    self.tally.take(sender, &expected);
                    let name = format!("protocol {protocol} to {port} cut behind {first} bytes: {expected}");
                    match expected {
                        Expected::Pass => due.insert(stamp, name),
                        _ => refused.insert(stamp, name),
                    };
                    let sent = socket.send(places.ends(v4).1, &segment, first);
                    sent.unwrap_or_else(|error| panic!("protocol {protocol} cut behind {first}: {error}"));
                }
            }
            self.stamps(receiver, due, &refused);
        }
        self.given = places.given;
    }

    /// Waits for frames that are known by the stamp in them.
    fn stamps(&mut self, receiver: usize, mut due: HashMap<[u8; 12], String>, refused: &HashMap<[u8; 12], String>) {
        let deadline = Instant::now() + PATIENCE;
        while !due.is_empty() && Instant::now() < deadline {
            let Some(heard) = self.taps[receiver].hear(20).expect("the receiver's socket") else {
                continue;
            };
            let stamp = heard.frame.windows(12).find(|window| window.starts_with(b"cellwall"));
            let stamp = stamp.and_then(|stamp| <[u8; 12]>::try_from(stamp).ok());
            match stamp {
                _ if heard.left => self.tally.noise += u64::from(stamp.is_none()),
                Some(stamp) if due.remove(&stamp).is_some() => self.tally.seen += 1,
                Some(stamp) => {
                    let what = refused.get(&stamp).map_or("twice", String::as_str);
                    self.tally.problem(format!("ARRIVED {what}: {}", hex(&heard.frame)));
                }
                None => {}
            }
        }
        for name in due.into_values() {
            self.tally.problem(format!("did not arrive: {name}"));
        }
    }

    /// A command inside the pod that sends, as its root.
    pub fn inside_sender(&self, command: &str) {
        let netns = self.cluster.netns(PODS[0]);
        let mut words = command.split(' ');
        let program = words.next().expect("a program");
        let output = std::process::Command::new("ip")
            .args(["netns", "exec", &netns, program])
            .args(words)
            .output();
        let output = output.expect("ip runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {said}");
    }

    /// Whether what the agent counted and told is what was sent; prints the totals.
    pub fn close(mut self, title: &str) {
        self.strays();
        self.counters();
        self.records();
        let Tally {
            sent,
            seen,
            refused,
            refusals,
            problems,
            ..
        } = &self.tally;
        let reasons: Vec<String> = refused
            .iter()
            .map(|(name, (_, most))| format!("{name} {most}"))
            .collect();
        println!(
            "{title}: sent {sent} = seen {seen} + refused {refusals} ({})",
            reasons.join(", ")
        );
        assert!(*sent > 0 && *seen > 0, "{title}: nothing was sent, or nothing arrived");
        let shown: Vec<&str> = problems.iter().take(30).map(String::as_str).collect();
        assert!(
            problems.is_empty(),
            "{title}: {} problems:\n{}",
            problems.len(),
            shown.join("\n")
        );
    }

    /// Nothing may arrive late, or anywhere else.
    fn strays(&mut self) {
        for tap in &self.taps {
            while let Some(heard) = tap.hear(0).expect("a pod's socket") {
                if heard.left {
                    self.tally.noise += u64::from(!is_ours(&heard.frame));
                } else if is_ours(&heard.frame) {
                    self.tally
                        .problem(format!("arrived late or astray: {}", hex(&heard.frame)));
                }
            }
        }
    }

    fn counters(&mut self) {
        let agree = wait_for(Duration::from_secs(3), || {
            self.strays();
            let counted = Counted::read(&self.cluster).since(&self.before);
            self.tally.differs(&counted).is_none().then_some(())
        });
        if agree.is_none() {
            let counted = Counted::read(&self.cluster).since(&self.before);
            let differs = self.tally.differs(&counted).unwrap_or_default();
            self.tally.problem(format!("counters: {differs}: {counted:?}"));
        }
    }

    /// Every refusal is in the flow log, folded or not.
    fn records(&mut self) {
        let mut log = BufReader::new(File::open(self.cluster.flow_log()).expect("the flow log"));
        let (mut found, wanted) = (0, self.tally.refusals);
        let mut line = String::new();
        let told = wait_for(Duration::from_secs(10), || {
            // What is not a whole line yet stays in `line` and is gone on with.
            while log.read_line(&mut line).expect("the flow log can be read") > 0 && line.ends_with('\n') {
                if line.contains("\"applied\":\"Drop\"") {
                    let record: Value = serde_json::from_str(&line).expect("a record a line");
                    found += record["attempts"].as_u64().expect("attempts");
                }
                line.clear();
            }
            (found >= wanted).then_some(())
        });
        if told.is_none() || found > wanted {
            self.tally.problem(format!("{wanted} refusals, {found} of them in the flow log"));
        }
    }
}

fn stranger_addresses(mac: [u8; 6]) -> PodAddresses {
    PodAddresses {
        v4: std::net::Ipv4Addr::new(192, 0, 2, 200),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x200),
        link_local: link_local(mac),
    }
}

fn is_ours(frame: &[u8]) -> bool {
    frame.starts_with(&link_address(0)[..5]) || frame.windows(8).any(|window| window == b"cellwall")
}

fn hex(frame: &[u8]) -> String {
    let shown: Vec<String> = frame.iter().take(120).map(|byte| format!("{byte:02x}")).collect();
    format!("{} bytes {}", frame.len(), shown.concat())
}

impl Tally {
    fn take(&mut self, sender: Sender, expected: &Expected) {
        self.sent += 1;
        let from_pod = matches!(sender, Sender::Pod(_));
        match expected {
            Expected::Pass => self.from_pod += u64::from(from_pod),
            Expected::Refuse(reasons) | Expected::RefuseThere(reasons) => {
                self.from_pod += u64::from(matches!(expected, Expected::RefuseThere(_)));
                self.refusals += 1;
                for reason in reasons {
                    let bounds = self.refused.entry(reason.as_str()).or_default();
                    bounds.0 += u64::from(reasons.len() == 1);
                    bounds.1 += 1;
                }
            }
        }
    }

    fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// In what the counters differ from what was sent.
    fn differs(&self, counted: &Counted) -> Option<String> {
        let dropped = counted.dropped();
        for (reason, packets) in &dropped {
            let (least, most) = self.refused.get(reason).copied().unwrap_or((0, 0));
            if !(least..=most).contains(packets) {
                return Some(format!("{packets} {reason}, not {least} to {most}"));
            }
        }
        let total: u64 = dropped.values().sum();
        if total != self.refusals {
            return Some(format!("{total} refused, not {}", self.refusals));
        }
        let (passed, due) = (counted.passed("FROM_POD"), self.from_pod + self.noise);
        (passed != due).then(|| format!("{passed} passed from pods, not {due} ({} of them noise)", self.noise))
    }
}
