//! The range: three pods and a stranger on one bridge, which forwards whatever comes, so that a frame that does not
//! arrive was refused by the hooks and by nobody else.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use cellwall_controller::lab::{GATEWAY_V4, GATEWAY_V6, LabPod, NODE_V4, NODE_V6, Namespace, Wiring};
use cellwall_frames::DROPS;
use serde_json::Value;

use super::corpus::{Places, Shot};
use super::make;
use super::reference::{Expected, PodAddresses, Reference, Sender, World};
use super::tally::Tally;
use super::tap::Tap;
use super::totals::Counted;
use super::wiring::{RULES, forward_everything, join_stranger, lead, link_address, link_local, stranger_addresses};
use crate::{Cluster, patience, wait_for};

/// Frames between two looks at what arrived.
const BATCH: usize = 200;
/// How long a frame may be on its way.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// The sending pod, and the two that receive: the second is guarded by a rule, the third is not.
pub(super) const PODS: [&str; 3] = ["a", "b", "c"];

/// The range.
pub struct Range {
    pub(super) cluster: Cluster,
    pub(super) world: World,
    pub(super) reference: Reference,
    pub(super) taps: [Tap; 3],
    stranger: (Tap, Namespace),
    before: Counted,
    pub(super) tally: Tally,
    pub(super) given: u32,
}

impl Range {
    /// Makes it, with an agent that enforces.
    pub fn open() -> Self {
        Self::under(RULES)
    }

    /// The same under other rules, for questions about single frames ([`Range::arrives`]): the second opinion does not
    /// know them.
    pub fn under(rules: &str) -> Self {
        let mut cluster = Cluster::new(Wiring::Bridged, &PODS);
        let stranger = join_stranger(&cluster);
        forward_everything(&cluster);
        for (number, pod) in (0..).zip(cluster.lab.pods()) {
            lead(&cluster, link_address(number), &pod.host_interface);
        }
        cluster.save_pods();
        cluster.save("rules.yaml", rules);
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

impl Range {
    /// IPv4 address of a pod.
    pub fn address(&self, pod: usize) -> Ipv4Addr {
        self.world.pods[pod].v4
    }

    pub(super) fn places(&self, sender: Sender, receiver: usize) -> Places {
        let (tap, own) = match sender {
            Sender::Pod(number) => (&self.taps[number], self.world.pods[number].clone()),
            Sender::Stranger => (&self.stranger.0, stranger_addresses(self.stranger.0.mac)),
        };
        let number = u8::try_from(receiver).expect("three pods");
        let mut places = Places::new(
            (tap.mac, link_address(number)),
            [
                &own,
                &self.world.pods[receiver],
                &self.world.pods[if receiver == 2 { 1 } else { 2 }],
            ],
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

    /// The agent and the pods.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// A frame from a place to a pod, which leads there whatever the packet in it says.
    pub fn frame(&self, sender: Sender, receiver: usize, packet: &[u8]) -> Vec<u8> {
        let ethertype = if packet[0] >> 4 == 4 { make::IPV4 } else { make::IPV6 };
        self.places(sender, receiver).frame(ethertype, packet)
    }

    /// Whether this packet arrives at a pod. A datagram that no rule refuses is sent after it, on the same way:
    /// what has not arrived when that does, never will.
    pub fn arrives(&mut self, sender: Sender, receiver: usize, packet: &[u8]) -> bool {
        let frame = self.frame(sender, receiver, packet);
        let mut places = self.places(sender, receiver);
        let marker = places.marker().frame;
        self.given = places.given;
        let tap = match sender {
            Sender::Pod(number) => &self.taps[number],
            Sender::Stranger => &self.stranger.0,
        };
        for frame in [&frame, &marker] {
            tap.send(frame).expect("a frame leaves");
        }
        let (mut arrived, deadline) = (false, Instant::now() + patience(PATIENCE));
        while Instant::now() < deadline {
            match self.taps[receiver].hear(20).expect("the receiver's socket") {
                Some(heard) if heard.left => {}
                Some(heard) if heard.frame == marker => return arrived,
                Some(heard) => arrived |= heard.frame == frame,
                None => {}
            }
        }
        panic!("the marker behind {} did not arrive", hex(&frame));
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

    /// Prints the totals, and answers in what the agent's counters and records differ from what was sent, and what
    /// arrived that should not have or the other way round.
    pub fn close(mut self, title: &str) -> Vec<String> {
        self.strays();
        self.counters();
        self.records();
        let tally = self.tally;
        println!("{title}: {tally}");
        if !tally.problems.is_empty() {
            eprintln!("{title}: the agent's log:\n{}", self.cluster.log());
        }
        tally.problems
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
            self.tally
                .problem(format!("{wanted} refusals, {found} of them in the flow log"));
        }
    }
}

pub(super) fn is_ours(frame: &[u8]) -> bool {
    frame.starts_with(&link_address(0)[..5]) || frame.windows(8).any(|window| window == b"cellwall")
}

pub(super) fn hex(frame: &[u8]) -> String {
    let shown: Vec<String> = frame.iter().take(120).map(|byte| format!("{byte:02x}")).collect();
    format!("{} bytes {}", frame.len(), shown.concat())
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
