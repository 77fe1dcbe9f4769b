//! Flows: who opens them, who may answer, what a change of policy does, and what is counted.

use cellwall_datapath_common::record::event;
use cellwall_datapath_common::{Active, Cell, FlowValue, flow_flags, hook, switches};

use super::frames::*;
use super::world::*;
use crate::verdict::{action, passing, reason, refusal};

fn syn() -> std::vec::Vec<u8> {
    tcp4(V4_A, V4_OUT, (40_000, 80), SYN)
}

fn syn_ack() -> std::vec::Vec<u8> {
    tcp4(V4_OUT, V4_A, (80, 40_000), SYN | ACK)
}

fn ack() -> std::vec::Vec<u8> {
    tcp4(V4_A, V4_OUT, (40_000, 80), ACK)
}

/// Opens a TCP flow from A to the outside.
fn established(world: &World) {
    assert!(world.from_a(&syn()));
    assert!(world.to(IF_A, UPLINK, &syn_ack()));
    assert!(world.from_a(&ack()));
}

#[test]
fn replies_pass_where_the_direction_alone_would_not() {
    let world = World::new();
    world.rule(INGRESS_A, WORLD, DROP);
    established(&world);
    assert!(world.to(IF_A, UPLINK, &tcp4(V4_OUT, V4_A, (80, 40_000), ACK)));
    assert!(!world.to(IF_A, UPLINK, &tcp4(V4_OUT, V4_A, (81, 40_000), SYN)));
    assert!(world.from_a(&udp4(V4_A, V4_OUT, (1000, 53))));
    assert!(world.to(IF_A, UPLINK, &udp4(V4_OUT, V4_A, (53, 1000))));
    assert!(!world.to(IF_A, UPLINK, &udp4(V4_OUT, V4_A, (54, 1000))));
}

#[test]
fn case_25_an_answered_flow_lets_nothing_pass_from_an_address_that_is_the_pods_no_more() {
    let world = World::new();
    established(&world);
    world.set(|memory| {
        let mut record = *memory.endpoints[&0];
        record.v4 = word4([192, 0, 2, 11]);
        memory
            .endpoints
            .insert(0, std::boxed::Box::leak(std::boxed::Box::new(record)));
    });
    assert!(!world.from_a(&ack()));
    assert_eq!(world.refusal(), reason::SPOOFED);
    assert!(world.to(IF_A, UPLINK, &tcp4(V4_OUT, V4_A, (80, 40_000), ACK)));
}

#[test]
fn case_11_an_answered_flow_lets_no_tunnel_to_a_node_pass() {
    let world = World::new();
    let node = [203, 0, 113, 20];
    world.set(|memory| memory.address4(word4(node), NODE, 0, 0));
    for port in [4789, 8472, 6081, 4790] {
        assert!(world.to(IF_A, UPLINK, &udp4(node, V4_A, (port, 1000))));
        // As if an answer had passed while a rule named the tunnel.
        world.set(|memory| {
            let opened: std::vec::Vec<_> = memory.opening4.drain().collect();
            memory.flows4.extend(opened);
        });
        let passes = world.from_a(&udp4(V4_A, node, (1000, port)));
        assert_eq!(passes, port == 4790, "{port}");
        assert!(passes || world.refusal() == reason::TUNNEL);
    }
}

#[test]
fn a_flow_lets_no_malformed_packet_pass() {
    let with = |frame: &[u8], at: usize, byte: u8| {
        let mut other = frame.to_vec();
        other[at] = byte;
        other
    };
    let (there, back) = (ack(), tcp4(V4_OUT, V4_A, (80, 40_000), ACK));
    let datagram = udp4(V4_A, V4_OUT, (1000, 53));
    let (offset, flags, length) = (46, 47, 39);
    for (at, byte) in [(offset, 0x40), (offset, 0x60), (flags, 0), (flags, SYN | FIN)] {
        let world = World::new();
        established(&world);
        assert!(!world.from_a(&with(&there, at, byte)));
        assert_eq!(world.refusal(), reason::MALFORMED);
        assert!(!world.to(IF_A, UPLINK, &with(&back, at, byte)));
        assert_eq!(world.refusal(), reason::MALFORMED);
    }
    for said in [7, 13] {
        let world = World::new();
        assert!(world.from_a(&datagram));
        assert!(!world.from_a(&with(&datagram, length, said)));
        assert_eq!(world.refusal(), reason::MALFORMED);
    }
}

#[test]
fn a_packet_that_comes_to_the_very_pod_that_sent_it_is_forged() {
    let world = World::new();
    let there = udp4(V4_A, V4_B, (1000, 53));
    assert!(world.from_a(&there) && world.to(IF_B, IF_A, &there));
    assert!(world.from(IF_B, &udp4(V4_B, V4_A, (53, 1000))));
    assert!(!world.to(IF_A, IF_B, &there), "answered, and not by this way");
    assert_eq!(world.refusal(), reason::SPOOFED);
}

#[test]
fn datagrams_that_nobody_answers_go_on_with_their_flow_and_open_it_once() {
    let world = World::new();
    for _ in 0..3 {
        assert!(world.from_a(&udp4(V4_A, V4_OUT, (1000, 53))));
    }
    assert_eq!((world.flows(), world.packets(hook::FROM_POD, PASS, false)), (1, 3));
    assert_eq!(world.0.0.borrow().opening4.len(), 1);
    // The answer moves it, and takes the long way for that.
    assert!(world.to(IF_A, UPLINK, &udp4(V4_OUT, V4_A, (53, 1000))));
    assert_eq!(world.0.0.borrow().flows4.len(), 1);
    // What opened in the other direction is another flow's packet here: it is judged.
    world.rule(INGRESS_A, WORLD, DROP);
    assert!(!world.to(IF_A, UPLINK, &udp4(V4_OUT, V4_A, (54, 1000))));
}

#[test]
fn case_39_only_a_completed_handshake_leaves_the_table_of_openings() {
    let world = World::new();
    assert!(world.from_a(&syn()));
    assert_eq!(world.0.0.borrow().opening4.len(), 1);
    assert!(world.to(IF_A, UPLINK, &syn_ack()));
    assert_eq!(world.0.0.borrow().flows4.len(), 0, "an open port answers every SYN");
    assert!(world.from_a(&ack()));
    assert_eq!(world.0.0.borrow().flows4.len(), 1);
    assert_eq!(world.0.0.borrow().opening4.len(), 0);
}

#[test]
fn case_40_a_full_table_still_decides() {
    let world = World::new();
    world.set(|memory| (memory.room, memory.opening_room) = (0, 0));
    world.rule(INGRESS_A, WORLD, PASS);
    established(&world);
    assert_eq!(
        world.0.0.borrow().event_counters.get(&5).copied(),
        Some(3),
        "all three found no room"
    );
    world.rule(EGRESS_A, WORLD, DROP);
    assert!(!world.from_a(&syn()));
}

#[test]
fn case_41_an_open_flow_is_cut_when_the_policy_changes_and_goes_on_when_it_changes_back() {
    let world = World::new();
    established(&world);
    world.flip();
    world.rule(EGRESS_A, WORLD, DROP);
    assert!(
        !world.to(IF_A, UPLINK, &tcp4(V4_OUT, V4_A, (80, 40_000), ACK)),
        "a reply, judged as its flow"
    );
    let record = world.records()[0];
    assert_eq!((Cell(record.cell), record.flags & 1), (DROP, 1));
    assert!(!world.from_a(&ack()));
    world.flip();
    world.rule(EGRESS_A, WORLD, PASS);
    assert!(world.from_a(&ack()));
    assert!(world.to(IF_A, UPLINK, &tcp4(V4_OUT, V4_A, (80, 40_000), ACK)));
}

#[test]
fn case_42_a_flow_of_the_addresss_former_owner_is_not_inherited() {
    let world = World::new();
    world.rule(INGRESS_A, WORLD, DROP);
    assert!(world.from_a(&udp4(V4_A, V4_OUT, (1000, 53))));
    world.flip();
    world.set(|memory| memory.address4(word4(V4_A), LOCAL_A, 2, IF_A));
    assert!(!world.to(IF_A, UPLINK, &udp4(V4_OUT, V4_A, (53, 1000))));
    // The new owner's own flow is not stale.
    assert!(world.from_a(&udp4(V4_A, V4_OUT, (1000, 53))));
    world.flip();
    assert!(world.to(IF_A, UPLINK, &udp4(V4_OUT, V4_A, (53, 1000))));
}

#[test]
fn case_36_every_syn_is_judged() {
    let world = World::new();
    established(&world);
    world.rule(EGRESS_A, WORLD, DROP);
    assert!(!world.from_a(&syn()), "in the same generation even");
}

#[test]
fn case_35_a_syn_against_the_direction_is_a_flow_of_its_own() {
    let world = World::new();
    world.rule(INGRESS_A, WORLD, DROP);
    assert!(world.from_a(&syn()));
    assert!(!world.to(IF_A, UPLINK, &tcp4(V4_OUT, V4_A, (80, 40_000), SYN)));
    assert!(world.to(IF_A, UPLINK, &syn_ack()), "the first flow is still there");
}

#[test]
fn case_37_a_reset_shortens_a_flows_life_and_keeps_its_verdict() {
    let world = World::new();
    world.rule(INGRESS_A, WORLD, DROP);
    established(&world);
    world.set(|memory| {
        for endpoint in memory.endpoints.values() {
            assert_eq!(endpoint.attached, 0);
        }
    });
    assert!(world.to(IF_A, UPLINK, &tcp4(V4_OUT, V4_A, (80, 40_000), RST)));
    assert!(world.to(IF_A, UPLINK, &tcp4(V4_OUT, V4_A, (80, 40_000), ACK)));
    world.wait(121);
    assert!(!world.to(IF_A, UPLINK, &tcp4(V4_OUT, V4_A, (80, 40_000), ACK)));
}

#[test]
fn both_fins_close_and_one_does_not() {
    let world = World::new();
    world.rule(INGRESS_A, WORLD, DROP);
    established(&world);
    let reply = tcp4(V4_OUT, V4_A, (80, 40_000), ACK);
    assert!(world.from_a(&tcp4(V4_A, V4_OUT, (40_000, 80), FIN | ACK)));
    world.wait(3_600);
    assert!(world.to(IF_A, UPLINK, &reply));
    assert!(world.to(IF_A, UPLINK, &tcp4(V4_OUT, V4_A, (80, 40_000), FIN | ACK)));
    world.wait(121);
    assert!(!world.to(IF_A, UPLINK, &reply));
    assert!(world.from_a(&syn()), "the ports are used again");
    assert!(world.to(IF_A, UPLINK, &syn_ack()));
}

#[test]
fn idle_flows_end_by_protocol_and_state() {
    let world = World::new();
    world.rule(INGRESS_A, WORLD, DROP);
    let (there, back) = (udp4(V4_A, V4_OUT, (1000, 53)), udp4(V4_OUT, V4_A, (53, 1000)));
    assert!(world.from_a(&there));
    world.wait(62);
    assert!(!world.to(IF_A, UPLINK, &back));
    assert!(world.from_a(&there));
    assert!(world.to(IF_A, UPLINK, &back));
    world.wait(170);
    assert!(world.to(IF_A, UPLINK, &back));
    world.wait(182);
    assert!(!world.to(IF_A, UPLINK, &back));
    assert!(FlowValue::is_expired(6, flow_flags::ANSWERED, 0, 6_000_000));
}

#[test]
fn case_44_mid_stream_is_taken_over_where_it_may_be() {
    let world = World::new();
    let reply = tcp4(V4_OUT, V4_A, (80, 40_000), ACK);
    assert!(world.to(IF_A, UPLINK, &reply), "both orientations pass");
    world.rule(INGRESS_A, WORLD, DROP);
    let other = tcp4(V4_OUT, V4_A, (81, 40_000), ACK);
    assert!(
        !world.to(IF_A, UPLINK, &other),
        "they differ, long after the hooks were attached"
    );
    assert_eq!(world.refusal(), reason::NO_STATE);
    world.set(|memory| memory.now = 59_000_000_000);
    assert!(
        world.to(IF_A, UPLINK, &other),
        "they differ, and this may be older than the hooks"
    );
    assert!(world.from_a(&tcp4(V4_A, V4_OUT, (40_000, 81), ACK)));
    world.wait(60);
    assert!(world.to(IF_A, UPLINK, &other), "entered");
    world.rule(EGRESS_A, WORLD, DROP);
    assert!(
        !world.to(IF_A, UPLINK, &tcp4(V4_OUT, V4_A, (82, 40_000), ACK)),
        "both drop"
    );
    assert_eq!(world.refusal(), reason::RULE);
}

#[test]
fn case_31_a_flow_is_not_inherited_by_another_interface() {
    let world = World::new();
    assert!(world.from_a(&udp4(V4_A, V4_OUT, (1000, 53))));
    world.set(|memory| {
        let endpoint = **memory.endpoints.get(&0).unwrap();
        let stolen = crate::layout::Endpoint {
            ifindex: IF_B,
            egress: EGRESS_B,
            ..endpoint
        };
        memory
            .endpoints
            .insert(1, std::boxed::Box::leak(std::boxed::Box::new(stolen)));
    });
    world.rule(EGRESS_B, WORLD, DROP);
    assert!(!world.from(IF_B, &udp4(V4_A, V4_OUT, (1000, 53))));
}

#[test]
fn case_45_a_same_node_flow_is_decided_and_counted_once() {
    let world = World::new();
    world.rule(EGRESS_A, LOCAL_B, ALERT);
    let (there, back) = (
        tcp4(V4_A, V4_B, (40_000, 80), SYN),
        tcp4(V4_B, V4_A, (80, 40_000), SYN | ACK),
    );
    let more = tcp4(V4_A, V4_B, (40_000, 80), ACK);
    assert!(world.from_a(&there) && world.to(IF_B, IF_A, &there));
    assert!(world.from(IF_B, &back) && world.to(IF_A, BRIDGE, &back));
    for _ in 0..3 {
        assert!(world.from_a(&more) && world.to(IF_B, IF_A, &more));
    }
    assert_eq!(world.records().len(), 1, "one alert");
    assert_eq!((world.counted(), world.flows()), (5, 1));
    let rule = *world.0.0.borrow().rule_counters.get(&1).unwrap();
    assert_eq!((rule.packets, rule.flows), (5, 1));
    assert_eq!(world.packets(hook::TO_POD, ALERT, false), 0);
    assert!(!world.to(IF_B, UPLINK, &more), "and by another way it is forged");
}

#[test]
fn a_packet_that_from_pod_saw_under_a_service_address_is_judged_and_counted_at_to_pod() {
    let world = World::new();
    world.rule(INGRESS_B, LOCAL_A, DROP);
    let late = tcp4(V4_A, V4_B, (40_000, 80), SYN);
    assert!(!world.to(IF_B, IF_A, &late));
    assert_eq!(world.refusal(), reason::RULE);
    world.rule(INGRESS_B, LOCAL_A, ALERT);
    assert!(world.to(IF_B, IF_A, &late));
    assert!(world.to(IF_B, IF_A, &tcp4(V4_A, V4_B, (40_000, 80), ACK)));
    assert_eq!(world.packets(hook::TO_POD, ALERT, false), 2);
    assert!(world.from(IF_B, &tcp4(V4_B, V4_A, (80, 40_000), SYN | ACK)));
    assert_eq!(world.packets(hook::FROM_POD, ALERT, false), 1);
}

#[test]
fn what_a_bridge_floods_to_another_pod_is_judged_for_that_pod() {
    let world = World::new();
    assert!(world.to(IF_B, UPLINK, &udp4(V4_OUT, V4_B, (53, 1000))));
    world.rule(INGRESS_A, WORLD, DROP);
    assert!(!world.to(IF_A, UPLINK, &udp4(V4_OUT, V4_B, (53, 1000))));
    assert!(
        world.to(IF_B, UPLINK, &udp4(V4_OUT, V4_B, (53, 1000))),
        "and its flow is left alone"
    );
}

#[test]
fn case_16_multicast_is_judged_for_each_pod_it_reaches() {
    let world = World::new();
    let frame = udp4(V4_OUT, [224, 0, 0, 251], (5353, 5353));
    world.rule(INGRESS_A, WORLD, DROP);
    assert!(world.to(IF_B, UPLINK, &frame));
    assert!(!world.to(IF_A, UPLINK, &frame));
    assert!(world.0.0.borrow().opening4.is_empty());
}

#[test]
fn a_pod_to_its_own_address_passes() {
    let world = World::new();
    world.rule(EGRESS_A, LOCAL_A, DROP);
    world.rule(INGRESS_A, LOCAL_A, DROP);
    let frame = udp4(V4_A, V4_A, (1000, 53));
    assert!(
        !world.to(IF_A, IF_A, &frame),
        "by way of a Service: judged as itself to itself"
    );
    world.records();
    assert!(world.from_a(&frame));
    assert_eq!(world.packets(hook::FROM_POD, passing(reason::SELF), false), 1);
    assert!(world.to(IF_A, IF_A, &frame), "decided at from-pod");
}

#[test]
fn alert_only_passes_a_policys_drop_and_tells_it_once_a_flow() {
    let world = World::new();
    world.switches(switches::ALERT_ONLY);
    world.rule(EGRESS_A, WORLD, DROP);
    established(&world);
    let records = world.records();
    assert_eq!(records.len(), 1);
    assert_eq!((Cell(records[0].cell), records[0].dropped), (DROP, 0));
    world.switches(0);
    assert!(!world.from_a(&ack()), "enforced again, the flow is cut");
    assert_eq!(world.0.0.borrow().refused.len(), 1);
}

#[test]
fn a_flow_that_was_cut_and_that_alert_only_lets_go_on_is_told() {
    let world = World::new();
    established(&world);
    world.rule(EGRESS_A, WORLD, DROP);
    world.flip();
    assert!(!world.from_a(&ack()));
    world.switches(switches::ALERT_ONLY);
    world.flip();
    world.records();
    assert!(world.from_a(&ack()) && world.from_a(&ack()));
    let records = world.records();
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!((Cell(records[0].cell).action(), records[0].dropped), (action::DROP, 0));
}

#[test]
fn an_alert_is_told_once_and_again_when_the_rule_changes() {
    let world = World::new();
    world.rule(EGRESS_A, WORLD, ALERT);
    established(&world);
    assert!(world.from_a(&syn()), "sent once more");
    assert_eq!(world.records().len(), 1);
    world.flip();
    assert!(world.from_a(&ack()));
    assert!(world.records().is_empty());
    world.flip();
    world.rule(EGRESS_A, WORLD, Cell::new(1, reason::RULE, 0, 9));
    assert!(world.from_a(&ack()));
    assert_eq!(world.records().len(), 1);
    assert_eq!(world.flows(), 1);
}

#[test]
fn case_82_records_sent_and_lost_are_all_verdicts() {
    let world = World::new();
    world.rule(EGRESS_A, WORLD, DROP);
    world.set(|memory| memory.record_room = 3);
    for port in 0..10 {
        assert!(!world.from_a(&udp4(V4_A, V4_OUT, (1000, port))));
    }
    let memory = world.0.0.borrow();
    assert_eq!(memory.event_counters.get(&(9 + 2)).copied(), Some(3));
    assert_eq!(
        memory
            .event_counters
            .get(&event::lost(event::kind(2, true), reason::RULE))
            .copied(),
        Some(7)
    );
    assert_eq!(memory.refused.len(), 10, "kept for the pod all the same");
}

#[test]
fn passing_flows_are_recorded_when_asked_for() {
    let world = World::new();
    world.set(|memory| memory.active = Active::sealed(1, 0, 1));
    established(&world);
    assert_eq!(world.records().len(), 1);
    world.set(|memory| (memory.active, memory.random) = (Active::sealed(1, 0, 10), 7));
    assert!(world.from_a(&udp4(V4_A, V4_OUT, (1000, 53))));
    assert!(world.records().is_empty());
}

#[test]
fn values_that_never_settle_are_a_drop_and_counted() {
    let world = World::new();
    world.set(|memory| memory.policy.get_mut(&(EGRESS_A, WORLD)).unwrap().check ^= 1);
    assert!(!world.from_a(&syn()));
    assert_eq!(world.refusal(), reason::INTERNAL);
    world.set(|memory| {
        assert_eq!(memory.event_counters.get(&6).copied(), Some(1));
        memory.active.check ^= 1;
    });
    assert!(!world.from_a(&syn()));
    assert_eq!(world.packets(hook::FROM_POD, refusal(reason::INTERNAL), true), 2);
}
