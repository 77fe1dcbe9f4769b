//! Arbitrary bytes: never a panic, never a pass of what was not fully read, the same answer for all three ways in.

use proptest::prelude::*;

use super::frames::*;
use super::world::*;

/// Frames that begin like real ones and go wrong anywhere.
fn frame() -> impl Strategy<Value = std::vec::Vec<u8>> {
    let seed = prop_oneof![
        Just(tcp4(V4_A, V4_OUT, (40_000, 80), SYN)),
        Just(udp4(V4_A, V4_OUT, (1000, 53))),
        Just(icmp4(V4_A, V4_OUT, 3, 0)),
        Just(ip6(
            V6_A,
            V6_OUT,
            60,
            &[[17, 0, 0, 0, 0, 0, 0, 0], [0, 1, 0, 2, 0, 8, 0, 0]].concat()
        )),
        Just(ip6(
            V6_A,
            V6_OUT,
            44,
            &[17, 0, 0, 1, 0, 0, 0, 7, 0, 1, 0, 2, 0, 9, 0, 0]
        )),
        Just(ip6(V6_A, V6_OUT, 58, &icmp(135, 0, &V6_B))),
        Just(arp(V4_A, V4_B)),
    ];
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (
        seed,
        edits,
        any::<prop::sample::Index>(),
        prop::collection::vec(any::<u8>(), 0..40),
    )
        .prop_map(|(mut bytes, edits, cut, tail)| {
            for (at, value) in edits {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(cut.index(bytes.len()) + 1);
            bytes.extend(tail);
            bytes
        })
}

/// The least that a whole packet has: its own length says so.
fn is_whole(bytes: &[u8]) -> bool {
    match bytes.get(12..14) {
        Some([8, 0]) => {
            bytes.len() >= 34 && bytes.len() - 14 >= usize::from(u16::from_be_bytes([bytes[16], bytes[17]]))
        }
        Some([0x86, 0xdd]) => {
            bytes.len() >= 54 && bytes.len() - 54 >= usize::from(u16::from_be_bytes([bytes[18], bytes[19]]))
        }
        Some([8, 6]) => bytes.len() >= 42,
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn nothing_panics_and_nothing_passes_unread(bytes in frame(), ingress in 0_u32..30) {
        let world = World::new();
        let mut passed = std::vec![world.from_a(&bytes), world.to(IF_A, ingress, &bytes), world.to(IF_B, ingress, &bytes)];
        passed.push(world.from_a(&bytes));
        if passed.contains(&true) {
            prop_assert!(is_whole(&bytes), "{bytes:02x?}");
        }
        prop_assert!(world.counted() <= 4);
        for record in world.records() {
            prop_assert_eq!(record.dropped, 1);
        }
    }

    #[test]
    fn a_tree_of_noise_is_only_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let world = World::new();
        if world.from_a(&bytes) || world.to(IF_A, UPLINK, &bytes) {
            prop_assert!(is_whole(&bytes));
        }
    }
}
