//! Which packets take the short way: what the long way sets down of a packet, they leave as it was.

use cellwall_datapath_common::policy::endpoint_flags;

use super::corners::{SECOND, with_more_addresses};
use super::frames::*;
use super::standing::{BACK, PORTS};
use super::world::*;
use crate::tables::Tables as _;

/// How far a packet came before it passed.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// Its headers stayed in registers.
    Short,
    /// The guard had to look at it; no verdict was set down.
    Guarded,
    Long,
}
use Way::{Guarded, Long, Short};

/// No packet sets these down.
const MARK: u32 = 0xdead_beef;

#[track_caller]
fn way_of(world: &World, pass: impl FnOnce() -> bool) -> Way {
    let scratch = world.0.scratch().unwrap();
    (scratch.headers4.end, scratch.headers6.end, scratch.outcome.peer) = (MARK, MARK, MARK);
    assert!(pass());
    let was_read = (scratch.headers4.end, scratch.headers6.end) != (MARK, MARK);
    match (was_read, scratch.outcome.peer != MARK) {
        (false, false) => Short,
        (true, false) => Guarded,
        (_, true) => Long,
    }
}

#[test]
fn packets_of_an_answered_flow_take_it_at_both_hooks() {
    let (there, back) = (tcp4(V4_A, V4_OUT, PORTS, ACK), tcp4(V4_OUT, V4_A, BACK, ACK));
    let world = World::new();
    assert!(world.from_a(&tcp4(V4_A, V4_OUT, PORTS, SYN)));
    assert!(world.to(IF_A, UPLINK, &back));
    assert_eq!(way_of(&world, || world.from_a(&there)), Long, "it moves the flow");
    assert_eq!(way_of(&world, || world.from_a(&there)), Short);
    assert_eq!(way_of(&world, || world.to(IF_A, UPLINK, &back)), Short);
    world.flip();
    assert_eq!(way_of(&world, || world.from_a(&there)), Long, "judged again");
    assert_eq!(way_of(&world, || world.from_a(&there)), Short);

    let (there, back) = (
        ip6(V6_A, V6_B, 17, &udp(1000, 53, b"data")),
        ip6(V6_B, V6_A, 17, &udp(53, 1000, b"data")),
    );
    let world = World::new();
    assert!(world.from_a(&there));
    assert_eq!(way_of(&world, || world.from(IF_B, &back)), Long, "it moves the flow");
    assert_eq!(way_of(&world, || world.from(IF_B, &back)), Short);
    assert_eq!(way_of(&world, || world.from_a(&there)), Short);
    // Met without a note: by the other pod's interface, and by the bridge, of which a table has to say that it may.
    assert_eq!(way_of(&world, || world.to(IF_B, IF_A, &there)), Short);
    assert_eq!(way_of(&world, || world.to(IF_A, IF_B, &back)), Short);
    assert_eq!(way_of(&world, || world.to(IF_B, BRIDGE, &there)), Long);
}

#[test]
fn of_an_unanswered_flow_datagrams_of_its_opener_take_it_and_nothing_else() {
    let (there, back) = (udp4(V4_A, V4_OUT, PORTS), udp4(V4_OUT, V4_A, BACK));
    let world = World::new();
    assert_eq!(way_of(&world, || world.from_a(&there)), Long, "it opens the flow");
    assert_eq!(way_of(&world, || world.from_a(&there)), Short);
    assert_eq!(way_of(&world, || world.to(IF_A, UPLINK, &back)), Long);
    let world = World::new();
    assert_eq!(
        way_of(&world, || world.to(IF_A, UPLINK, &back)),
        Long,
        "it opens the flow"
    );
    assert_eq!(way_of(&world, || world.to(IF_A, UPLINK, &back)), Short);
    assert_eq!(way_of(&world, || world.from_a(&there)), Long);
    let world = World::new();
    assert!(world.from_a(&tcp4(V4_A, V4_OUT, PORTS, SYN)));
    for flags in [SYN, ACK] {
        let again = tcp4(V4_A, V4_OUT, PORTS, flags);
        assert_eq!(way_of(&world, || world.from_a(&again)), Long, "{flags}");
    }
}

#[test]
fn what_the_guard_must_look_at_goes_on_with_its_flow_without_a_verdict() {
    let world = with_more_addresses(endpoint_flags::MORE_ADDRESSES);
    let second = udp4(SECOND, V4_OUT, PORTS);
    assert_eq!(way_of(&world, || world.from_a(&second)), Long, "it opens the flow");
    assert_eq!(way_of(&world, || world.from_a(&second)), Guarded);
    // What could be a tunnel, to where there is no node.
    let world = World::new();
    for tunnel in [
        udp4(V4_A, V4_OUT, (1000, 4789)),
        ip6(V6_A, V6_OUT, 17, &udp(1000, 4789, b"data")),
    ] {
        assert!(world.from_a(&tunnel));
        assert_eq!(way_of(&world, || world.from_a(&tunnel)), Guarded);
    }
}
