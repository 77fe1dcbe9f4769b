//! Corners that only a change of one operator showed nobody was looking at.

use std::boxed::Box;

use cellwall_datapath_common::flow::idle;
use cellwall_datapath_common::policy::{PEER_PLAIN, class, digest2, digest16, endpoint_flags};
use cellwall_datapath_common::{Cell, FlowValue, Versioned, cell_flags, flow_flags, hook, ticks};

use super::frames::*;
use super::world::*;
use crate::layout::{Endpoint, LiveFlow, OwnKey, PortKey};
use crate::verdict::{passing, reason};

const MORE: u16 = 0x2000;

#[test]
fn arp_of_another_kind_or_with_other_lengths_is_malformed() {
    for (at, value) in [(15, 2), (17, 1), (18, 8), (19, 6)] {
        let world = World::new();
        let mut frame = arp(V4_A, V4_B);
        frame[at] = value;
        assert!(!world.from_a(&frame));
        assert_eq!(world.refusal(), reason::MALFORMED, "byte {at}");
    }
    let world = World::new();
    assert!(
        world.to(IF_A, UPLINK, &arp(V4_OUT, V4_A)),
        "others speak for themselves"
    );
}

#[test]
fn a_packet_each_minute_keeps_a_flow_and_its_marks_stay() {
    let world = World::new();
    world.rule(INGRESS_A, WORLD, DROP);
    assert!(world.from_a(&udp4(V4_A, V4_OUT, (1000, 53))));
    for _ in 0..6 {
        assert!(world.to(IF_A, UPLINK, &udp4(V4_OUT, V4_A, (53, 1000))));
        world.wait(150);
    }
    let flow = LiveFlow::new(&FlowValue::default());
    flow.mark(flow_flags::FIN_LO);
    flow.mark(flow_flags::FIN_LO);
    assert_eq!(flow.flags(), flow_flags::FIN_LO);
    flow.mark(flow_flags::FIN_LO | flow_flags::RESET_LO);
    assert_eq!(flow.flags(), flow_flags::FIN_LO | flow_flags::RESET_LO);
}

/// A has another address besides those of its record.
pub(super) fn with_more_addresses(flags: u32) -> World {
    let world = World::new();
    world.set(|memory| {
        let endpoint = **memory.endpoints.get(&0).unwrap();
        memory
            .endpoints
            .insert(0, Box::leak(Box::new(Endpoint { flags, ..endpoint })));
        memory.own_addresses.push(OwnKey {
            address: [0, 0, 0xffff_u32.to_be(), word4(SECOND)],
            ifindex: IF_A,
        });
        memory.address4(word4(SECOND), LOCAL_A, 0, IF_A);
    });
    world
}

pub(super) const SECOND: [u8; 4] = [192, 0, 2, 11];

#[test]
fn an_address_beyond_the_record_is_the_pods_where_the_record_says_that_there_are_such() {
    let world = with_more_addresses(endpoint_flags::MORE_ADDRESSES);
    world.rule(EGRESS_A, LOCAL_A, DROP);
    assert!(world.from_a(&udp4(SECOND, V4_OUT, (1, 2))));
    assert!(
        world.from_a(&udp4(V4_A, SECOND, (1, 2))),
        "to itself, whatever rules say"
    );
    assert_eq!(world.packets(hook::FROM_POD, passing(reason::SELF), false), 1);
    for not_listed in [V4_B, [192, 0, 2, 77]] {
        assert!(
            !world.from_a(&udp4(not_listed, V4_OUT, (1, 2))),
            "listed are all that it has"
        );
    }
    let other = world.from_a(&udp4(V4_A, V4_B, (1, 2)));
    assert!(other, "another pod's is not its own");
    assert_eq!(world.packets(hook::FROM_POD, passing(reason::SELF), false), 1);

    let world = with_more_addresses(0);
    assert!(!world.from_a(&udp4(SECOND, V4_OUT, (1, 2))));
    assert_eq!(world.refusal(), reason::SPOOFED);
    world.rule(EGRESS_A, LOCAL_A, DROP);
    assert!(!world.from_a(&udp4(V4_A, SECOND, (1, 2))));
}

#[test]
fn an_own_address_that_nobody_is_known_to_have_is_still_the_pods() {
    let world = World::new();
    world.rule(EGRESS_A, WORLD, DROP);
    world.set(|memory| memory.addresses4.retain(|address, _| *address != word4(V4_A)));
    assert!(world.from_a(&udp4(V4_A, V4_A, (1, 2))));
    assert_eq!(world.packets(hook::FROM_POD, passing(reason::SELF), false), 1);
    world.set(|memory| memory.address4(word4(V4_A), LOCAL_B, 0, IF_B));
    world.rule(EGRESS_A, LOCAL_B, DROP);
    assert!(!world.from_a(&udp4(V4_A, V4_A, (3, 4))), "another pod took it over");
}

fn service(world: &World, scope: [u32; 4], port: u16, kind: u8, peer: u32) {
    let key = PortKey {
        scope,
        port,
        protocol: 6,
        kind,
    };
    let digest = digest2(digest16(scope), u32::from(port) << 16 | 6 << 8 | u32::from(kind));
    world.set(|memory| {
        let value = Versioned::sealed(1, peer, 0, digest);
        memory.service_ports.insert(key, value);
    });
}

#[test]
fn external_addresses_and_the_local_node_have_service_ports_too_and_others_have_none() {
    let behind = class::SERVICE_PORT << 28 | 1;
    let address = [203, 0, 113, 10];
    let scope = [0, 0, 0xffff_u32.to_be(), word4(address)];
    for (class, there) in [
        (class::EXTERNAL_IP, true),
        (class::CLUSTER_IP, true),
        (class::LOCAL_NODE, true),
        (class::NODE, true),
        (class::WORLD, false),
        (class::REMOTE_POD, false),
    ] {
        let world = World::new();
        let peer = class << 28 | 3;
        world.set(|memory| memory.address4(word4(address), peer, 0, 0));
        service(&world, scope, 80, 4, behind);
        world.rule(EGRESS_A, behind, DROP);
        assert_eq!(
            world.from_a(&tcp4(V4_A, address, (40_000, 80), SYN)),
            !there,
            "class {class}"
        );
        // A node port is found by the node's identity.
        service(&world, [0, 0, 0, peer.to_le()], 81, 20, behind);
        let node = matches!(class, class::NODE | class::LOCAL_NODE);
        assert_eq!(
            world.from_a(&tcp4(V4_A, address, (40_000, 81), SYN)),
            !node,
            "class {class}"
        );
    }
}

#[test]
fn the_first_identity_of_the_first_class_falls_back_to_its_class() {
    let world = World::new();
    world.set(|memory| memory.address4(word4(V4_OUT), class::WORLD << 28, 0, 0));
    assert!(world.from_a(&udp4(V4_A, V4_OUT, (1, 2))));
}

#[test]
fn a_list_without_spans_is_no_verdict() {
    let world = World::new();
    let list = world.0.0.borrow_mut().list(&[]);
    world.set(|memory| {
        // What lies behind the header is another list's.
        memory.list(&[(0, PASS)]);
        memory.policy(EGRESS_A, WORLD, [list; 6], 1);
    });
    assert!(!world.from_a(&udp4(V4_A, V4_OUT, (1, 2))));
    assert_eq!(world.refusal(), reason::INTERNAL);
}

#[test]
fn a_port_that_a_rule_names_lets_that_tunnel_pass_and_no_other() {
    let world = World::new();
    let node = [203, 0, 113, 20];
    world.set(|memory| memory.address4(word4(node), NODE, 0, 0));
    let named = Cell::new(0, reason::RULE, cell_flags::NAMED, 3);
    let list = world.0.0.borrow_mut().list(&[(0, PASS), (4789, named), (4790, PASS)]);
    world.set(|memory| memory.policy(EGRESS_A, NODE, [PASS.0, list, PASS.0, PASS.0, PASS.0, PASS.0], 1));
    assert!(world.from_a(&udp4(V4_A, node, (1000, 4789))));
    for port in [8472, 6081] {
        assert!(!world.from_a(&udp4(V4_A, node, (1000, port))));
        assert_eq!(world.refusal(), reason::TUNNEL);
    }
}

/// A later fragment of a train that nobody saw the beginning of.
fn later(destination: [u8; 4], protocol: u8) -> std::vec::Vec<u8> {
    ip4_with(V4_A, destination, protocol, &[], 9, 3, &[0; 32])
}

#[test]
fn a_later_fragment_to_a_service_address_is_refused_where_the_protocol_has_ports() {
    for (class, refused) in [
        (class::CLUSTER_IP, true),
        (class::EXTERNAL_IP, true),
        (class::NODE, false),
        (class::WORLD, false),
    ] {
        let world = World::new();
        world.set(|memory| memory.address4(word4(V4_OUT), class << 28 | PEER_PLAIN, 0, 0));
        assert_eq!(world.from_a(&later(V4_OUT, 17)), !refused, "class {class}");
        assert!(world.from_a(&later(V4_OUT, 99)), "no ports, class {class}");
    }
}

#[test]
fn a_train_is_one_protocols_and_one_hooks_and_lasts_to_the_second() {
    let world = World::new();
    world.rule(INGRESS_A, WORLD, DROP);
    let first = |protocol: u8, payload: &[u8]| ip4_with(V4_A, V4_OUT, protocol, &[], 9, MORE, payload);
    let mut datagram = udp(1000, 53, &[0; 16]);
    datagram[4..6].copy_from_slice(&2000_u16.to_be_bytes());
    assert!(world.from_a(&first(17, &datagram)));
    // UDP's ports could all be dropped now; only what follows the train passes.
    let refs = [PASS.0, DROP.0, DROP.0, PASS.0, PASS.0, DROP.0];
    world.set(|memory| memory.policy(EGRESS_A, WORLD, refs, 1));
    assert!(world.from_a(&later(V4_OUT, 17)));
    assert!(!world.from_a(&later(V4_OUT, 132)), "the same number, another protocol");
    let seen = world.0.0.borrow().now;
    let limit = u64::from(ticks(idle::FRAGMENTS)) << cellwall_datapath_common::TICK_SHIFT;
    world.set(|memory| memory.now = seen + limit);
    assert!(world.from_a(&later(V4_OUT, 17)), "at the last moment");
    world.set(|memory| memory.now = seen + limit + (1 << cellwall_datapath_common::TICK_SHIFT));
    assert!(!world.from_a(&later(V4_OUT, 17)));
}

#[test]
fn first_fragments_of_tcp_are_told_apart_by_every_word_of_their_header() {
    for byte in 0..20 {
        let world = World::new();
        let first = |changed: usize| {
            let mut segment = tcp(1000, 80, ACK);
            segment.extend([0; 12]);
            if changed < 20 {
                segment[changed] ^= if changed == 12 { 0x10 } else { 1 };
            }
            ip4_with(V4_A, V4_OUT, 6, &[], 9, MORE, &segment)
        };
        assert!(world.from_a(&first(99)));
        assert!(!world.from_a(&first(byte)), "byte {byte}");
    }
}

#[test]
fn what_the_other_hook_tells_of_is_told_once() {
    let world = World::new();
    let discovery = ip6(V6_A, V6_OUT, 58, &icmp(135, 0, &V6_B));
    assert!(world.from_a(&discovery) && world.to(IF_B, IF_A, &discovery));
    assert_eq!(world.packets(hook::TO_POD, passing(reason::NEIGHBOUR), false), 0);
    assert!(world.to(IF_A, UPLINK, &ip6(V6_OUT, V6_A, 58, &icmp(135, 0, &V6_A))));
    assert_eq!(world.packets(hook::TO_POD, passing(reason::NEIGHBOUR), false), 1);
    let asks = arp(V4_A, V4_B);
    assert!(world.from_a(&asks) && world.to(IF_B, IF_A, &asks));
    assert_eq!(world.packets(hook::TO_POD, passing(reason::NEIGHBOUR), false), 1);
    assert!(world.to(IF_A, UPLINK, &arp(V4_OUT, V4_A)));
    assert_eq!(world.packets(hook::TO_POD, passing(reason::NEIGHBOUR), false), 2);
}

#[test]
fn fragments_between_pods_of_one_node_are_counted_once() {
    let world = World::new();
    let first = |source, destination| {
        let mut datagram = udp(1000, 53, &[0; 16]);
        datagram[4..6].copy_from_slice(&2000_u16.to_be_bytes());
        ip4_with(source, destination, 17, &[], 9, MORE, &datagram)
    };
    let later = |source, destination| ip4_with(source, destination, 17, &[], 9, 3, &[0; 32]);
    let mut counted = 0;
    let mut counts = |more: u64, passed: bool| {
        counted += more;
        assert!(passed);
        assert_eq!(world.counted(), counted);
    };
    counts(1, world.from_a(&first(V4_A, V4_B)));
    counts(0, world.to(IF_B, IF_A, &first(V4_A, V4_B)));
    counts(1, world.from_a(&later(V4_A, V4_B)));
    counts(0, world.to(IF_B, IF_A, &later(V4_A, V4_B)));
    counts(1, world.to(IF_A, UPLINK, &first(V4_OUT, V4_A)));
    counts(1, world.to(IF_A, UPLINK, &later(V4_OUT, V4_A)));
    // Of trains whose beginning nobody saw.
    world.set(|memory| memory.trains.clear());
    counts(1, world.from_a(&later(V4_A, V4_B)));
    counts(0, world.to(IF_B, IF_A, &later(V4_A, V4_B)));
    counts(1, world.to(IF_A, UPLINK, &later(V4_OUT, V4_A)));
    assert!(!world.to(IF_B, UPLINK, &later(V4_A, V4_B)), "not by that pod's way");
}

#[test]
fn a_neighbour_message_names_its_target_within_its_packet() {
    let world = World::new();
    let whole = ip6(V6_A, V6_OUT, 58, &icmp(136, 0, &V6_A));
    assert!(world.from_a(&whole));
    for length in 8..24 {
        let mut cut = whole.clone();
        cut[19] = length;
        assert!(!world.from_a(&cut), "{length} bytes, the others behind the packet");
        assert_eq!(world.refusal(), reason::MALFORMED);
    }
}

#[test]
fn a_train_that_left_a_pod_is_none_that_comes_to_it() {
    let world = World::new();
    let mut datagram = udp(1000, 53, &[0; 16]);
    datagram[4..6].copy_from_slice(&2000_u16.to_be_bytes());
    assert!(world.from_a(&ip4_with(V4_A, V4_OUT, 17, &[], 9, MORE, &datagram)));
    world.rule(INGRESS_A, LOCAL_A, DROP);
    assert!(!world.to(IF_A, 0, &later(V4_OUT, 17)));
    assert!(world.from_a(&later(V4_OUT, 17)));
}

#[test]
fn a_later_fragment_over_ipv6_is_of_the_protocol_that_it_names_or_of_any() {
    let world = World::new();
    let refs = [DROP.0, PASS.0, PASS.0, PASS.0, PASS.0, PASS.0];
    world.set(|memory| memory.policy(EGRESS_A, WORLD, refs, 1));
    let later = |next: u8| {
        let rest = [&[next, 0, 0, 0x29, 0, 0, 0, 9][..], &[0; 16]].concat();
        world.from_a(&ip6(V6_A, V6_OUT, 44, &rest))
    };
    for (next, passes) in [
        (6, false),
        (17, true),
        (132, true),
        (58, true),
        (60, false),
        (99, false),
    ] {
        assert_eq!(later(next), passes, "next header {next}");
    }
}
