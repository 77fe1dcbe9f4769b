//! What is malformed, forged or not IP, whatever the rules say.

use std::vec;
use std::vec::Vec;

use cellwall_datapath_common::{hook, switches};

use super::frames::*;
use super::world::*;
use crate::memory::Frame;
use crate::path;
use crate::verdict::{passing, reason};

#[track_caller]
fn refused(world: &World, frame: &[u8], reason: u32) {
    assert!(!world.from_a(frame), "{frame:02x?} passed");
    assert_eq!(world.refusal(), reason, "{frame:02x?}");
}

#[test]
fn case_08_frames_that_are_not_ip_are_refused() {
    let world = World::new();
    for ethertype in [0x0026, 0x05dc, 0x88b7, 0x8847, 0x8863, 0x88cc] {
        refused(&world, &ethernet(ethertype, &[0; 46]), reason::NOT_IP);
    }
}

#[test]
fn case_01_tagged_frames_are_refused_whoever_took_the_tag_off() {
    let world = World::new();
    for tag in [0x8100, 0x88a8, 0x9100] {
        refused(&world, &ethernet(tag, &[0; 46]), reason::VLAN);
    }
    let bytes = udp4(V4_A, V4_OUT, (1000, 53));
    let frame = Frame {
        bytes: &bytes,
        ifindex: IF_A,
        ingress: 0,
        tagged: true,
        segmented: false,
    };
    assert!(!path::from_pod(world.0, frame));
    assert_eq!(world.refusal(), reason::VLAN);
    assert!(!path::to_pod(world.0, frame));
    assert_eq!(world.refusal(), reason::VLAN);
}

#[test]
fn case_03_every_header_length_is_used_and_checked() {
    let world = World::new();
    for length in 0..16_u8 {
        let options = vec![1; usize::from(length.saturating_sub(5)) * 4];
        let mut frame = ip4_with(V4_A, V4_OUT, 17, &options, 0, 0, &udp(1000, 53, b"x"));
        frame[14] = 0x40 | length;
        if length < 5 {
            refused(&world, &frame, reason::MALFORMED);
        } else {
            assert!(world.from_a(&frame), "IHL {length}");
        }
    }
    let key = world.0.0.borrow().opening4.len();
    assert_eq!(key, 1, "the ports were read behind the options each time");
    let mut beyond = udp4(V4_A, V4_OUT, (1, 2));
    beyond[14] = 0x4f;
    refused(&world, &beyond, reason::MALFORMED);
}

#[test]
fn source_routes_and_options_that_lie_are_refused_others_pass() {
    let world = World::new();
    let with = |options: &[u8]| ip4_with(V4_A, V4_OUT, 17, options, 0, 0, &udp(1000, 53, b"x"));
    for route in [131, 137] {
        refused(&world, &with(&[route, 3, 4, 0]), reason::MALFORMED);
        refused(&world, &with(&[1, 1, 1, 1, 1, route, 3, 4]), reason::MALFORMED);
        assert!(world.from_a(&with(&[0, route, 3, 4])), "behind the end of the list");
    }
    for lie in [[7, 0, 0, 0], [7, 1, 0, 0], [7, 5, 0, 0], [1, 1, 1, 7]] {
        refused(&world, &with(&lie), reason::MALFORMED);
    }
    assert!(world.from_a(&with(&[7, 3, 4, 0])));
    assert!(world.from_a(&with(&[148, 4, 0, 0])));
}

#[test]
fn case_09_lengths_that_lie_are_refused() {
    let world = World::new();
    let good = udp4(V4_A, V4_OUT, (1000, 53));
    let edit = |at: usize, value: u16| {
        let mut frame = good.clone();
        frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
        frame
    };
    let total = u16::try_from(good.len() - 14).unwrap();
    for (at, value) in [
        (16, 0),
        (16, 19),
        (16, total + 1),
        (38, 0),
        (38, 7),
        (38, 13),
        (38, 65_535),
    ] {
        refused(&world, &edit(at, value), reason::MALFORMED);
    }
    assert!(world.from_a(&edit(38, 8)), "bytes behind the datagram are none of ours");
    for end in 16..good.len() {
        assert!(!world.from_a(&good[..end]), "cut at {end}");
    }
    let mut padded = good.clone();
    padded.extend([0; 20]);
    assert!(world.from_a(&padded));
}

#[test]
fn case_34_all_flag_sets_of_tcp_open_nothing_unless_they_are_a_syn() {
    for flags in 0..64_u8 {
        let world = World::new();
        let passes = world.from_a(&tcp4(V4_A, V4_OUT, (40_000, 80), flags));
        let insane = flags == 0 || flags & SYN != 0 && flags & (FIN | RST) != 0;
        assert_eq!(passes, !insane, "{flags:06b}");
        if insane {
            assert_eq!(world.refusal(), reason::MALFORMED);
        }
        // Whatever is no SYN enters as one in mid-stream at most, and a RST not at all.
        let expected = usize::from(!insane && flags & RST == 0);
        assert_eq!(world.0.0.borrow().opening4.len(), expected, "{flags:06b}");
    }
}

#[test]
fn tcp_headers_end_within_the_packet() {
    let world = World::new();
    for offset in 0..16_u8 {
        let mut segment = tcp(1, 2, SYN);
        segment[12] = offset << 4;
        let passes = world.from_a(&ip4(V4_A, V4_OUT, 6, &segment));
        assert_eq!(passes, offset == 5, "data offset {offset}");
        world.records();
    }
    for length in 0..20 {
        let segment = &tcp(1, 2, SYN)[..length];
        refused(&world, &ip4(V4_A, V4_OUT, 6, segment), reason::MALFORMED);
    }
    for length in 0..8 {
        refused(
            &world,
            &ip4(V4_A, V4_OUT, 1, &icmp(8, 1, &[])[..length]),
            reason::MALFORMED,
        );
        refused(
            &world,
            &ip4(V4_A, V4_OUT, 17, &udp(1, 2, &[])[..length]),
            reason::MALFORMED,
        );
    }
    for length in 0..12 {
        refused(&world, &ip4(V4_A, V4_OUT, 132, &[0; 12][..length]), reason::MALFORMED);
    }
}

/// A chain of extension headers before a UDP datagram, and the first next header.
fn chain(kinds: &[u8]) -> (u8, Vec<u8>) {
    let mut bytes = Vec::new();
    for (index, kind) in kinds.iter().enumerate() {
        let next = kinds.get(index + 1).copied().unwrap_or(17);
        match kind {
            // Authentication: (4 + 2) * 4 bytes.
            51 => bytes.extend([&[next, 4][..], &[0; 22]].concat()),
            44 => bytes.extend([next, 0, 0, 0, 0, 0, 0, 7]),
            _ => bytes.extend([&[next, 1][..], &[0; 14]].concat()),
        }
    }
    bytes.extend(udp(1000, 53, b"x"));
    (kinds.first().copied().unwrap_or(17), bytes)
}

#[test]
fn case_04_chains_are_walked_to_eight_headers_and_no_further() {
    let world = World::new();
    for depth in 0..=10 {
        for kind in [60, 43, 51] {
            let (next, bytes) = chain(&vec![kind; depth]);
            let passes = world.from_a(&ip6(V6_A, V6_OUT, next, &bytes));
            assert_eq!(passes, depth <= 8, "{depth} of {kind}");
        }
    }
    assert_eq!(world.0.0.borrow().opening6.len(), 1, "the same ports each time");
    world.records();
    let (next, bytes) = chain(&[0, 60, 43, 44, 51, 60]);
    assert!(world.from_a(&ip6(V6_A, V6_OUT, next, &bytes)));
    for wrong in [&[60, 0][..], &[0, 0], &[44, 44], &[44, 60, 44]] {
        let (next, bytes) = chain(wrong);
        refused(&world, &ip6(V6_A, V6_OUT, next, &bytes), reason::EXTENSION_CHAIN);
    }
    let (next, bytes) = chain(&[60, 43]);
    for end in 0..32 {
        refused(&world, &ip6(V6_A, V6_OUT, next, &bytes[..end]), reason::EXTENSION_CHAIN);
    }
}

#[test]
fn routing_headers_with_segments_left_go_elsewhere_and_are_refused() {
    let world = World::new();
    for kind in [0, 2, 3, 4, 253] {
        let (next, mut bytes) = chain(&[43]);
        bytes[2] = kind;
        assert!(world.from_a(&ip6(V6_A, V6_OUT, next, &bytes)), "type {kind}, arrived");
        bytes[3] = 1;
        refused(&world, &ip6(V6_A, V6_OUT, next, &bytes), reason::MALFORMED);
    }
}

#[test]
fn udp_without_a_length_needs_a_jumbogram() {
    let world = World::new();
    let mut datagram = udp(1000, 53, &[0; 8]);
    datagram[4..6].copy_from_slice(&[0, 0]);
    refused(&world, &ip6(V6_A, V6_OUT, 17, &datagram), reason::MALFORMED);
    datagram.resize(70_000, 0);
    let mut payload = vec![17, 0, 0xc2, 4];
    payload.extend(u32::try_from(8 + datagram.len()).unwrap().to_be_bytes());
    payload.extend(&datagram);
    let mut frame = ip6(V6_A, V6_OUT, 0, &[]);
    frame.extend(&payload);
    assert!(world.from_a(&frame));
    let mut lying = frame.clone();
    lying[58..62].copy_from_slice(&u32::try_from(9 + datagram.len()).unwrap().to_be_bytes());
    refused(&world, &lying, reason::MALFORMED);
    let mut small = frame.clone();
    small[58..62].copy_from_slice(&65_535_u32.to_be_bytes());
    assert!(!world.from_a(&small));
}

#[test]
fn case_17_sources_that_are_not_the_pods_are_refused() {
    let world = World::new();
    for source in [V4_B, V4_OUT, [0; 4], [224, 0, 0, 1], [255; 4]] {
        refused(&world, &udp4(source, V4_OUT, (1, 2)), reason::SPOOFED);
    }
    for source in [V6_B, V6_OUT, [0; 16], [0xff; 16]] {
        refused(&world, &ip6(source, V6_OUT, 17, &udp(1, 2, b"x")), reason::SPOOFED);
    }
    let mut link = [0; 16];
    (link[0], link[1], link[15]) = (0xfe, 0x80, 0x10);
    assert!(world.from_a(&ip6(link, V6_OUT, 17, &udp(1, 2, b"x"))));
}

#[test]
fn case_22_loopback_is_refused_in_both_directions() {
    let world = World::new();
    refused(&world, &udp4(V4_A, [127, 0, 0, 1], (1, 2)), reason::LOOPBACK);
    refused(&world, &udp4([127, 9, 9, 9], V4_A, (1, 2)), reason::LOOPBACK);
    let mut one = [0; 16];
    one[15] = 1;
    refused(&world, &ip6(V6_A, one, 17, &udp(1, 2, b"x")), reason::LOOPBACK);
    assert!(!world.to(IF_A, UPLINK, &udp4([127, 0, 0, 1], V4_A, (1, 2))));
    assert_eq!(world.refusal(), reason::LOOPBACK);
}

#[test]
fn a_local_pods_address_comes_in_by_its_own_interface_only() {
    let world = World::new();
    let frame = udp4(V4_B, V4_A, (1, 2));
    assert!(!world.to(IF_A, UPLINK, &frame));
    assert_eq!(world.refusal(), reason::SPOOFED);
    for way in [0, IF_B, BRIDGE] {
        assert!(world.to(IF_A, way, &frame), "by {way}");
    }
}

#[test]
fn case_15_arp_speaks_for_the_pods_own_address_only() {
    let world = World::new();
    assert!(world.from_a(&arp(V4_A, V4_B)));
    assert!(world.from_a(&arp([0; 4], V4_A)), "a probe for its own address");
    refused(&world, &arp(V4_B, V4_A), reason::SPOOFED);
    refused(&world, &arp([0; 4], V4_B), reason::SPOOFED);
    refused(&world, &ethernet(0x0806, &[0; 28]), reason::MALFORMED);
    refused(&world, &arp(V4_A, V4_B)[..40], reason::MALFORMED);
    assert!(world.to(IF_A, UPLINK, &arp(V4_OUT, V4_A)));
    assert_eq!(world.packets(hook::FROM_POD, passing(reason::NEIGHBOUR), false), 2);
    assert_eq!(world.packets(hook::TO_POD, passing(reason::NEIGHBOUR), false), 1);
}

#[test]
fn forgeries_drop_under_alert_only_and_nothing_drops_when_off() {
    let world = World::new();
    world.switches(switches::ALERT_ONLY);
    assert!(!world.from_a(&udp4(V4_B, V4_OUT, (1, 2))));
    world.records();
    world.switches(switches::OFF);
    assert!(world.from_a(&udp4(V4_B, V4_OUT, (1, 2))));
    assert!(world.from_a(&ethernet(0x88b7, &[0; 46])));
    assert!(world.records().is_empty());
    assert_eq!(world.packets(hook::FROM_POD, passing(reason::OFF), false), 2);
}

#[test]
fn an_interface_without_an_endpoint_drops_unless_startup_is_open() {
    let world = World::new();
    let frame = udp4(V4_A, V4_OUT, (1, 2));
    assert!(!world.from(77, &frame));
    assert_eq!(world.refusal(), reason::STARTUP);
    world.switches(switches::STARTUP_OPEN);
    assert!(world.from(77, &frame));
}
