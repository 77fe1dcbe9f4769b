//! Every write of every plan fails once, or fails for good (cases 61 to 64).

use proptest::prelude::*;

use super::{Dice, Realiser, Sides, State, probes, realised, small_kernel, verdicts, verdicts_of};
use crate::apply::ApplyError;
use crate::memory::{Fault, MemoryKernel};

/// A realiser in some state with something left to clean, and the state after it.
fn scene(dice: &mut Dice) -> (MemoryKernel, Realiser, State, State) {
    let mut kernel = small_kernel();
    let before = State::furnished(dice);
    let mut realiser = realised(&mut kernel, &before);
    let state = before.changed(dice);
    realiser.want(before.changes_to(&state));
    realiser.realise(&mut kernel).unwrap();
    let next = state.changed(dice);
    realiser.want(state.changes_to(&next));
    (kernel, realiser, state, next)
}

/// Writes of the next call, cleaning included.
fn writes(kernel: &MemoryKernel, realiser: &Realiser) -> usize {
    let (mut kernel, mut realiser) = (kernel.clone(), realiser.clone());
    kernel.take_journal();
    realiser.realise(&mut kernel).unwrap();
    realiser.settle(&mut kernel).unwrap();
    kernel.take_journal().len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn case_62_a_write_that_fails_once_leaves_the_last_policy_whole_and_the_next_attempt_heals(seed: u64) {
        let mut dice = Dice(seed);
        let (start, realiser, state, next) = scene(&mut dice);
        let probes = probes(&mut dice);
        let (old, new) = Sides::around(&state.image(), &next.image(), &probes);
        for number in 0..writes(&start, &realiser) {
            let (mut kernel, mut realiser) = (start.clone(), realiser.clone());
            kernel.set_fault(Fault::Once(number));
            let outcome = realiser.realise(&mut kernel);
            let side = if outcome.is_ok() { &new } else { &old };
            prop_assert!(side.agree(&verdicts_of(&kernel, &probes)), "write {number}: {outcome:?}");
            if let Err(error) = outcome {
                let taken_back = matches!(error, ApplyError::Kernel { taken_back: true, .. });
                let ground = matches!(error, ApplyError::Kernel { phase: crate::apply::Phase::Ground, .. });
                prop_assert!(taken_back || ground, "{:?}", error);
            }
            kernel.set_fault(Fault::None);
            realiser.realise(&mut kernel).unwrap();
            realiser.settle(&mut kernel).unwrap();
            prop_assert_eq!(&verdicts_of(&kernel, &probes), &new.expected, "write {}", number);
            prop_assert_eq!(realiser.drift(&kernel).unwrap(), [], "write {}", number);
        }
    }

    #[test]
    fn case_62_a_kernel_that_refuses_for_good_keeps_the_last_policy_until_it_obeys_again(seed: u64) {
        let mut dice = Dice(seed);
        let (start, realiser, state, next) = scene(&mut dice);
        let probes = probes(&mut dice);
        let (old, new) = Sides::around(&state.image(), &next.image(), &probes);
        for number in 0..writes(&start, &realiser) {
            let (mut kernel, mut realiser) = (start.clone(), realiser.clone());
            kernel.set_fault(Fault::From(number));
            let (before, mut flipped) = (realiser.generation(), false);
            for _ in 0..2 {
                let outcome = realiser.realise(&mut kernel);
                // A new generation is reported as one, and an error means the old verdicts.
                flipped |= outcome.as_ref().is_ok_and(|report| report.activated);
                prop_assert_eq!(realiser.generation() != before, flipped);
                let side = if flipped { &new } else { &old };
                prop_assert!(side.agree(&verdicts_of(&kernel, &probes)), "write {number}: {outcome:?}");
            }
            kernel.set_fault(Fault::None);
            // What is wanted in the meantime is realised with it.
            let later = next.changed(&mut dice.clone());
            realiser.want(next.changes_to(&later));
            realiser.realise(&mut kernel).unwrap();
            realiser.settle(&mut kernel).unwrap();
            prop_assert_eq!(verdicts_of(&kernel, &probes), verdicts(&later.image(), &probes), "write {}", number);
            prop_assert_eq!(realiser.drift(&kernel).unwrap(), [], "write {}", number);
        }
    }
}

#[test]
fn a_failure_names_map_call_cause_and_limit() {
    let mut dice = Dice(7);
    let (mut kernel, mut realiser, ..) = scene(&mut dice);
    realiser.settle(&mut kernel).unwrap();
    kernel.set_fault(Fault::Once(0));
    let error = realiser.realise(&mut kernel).unwrap_err();
    let ApplyError::Kernel { source, limit, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(source.errno, libc::EIO);
    assert!(limit.is_some());
    assert!(error.to_string().contains("preparing failed at a map of"), "{error}");
    assert!(source.to_string().contains("errno 5"), "{source}");
}
