//! A process is killed at any write; the next one reads back what it left and goes on.

use proptest::prelude::*;

use super::{Dice, Realiser, Sides, State, probes, small_kernel, verdicts, verdicts_of};
use crate::inspect::inspect;
use crate::memory::{Fault, Write};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5))]

    #[test]
    fn a_kill_anywhere_is_healed_by_the_next_process(seed: u64) {
        let mut dice = Dice(seed);
        let mut start = small_kernel();
        let state = State::furnished(&mut dice);
        let mut first = super::realised(&mut start, &state);
        let next = state.changed(&mut dice).changed(&mut dice);
        first.want(state.changes_to(&next));
        let later = next.changed(&mut dice).renumbered();
        let probes = probes(&mut dice);
        let (old, new) = Sides::around(&state.image(), &next.image(), &probes);
        let mut whole = start.clone();
        whole.take_journal();
        first.clone().realise(&mut whole).unwrap();
        for number in 0..whole.take_journal().len() {
            let (mut kernel, mut first) = (start.clone(), first.clone());
            kernel.set_fault(Fault::From(number));
            let _ = first.realise(&mut kernel);
            drop(first);
            kernel.set_fault(Fault::None);
            let before = verdicts_of(&kernel, &probes);
            prop_assert!(old.agree(&before) || new.agree(&before), "write {number}");
            let (killed, last) = Sides::around(&inspect(&kernel).unwrap(), &later.image(), &probes);
            let mut shadow = kernel.clone();
            kernel.take_journal();
            let mut second = Realiser::adopt(&kernel).unwrap();
            second.want(State::default().changes_to(&later));
            second.realise(&mut kernel).unwrap();
            second.settle(&mut kernel).unwrap();
            let mut flipped = false;
            for write in kernel.take_journal() {
                shadow.replay(&write).unwrap();
                flipped |= matches!(write, Write::Activate(_));
                let side = if flipped { &last } else { &killed };
                let found = verdicts_of(&shadow, &probes);
                prop_assert!(side.agree(&found), "killed at {number}, {write:?}\n{}", side.differences(&probes, &found));
            }
            prop_assert_eq!(&verdicts_of(&kernel, &probes), &last.expected);
            prop_assert_eq!(second.image(), &inspect(&kernel).unwrap());
            prop_assert!(second.image().leftovers.is_empty(), "{}", second.image());
        }
    }

    #[test]
    fn a_restart_with_the_same_numbers_writes_nothing_but_keeps_everything(seed: u64) {
        let mut dice = Dice(seed);
        let mut kernel = small_kernel();
        let state = State::furnished(&mut dice);
        let first = super::realised(&mut kernel, &state);
        kernel.take_journal();
        let mut second = Realiser::adopt(&kernel).unwrap();
        second.want(State::default().changes_to(&state));
        let report = second.realise(&mut kernel).unwrap();
        prop_assert!(!report.activated);
        prop_assert_eq!(kernel.take_journal(), [Write::Grace]);
        prop_assert_eq!(second.image(), first.image());
        prop_assert_eq!(second.encoder().free(), first.encoder().free());
        let later = state.changed(&mut dice);
        second.want(state.changes_to(&later));
        second.realise(&mut kernel).unwrap();
        let probes = probes(&mut dice);
        prop_assert_eq!(verdicts_of(&kernel, &probes), verdicts(&later.image(), &probes));
    }
}
