//! Every prefix of every plan gives the old verdicts before the flip and the new ones after it.

use proptest::prelude::*;

use super::{Dice, Realiser, Sides, State, probes, realised, small_kernel, verdicts_of};
use crate::inspect::inspect;
use crate::memory::Write;
use crate::port::Reads as _;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn case_63_packets_see_the_old_policy_or_the_new_one_and_never_a_third(seed: u64) {
        never_a_third(seed);
    }
    #[test]
    fn what_the_encoder_believes_is_what_the_kernel_holds(seed: u64) {
        let mut dice = Dice(seed);
        let mut kernel = small_kernel();
        let mut state = State::furnished(&mut dice);
        let mut realiser = realised(&mut kernel, &state);
        for _ in 0..12 {
            let next = state.changed(&mut dice);
            realiser.want(state.changes_to(&next));
            realiser.realise(&mut kernel).unwrap();
            prop_assert_eq!(realiser.drift(&kernel).unwrap(), []);
            realiser.settle(&mut kernel).unwrap();
            prop_assert_eq!(realiser.image(), &inspect(&kernel).unwrap());
            prop_assert!(realiser.image().leftovers.is_empty());
            for (map, (used, _)) in realiser.encoder().fill() {
                if !matches!(map.kind(), crate::port::MapKind::Array) {
                    prop_assert_eq!(used, kernel.len(map) as u64, "{}", map);
                }
            }
            state = next;
        }
    }

    #[test]
    fn slots_never_leak(seed: u64) {
        let mut dice = Dice(seed);
        let mut kernel = small_kernel();
        let mut realiser = Realiser::adopt(&kernel).unwrap();
        let free = realiser.encoder().free();
        let mut state = State::default();
        for _ in 0..120 {
            let next = state.changed(&mut dice);
            realiser.want(state.changes_to(&next));
            realiser.realise(&mut kernel).unwrap();
            state = next;
        }
        realiser.want(state.changes_to(&State::default()));
        realiser.realise(&mut kernel).unwrap();
        realiser.settle(&mut kernel).unwrap();
        prop_assert_eq!(realiser.encoder().free(), free);
        for map in realiser.encoder().fill().into_keys().filter(|map| map.kind() != crate::port::MapKind::Array) {
            prop_assert_eq!(kernel.len(map), 0, "{}", map);
        }
        prop_assert!(kernel.capacity(crate::port::MapName::Tables).is_ok());
    }

    #[test]
    fn a_state_that_is_realised_already_costs_nothing(seed: u64) {
        let mut dice = Dice(seed);
        let mut kernel = small_kernel();
        let state = State::furnished(&mut dice);
        let mut realiser = realised(&mut kernel, &state);
        kernel.take_journal();
        realiser.want(State::default().changes_to(&state));
        let report = realiser.realise(&mut kernel).unwrap();
        prop_assert!(!report.activated);
        prop_assert_eq!(kernel.take_journal(), []);
    }
}

/// Walks through every prefix of six random changes.
fn never_a_third(seed: u64) {
    let mut dice = Dice(seed);
    let mut kernel = small_kernel();
    let mut state = State::furnished(&mut dice);
    let mut realiser = realised(&mut kernel, &state);
    for _ in 0..6 {
        let next = state.changed(&mut dice);
        let probes = probes(&mut dice);
        let (old, new) = Sides::around(&state.image(), &next.image(), &probes);
        let mut shadow = kernel.clone();
        kernel.take_journal();
        realiser.want(state.changes_to(&next));
        realiser.realise(&mut kernel).unwrap();
        if dice.below(2) == 0 {
            realiser.settle(&mut kernel).unwrap();
        }
        let mut flipped = false;
        for write in kernel.take_journal() {
            shadow.replay(&write).unwrap();
            flipped |= matches!(write, Write::Activate(_));
            let side = if flipped { &new } else { &old };
            let found = verdicts_of(&shadow, &probes);
            assert!(side.agree(&found), "{write:?}\n{}", side.differences(&probes, &found));
        }
        assert_eq!(verdicts_of(&kernel, &probes), new.expected);
        state = next;
    }
}

/// Seeds that once failed.
#[test]
fn an_own_address_that_another_pod_takes_is_old_or_new_and_never_a_third() {
    never_a_third(2_698_847_651_273_068_955);
}

#[test]
fn an_address_that_a_pod_claims_and_another_gets_never_counts_as_its_own() {
    never_a_third(8_277_730_464_038_743_280);
}
