//! ICMP: queries by direction and identifier, errors by the packet they quote, neighbour discovery.

use std::vec::Vec;

use super::frames::*;
use super::world::*;
use crate::verdict::{passing, reason};

use cellwall_datapath_common::hook;

#[test]
fn case_32_a_request_never_rides_on_the_other_directions_flow() {
    for identifier in [0, 7] {
        let world = World::new();
        world.rule(INGRESS_A, WORLD, DROP);
        assert!(world.from_a(&icmp4(V4_A, V4_OUT, 8, identifier)));
        assert!(world.to(IF_A, UPLINK, &icmp4(V4_OUT, V4_A, 0, identifier)));
        assert!(!world.to(IF_A, UPLINK, &icmp4(V4_OUT, V4_A, 8, identifier)));
        assert!(!world.to(IF_A, UPLINK, &icmp4(V4_OUT, V4_A, 0, identifier + 1)));
    }
}

#[test]
fn one_query_does_not_ride_on_another_kinds_flow() {
    let world = World::new();
    let by_type = world.0.0.borrow_mut().list(&[(0, PASS), (13, DROP), (14, PASS)]);
    world.set(|memory| memory.policy(EGRESS_A, WORLD, [PASS.0, PASS.0, PASS.0, by_type, PASS.0, PASS.0], 1));
    assert!(world.from_a(&icmp4(V4_A, V4_OUT, 8, 7)));
    assert!(!world.from_a(&icmp4(V4_A, V4_OUT, 13, 7)));
    assert!(world.from_a(&icmp4(V4_A, V4_OUT, 17, 7)));
}

/// An ICMP error about `quoted` (an Ethernet frame), of which `keep` bytes of the packet are kept.
fn error(source: [u8; 4], destination: [u8; 4], quoted: &[u8], keep: usize) -> Vec<u8> {
    let packet = &quoted[14..];
    ip4(source, destination, 1, &icmp(3, 0, &packet[..keep.min(packet.len())]))
}

#[test]
fn case_33_errors_pass_when_they_quote_a_flow_in_the_fitting_direction() {
    let world = World::new();
    let sent = udp4(V4_A, V4_OUT, (1000, 53));
    assert!(world.from_a(&sent));
    world.rule(INGRESS_A, WORLD, DROP);
    let router = [203, 0, 113, 1];
    assert!(world.to(IF_A, UPLINK, &error(V4_OUT, V4_A, &sent, 28)));
    assert!(
        world.to(IF_A, UPLINK, &error(router, V4_A, &sent, 28)),
        "a router on the path"
    );
    assert_eq!(world.packets(hook::TO_POD, passing(reason::RELATED), false), 2);
    for wrong in [
        error(V4_OUT, V4_A, &udp4(V4_A, V4_OUT, (1001, 53)), 28),
        error(V4_OUT, V4_A, &udp4(V4_OUT, V4_A, (53, 1000)), 28),
        error(V4_OUT, V4_A, &sent, 22),
        error(V4_OUT, V4_A, &error(V4_A, V4_OUT, &sent, 28), 60),
        error(
            V4_OUT,
            V4_A,
            &ip4_with(V4_A, V4_OUT, 17, &[], 1, 1, &udp(1000, 53, b"data")),
            28,
        ),
    ] {
        assert!(!world.to(IF_A, UPLINK, &wrong), "{wrong:02x?}");
    }
    // From the pod: only as the quoted destination.
    let got = udp4(V4_OUT, V4_A, (53, 1000));
    assert!(world.to(IF_A, UPLINK, &got));
    world.rule(EGRESS_A, WORLD, DROP);
    assert!(world.from_a(&error(V4_A, V4_OUT, &got, 28)));
    let others = udp4(V4_OUT, V4_B, (53, 1000));
    assert!(!world.from_a(&error(V4_A, V4_OUT, &others, 28)));
}

#[test]
fn errors_about_a_flow_that_the_new_policy_drops_are_no_relatives() {
    let world = World::new();
    let sent = udp4(V4_A, V4_OUT, (1000, 53));
    assert!(world.from_a(&sent));
    world.rule(INGRESS_A, WORLD, DROP);
    world.flip();
    let about = error(V4_OUT, V4_A, &sent, 28);
    assert!(world.to(IF_A, UPLINK, &about), "asked again, it would still pass");
    world.rule(EGRESS_A, WORLD, DROP);
    assert!(!world.to(IF_A, UPLINK, &about));
}

/// A neighbour message of this type about `target`.
fn neighbour(source: [u8; 16], number: u8, target: [u8; 16]) -> Vec<u8> {
    ip6(source, V6_OUT, 58, &icmp(number, 0, &target))
}

#[test]
fn case_13_neighbour_discovery_passes_and_router_messages_do_not() {
    let world = World::new();
    for policy in [EGRESS_A, INGRESS_A] {
        for class in 0..11 {
            world.rule(policy, class << 28 | 0x0fff_ffff, DROP);
        }
    }
    for number in 0..=255_u8 {
        let passes = world.from_a(&neighbour(V6_A, number, V6_A));
        let always = matches!(number, 130..=133 | 135 | 136 | 143);
        assert_eq!(passes, always, "type {number} from the pod");
        if matches!(number, 134 | 137) {
            assert_eq!(world.refusal(), reason::ROUTER);
        }
        world.records();
        let passes = world.to(IF_A, UPLINK, &neighbour(V6_OUT, number, V6_B));
        assert_eq!(passes, always || number == 134, "type {number} to the pod");
        world.records();
    }
    for number in [5, 9] {
        assert!(!world.from_a(&icmp4(V4_A, V4_OUT, number, 0)));
        assert_eq!(world.refusal(), reason::ROUTER);
    }
    assert!(world.from_a(&ip4(V4_A, [224, 0, 0, 22], 2, &[0; 8])), "IGMP");
}

#[test]
fn case_15_neighbour_targets_are_the_pods_own() {
    let world = World::new();
    let nobody = [0; 16];
    assert!(world.from_a(&neighbour(V6_A, 136, V6_A)));
    assert!(
        world.from_a(&neighbour(V6_A, 135, V6_B)),
        "asking for another's is what asking is for"
    );
    assert!(world.from_a(&neighbour(nobody, 135, V6_A)), "is my address free?");
    for wrong in [
        neighbour(V6_A, 136, V6_B),
        neighbour(nobody, 135, V6_B),
        neighbour(nobody, 136, V6_A),
    ] {
        assert!(!world.from_a(&wrong));
        assert_eq!(world.refusal(), reason::SPOOFED);
    }
    assert!(!world.from_a(&ip6(V6_A, V6_OUT, 58, &icmp(135, 0, &[0; 15]))));
    assert_eq!(world.refusal(), reason::MALFORMED);
}

#[test]
fn case_14_router_advertisements_are_found_behind_extension_headers() {
    let world = World::new();
    let mut bytes = std::vec![58, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(icmp(134, 0, &[0; 8]));
    assert!(!world.from_a(&ip6(V6_A, V6_OUT, 60, &bytes)));
    assert_eq!(world.refusal(), reason::ROUTER);
}

#[test]
fn case_15_neighbour_messages_in_a_pods_name_come_by_that_pods_way() {
    let world = World::new();
    for message in [
        neighbour(V6_A, 136, V6_A),
        neighbour(V6_A, 135, V6_B),
        neighbour(V6_A, 143, V6_A),
    ] {
        assert!(world.to(IF_B, IF_A, &message));
        assert!(world.to(IF_B, BRIDGE, &message));
        assert!(world.to(IF_B, 0, &message), "the kernel shows no way");
        world.records();
        assert!(!world.to(IF_B, UPLINK, &message));
        assert_eq!(world.refusal(), reason::SPOOFED);
    }
    assert!(world.to(IF_B, UPLINK, &neighbour(V6_OUT, 136, V6_OUT)));
}
