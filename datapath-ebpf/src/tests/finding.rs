//! Who somebody is, by which way he comes, and what of a verdict is told.

use cellwall_datapath_common::policy::{PEER_NONE, digest2, endpoint_flags};
use cellwall_datapath_common::{Active, Cell, Versioned, cell_flags, hook, record::event};

use super::corners::{SECOND, with_more_addresses};
use super::frames::*;
use super::standing::{BACK, PORTS, happened, only};
use super::world::*;
use crate::memory::Frame;
use crate::parse;
use crate::scene::Headers;
use crate::verdict::{passing, reason};

#[test]
fn what_is_quiet_is_not_told_and_one_in_so_many_passes_is() {
    let world = World::new();
    world.rule(EGRESS_A, WORLD, Cell::new(1, reason::RULE, cell_flags::QUIET_ALERT, 1));
    assert!(world.from_a(&udp4(V4_A, V4_OUT, (1, 2))));
    world.rule(EGRESS_A, WORLD, Cell::new(1, reason::RULE, cell_flags::QUIET_DROP, 1));
    assert!(world.records().is_empty());
    assert!(world.from_a(&udp4(V4_A, V4_OUT, (1, 3))));
    assert_eq!(world.records().len(), 1, "quiet about drops only");
    world.switches(cellwall_datapath_common::switches::ALERT_ONLY);
    for (flags, told) in [(cell_flags::QUIET_DROP, 0), (cell_flags::QUIET_ALERT, 1), (0, 1)] {
        world.rule(EGRESS_A, WORLD, Cell::new(2, reason::RULE, flags, 1));
        assert!(world.from_a(&udp4(V4_A, V4_OUT, (2, 3 + u16::try_from(flags).unwrap()))));
        assert_eq!(world.records().len(), told, "flags {flags}");
    }
    let world = World::new();
    world.set(|memory| memory.active = Active::sealed(1, 0, 10));
    for (random, told) in [(20, 1), (21, 0), (0, 1), (10, 1)] {
        world.set(|memory| memory.random = random);
        assert!(world.from_a(&udp4(V4_A, V4_OUT, (3, 4 + u16::try_from(random).unwrap()))));
        assert_eq!(world.records().len(), told, "{random}");
    }
}

#[test]
fn an_interface_is_found_where_its_low_bits_are_anothers_and_a_slot_that_is_anothers_is_none() {
    const FAR: u32 = IF_A + 0x1_0000;
    let frame = udp4(V4_A, V4_OUT, PORTS);
    let world = World::new();
    assert!(!world.from(FAR, &frame));
    assert_eq!(happened(&world, event::NO_ENDPOINT), 1);
    world.set(|memory| {
        let endpoint = **memory.endpoints.get(&0).unwrap();
        let far = crate::layout::Endpoint {
            ifindex: FAR,
            ..endpoint
        };
        memory
            .endpoints
            .insert(2, std::boxed::Box::leak(std::boxed::Box::new(far)));
        memory
            .endpoint_extra
            .insert(FAR, Versioned::sealed(1, 3, 0, digest2(FAR, 0)));
    });
    world.set(|memory| memory.address4(word4(V4_A), LOCAL_A, 0, FAR));
    assert!(world.from(FAR, &frame));
    assert_eq!(only(&world).lo_ifindex + only(&world).hi_ifindex, FAR);
    // Half-written.
    world.set(|memory| memory.endpoint_extra.get_mut(&FAR).unwrap().check ^= 1);
    assert!(!world.from(FAR, &frame));
    assert_eq!(
        (happened(&world, event::TORN), happened(&world, event::NO_ENDPOINT)),
        (1, 2)
    );
    // The slot has gone to another interface.
    let world = World::new();
    world.set(|memory| {
        let endpoint = **memory.endpoints.get(&0).unwrap();
        let other = crate::layout::Endpoint {
            ifindex: 77,
            ..endpoint
        };
        memory
            .endpoints
            .insert(0, std::boxed::Box::leak(std::boxed::Box::new(other)));
    });
    assert!(!world.from_a(&frame));
    assert_eq!(happened(&world, event::NO_ENDPOINT), 1);
}

#[test]
fn an_address_or_a_range_that_is_half_written_is_no_verdict_and_one_that_is_gone_is_the_world() {
    let frame = udp4(V4_A, V4_OUT, PORTS);
    let world = World::new();
    world.set(|memory| {
        memory.address4(word4(V4_OUT), REMOTE, 0, 0);
        memory.addresses4.get_mut(&word4(V4_OUT)).unwrap().peer.check ^= 1;
    });
    assert!(!world.from_a(&frame));
    assert_eq!((world.refusal(), happened(&world, event::TORN)), (reason::INTERNAL, 1));
    let range = |world: &World, peer, spoil| {
        world.set(|memory| {
            let mut value = Versioned::sealed(1, peer, 0, 0);
            value.check ^= spoil;
            memory.prefixes4 = std::vec![(24, word4([198, 51, 100, 0]), value)];
        });
    };
    let world = World::new();
    range(&world, REMOTE, 1);
    assert!(!world.from_a(&frame));
    assert_eq!((world.refusal(), happened(&world, event::TORN)), (reason::INTERNAL, 1));
    let world = World::new();
    world.rule(EGRESS_A, REMOTE, DROP);
    range(&world, REMOTE, 0);
    assert!(!world.from_a(&frame));
    range(&world, PEER_NONE, 0);
    assert!(world.from_a(&frame), "a range that is gone is none");
    world.set(|memory| memory.address4(word4(V4_OUT), PEER_NONE, 0, 0));
    range(&world, REMOTE, 0);
    assert!(
        !world.from_a(&udp4(V4_A, V4_OUT, (1, 2))),
        "the range behind an address that is gone"
    );
    assert_eq!(world.packets(hook::FROM_POD, passing(reason::NO_RULE), false), 1);
}

#[test]
fn the_way_of_a_pod_is_its_interface_or_its_bridge() {
    for (ingress, passes) in [
        (IF_A, true),
        (BRIDGE, true),
        (0, true),
        (IF_B, false),
        (UPLINK, false),
        (BRIDGE + 1, false),
    ] {
        let world = World::new();
        assert_eq!(
            world.to(IF_B, ingress, &udp4(V4_A, V4_B, PORTS)),
            passes,
            "by {ingress}"
        );
        if !passes {
            assert_eq!(world.refusal(), reason::SPOOFED);
        }
        // Of a flow that is known, and that is judged anew.
        let world = World::new();
        assert!(world.from_a(&udp4(V4_A, V4_B, PORTS)));
        assert_eq!(
            world.to(IF_B, ingress, &udp4(V4_A, V4_B, PORTS)),
            passes,
            "by {ingress}, of a flow"
        );
        let world = World::new();
        assert!(world.from_a(&udp4(V4_A, V4_B, PORTS)));
        world.flip();
        assert_eq!(
            world.to(IF_B, ingress, &udp4(V4_A, V4_B, PORTS)),
            passes,
            "by {ingress}, after a flip"
        );
    }
}

#[test]
fn an_error_goes_to_the_address_that_sent_what_it_quotes_and_a_pods_comes_from_the_one_that_heard_it() {
    let error = |source, destination, quoted: &[u8]| ip4(source, destination, 1, &icmp(3, 0, &quoted[14..]));
    let world = with_more_addresses(endpoint_flags::MORE_ADDRESSES);
    let sent = udp4(SECOND, V4_OUT, PORTS);
    assert!(world.from_a(&sent));
    world.rule(INGRESS_A, WORLD, DROP);
    assert!(
        !world.to(IF_A, UPLINK, &error(V4_OUT, V4_A, &sent)),
        "another address of the same pod"
    );
    assert!(world.to(IF_A, UPLINK, &error(V4_OUT, SECOND, &sent)));
    let world = with_more_addresses(endpoint_flags::MORE_ADDRESSES);
    let heard = udp4(V4_OUT, V4_A, BACK);
    assert!(world.to(IF_A, UPLINK, &heard));
    world.rule(EGRESS_A, WORLD, DROP);
    assert!(
        !world.from_a(&error(SECOND, V4_OUT, &heard)),
        "another address of the same pod"
    );
    assert!(world.from_a(&error(V4_A, V4_OUT, &heard)));
}

#[test]
fn only_the_option_of_that_name_makes_a_jumbogram() {
    const LENGTH: usize = 70_000;
    for (kind, is_one) in [(0xc2, true), (1, false), (0xc3, false)] {
        let mut rest = std::vec![17, 0, kind, 4];
        rest.extend(u32::try_from(LENGTH).unwrap().to_be_bytes());
        rest.extend(udp(1_000, 53, b"data"));
        let mut bytes = ip6(V6_A, V6_OUT, 0, &rest);
        bytes.resize(54 + LENGTH, 0);
        bytes[18..20].fill(0);
        let frame = Frame {
            bytes: &bytes,
            ifindex: IF_A,
            ingress: 0,
            tagged: false,
            segmented: false,
        };
        assert_eq!(
            parse::v6(frame, &mut Headers::default()) == Ok(true),
            is_one,
            "option {kind:x}"
        );
    }
}

#[test]
fn an_address_that_nobody_has_is_the_worlds_in_records_too() {
    let world = World::new();
    world.rule(EGRESS_A, WORLD, DROP);
    assert!(!world.from_a(&udp4(V4_A, V4_OUT, PORTS)));
    assert_eq!(world.records()[0].peer, WORLD);
}
