//! What from-pod has judged, to-pod lets through; and nothing else for a number that a packet bears.

use core::cell::Cell;
use std::vec::Vec;

use cellwall_datapath_common::switches;

use super::frames::*;
use super::world::*;
use crate::memory::Frame;
use crate::packet::Packet;
use crate::path;
use crate::tables::Tables as _;

/// A frame with a number that stays with it from hook to hook.
#[derive(Clone, Copy)]
struct Numbered<'a> {
    frame: Frame<'a>,
    tag: &'a Cell<u32>,
}

impl Packet for Numbered<'_> {
    fn bytes(self) -> u32 {
        self.frame.bytes()
    }
    fn is_tagged(self) -> bool {
        self.frame.is_tagged()
    }
    fn ethertype(self) -> u16 {
        self.frame.ethertype()
    }
    fn ifindex(self) -> u32 {
        self.frame.ifindex()
    }
    fn ingress_ifindex(self) -> u32 {
        self.frame.ingress_ifindex()
    }
    fn is_segmented(self) -> bool {
        self.frame.is_segmented()
    }
    fn tag(self) -> u32 {
        self.tag.get()
    }
    fn set_tag(self, tag: u32) {
        self.tag.set(tag);
    }
    fn fixed<const AT: usize, const N: usize>(self) -> Option<[u32; N]> {
        self.frame.fixed::<AT, N>()
    }
    fn words<const N: usize>(self, at: u32) -> Option<[u32; N]> {
        self.frame.words(at)
    }
    fn byte(self, at: u32) -> Option<u8> {
        self.frame.byte(at)
    }
    fn forget(self, number: u32) -> u32 {
        number
    }
}

fn numbered<'a>(bytes: &'a [u8], ifindex: u32, ingress: u32, tag: &'a Cell<u32>) -> Numbered<'a> {
    let frame = Frame {
        bytes,
        ifindex,
        ingress,
        tagged: false,
        segmented: false,
    };
    Numbered { frame, tag }
}

/// A packet that A sends, with whatever number A gave it. Answers the number it bears afterwards.
fn sent(world: &World, bytes: &[u8], forged: u32) -> u32 {
    let tag = Cell::new(forged);
    assert!(path::from_pod(world.0, numbered(bytes, IF_A, 0, &tag)));
    tag.get()
}

/// A packet with this number on its way to an interface.
fn reaches(world: &World, bytes: &[u8], ifindex: u32, tag: u32) -> bool {
    path::to_pod(world.0, numbered(bytes, ifindex, IF_A, &Cell::new(tag)))
}

fn udp6(source: [u8; 16], destination: [u8; 16], ports: (u16, u16)) -> Vec<u8> {
    ip6(source, destination, 17, &udp(ports.0, ports.1, b"data"))
}

fn frames() -> Vec<Vec<u8>> {
    std::vec![
        udp4(V4_A, V4_B, (1000, 53)),
        tcp4(V4_A, V4_B, (40_000, 80), SYN),
        udp6(V6_A, V6_B, (1000, 53)),
    ]
}

/// As if from-pod had not judged it: the flow is gone, and only then does a verdict show who looked.
fn forget_flow(world: &World) {
    world.set(crate::memory::Memory::forget_flows);
    world.rule(INGRESS_B, LOCAL_A, DROP);
}

#[test]
fn what_from_pod_let_through_needs_no_second_look() {
    for frame in frames() {
        let world = World::new();
        let tag = sent(&world, &frame, 0);
        assert_ne!(tag, 0);
        forget_flow(&world);
        assert!(reaches(&world, &frame, IF_B, tag));
        assert_eq!(world.counted(), 1, "at from-pod alone");
        assert!(!reaches(&world, &frame, IF_B, tag), "a note is good for one packet");
    }
}

#[test]
fn case_27_a_number_without_a_note_is_judged() {
    for frame in frames() {
        let world = World::new();
        world.rule(INGRESS_B, LOCAL_A, DROP);
        for tag in 0..=0xffff {
            assert!(!reaches(&world, &frame, IF_B, tag), "{tag}");
        }
    }
}

#[test]
fn case_27_from_pod_writes_over_the_number_that_a_pod_gave() {
    let world = World::new();
    let frame = udp4(V4_A, V4_B, (1000, 53));
    for forged in [1, 2, 3, 0xffff] {
        assert_ne!(sent(&world, &frame, forged), 0xffff);
    }
    let outside = udp4(V4_A, V4_OUT, (1000, 53));
    assert_eq!(sent(&world, &outside, 7), 0, "what leaves the node bears none");
    world.switches(switches::OFF);
    assert_eq!(sent(&world, &frame, 7), 0, "nor what nobody judged");
}

#[test]
fn case_27_a_note_does_not_survive_translation() {
    for (frame, others) in [
        (
            udp4(V4_A, V4_B, (1000, 53)),
            [
                udp4(V4_A, V4_B, (1000, 54)),
                udp4(V4_A, V4_B, (1001, 53)),
                udp4(V4_OUT, V4_B, (1000, 53)),
                udp4(V4_A, V4_OUT, (1000, 53)),
                tcp4(V4_A, V4_B, (1000, 53), SYN),
            ],
        ),
        (
            udp6(V6_A, V6_B, (1000, 53)),
            [
                udp6(V6_A, V6_B, (1000, 54)),
                udp6(V6_A, V6_B, (1001, 53)),
                udp6(V6_OUT, V6_B, (1000, 53)),
                udp6(V6_A, V6_OUT, (1000, 53)),
                udp4(V4_A, V4_B, (1000, 53)),
            ],
        ),
    ] {
        for other in others {
            let world = World::new();
            let tag = sent(&world, &frame, 0);
            forget_flow(&world);
            for peer in [WORLD, LOCAL_B] {
                world.rule(INGRESS_B, peer, DROP);
            }
            assert!(!reaches(&world, &other, IF_B, tag));
        }
    }
}

#[test]
fn case_31_a_note_is_for_one_interface_and_one_generation() {
    let frame = udp4(V4_A, V4_B, (1000, 53));
    let world = World::new();
    let tag = sent(&world, &frame, 0);
    forget_flow(&world);
    world.rule(INGRESS_A, LOCAL_A, DROP);
    assert!(!reaches(&world, &frame, IF_A, tag), "another interface");
    let tag = sent(&world, &frame, 0);
    forget_flow(&world);
    world.flip();
    assert!(!reaches(&world, &frame, IF_B, tag), "another generation");
}

#[test]
fn notes_are_kept_for_as_many_packets_as_the_kernel_takes_at_once() {
    let world = World::new();
    let frames: Vec<_> = (0..8).map(|port| udp4(V4_A, V4_B, (1000 + port, 53))).collect();
    let tags: Vec<u32> = frames.iter().map(|frame| sent(&world, frame, 0)).collect();
    forget_flow(&world);
    for (frame, tag) in frames.iter().zip(tags) {
        assert!(reaches(&world, frame, IF_B, tag));
    }
}

#[test]
fn fragments_and_packets_with_options_take_the_long_way() {
    let world = World::new();
    let fragment = ip4_with(
        V4_A,
        V4_B,
        17,
        &[],
        1,
        0x2000,
        &[3, 232, 0, 53, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    let options = ip4_with(V4_A, V4_B, 17, &[1, 1, 1, 0], 1, 0, &[3, 232, 0, 53, 0, 8, 0, 0]);
    for frame in [fragment, options] {
        assert_eq!(sent(&world, &frame, 9), 0);
    }
}

#[test]
fn what_bears_no_number_is_judged_whatever_was_noted() {
    for frame in frames() {
        let world = World::new();
        // The first of all numbers: none is not that one.
        world.0.scratch().unwrap().passed_last = 0;
        assert!(world.from_a(&frame));
        forget_flow(&world);
        assert!(!world.to(IF_B, IF_A, &frame));
    }
}

#[test]
fn a_note_is_for_no_packet_with_options_for_no_fragment_and_for_no_other_kind_of_frame() {
    // Where a plain packet has its ports, these have the same four bytes.
    let ports = (0x0101, 0x0100);
    let sent4 = udp4(V4_A, V4_B, ports);
    let options = ip4_with(V4_A, V4_B, 17, &[1, 1, 1, 0], 0, 0, &udp(ports.0, ports.1, b"data"));
    let first = ip4_with(V4_A, V4_B, 17, &[], 0, 0x2000, &udp(ports.0, ports.1, b"data"));
    let later = ip4_with(V4_A, V4_B, 17, &[], 0, 1, &udp(ports.0, ports.1, b"data"));
    let sent6 = udp6(V6_A, V6_B, ports);
    let typed = |frame: &[u8], high: u8, low: u8| {
        let mut other = frame.to_vec();
        (other[12], other[13]) = (high, low);
        other
    };
    let version = |frame: &[u8], first: u8| {
        let mut other = frame.to_vec();
        other[14] = first;
        other
    };
    let as_arp = typed(&sent4, 8, 6);
    let as_6 = typed(&sent4, 0x86, 0xdd);
    let as_4 = typed(&sent6, 8, 0);
    let (fives, sevens) = (version(&sent4, 0x55), version(&sent6, 0x70));
    for (sent_frame, others) in [
        (&sent4, std::vec![options, first, later, as_arp, as_6, fives]),
        (&sent6, std::vec![as_4, sevens]),
    ] {
        for other in others {
            let world = World::new();
            let tag = sent(&world, sent_frame, 0);
            forget_flow(&world);
            assert!(!reaches(&world, &other, IF_B, tag), "{other:x?}");
            assert!(reaches(&world, sent_frame, IF_B, tag), "the note waits for its packet");
        }
    }
}

#[test]
fn only_from_pod_gives_numbers_and_none_to_answers_that_are_to_be_translated_back() {
    let world = World::new();
    let (there, back) = (udp4(V4_A, V4_B, (1000, 53)), udp4(V4_B, V4_A, (53, 1000)));
    // What from-pod saw under a Service's address: to-pod is the first to see it as it is.
    let tag = Cell::new(0);
    assert!(path::to_pod(world.0, numbered(&there, IF_B, IF_A, &tag)));
    assert_eq!(tag.get(), 0);
    for _ in 0..2 {
        assert!(path::from_pod(world.0, numbered(&back, IF_B, 0, &tag)));
        assert_eq!(tag.get(), 0, "as it is now, A will never see it");
    }
    // A flow that from-pod opened, met at to-pod without a note: judged, and noted no further.
    let world = World::new();
    assert_ne!(sent(&world, &there, 0), 0);
    for _ in 0..2 {
        assert!(path::to_pod(world.0, numbered(&there, IF_B, IF_A, &tag)));
        assert_eq!(tag.get(), 0);
    }
}

#[test]
fn what_is_judged_again_with_its_flow_is_noted_for_where_it_leads() {
    for frame in frames() {
        let world = World::new();
        sent(&world, &frame, 0);
        world.flip();
        let tag = sent(&world, &frame, 0);
        forget_flow(&world);
        assert!(reaches(&world, &frame, IF_B, tag));
    }
    let world = World::new();
    let outside = udp4(V4_A, V4_OUT, (1000, 53));
    assert_eq!(sent(&world, &outside, 0), 0);
    world.flip();
    assert_eq!(sent(&world, &outside, 0), 0, "what leaves the node bears none");
}
