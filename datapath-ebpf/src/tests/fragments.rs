//! Fragment trains.

use std::vec::Vec;

use super::frames::*;
use super::world::*;
use crate::verdict::reason;

const MORE: u16 = 0x2000;

fn first(id: u16, port: u16) -> Vec<u8> {
    let mut datagram = udp(1000, port, &[0; 16]);
    datagram[4..6].copy_from_slice(&2000_u16.to_be_bytes());
    ip4_with(V4_A, V4_OUT, 17, &[], id, MORE, &datagram)
}

fn later(id: u16) -> Vec<u8> {
    ip4_with(V4_A, V4_OUT, 17, &[], id, 3, &[0; 32])
}

/// UDP to port 53 passes, all else of UDP drops.
fn port_rule(world: &World) {
    let list = world.0.0.borrow_mut().list(&[(0, DROP), (53, PASS), (54, DROP)]);
    world.set(|memory| memory.policy(EGRESS_A, WORLD, [PASS.0, list, PASS.0, PASS.0, PASS.0, PASS.0], 1));
}

#[test]
fn case_05_later_fragments_follow_the_first() {
    let world = World::new();
    port_rule(&world);
    assert!(!world.from_a(&later(1)), "unknown, and some port could be dropped");
    assert_eq!(world.refusal(), reason::FRAGMENT);
    assert!(world.from_a(&first(1, 53)));
    assert!(world.from_a(&later(1)));
    assert!(!world.from_a(&first(2, 54)));
    assert!(!world.from_a(&later(2)));
    assert_eq!(world.records().len(), 2);
    world.wait(62);
    assert!(!world.from_a(&later(1)), "forgotten");
}

#[test]
fn case_07_a_later_fragment_of_an_unknown_train_passes_where_no_port_could_be_dropped() {
    let world = World::new();
    assert!(world.from_a(&later(1)));
    let list = world.0.0.borrow_mut().list(&[(0, PASS), (53, ALERT), (54, PASS)]);
    world.set(|memory| memory.policy(EGRESS_A, WORLD, [DROP.0, list, DROP.0, DROP.0, DROP.0, DROP.0], 1));
    assert!(world.from_a(&later(2)));
    world.rule(EGRESS_A, WORLD, DROP);
    assert!(!world.from_a(&later(3)));
}

#[test]
fn case_21_a_later_fragment_to_the_pods_own_address_passes_whatever_the_rules_say_of_its_ports() {
    let world = World::new();
    world.rule(EGRESS_A, LOCAL_A, DROP);
    assert!(world.from_a(&ip4_with(V4_A, V4_A, 17, &[], 7, 3, &[0; 32])));
    world.rule(EGRESS_A, LOCAL_B, DROP);
    assert!(!world.from_a(&ip4_with(V4_A, V4_B, 17, &[], 7, 3, &[0; 32])));
}

#[test]
fn case_06_first_fragments_that_differ_poison_the_train() {
    let world = World::new();
    assert!(world.from_a(&first(1, 53)));
    assert!(world.from_a(&first(1, 53)), "sent twice");
    assert!(!world.from_a(&first(1, 54)));
    assert_eq!(world.refusal(), reason::FRAGMENT);
    assert!(!world.from_a(&first(1, 53)));
    assert!(!world.from_a(&later(1)));
}

#[test]
fn case_06_a_first_fragment_holds_its_whole_header() {
    let world = World::new();
    for length in 0..40 {
        let mut segment = tcp(1, 2, SYN);
        segment.resize(40, 0);
        let frame = ip4_with(
            V4_A,
            V4_OUT,
            6,
            &[],
            u16::try_from(length).unwrap(),
            MORE,
            &segment[..length],
        );
        assert_eq!(world.from_a(&frame), length >= 20, "{length} bytes");
        if length < 20 {
            assert_eq!(world.refusal(), reason::FRAGMENT);
        }
    }
    for offset in 1..5 {
        let frame = ip4_with(V4_A, V4_OUT, 6, &[], 1, offset, &[0; 24]);
        let passes = world.from_a(&frame);
        assert_eq!(passes, offset > 2, "TCP at offset {}", offset * 8);
    }
    let beyond = ip4_with(V4_A, V4_OUT, 17, &[], 1, 0x1fff, &[0; 24]);
    world.records();
    assert!(!world.from_a(&beyond));
    assert_eq!(world.refusal(), reason::MALFORMED);
}

fn fragment6(next: u8, place: u16, id: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = std::vec![next, 0];
    bytes.extend(place.to_be_bytes());
    bytes.extend([0, 0, 0, id]);
    bytes.extend(payload);
    ip6(V6_A, V6_OUT, 44, &bytes)
}

#[test]
fn ipv6_trains_go_by_the_same_rules() {
    let world = World::new();
    let mut datagram = udp(1000, 53, &[0; 16]);
    datagram[4..6].copy_from_slice(&2000_u16.to_be_bytes());
    assert!(world.from_a(&fragment6(17, 1, 1, &datagram)));
    world.rule(EGRESS_A, WORLD, DROP);
    assert!(world.from_a(&fragment6(17, 24, 1, &[0; 16])));
    assert!(!world.from_a(&fragment6(17, 24, 2, &[0; 16])));
    world.records();
    // The chain ends within the first fragment.
    assert!(!world.from_a(&fragment6(60, 1, 3, &[17, 1, 0, 0, 0, 0, 0, 0])));
    assert_eq!(world.refusal(), reason::FRAGMENT);
    // A fragment header on a whole packet.
    assert!(!world.from_a(&fragment6(17, 0, 4, &udp(1001, 53, b"x"))));
    assert_eq!(world.refusal(), reason::RULE);
}

#[test]
fn a_same_node_train_is_counted_once() {
    let world = World::new();
    let mut datagram = udp(1000, 53, &[0; 16]);
    datagram[4..6].copy_from_slice(&2000_u16.to_be_bytes());
    let first = ip4_with(V4_A, V4_B, 17, &[], 1, MORE, &datagram);
    let later = ip4_with(V4_A, V4_B, 17, &[], 1, 3, &[0; 32]);
    for frame in [&first, &later] {
        assert!(world.from_a(frame) && world.to(IF_B, IF_A, frame));
    }
    assert_eq!(world.counted(), 2);
}

#[test]
fn case_06_over_ipv6_a_train_is_known_by_its_id_whatever_its_fragments_say_of_the_protocol() {
    let world = World::new();
    let mut datagram = udp(1000, 53, &[0; 16]);
    datagram[4..6].copy_from_slice(&2000_u16.to_be_bytes());
    let behind = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &datagram].concat();
    assert!(world.from_a(&fragment6(17, 1, 1, &datagram)));
    assert!(!world.from_a(&fragment6(60, 1, 1, &behind)), "another first fragment");
    assert_eq!(world.refusal(), reason::FRAGMENT);
    assert!(
        !world.from_a(&fragment6(17, 24, 1, &[0; 16])),
        "nothing of this id passes"
    );
    world.rule(EGRESS_A, WORLD, DROP);
    datagram[1] ^= 1;
    assert!(!world.from_a(&fragment6(17, 1, 2, &datagram)));
    world.rule(EGRESS_A, WORLD, PASS);
    assert!(!world.from_a(&fragment6(47, 24, 2, &[0; 16])), "follows the first");
}

#[test]
fn case_16_memberships_in_fragments_always_pass() {
    let world = World::new();
    world.rule(EGRESS_A, WORLD, DROP);
    assert!(world.from_a(&ip4_with(V4_A, V4_OUT, 2, &[], 1, 3, &[0; 16])));
    let report = icmp(143, 0, &[0; 16]);
    assert!(!world.from_a(&fragment6(58, 24, 1, &[0; 16])), "of what, nobody knows");
    assert!(world.from_a(&fragment6(58, 1, 1, &report)));
    assert!(world.from_a(&fragment6(58, 24, 1, &[0; 16])));
}

#[test]
fn case_17_a_fragment_in_a_pods_name_comes_by_that_pods_way() {
    let world = World::new();
    let mut datagram = udp(1000, 53, &[0; 16]);
    datagram[4..6].copy_from_slice(&2000_u16.to_be_bytes());
    let first = ip4_with(V4_A, V4_B, 17, &[], 1, MORE, &datagram);
    let later = ip4_with(V4_A, V4_B, 17, &[], 1, 3, &[0; 32]);
    assert!(world.from_a(&first) && world.to(IF_B, IF_A, &first));
    assert!(world.to(IF_B, BRIDGE, &later));
    assert!(!world.to(IF_B, UPLINK, &later));
    assert_eq!(world.refusal(), reason::SPOOFED);
}
