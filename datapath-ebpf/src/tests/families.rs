//! What is written once for each address family: every word of an address counts, keys are the same from both ends,
//! and a packet that an error quotes is read as far as it goes.

use std::vec::Vec;

use super::frames::*;
use super::world::*;
use crate::chain::{Chain, walk};
use crate::family::{Family, Quoted, V4, V6};
use crate::memory::Frame;
use crate::scene::fragment;
use crate::verdict::{FINE, reason};

fn frame(bytes: &[u8]) -> Frame<'_> {
    Frame {
        bytes,
        ifindex: IF_A,
        ingress: 0,
        tagged: false,
        segmented: false,
    }
}

/// A from zero to three, but in network order.
fn v6_of(words: [u32; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (bytes, word) in bytes.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

#[test]
fn every_word_of_an_address_counts() {
    let one = 1_u32.to_be();
    assert!(V6::is_loopback(&[0, 0, 0, one]));
    assert!(V6::is_unspecified(&[0; 4]));
    let address = [5, 6, 7, 8];
    assert!(V6::same(&address, &address) && V4::same(&9, &9) && !V4::same(&9, &8));
    for words in 1..16_u32 {
        let marked = core::array::from_fn(|word| words >> word & 1);
        assert!(!V6::is_unspecified(&marked), "{marked:?}");
        let other = core::array::from_fn(|word| address[word] ^ marked[word]);
        assert!(!V6::same(&address, &other), "{other:?}");
        if words < 8 {
            assert!(!V6::is_loopback(&[marked[0], marked[1], marked[2], one]), "{marked:?}");
        }
    }
    assert!(V6::is_multicast(&words6(v6_of([0xff02_0000, 0, 0, 1]))));
    assert!(!V6::is_multicast(&words6(V6_A)));
    assert_eq!(V6::mapped(&address), address);
}

#[test]
fn a_flow_over_ipv6_is_found_from_both_ends_whatever_tells_them_apart() {
    let own: [u32; 4] = [0x2001_0db8, 0, 0, 0x10];
    for word in 0..4 {
        for ports in [(1000, 1000), (1000, 53), (53, 1000)] {
            for (higher, step) in [(true, 1), (true, 0x100), (false, 1)] {
                let mut other = own;
                other[word] = if higher {
                    own[word] + step
                } else {
                    own[word].saturating_sub(step)
                };
                if other == own {
                    continue;
                }
                let other = v6_of(other);
                let world = World::new();
                world.rule(INGRESS_A, WORLD, DROP);
                let (there, back) = (udp(ports.0, ports.1, b"there"), udp(ports.1, ports.0, b"back"));
                assert!(
                    !world.to(IF_A, UPLINK, &ip6(other, V6_A, 17, &back)),
                    "nothing was sent"
                );
                let world = World::new();
                world.rule(INGRESS_A, WORLD, DROP);
                assert!(world.from_a(&ip6(V6_A, other, 17, &there)));
                assert_eq!(world.0.0.borrow().opening6.len(), 1);
                assert!(
                    world.to(IF_A, UPLINK, &ip6(other, V6_A, 17, &back)),
                    "{other:02x?} {ports:?}"
                );
                let memory = world.0.0.borrow();
                assert_eq!((memory.opening6.len(), memory.flows6.len()), (0, 1));
            }
        }
    }
}

#[test]
fn a_flow_over_ipv4_is_found_from_both_ends_whatever_tells_them_apart() {
    let own = u32::from_be_bytes(V4_A);
    let others = [0_u32, 8, 16, 24].map(|shift| own + (1 << shift));
    for other in others.into_iter().chain([own - 1, own - 0x100]).map(u32::to_be_bytes) {
        for (source, destination) in [(1000, 1000), (1000, 53), (53, 1000), (0x8000, 1), (1, 0x8000)] {
            let world = World::new();
            world.rule(INGRESS_A, WORLD, DROP);
            assert!(world.from_a(&udp4(V4_A, other, (source, destination))));
            assert!(
                world.to(IF_A, UPLINK, &udp4(other, V4_A, (destination, source))),
                "{other:?}"
            );
            let memory = world.0.0.borrow();
            assert_eq!((memory.opening4.len(), memory.flows4.len()), (0, 1));
        }
    }
}

#[test]
fn a_handshake_over_ipv6_leaves_the_table_of_openings() {
    let world = World::new();
    world.rule(INGRESS_A, WORLD, DROP);
    let mine = |flags| ip6(V6_A, V6_OUT, 6, &tcp(40_000, 80, flags));
    let theirs = |flags| ip6(V6_OUT, V6_A, 6, &tcp(80, 40_000, flags));
    assert!(world.from_a(&mine(SYN)) && world.to(IF_A, UPLINK, &theirs(SYN | ACK)));
    assert_eq!(world.0.0.borrow().opening6.len(), 1);
    assert!(world.from_a(&mine(ACK)));
    {
        let memory = world.0.0.borrow();
        assert_eq!((memory.opening6.len(), memory.flows6.len()), (0, 1));
    }
    assert!(world.to(IF_A, UPLINK, &theirs(ACK)));
    world.set(|memory| memory.prefixes6.push((0, [0; 4], versioned_world(3))));
    world.flip();
    assert!(
        world.from_a(&mine(ACK)),
        "the range has no table of its own, its class has"
    );
    world.rule(EGRESS_A, WORLD_RANGE, DROP);
    world.flip();
    assert!(!world.from_a(&mine(ACK)), "judged again as what the range says");
}

/// A class and a number that a range gives.
const WORLD_RANGE: u32 = cellwall_datapath_common::policy::class::WORLD << 28 | 3;

fn versioned_world(number: u32) -> cellwall_datapath_common::Versioned {
    cellwall_datapath_common::Versioned::sealed(1, number, 0, 0)
}

/// What is read of `packet` quoted at 14, of which only `whole` bytes count; more lie behind them.
fn quoted<F: Family>(packet: &[u8], whole: u32) -> Option<Quoted<F::Address>> {
    let mut bytes = std::vec![0; 14];
    bytes.extend(packet);
    bytes.extend([0; 16]);
    let mut quoted = Quoted::default();
    F::quoted(frame(&bytes), 14, 14 + whole, &mut quoted).map(|()| quoted)
}

#[test]
fn a_quoted_packet_needs_its_whole_header_and_no_more() {
    let packet = &udp4(V4_A, V4_OUT, (1000, 53))[14..];
    let read = quoted::<V4>(packet, 20).unwrap();
    assert_eq!((read.source, read.destination), (word4(V4_A), word4(V4_OUT)));
    assert_eq!((read.protocol, read.at), (17, 34));
    assert!(quoted::<V4>(packet, 19).is_none());
    let changed = |at: usize, value: u8| {
        let mut packet = packet.to_vec();
        packet[at] = value;
        quoted::<V4>(&packet, 28)
    };
    assert_eq!(changed(0, 0x46).unwrap().at, 38, "an option");
    for wrong in [changed(0, 0x55), changed(0, 0x65), changed(0, 0x44), changed(7, 1)] {
        assert!(wrong.is_none());
    }
    assert!(changed(6, 0x20).is_some(), "a first fragment");

    let packet = &ip6(V6_A, V6_OUT, 17, &udp(1000, 53, b"data"))[14..];
    let read = quoted::<V6>(packet, 40).unwrap();
    assert_eq!((read.source, read.destination), (words6(V6_A), words6(V6_OUT)));
    assert_eq!((read.protocol, read.at), (17, 54));
    assert!(quoted::<V6>(packet, 39).is_none());
    for version in [0x45, 0x50, 0x70] {
        let mut packet = packet.to_vec();
        packet[0] = version;
        assert!(quoted::<V6>(&packet, 48).is_none());
    }
    let behind = |chain: &[u8]| {
        let rest = [chain, &udp(1000, 53, b"data")].concat();
        let packet = ip6(V6_A, V6_OUT, 44, &rest);
        quoted::<V6>(&packet[14..], 64).map(|read| (read.protocol, read.at))
    };
    assert_eq!(behind(&[17, 0, 0, 1, 0, 0, 0, 7]), Some((17, 62)), "a first fragment");
    assert_eq!(behind(&[17, 0, 0, 9, 0, 0, 0, 7]), None, "a later one");
    assert_eq!(behind(&[44, 0, 0, 1, 0, 0, 0, 7]), None, "a chain that is refused");
}

#[test]
fn case_33_errors_over_ipv6_pass_when_they_quote_a_flow() {
    let world = World::new();
    let sent = ip6(V6_A, V6_OUT, 17, &udp(1000, 53, b"data"));
    assert!(world.from_a(&sent));
    world.rule(INGRESS_A, WORLD, DROP);
    let about = |quoted: &[u8]| ip6(V6_OUT, V6_A, 58, &icmp(1, 0, &quoted[14..]));
    assert!(world.to(IF_A, UPLINK, &about(&sent)));
    let other = ip6(V6_A, V6_OUT, 17, &udp(1000, 54, b"data"));
    assert!(!world.to(IF_A, UPLINK, &about(&other)));
}

/// Walks a chain that begins with `next` at 14 and of which `whole` bytes count; more lie behind them.
fn walked(next: u8, chain: &[u8], whole: u32) -> (u32, Chain) {
    let mut bytes = std::vec![0; 14];
    bytes.extend(chain);
    bytes.extend([0; 32]);
    let mut chain = Chain::new(next, 14, 14 + whole);
    (walk(frame(&bytes), &mut chain), chain)
}

#[test]
fn a_chain_ends_with_its_packet_whatever_bytes_lie_behind() {
    let later = [17, 0, 0, 9, 0, 0, 0, 7];
    for whole in 0..8 {
        assert_eq!(
            walked(44, &later, whole).0,
            reason::EXTENSION_CHAIN,
            "{whole} bytes of a Fragment header"
        );
    }
    let (answer, chain) = walked(44, &later, 8);
    assert_eq!((answer, chain.at, chain.next, chain.offset), (FINE, 22, 17, 1));
    assert!(chain.is_later());
    let options: Vec<u8> = [&[17, 1][..], &[0; 14]].concat();
    for whole in 8..16 {
        assert_eq!(
            walked(60, &options, whole).0,
            reason::EXTENSION_CHAIN,
            "{whole} bytes of 16"
        );
    }
    let (answer, chain) = walked(60, &options, 16);
    assert_eq!((answer, chain.at, chain.next), (FINE, 30, 17));
    // Segments left are not read behind the end.
    assert_eq!(walked(43, &[17, 0, 0, 1, 0, 0, 0, 0], 4).0, reason::EXTENSION_CHAIN);
    assert_eq!(walked(43, &[17, 0, 0, 1, 0, 0, 0, 0], 8).0, reason::MALFORMED);
}

#[test]
fn the_only_fragment_of_a_train_is_a_whole_packet() {
    for (word, is) in [
        (0, fragment::WHOLE),
        (6, fragment::WHOLE),
        (1, fragment::FIRST),
        (7, fragment::FIRST),
    ] {
        let (answer, chain) = walked(44, &[17, 0, 0, word, 0, 0, 0, 7], 16);
        assert_eq!((answer, chain.fragment), (FINE, u32::from(is)), "{word}");
        assert!(!chain.is_later());
    }
}
