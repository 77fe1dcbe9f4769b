//! How a packet stands to the flow under its key, and what is written there of it.

use std::vec::Vec;

use cellwall_datapath_common::flow_flags::{ADOPTED, ANSWERED, FIN_HI, FIN_LO, FROM_LO, LATE, RESET_HI, RESET_LO};
use cellwall_datapath_common::policy::PEER_NONE;
use cellwall_datapath_common::{Active, Cell, FlowValue, TICK_SHIFT, hook, limits, record::event};

use super::frames::*;
use super::world::*;
use crate::verdict::reason;

/// Two hosts outside, against which the address of A is the lower and the higher one.
const OUTSIDE: [[u8; 4]; 2] = [[198, 51, 100, 1], [192, 0, 2, 1]];
pub(super) const PORTS: (u16, u16) = (40_000, 80);
pub(super) const BACK: (u16, u16) = (80, 40_000);

/// The one flow that there is.
#[track_caller]
pub(super) fn only(world: &World) -> FlowValue {
    let memory = world.0.0.borrow();
    let flows: Vec<FlowValue> = memory
        .flows4
        .values()
        .chain(memory.opening4.values())
        .map(|flow| flow.value())
        .collect();
    assert_eq!(flows.len(), 1, "{flows:?}");
    flows[0]
}

fn answered(world: &World) -> usize {
    world.0.0.borrow().flows4.len()
}

pub(super) fn happened(world: &World, event: u32) -> u64 {
    world.0.0.borrow().event_counters.get(&event).copied().unwrap_or(0)
}

fn open(world: &World, outside: [u8; 4]) {
    assert!(world.from_a(&tcp4(V4_A, outside, PORTS, SYN)));
    assert!(world.to(IF_A, UPLINK, &tcp4(outside, V4_A, BACK, SYN | ACK)));
    assert!(world.from_a(&tcp4(V4_A, outside, PORTS, ACK)));
}

#[test]
fn marks_say_which_end_closed_and_only_an_answer_is_one() {
    for outside in OUTSIDE {
        let (there, back) = (
            |flags| tcp4(V4_A, outside, PORTS, flags),
            |flags| tcp4(outside, V4_A, BACK, flags),
        );
        let world = World::new();
        open(&world, outside);
        let from = only(&world).flags & FROM_LO;
        let a_is_lo = from == FROM_LO;
        assert_eq!(a_is_lo, outside[0] == 198, "which end is the lower one");
        let (fin, reset) = if a_is_lo {
            (FIN_LO, RESET_LO)
        } else {
            (FIN_HI, RESET_HI)
        };
        let (their_fin, their_reset) = if a_is_lo {
            (FIN_HI, RESET_HI)
        } else {
            (FIN_LO, RESET_LO)
        };
        assert_eq!(only(&world).flags, from | ANSWERED);
        for (own, flags, mark) in [
            (true, FIN | ACK, fin),
            (false, FIN | ACK, their_fin),
            (true, RST, reset),
            (false, RST, their_reset),
            (true, FIN | RST, reset),
            (false, FIN | RST, their_reset),
            (true, ACK, 0),
        ] {
            let world = World::new();
            open(&world, outside);
            let passed = if own {
                world.from_a(&there(flags))
            } else {
                world.to(IF_A, UPLINK, &back(flags))
            };
            assert!(passed);
            assert_eq!(only(&world).flags, from | ANSWERED | mark, "{own} {flags}");
        }
        // A RST is no answer, a FIN is; of UDP whatever comes back.
        for (flags, marks) in [
            (RST | ACK, their_reset),
            (FIN | ACK, ANSWERED | their_fin),
            (ACK, ANSWERED),
        ] {
            let world = World::new();
            assert!(world.from_a(&there(SYN)) && world.to(IF_A, UPLINK, &back(flags)));
            assert_eq!(only(&world).flags, from | marks, "{flags}");
        }
        let world = World::new();
        assert!(world.from_a(&udp4(V4_A, outside, PORTS)));
        assert_eq!((only(&world).flags, answered(&world)), (from, 0));
        assert!(world.to(IF_A, UPLINK, &udp4(outside, V4_A, BACK)));
        assert_eq!((only(&world).flags, answered(&world)), (from | ANSWERED, 1));
    }
}

#[test]
fn a_flow_names_the_interface_of_each_end_and_who_opened_it() {
    for outside in OUTSIDE {
        let world = World::new();
        let ends = |flow: FlowValue| (flow.lo_ifindex, flow.hi_ifindex);
        let a_is_lo = outside[0] == 198;
        let expected = if a_is_lo { (IF_A, 0) } else { (0, IF_A) };
        assert!(world.to(IF_A, UPLINK, &udp4(outside, V4_A, BACK)));
        let flow = only(&world);
        assert_eq!(ends(flow), expected);
        assert_eq!(flow.flags & FROM_LO != 0, !a_is_lo, "the outside opened it");
        // In mid-stream, the end with the ephemeral port: A, whose packet this is not.
        let world = World::new();
        assert!(world.to(IF_A, UPLINK, &tcp4(outside, V4_A, BACK, ACK)));
        let flow = only(&world);
        assert_eq!(ends(flow), expected);
        let from = if a_is_lo { FROM_LO } else { 0 };
        assert_eq!(flow.flags, from | ADOPTED | ANSWERED);
        let world = World::new();
        assert!(world.from_a(&tcp4(V4_A, outside, PORTS, ACK)));
        assert_eq!((only(&world).flags, answered(&world)), (from | ADOPTED, 0));
    }
}

#[test]
fn what_comes_again_before_the_handshake_ends_promotes_nothing() {
    for again in [SYN, RST, RST | ACK] {
        let world = World::new();
        assert!(world.from_a(&tcp4(V4_A, V4_OUT, PORTS, SYN)));
        assert!(world.to(IF_A, UPLINK, &tcp4(V4_OUT, V4_A, BACK, SYN | ACK)));
        assert!(
            world.to(IF_A, UPLINK, &tcp4(V4_OUT, V4_A, BACK, ACK)),
            "the responder alone"
        );
        assert!(world.from_a(&tcp4(V4_A, V4_OUT, PORTS, again)));
        assert_eq!(answered(&world), 0, "{again}");
    }
    let world = World::new();
    assert!(world.from_a(&tcp4(V4_A, V4_OUT, PORTS, SYN)));
    assert!(world.from_a(&tcp4(V4_A, V4_OUT, PORTS, ACK)), "nobody answered");
    assert_eq!(answered(&world), 0);
}

#[test]
fn a_pod_that_holds_its_share_of_answered_flows_gets_no_more_and_others_do() {
    let quota = u64::from(limits::FLOW_QUOTA);
    let hold = |world: &World, count| {
        world.set(|memory| {
            memory.held.insert(IF_A, count);
        });
    };
    let world = World::new();
    hold(&world, quota);
    open(&world, V4_OUT);
    assert_eq!((answered(&world), happened(&world, event::FLOWS_QUOTA)), (0, 1));
    assert!(world.from_a(&tcp4(V4_A, V4_OUT, PORTS, ACK)), "it goes on all the same");
    assert!(world.to(IF_A, UPLINK, &tcp4(V4_OUT, V4_A, BACK, ACK)));
    assert_eq!((answered(&world), happened(&world, event::FLOWS_QUOTA)), (0, 2));
    // One less, and the next packet moves it.
    hold(&world, quota - 1);
    assert!(world.from_a(&tcp4(V4_A, V4_OUT, PORTS, ACK)));
    assert_eq!((answered(&world), world.0.0.borrow().held[&IF_A]), (1, quota));
}

#[test]
fn a_flow_is_on_the_account_of_the_pod_that_opened_it_or_else_of_the_one_that_answered() {
    let (there, back) = ((1000, 53), (53, 1000));
    let held = |world: &World, of: u32| world.0.0.borrow().held.get(&of).copied();
    for outside in OUTSIDE {
        let world = World::new();
        assert!(world.to(IF_A, UPLINK, &udp4(outside, V4_A, there)) && world.from_a(&udp4(V4_A, outside, back)));
        assert_eq!(
            (answered(&world), held(&world, IF_A), held(&world, 0)),
            (1, Some(1), None)
        );
    }
    let (ask, answer) = (udp4(V4_A, V4_B, there), udp4(V4_B, V4_A, back));
    let (ask_back, answer_back) = (udp4(V4_B, V4_A, there), udp4(V4_A, V4_B, back));
    let world = World::new();
    assert!(world.from_a(&ask) && world.to(IF_B, IF_A, &ask));
    assert!(world.from(IF_B, &answer) && world.to(IF_A, IF_B, &answer));
    assert_eq!((held(&world, IF_A), held(&world, IF_B)), (Some(1), None));
    // A has its share: B's own openings are none of it. Less than none, while the agent reckons, is none.
    world.set(|memory| {
        memory.held.insert(IF_A, limits::FLOW_QUOTA.into());
        memory.held.insert(IF_B, 0_u64.wrapping_sub(3));
    });
    assert!(world.from(IF_B, &ask_back) && world.to(IF_A, IF_B, &ask_back));
    assert!(world.from_a(&answer_back) && world.to(IF_B, IF_A, &answer_back));
    assert_eq!((answered(&world), held(&world, IF_B)), (2, Some(0_u64.wrapping_sub(2))));
    assert_eq!(happened(&world, event::FLOWS_QUOTA), 0);
}

#[test]
fn where_answered_flows_have_no_room_that_is_counted_at_each_try() {
    let world = World::new();
    world.set(|memory| memory.room = 0);
    open(&world, V4_OUT);
    assert_eq!((answered(&world), happened(&world, event::FLOWS_FULL)), (0, 1));
    assert!(world.from_a(&tcp4(V4_A, V4_OUT, PORTS, ACK)));
    assert_eq!(happened(&world, event::FLOWS_FULL), 2);
    assert_eq!(happened(&world, event::OPENING_FULL), 0);
}

#[test]
fn a_reset_in_mid_stream_opens_nothing_and_between_two_pods_is_counted_once() {
    let world = World::new();
    let reset = tcp4(V4_A, V4_B, PORTS, RST);
    assert!(world.from_a(&reset) && world.to(IF_B, IF_A, &reset));
    assert_eq!((world.counted(), world.0.0.borrow().opening4.len()), (1, 0));
    world.rule(INGRESS_B, LOCAL_A, DROP);
    world.rule(EGRESS_B, LOCAL_A, DROP);
    assert!(!world.to(IF_B, IF_A, &reset));
    assert_eq!(world.counted(), 2, "a drop is counted where it happens");
}

#[test]
fn a_group_that_a_pod_sends_to_is_a_flow_and_one_that_it_hears_is_none() {
    let world = World::new();
    assert!(world.from_a(&udp4(V4_A, [224, 0, 0, 251], (5353, 5353))));
    assert_eq!(world.0.0.borrow().opening4.len(), 1);
}

#[test]
fn a_syn_that_from_pod_has_just_judged_is_not_judged_again_for_a_second() {
    let syn = tcp4(V4_A, V4_B, PORTS, SYN);
    for (ticks, ingress, passes) in [
        (0, IF_A, true),
        (60, IF_A, true),
        (61, IF_A, false),
        (0, BRIDGE, true),
        (0, 0, false),
    ] {
        let world = World::new();
        assert!(world.from_a(&syn));
        // What only judging it anew would show.
        world.rule(INGRESS_B, LOCAL_A, DROP);
        world.set(|memory| memory.now += ticks << TICK_SHIFT);
        assert_eq!(
            world.to(IF_B, ingress, &syn),
            passes,
            "{ticks} ticks later, by {ingress}"
        );
    }
    // What from-pod saw under another address, it has not judged.
    let world = World::new();
    assert!(world.to(IF_B, IF_A, &syn));
    assert_eq!(only(&world).flags & LATE, LATE);
    world.rule(INGRESS_B, LOCAL_A, DROP);
    assert!(!world.to(IF_B, IF_A, &syn));
}

#[test]
fn what_a_bridge_floods_changes_nothing_of_a_flow_that_is_anothers() {
    for flags in [ACK, SYN | ACK, FIN | ACK] {
        let world = World::new();
        open(&world, V4_OUT);
        let before = only(&world);
        let flooded = tcp4(V4_OUT, V4_A, BACK, flags);
        assert!(world.to(IF_B, UPLINK, &flooded), "B's own policy passes it");
        let after = only(&world);
        assert_eq!(
            (after.flags, after.lo_ifindex, after.hi_ifindex),
            (before.flags, before.lo_ifindex, before.hi_ifindex)
        );
        world.rule(INGRESS_B, WORLD, DROP);
        world.rule(EGRESS_B, WORLD, DROP);
        assert!(!world.to(IF_B, UPLINK, &flooded), "and drops it, established or not");
        world.rule(INGRESS_A, WORLD, DROP);
        assert!(world.to(IF_A, UPLINK, &flooded), "the flow goes on where it belongs");
    }
}

/// Whose interface B's address is.
fn b_is_at(world: &World, ifindex: u32) {
    world.set(|memory| memory.address4(word4(V4_B), LOCAL_B, 0, ifindex));
}

#[test]
fn an_end_without_an_interface_may_answer_and_may_not_go_on_for_another() {
    // A opened it when B was not known to be here: B answers.
    let world = World::new();
    b_is_at(&world, 0);
    assert!(world.from_a(&udp4(V4_A, V4_B, PORTS)));
    b_is_at(&world, IF_B);
    world.rule(EGRESS_B, LOCAL_A, DROP);
    assert!(world.from(IF_B, &udp4(V4_B, V4_A, BACK)));
    // It came from B by another way: now that B is here, its next packet opens a flow of its own.
    let world = World::new();
    b_is_at(&world, 0);
    assert!(world.to(IF_A, UPLINK, &udp4(V4_B, V4_A, BACK)));
    b_is_at(&world, IF_B);
    world.rule(EGRESS_B, LOCAL_A, DROP);
    assert!(!world.from(IF_B, &udp4(V4_B, V4_A, BACK)));
}

#[test]
fn a_flow_to_an_end_without_an_interface_is_that_of_the_pod_that_has_the_address_now() {
    let there = udp4(V4_A, V4_B, PORTS);
    for (bound, passes) in [(0, true), (99, false)] {
        let world = World::new();
        b_is_at(&world, bound);
        assert!(world.from_a(&there));
        b_is_at(&world, IF_B);
        // What only judging it anew would show.
        world.rule(INGRESS_B, LOCAL_A, DROP);
        assert_eq!(world.to(IF_B, IF_A, &there), passes, "bound to {bound}");
    }
    let world = World::new();
    b_is_at(&world, 0);
    assert!(world.from_a(&there));
    world.rule(INGRESS_B, LOCAL_A, DROP);
    assert!(!world.to(IF_B, IF_A, &there), "nobody is known to have the address");
}

#[test]
fn a_flow_whose_other_end_has_changed_hands_is_nobodys() {
    let (there, back) = (udp4(V4_A, V4_OUT, PORTS), udp4(V4_OUT, V4_A, BACK));
    for (peer, since, passes) in [
        (REMOTE, 2, false),
        (REMOTE, 1, true),
        (REMOTE, 0, true),
        // That generation is still to come.
        (REMOTE, 3, true),
        (PEER_NONE, 2, false),
    ] {
        let world = World::new();
        world.set(|memory| memory.address4(word4(V4_OUT), REMOTE, 0, 0));
        assert!(world.from_a(&there));
        world.flip();
        world.set(|memory| memory.address4(word4(V4_OUT), peer, since, 0));
        world.rule(INGRESS_A, REMOTE, DROP);
        world.rule(INGRESS_A, WORLD, DROP);
        assert_eq!(world.to(IF_A, UPLINK, &back), passes, "{peer:x} since {since}");
    }
}

#[test]
fn a_flow_that_is_opened_again_on_its_ports_is_as_new_as_any() {
    let world = World::new();
    open(&world, V4_OUT);
    let from = only(&world).flags & FROM_LO;
    assert!(world.to(IF_A, UPLINK, &tcp4(V4_OUT, V4_A, BACK, RST)));
    assert_eq!(world.flows(), 1);
    world.flip();
    world.set(|memory| memory.active = Active::sealed(2, 0, 1));
    assert!(world.from_a(&tcp4(V4_A, V4_OUT, PORTS, SYN)));
    let flow = only(&world);
    assert_eq!((flow.flags, flow.born, flow.revision), (from, 2, 2));
    assert_eq!((world.flows(), world.records().len()), (2, 1));
    // What stays: at which hook it is counted.
    let world = World::new();
    let late = |flags| tcp4(V4_A, V4_B, PORTS, flags);
    assert!(world.to(IF_B, IF_A, &late(SYN)) && world.to(IF_B, IF_A, &late(RST)));
    assert!(world.to(IF_B, IF_A, &late(SYN)));
    assert_eq!(only(&world).flags & !FROM_LO, LATE);
    assert_eq!(world.packets(hook::TO_POD, PASS, false), 3);
    // A SYN that is dropped opens nothing again.
    world.rule(INGRESS_B, LOCAL_A, DROP);
    assert!(world.to(IF_B, IF_A, &late(RST)));
    let before = only(&world).flags;
    assert!(!world.to(IF_B, IF_A, &late(SYN)));
    assert_eq!(only(&world).flags, before);
}

/// The lists of A's egress policy: TCP, UDP, SCTP and ICMP.
fn by_number(world: &World, spans: &[(u32, Cell)]) {
    let list = world.0.0.borrow_mut().list(spans);
    world.set(|memory| {
        let generation = memory.active.generation;
        memory.policy(EGRESS_A, WORLD, [list, list, list, list, PASS.0, PASS.0], generation);
    });
}

#[test]
fn a_reply_is_judged_again_by_what_its_flow_asked_for() {
    let echo = |kind| icmp4(V4_OUT, V4_A, kind, 7);
    for (dropped, cut) in [(53, true), (1_000, false), (54, false)] {
        let world = World::new();
        assert!(world.from_a(&udp4(V4_A, V4_OUT, (1_000, 53))));
        world.flip();
        by_number(&world, &[(0, PASS), (dropped, DROP), (dropped + 1, PASS)]);
        assert_eq!(
            !world.to(IF_A, UPLINK, &udp4(V4_OUT, V4_A, (53, 1_000))),
            cut,
            "{dropped}"
        );
        assert_eq!(!world.from_a(&udp4(V4_A, V4_OUT, (1_000, 53))), cut, "{dropped}");
    }
    for (dropped, cut) in [(8, true), (1, false)] {
        let world = World::new();
        assert!(world.from_a(&icmp4(V4_A, V4_OUT, 8, 7)));
        world.flip();
        by_number(&world, &[(0, PASS), (dropped, DROP), (dropped + 1, PASS)]);
        assert_eq!(!world.to(IF_A, UPLINK, &echo(0)), cut, "{dropped}");
    }
    let world = World::new();
    assert!(world.from_a(&icmp4(V4_A, V4_OUT, 8, 7)));
    world.flip();
    by_number(&world, &[(0, DROP), (1, PASS)]);
    assert!(world.to(IF_A, UPLINK, &echo(0)), "not by the reply's own type");
}

#[test]
fn in_mid_stream_differing_verdicts_pass_for_a_minute_to_the_nanosecond() {
    for (now, passes) in [(59_999_999_999, true), (60_000_000_000, false)] {
        let world = World::new();
        world.rule(INGRESS_A, WORLD, DROP);
        world.set(|memory| memory.now = now);
        assert_eq!(world.to(IF_A, UPLINK, &tcp4(V4_OUT, V4_A, BACK, ACK)), passes, "{now}");
    }
}

#[test]
fn a_record_says_which_way_the_flow_goes() {
    let world = World::new();
    open(&world, V4_OUT);
    world.flip();
    world.rule(EGRESS_A, WORLD, ALERT);
    assert!(world.from_a(&tcp4(V4_A, V4_OUT, PORTS, ACK)));
    world.flip();
    world.rule(EGRESS_A, WORLD, Cell::new(1, reason::RULE, 0, 9));
    assert!(world.to(IF_A, UPLINK, &tcp4(V4_OUT, V4_A, BACK, ACK)));
    let replies: Vec<u8> = world.records().iter().map(|record| record.flags & 1).collect();
    assert_eq!(replies, [0, 1]);
    // And one that nobody saw open.
    let world = World::new();
    world.rule(EGRESS_A, WORLD, ALERT);
    world.rule(INGRESS_A, WORLD, ALERT);
    assert!(world.to(IF_A, UPLINK, &tcp4(V4_OUT, V4_A, BACK, ACK)));
    assert!(world.from_a(&tcp4(V4_A, V4_OUT, (40_001, 80), ACK)));
    let replies: Vec<u8> = world.records().iter().map(|record| record.flags & 1).collect();
    assert_eq!(replies, [1, 0]);
}
