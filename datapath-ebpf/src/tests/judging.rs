//! Lists, Service ports, tunnels, startup.

use cellwall_datapath_common::policy::{PEER_PLAIN, Versioned, class, digest2, digest16, endpoint_flags};
use cellwall_datapath_common::{Cell, cell_flags};

use super::frames::*;
use super::world::*;
use crate::layout::{Endpoint, PortKey};
use crate::verdict::reason;

#[test]
fn lists_of_every_length_answer_every_port() {
    for spans in [1_u32, 2, 3, 7, 16, 100, 65_536] {
        let world = World::new();
        let width = 65_536 / spans;
        let cells: std::vec::Vec<_> = (0..spans)
            .map(|span| (span * width, if span % 2 == 0 { DROP } else { PASS }))
            .collect();
        let list = world.0.0.borrow_mut().list(&cells);
        world.set(|memory| memory.policy(EGRESS_A, WORLD, [list; 6], 1));
        for port in [0, 1, 79, 80, 32_767, 32_768, 65_534, 65_535_u16] {
            let span = (u32::from(port) / width).min(spans - 1);
            let passes = world.from_a(&udp4(V4_A, V4_OUT, (1000, port)));
            assert_eq!(passes, span % 2 == 1, "port {port} among {spans}");
        }
    }
}

#[test]
fn case_12_protocols_are_told_apart() {
    let world = World::new();
    let other = world.0.0.borrow_mut().list(&[(0, PASS), (47, DROP), (48, PASS)]);
    world.set(|memory| memory.policy(EGRESS_A, WORLD, [PASS.0, PASS.0, PASS.0, PASS.0, PASS.0, other], 1));
    for protocol in 0..=255_u8 {
        let passes = world.from_a(&ip4(V4_A, V4_OUT, protocol, &[0; 40]));
        let refused = matches!(protocol, 6 | 17 | 47);
        assert_eq!(passes, !refused, "protocol {protocol}");
    }
}

#[test]
fn a_lookup_falls_back_to_the_peers_class_and_then_to_a_drop() {
    let world = World::new();
    world.set(|memory| memory.address4(word4(V4_OUT), REMOTE, 0, 0));
    let frame = udp4(V4_A, V4_OUT, (1000, 53));
    assert!(world.from_a(&frame));
    world.rule(EGRESS_A, REMOTE, DROP);
    world.flip();
    assert!(!world.from_a(&frame));
    world.set(|memory| {
        memory.policy.remove(&(EGRESS_A, REMOTE));
        memory.policy.remove(&(EGRESS_A, class::REMOTE_POD << 28 | PEER_PLAIN));
    });
    world.records();
    assert!(!world.from_a(&udp4(V4_A, V4_OUT, (1001, 53))));
    assert_eq!(world.refusal(), reason::INTERNAL);
}

#[test]
fn memory_that_nobody_wrote_is_no_verdict() {
    let world = World::new();
    let frame = udp4(V4_A, V4_OUT, (1000, 53));
    let unwritten = world.0.0.borrow_mut().list(&[(0, Cell(0))]);
    for refs in [[0; 6], [unwritten; 6]] {
        world.set(|memory| memory.policy(EGRESS_A, WORLD, refs, 1));
        assert!(!world.from_a(&frame));
        assert_eq!(world.refusal(), reason::INTERNAL);
    }
}

#[test]
fn the_longest_range_counts_behind_exact_addresses() {
    let world = World::new();
    let cidr = |number: u32| Versioned::sealed(1, class::WORLD << 28 | number, 0, 0);
    world.set(|memory| {
        memory.prefixes4.push((8, word4([198, 0, 0, 0]), cidr(1)));
        memory.prefixes4.push((24, word4([198, 51, 100, 0]), cidr(2)));
    });
    world.rule(EGRESS_A, class::WORLD << 28 | 1, DROP);
    assert!(world.from_a(&udp4(V4_A, V4_OUT, (1, 2))));
    assert!(!world.from_a(&udp4(V4_A, [198, 1, 1, 1], (1, 2))));
    world.set(|memory| memory.address4(word4([198, 1, 1, 1]), NODE, 0, 0));
    assert!(world.from_a(&udp4(V4_A, [198, 1, 1, 1], (1, 3))));
}

#[test]
fn a_service_port_stands_in_for_its_address() {
    let world = World::new();
    let vip = [203, 0, 113, 10];
    let backend = class::SERVICE_PORT << 28 | 1;
    let key = PortKey {
        scope: [0, 0, 0xffff_u32.to_be(), word4(vip)],
        port: 80,
        protocol: 6,
        kind: 4,
    };
    let digest = digest2(digest16(key.scope), 80 << 16 | 6 << 8 | 4);
    world.set(|memory| {
        memory.address4(word4(vip), class::CLUSTER_IP << 28 | PEER_PLAIN, 0, 0);
        memory
            .service_ports
            .insert(key, Versioned::sealed(1, backend, 0, digest));
    });
    world.rule(EGRESS_A, backend, DROP);
    assert!(!world.from_a(&tcp4(V4_A, vip, (40_000, 80), SYN)));
    assert!(
        world.from_a(&tcp4(V4_A, vip, (40_000, 81), SYN)),
        "another port is the plain address"
    );
    assert!(
        world.from_a(&ip4(V4_A, vip, 17, &udp(1, 80, b"x"))),
        "so is another protocol"
    );
    // A reply of a flow to the Service finds it.
    world.rule(EGRESS_A, backend, PASS);
    world.rule(INGRESS_A, class::CLUSTER_IP << 28 | PEER_PLAIN, DROP);
    assert!(world.from_a(&tcp4(V4_A, vip, (40_000, 80), SYN)));
    assert!(world.to(IF_A, UPLINK, &tcp4(vip, V4_A, (80, 40_000), SYN | ACK)));
    world.flip();
    world.rule(EGRESS_A, backend, DROP);
    assert!(
        !world.to(IF_A, UPLINK, &tcp4(vip, V4_A, (80, 40_000), ACK)),
        "re-judged as what it was opened to"
    );
}

#[test]
fn a_node_port_is_found_by_the_nodes_identity_and_a_host_port_by_its_address() {
    let world = World::new();
    let node = [203, 0, 113, 20];
    let (by_node, by_address) = (class::SERVICE_PORT << 28 | 1, class::SERVICE_PORT << 28 | 2);
    let enter = |scope: [u32; 4], port: u16, kind: u8, peer: u32| {
        let key = PortKey {
            scope,
            port,
            protocol: 17,
            kind,
        };
        let digest = digest2(digest16(scope), u32::from(port) << 16 | 17 << 8 | u32::from(kind));
        world.set(|memory| {
            memory.service_ports.insert(key, Versioned::sealed(1, peer, 0, digest));
        });
    };
    world.set(|memory| memory.address4(word4(node), NODE, 0, 0));
    enter([0, 0, 0, NODE.to_le()], 30_000, 20, by_node);
    enter([0, 0, 0xffff_u32.to_be(), word4(node)], 8080, 4, by_address);
    world.rule(EGRESS_A, by_node, DROP);
    world.rule(EGRESS_A, by_address, DROP);
    assert!(!world.from_a(&udp4(V4_A, node, (1, 30_000))));
    assert!(!world.from_a(&udp4(V4_A, node, (1, 8080))));
    assert!(world.from_a(&udp4(V4_A, node, (1, 8081))));
}

#[test]
fn case_11_tunnels_to_nodes_need_a_rule_that_names_them() {
    let world = World::new();
    let node = [203, 0, 113, 20];
    world.set(|memory| memory.address4(word4(node), NODE, 0, 0));
    let tunnels = || {
        let mut frames: std::vec::Vec<_> = [4, 41, 47].map(|protocol| ip4(V4_A, node, protocol, &[0; 40])).into();
        frames.extend([4789, 8472, 6081].map(|port| udp4(V4_A, node, (1000, port))));
        frames
    };
    for frame in tunnels() {
        assert!(!world.from_a(&frame));
        assert_eq!(world.refusal(), reason::TUNNEL);
    }
    assert!(
        world.from_a(&udp4(V4_A, V4_OUT, (1000, 4789))),
        "to others it is traffic like any"
    );
    let named = |action| Cell::new(action, reason::RULE, cell_flags::NAMED, 3);
    world.rule(EGRESS_A, NODE, named(2));
    assert!(!world.from_a(&tunnels()[0]));
    assert_eq!(world.refusal(), reason::TUNNEL);
    world.rule(EGRESS_A, NODE, named(0));
    world.flip();
    for frame in tunnels() {
        assert!(world.from_a(&frame));
    }
}

#[test]
fn a_pod_not_known_yet_may_use_what_is_nobody_elses() {
    let world = World::new();
    world.set(|memory| {
        let endpoint = **memory.endpoints.get(&0).unwrap();
        let unknown = Endpoint {
            flags: endpoint_flags::STARTUP,
            v4: 0,
            v6: [0; 4],
            v6_link: [0; 4],
            ..endpoint
        };
        memory
            .endpoints
            .insert(0, std::boxed::Box::leak(std::boxed::Box::new(unknown)));
        memory.address4(word4(V4_A), LOCAL_A, 0, 0);
        memory.address4(word4([203, 0, 113, 20]), NODE, 0, 0);
    });
    assert!(
        world.from_a(&udp4(V4_A, V4_OUT, (1, 2))),
        "a pod of this node without an interface yet"
    );
    assert!(world.from_a(&udp4([192, 0, 2, 77], V4_OUT, (1, 2))), "nobody's");
    for others in [V4_B, [203, 0, 113, 20], [224, 0, 0, 1], [0; 4]] {
        assert!(!world.from_a(&udp4(others, V4_OUT, (1, 2))));
        assert_eq!(world.refusal(), reason::SPOOFED);
    }
}
