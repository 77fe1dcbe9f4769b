//! What single functions of the path say, at and beside their limits.

use std::vec::Vec;

use cellwall_datapath_common::{Cell, hook};

use super::frames::*;
use super::world::*;
use crate::family::{V4, V6};
use crate::memory::Frame;
use crate::parse;
use crate::scene::Headers;
use crate::transport::{query_ports, request_of};
use crate::verdict::{is_lenient, passing, reason};

#[test]
fn alert_only_is_lenient_with_what_a_policy_drops_and_with_nothing_else() {
    let policys = [
        reason::RULE,
        reason::NO_RULE,
        reason::SERVICE,
        reason::STARTUP,
        reason::UNRESOLVED,
        reason::NO_STATE,
    ];
    for number in 0..64 {
        assert_eq!(is_lenient(number), policys.contains(&number), "reason {number}");
    }
}

#[test]
fn a_record_says_from_where_to_where_and_whether_there_are_ports() {
    let world = World::new();
    world.rule(EGRESS_A, WORLD, DROP);
    let mapped = |address: [u8; 4]| -> Vec<u8> { [&[0; 10][..], &[0xff; 2], &address].concat() };
    assert!(!world.from_a(&tcp4(V4_A, V4_OUT, (40_000, 80), SYN)));
    assert!(!world.from_a(&ip6(V6_A, V6_OUT, 17, &udp(1000, 53, b"data"))));
    assert!(!world.from_a(&icmp4(V4_A, V4_OUT, 8, 7)));
    assert!(!world.from_a(&ip4(V4_A, V4_OUT, 50, &[0; 16])));
    let records = world.records();
    assert_eq!(records[0].source[..], mapped(V4_A));
    assert_eq!(records[0].destination[..], mapped(V4_OUT));
    assert_eq!((records[0].source_port, records[0].destination_port), (40_000, 80));
    assert_eq!((records[1].source, records[1].destination), (V6_A, V6_OUT));
    let ports: Vec<u8> = records.iter().map(|record| record.flags & 2).collect();
    assert_eq!(ports, [2, 2, 0, 0]);
}

#[test]
fn every_reply_belongs_to_its_request_and_to_no_other() {
    for (request, reply) in [(8, 0), (13, 14), (15, 16), (17, 18)] {
        assert_eq!(request_of::<V4>(reply), request);
        let world = World::new();
        world.rule(INGRESS_A, WORLD, DROP);
        assert!(!world.to(IF_A, UPLINK, &icmp4(V4_OUT, V4_A, reply, 7)), "nobody asked");
        assert!(world.from_a(&icmp4(V4_A, V4_OUT, request, 7)));
        assert!(world.to(IF_A, UPLINK, &icmp4(V4_OUT, V4_A, reply, 7)), "type {reply}");
    }
    assert_eq!(request_of::<V6>(129), 128);
    assert_eq!((query_ports::<V4>(8, 7), query_ports::<V6>(128, 7)), ((7, 0), (7, 0)));
    assert_eq!((query_ports::<V4>(13, 7), query_ports::<V6>(8, 7)), ((7, 13), (7, 8)));
}

/// The list of ICMP types of A's policy of this direction.
fn icmp_rule(world: &World, policy: u32, spans: &[(u32, Cell)]) {
    let list = world.0.0.borrow_mut().list(spans);
    world.set(|memory| memory.policy(policy, WORLD, [PASS.0, PASS.0, PASS.0, list, PASS.0, PASS.0], 1));
}

#[test]
fn a_reply_does_not_travel_with_its_request() {
    let world = World::new();
    icmp_rule(&world, EGRESS_A, &[(0, DROP), (1, PASS)]);
    // Identifier 0: both have the same key.
    assert!(world.from_a(&icmp4(V4_A, V4_OUT, 8, 0)));
    assert!(!world.from_a(&icmp4(V4_A, V4_OUT, 0, 0)));
}

#[test]
fn in_mid_stream_the_end_with_the_ephemeral_port_is_taken_for_the_initiator() {
    let here = Cell::new(1, reason::RULE, 0, 9);
    for (ports, flags, forward) in [
        ((40_000, 80), ACK, true),
        ((80, 40_000), ACK, false),
        ((80, 32_768), ACK, false),
        ((80, 32_767), ACK, true),
        ((32_767, 32_768), ACK, false),
        ((32_768, 32_768), ACK, true),
        ((40_000, 50_000), ACK, true),
        ((80, 81), ACK, true),
        ((40_000, 80), SYN | ACK, false),
    ] {
        let world = World::new();
        world.rule(EGRESS_A, WORLD, ALERT);
        world.rule(INGRESS_A, WORLD, here);
        assert!(world.from_a(&tcp4(V4_A, V4_OUT, ports, flags)));
        let told = Cell(world.records()[0].cell);
        assert_eq!(told, if forward { ALERT } else { here }, "{ports:?} {flags}");
    }
}

/// An error from the outside to A about `quoted`, of whose packet only `keep` bytes lie within the error's.
fn error(quoted: &[u8], keep: u16) -> Vec<u8> {
    let mut frame = ip4(V4_OUT, V4_A, 1, &icmp(3, 0, &quoted[14..]));
    frame[16..18].copy_from_slice(&(28 + keep).to_be_bytes());
    frame
}

#[test]
fn an_error_quotes_all_the_ports_within_its_own_packet() {
    for (sent, needs) in [
        (udp4(V4_A, V4_OUT, (1000, 53)), 24),
        (tcp4(V4_A, V4_OUT, (1000, 53), SYN), 24),
        (icmp4(V4_A, V4_OUT, 8, 7), 28),
        (ip4(V4_A, V4_OUT, 50, &[0; 16]), 20),
    ] {
        let world = World::new();
        assert!(world.from_a(&sent));
        world.rule(INGRESS_A, WORLD, DROP);
        assert!(!world.to(IF_A, UPLINK, &error(&sent, needs - 1)));
        assert!(world.to(IF_A, UPLINK, &error(&sent, needs)), "{needs} bytes");
        assert_eq!(world.packets(hook::TO_POD, passing(reason::RELATED), false), 1);
    }
}

#[test]
fn an_error_about_a_query_fits_the_direction_of_its_flow() {
    let request = |source, destination| icmp4(source, destination, 8, 0);
    let reply = |source, destination| icmp4(source, destination, 0, 0);
    // A asked: its request may be quoted, a reply of its own may not.
    let world = World::new();
    assert!(world.from_a(&request(V4_A, V4_OUT)));
    world.rule(INGRESS_A, WORLD, DROP);
    assert!(world.to(IF_A, UPLINK, &error(&request(V4_A, V4_OUT), 28)));
    assert!(!world.to(IF_A, UPLINK, &error(&reply(V4_A, V4_OUT), 28)));
    // A was asked: the other way round.
    let world = World::new();
    assert!(world.to(IF_A, UPLINK, &request(V4_OUT, V4_A)));
    assert!(world.from_a(&reply(V4_A, V4_OUT)));
    icmp_rule(&world, INGRESS_A, &[(0, PASS), (3, DROP), (4, PASS)]);
    assert!(world.to(IF_A, UPLINK, &error(&reply(V4_A, V4_OUT), 28)));
    assert!(!world.to(IF_A, UPLINK, &error(&request(V4_A, V4_OUT), 28)));
}

#[test]
fn case_33_errors_and_other_messages_are_no_packets_of_an_echo_whose_identifier_is_zero() {
    let world = World::new();
    assert!(world.to(IF_A, UPLINK, &icmp4(V4_OUT, V4_A, 8, 0)));
    assert!(
        world.from_a(&icmp4(V4_A, V4_OUT, 0, 0)),
        "answered: the flow is on the fast path"
    );
    world.set(drop_at_both_hooks);
    for number in [3, 4, 11, 12, 19, 40, 255] {
        assert!(
            !world.to(IF_A, UPLINK, &icmp4(V4_OUT, V4_A, number, 0)),
            "type {number}"
        );
        assert!(!world.from_a(&icmp4(V4_A, V4_OUT, number, 0)), "type {number}");
    }
    assert!(world.to(IF_A, UPLINK, &icmp4(V4_OUT, V4_A, 8, 0)), "the echo goes on");
}

/// Another table behind both policies; the generation stays, so that flows are not judged again.
fn drop_at_both_hooks(memory: &mut crate::memory::Memory) {
    for policy in [EGRESS_A, INGRESS_A] {
        memory.policy(policy, WORLD, [DROP.0; 6], 1);
    }
}

#[test]
fn an_error_about_another_pods_flow_is_no_relative() {
    let world = World::new();
    let sent = udp4(V4_A, V4_OUT, (1000, 53));
    assert!(world.from_a(&sent));
    world.rule(INGRESS_B, WORLD, DROP);
    let mut astray = error(&sent, 28);
    astray[30..34].copy_from_slice(&V4_B);
    assert!(!world.to(IF_B, UPLINK, &astray), "quotes a packet that B did not send");
    world.rule(INGRESS_A, WORLD, DROP);
    world.wait(61);
    assert!(!world.to(IF_A, UPLINK, &error(&sent, 28)), "the flow is over");
}

fn read4(bytes: &[u8], segmented: bool) -> Result<u32, u32> {
    let frame = Frame {
        bytes,
        ifindex: IF_A,
        ingress: 0,
        tagged: false,
        segmented,
    };
    let mut h = Headers::default();
    parse::v4(frame, &mut h).map(|_| h.end)
}

#[test]
fn only_what_stands_for_several_packets_may_be_longer_than_its_length_can_say() {
    let of = |room: usize, total: u16| {
        let mut bytes = udp4(V4_A, V4_OUT, (1000, 53));
        bytes.resize(14 + room, 0);
        bytes[16..18].copy_from_slice(&total.to_be_bytes());
        bytes
    };
    assert_eq!(read4(&of(65_536, 0), true), Ok(14 + 65_536));
    assert_eq!(read4(&of(65_536, 0), false), Err(reason::MALFORMED));
    assert_eq!(read4(&of(65_535, 0), true), Err(reason::MALFORMED));
    assert_eq!(read4(&of(100, 0), true), Err(reason::MALFORMED));
    assert_eq!(read4(&of(65_536, 40), true), Ok(54));
}

#[test]
fn a_length_of_zero_means_a_jumbogram_where_there_is_more_than_a_length_can_say() {
    let of = |room: usize, segmented: bool, payload: u16| {
        let mut bytes = ip6(V6_A, V6_OUT, 17, &udp(1000, 53, b"data"));
        bytes.resize(54 + room, 0);
        bytes[18..20].copy_from_slice(&payload.to_be_bytes());
        let frame = Frame {
            bytes: &bytes,
            ifindex: IF_A,
            ingress: 0,
            tagged: false,
            segmented,
        };
        let mut h = Headers::default();
        parse::v6(frame, &mut h).map(|jumbo| (jumbo, h.end))
    };
    assert_eq!(of(65_536, true, 0), Ok((true, 54 + 65_536)));
    assert_eq!(of(65_535, true, 0), Ok((false, 54)));
    assert_eq!(of(65_536, true, 20), Ok((false, 74)));
    assert_eq!(of(40, true, 0), Ok((false, 54)));
}

#[test]
fn a_fragment_ends_where_the_longest_packet_ends_and_not_behind() {
    let at = |length: usize| read4(&ip4_with(V4_A, V4_OUT, 17, &[], 1, 8191, &std::vec![0; length]), false);
    assert_eq!(at(7), Ok(41));
    assert_eq!(at(8), Err(reason::MALFORMED));
}

#[test]
fn a_message_that_is_no_query_opens_no_flow() {
    let world = World::new();
    for number in [3, 4, 19, 40, 255] {
        assert!(world.from_a(&icmp4(V4_A, V4_OUT, number, 0)));
    }
    assert_eq!(world.0.0.borrow().opening4.len(), 0);
}

#[test]
fn an_error_of_a_pod_of_this_node_comes_by_that_pods_way_and_is_counted_there() {
    let world = World::new();
    let sent = udp4(V4_A, V4_OUT, (1000, 53));
    assert!(world.from_a(&sent));
    world.rule(INGRESS_A, WORLD, DROP);
    world.rule(INGRESS_A, LOCAL_B, DROP);
    let mut about = error(&sent, 28);
    about[26..30].copy_from_slice(&V4_B);
    let counted = world.counted();
    assert!(world.to(IF_A, IF_B, &about));
    assert_eq!(world.counted(), counted);
    assert!(!world.to(IF_A, UPLINK, &about));
    assert_eq!(world.refusal(), reason::SPOOFED);
}

#[test]
fn case_42_an_error_about_a_flow_to_the_addresss_former_owner_is_no_relative() {
    let world = World::new();
    let sent = udp4(V4_A, V4_OUT, (1000, 53));
    assert!(world.from_a(&sent));
    world.rule(INGRESS_A, WORLD, DROP);
    world.flip();
    assert!(world.to(IF_A, UPLINK, &error(&sent, 28)));
    world.set(|memory| memory.address4(word4(V4_OUT), WORLD, 2, 0));
    assert!(!world.to(IF_A, UPLINK, &error(&sent, 28)));
}
