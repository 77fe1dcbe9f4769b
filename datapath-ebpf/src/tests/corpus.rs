//! The corpus of frames, each held against the second opinion that shares no code with the packet path: the same three
//! pods and the same rule as on the range, where the kernel is asked.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::format;
use std::string::String;
use std::vec::Vec;

use cellwall_datapath_common::policy::{PEER_PLAIN, class};
use cellwall_datapath_common::record::REASONS;
use cellwall_datapath_common::{Cell, EndpointRecord};
use cellwall_frames::reference::PodAddresses;
use cellwall_frames::{DROPS, Expected, Places, Reason, Reference, Sender, Shot, World};

use super::frames::{word4, words6};
use super::world::{BRIDGE, DROP, NODE, PASS, UPLINK};
use crate::memory::{Frame, Memory, Shared};
use crate::path;
use crate::verdict::reason;

const NODE_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const NODE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2);

/// Addresses and link address of pod `number`, or of the stranger, who is number 3.
fn addresses(number: u8) -> (PodAddresses, [u8; 6]) {
    let pod = PodAddresses {
        v4: Ipv4Addr::new(192, 0, 2, 10 + number),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10 + u16::from(number)),
        link_local: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, number.into()),
    };
    (pod, [2, 0, 0, 0, 0, number])
}

fn interface(pod: usize) -> u32 {
    11 + u32::try_from(pod).unwrap()
}

/// The node of the range.
struct Range {
    memory: Shared,
    reference: Reference,
    given: u32,
    frames: usize,
    refused: usize,
}

impl Range {
    fn open() -> Self {
        let mut memory = Memory {
            // A second after the interfaces were attached.
            now: 1_000_000_000,
            ..Memory::default()
        };
        let refusing = refusing(&mut memory);
        for number in 0..3_u8 {
            let (pod, mac) = addresses(number);
            let (egress, ingress) = (u32::from(number) * 2 + 1, u32::from(number) * 2 + 2);
            let ifindex = interface(number.into());
            memory.endpoint(
                number.into(),
                &EndpointRecord {
                    attached: 0,
                    ifindex,
                    master: BRIDGE,
                    egress,
                    ingress,
                    flags: 0,
                    v4: word4(pod.v4.octets()),
                    v6: pod.v6.octets(),
                    v6_link: pod.link_local.octets(),
                    mac,
                    pad: [0; 2],
                },
            );
            let peer = class::LOCAL_POD << 28 | u32::from(number);
            memory.address4(word4(pod.v4.octets()), peer, 0, ifindex);
            memory.address6(words6(pod.v6.octets()), peer, 0, ifindex);
            memory.address6(words6(pod.link_local.octets()), peer, 0, ifindex);
            // The first two are guarded.
            let into = if number < 2 { refusing } else { [PASS.0; 6] };
            for class in 0..=10 {
                memory.policy(egress, class << 28 | PEER_PLAIN, [PASS.0; 6], 1);
                memory.policy(ingress, class << 28 | PEER_PLAIN, into, 1);
            }
            for guarded in 0..2 {
                memory.policy(egress, class::LOCAL_POD << 28 | guarded, refusing, 1);
            }
        }
        memory.address4(word4(NODE_V4.octets()), NODE, 0, 0);
        memory.address6(words6(NODE_V6.octets()), NODE, 0, 0);
        let world = World {
            pods: (0..3).map(|number| addresses(number).0).collect(),
            node: std::vec![NODE_V4.into(), NODE_V6.into()],
            guarded: std::vec![0, 1],
            drops: DROPS.to_vec(),
        };
        Self {
            memory: memory.share(),
            reference: Reference::new(world),
            given: 0,
            frames: 0,
            refused: 0,
        }
    }

    /// Sends a category, and holds what became of each frame against the second opinion.
    fn fire(&mut self, sender: Sender, receiver: u8, make: impl FnOnce(&mut Places) -> Vec<Shot>) {
        let number = match sender {
            Sender::Pod(pod) => u8::try_from(pod).unwrap(),
            Sender::Stranger => 3,
        };
        let (own, mac) = addresses(number);
        let (to, to_mac) = addresses(receiver);
        let (third, _) = addresses(3 - receiver);
        let mut places = Places::new((mac, to_mac), [&own, &to, &third], (NODE_V4, NODE_V6));
        places.given = self.given;
        for Shot { name, frame } in make(&mut places) {
            let expected = self.reference.judge(sender, receiver.into(), &frame);
            let found = self.send(sender, receiver.into(), &frame);
            assert!(
                agrees(found, &expected),
                "{name}: the rules say {expected}, the packet path {found:?}: {frame:02x?}"
            );
            self.frames += 1;
            self.refused += usize::from(found.is_err());
        }
        self.given = places.given;
    }

    /// Whether the frame arrives; if not, whether it was refused at the receiver only, and the reason's number.
    fn send(&self, sender: Sender, receiver: usize, frame: &[u8]) -> Result<(), (bool, u32)> {
        // Each frame opens whatever it opens: the second opinion knows no flows.
        self.memory.0.borrow_mut().forget_flows();
        let mut ingress = UPLINK;
        if let Sender::Pod(pod) = sender {
            ingress = interface(pod);
            self.run(frame, ingress, 0).map_err(|reason| (false, reason))?;
        }
        let there = sender != Sender::Stranger;
        self.run(frame, interface(receiver), ingress)
            .map_err(|reason| (there, reason))
    }

    /// Runs it at one hook: from-pod where it came in by no interface.
    fn run(&self, bytes: &[u8], ifindex: u32, ingress: u32) -> Result<(), u32> {
        self.memory.0.borrow_mut().reason_counters.clear();
        let frame = Frame {
            bytes,
            ifindex,
            ingress,
            tagged: false,
            segmented: false,
        };
        let passed = if ingress == 0 {
            path::from_pod(self.memory, frame)
        } else {
            path::to_pod(self.memory, frame)
        };
        if passed {
            return Ok(());
        }
        let memory = self.memory.0.borrow();
        Err(memory
            .reason_counters
            .keys()
            .next()
            .map_or(u32::MAX, |index| index % REASONS))
    }
}

fn agrees(found: Result<(), (bool, u32)>, expected: &Expected) -> bool {
    match (found, expected) {
        (Ok(()), Expected::Pass) => true,
        (Err((false, number)), Expected::Refuse(reasons)) | (Err((true, number)), Expected::RefuseThere(reasons)) => {
            reasons.iter().any(|reason| number_of(*reason) == number)
        }
        _ => false,
    }
}

fn number_of(name: Reason) -> u32 {
    match name {
        Reason::Rule => reason::RULE,
        Reason::NotIp => reason::NOT_IP,
        Reason::Vlan => reason::VLAN,
        Reason::Malformed => reason::MALFORMED,
        Reason::ExtensionChain => reason::EXTENSION_CHAIN,
        Reason::Fragment => reason::FRAGMENT,
        Reason::Spoofed => reason::SPOOFED,
        Reason::Loopback => reason::LOOPBACK,
        Reason::Router => reason::ROUTER,
        Reason::Tunnel => reason::TUNNEL,
    }
}

/// A table that drops what the range's rule drops, by protocol.
fn refusing(memory: &mut Memory) -> [u32; 6] {
    fn list(memory: &mut Memory, dropped: &[u32]) -> u32 {
        let mut spans: Vec<(u32, Cell)> = std::vec![(0, PASS)];
        for number in dropped {
            spans.extend([(*number, DROP), (number + 1, PASS)]);
        }
        memory.list(&spans)
    }
    let ports = list(memory, &[9]);
    let icmp = list(memory, &[13]);
    let icmpv6 = list(memory, &[135, 139]);
    let others = list(memory, &[2, 50]);
    [ports, ports, ports, icmp, icmpv6, others]
}

/// Sends categories from a pod to the guarded pod and to the one that is not, and from a host that is no pod.
fn everywhere(categories: &[fn(&mut Places) -> Vec<Shot>]) {
    let mut range = Range::open();
    for category in categories {
        range.fire(Sender::Pod(0), 1, category);
        range.fire(Sender::Pod(0), 2, category);
        range.fire(Sender::Stranger, 1, category);
    }
    let told: String = format!("{} of {} frames refused", range.refused, range.frames);
    assert!(range.frames > 0 && range.refused > 0, "{told}");
}

#[test]
fn envelopes_and_tags_are_read_as_the_second_opinion_reads_them() {
    everywhere(&[Places::tags, Places::envelopes]);
}

#[test]
fn headers_options_and_lengths_are_read_as_the_second_opinion_reads_them() {
    everywhere(&[Places::options, Places::header_lengths, Places::lengths, Places::cuts]);
}

#[test]
fn chains_are_walked_as_the_second_opinion_walks_them() {
    everywhere(&[Places::chains, Places::cut_chains]);
}

#[test]
fn fragments_are_judged_as_by_the_second_opinion() {
    everywhere(&[
        Places::trains,
        Places::interleaved,
        Places::oddities,
        Places::tiny,
        Places::overlapping,
    ]);
}

#[test]
fn frames_changed_by_chance_are_read_as_the_second_opinion_reads_them() {
    everywhere(&[Places::changed]);
}

#[test]
fn protocols_types_and_flags_are_judged_as_by_the_second_opinion() {
    everywhere(&[Places::protocols, Places::types, Places::flags, Places::tunnels]);
}

#[test]
fn routers_neighbours_and_groups_are_judged_as_by_the_second_opinion() {
    everywhere(&[Places::routers, Places::arps, Places::neighbours, Places::groups]);
}

#[test]
fn forged_and_loopback_addresses_are_refused_as_by_the_second_opinion() {
    everywhere(&[Places::sources, Places::loopback]);
}

#[test]
fn nobody_joins_a_train_of_fragments_in_a_pods_name() {
    let mut range = Range::open();
    let third = addresses(2).0.v4;
    range.fire(Sender::Pod(2), 1, |places| places.train_of_another(7, third, false));
    range.fire(Sender::Stranger, 1, |places| places.train_of_another(7, third, true));
    range.fire(Sender::Pod(0), 1, |places| places.train_of_another(7, third, true));
    range.fire(Sender::Pod(2), 1, |places| places.train_of_another(7, third, true));
    assert!(range.refused > 0);
}
