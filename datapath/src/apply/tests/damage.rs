//! Bytes that nobody of ours wrote: nothing widens, and the next process puts them right.

use cellwall_policy::model::Reason;
use proptest::prelude::*;

use super::dice::Dice;
use super::{Realiser, State, probes, realised, small_kernel, verdicts, verdicts_of};
use crate::inspect::{Places, inspect, inspect_places, inspect_witnessed};
use crate::memory::MemoryKernel;
use crate::port::{Entries, Kernel as _, MapKind, MapName, Reads as _};

const DAMAGED: [MapName; 10] = [
    MapName::EndpointIndex,
    MapName::EndpointExtra,
    MapName::Addresses4,
    MapName::Addresses6,
    MapName::Prefixes4,
    MapName::Prefixes6,
    MapName::ServicePorts,
    MapName::Policy,
    MapName::Tables,
    MapName::Spans,
];

/// Changes bytes of one entry.
fn damage(kernel: &mut MemoryKernel, dice: &mut Dice) {
    let map = dice.one_of(&DAMAGED);
    let mut found = Vec::new();
    kernel
        .visit(map, &mut |key, value| found.push((key.to_vec(), value.to_vec())))
        .unwrap();
    if found.is_empty() {
        return;
    }
    let chosen = dice.below(u32::try_from(found.len()).unwrap()) as usize;
    let (key, mut value) = found.swap_remove(chosen);
    for _ in 0..=dice.below(3) {
        let place = dice.below(u32::try_from(value.len()).unwrap()) as usize;
        value[place] ^= 1 << dice.below(8);
    }
    let mut entries = Entries::new(map);
    entries.push(&key, &value);
    kernel.update(&entries).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_entries_are_replaced_by_the_next_process(seed: u64) {
        let mut dice = Dice(seed);
        let mut kernel = small_kernel();
        let state = State::furnished(&mut dice);
        drop(realised(&mut kernel, &state));
        let probes = probes(&mut dice);
        for _ in 0..3 {
            damage(&mut kernel, &mut dice);
        }
        let mut next = Realiser::adopt(&kernel).unwrap();
        let later = state.changed(&mut dice).renumbered();
        next.want(State::default().changes_to(&later));
        next.realise(&mut kernel).unwrap();
        next.settle(&mut kernel).unwrap();
        prop_assert_eq!(verdicts_of(&kernel, &probes), verdicts(&later.image(), &probes));
        prop_assert_eq!(next.drift(&kernel).unwrap(), []);
        prop_assert!(next.image().leftovers.is_empty(), "{}", next.image());
    }

    #[test]
    fn a_process_that_sees_damage_puts_it_right_itself_and_goes_on(seed: u64) {
        let mut dice = Dice(seed);
        let mut kernel = small_kernel();
        let state = State::furnished(&mut dice);
        let mut realiser = realised(&mut kernel, &state);
        let probes = probes(&mut dice);
        damage(&mut kernel, &mut dice);
        damage(&mut kernel, &mut dice);
        realiser.recover(&kernel).unwrap();
        realiser.realise(&mut kernel).unwrap();
        prop_assert_eq!(verdicts_of(&kernel, &probes), verdicts(&state.image(), &probes));
        let next = state.changed(&mut dice);
        realiser.want(state.changes_to(&next));
        realiser.realise(&mut kernel).unwrap();
        realiser.settle(&mut kernel).unwrap();
        prop_assert_eq!(verdicts_of(&kernel, &probes), verdicts(&next.image(), &probes));
        prop_assert_eq!(realiser.drift(&kernel).unwrap(), []);
    }

    #[test]
    fn damage_is_told_as_drift(seed: u64) {
        let mut dice = Dice(seed);
        let mut kernel = small_kernel();
        let realiser = realised(&mut kernel, &State::furnished(&mut dice));
        let mut entries = Entries::new(MapName::Policy);
        kernel.visit(MapName::Policy, &mut |key, _| if entries.is_empty() { entries.push(key, &[7; 16]) }).unwrap();
        kernel.update(&entries).unwrap();
        let drift = realiser.drift(&kernel).unwrap();
        let words: Vec<_> = drift.iter().map(ToString::to_string).collect();
        prop_assert!(words.iter().any(|one| one.contains("leftover POLICY") && one.contains("found unreadable")));
        prop_assert!(words.iter().any(|one| one.contains("policy") && one.ends_with("found no entry")));
    }

    #[test]
    fn a_witness_holds_until_something_that_was_read_is_another(seed: u64) {
        let mut dice = Dice(seed);
        let mut kernel = small_kernel();
        let state = State::furnished(&mut dice);
        let realiser = realised(&mut kernel, &state);
        let places = Places::of(realiser.image(), &kernel).unwrap();
        let (before, witness) = inspect_witnessed(&kernel, &places).unwrap();
        prop_assert!(witness.holds(&kernel).unwrap());
        damage(&mut kernel, &mut dice);
        let after = inspect_places(&kernel, &places).unwrap();
        prop_assert!(after == before || !witness.holds(&kernel).unwrap());
        let later = state.changed(&mut dice).renumbered();
        let (before, witness) = inspect_witnessed(&kernel, &places).unwrap();
        let mut next = Realiser::adopt(&kernel).unwrap();
        next.want(State::default().changes_to(&later));
        next.realise(&mut kernel).unwrap();
        let after = inspect_places(&kernel, &places).unwrap();
        prop_assert!(after == before || !witness.holds(&kernel).unwrap());
    }

    #[test]
    fn any_bytes_in_any_map_are_an_image(seed: u64) {
        let mut dice = Dice(seed);
        let mut kernel = small_kernel();
        for map in MapName::ALL.iter().filter(|map| matches!(map.kind(), MapKind::Array | MapKind::Hash | MapKind::Trie)) {
            for _ in 0..4 {
                let mut key: Vec<u8> = (0..map.key_size()).map(|_| byte(&mut dice)).collect();
                if map.kind() != MapKind::Hash {
                    key[..4].copy_from_slice(&dice.below(kernel.capacity(*map).unwrap().min(32)).to_ne_bytes());
                }
                let value: Vec<u8> = (0..map.value_size()).map(|_| byte(&mut dice)).collect();
                let mut entries = Entries::new(*map);
                entries.push(&key, &value);
                kernel.update(&entries).unwrap();
            }
        }
        let image = inspect(&kernel).unwrap();
        prop_assert!(!image.to_string().is_empty());
        let probes = probes(&mut dice);
        prop_assert!(verdicts(&image, &probes).iter().all(|cell| matches!(
            cell.reason,
            Reason::Internal | Reason::Startup | Reason::Off
        )));
        let mut realiser = Realiser::adopt(&kernel).unwrap();
        let state = State::furnished(&mut dice);
        realiser.want(State::default().changes_to(&state));
        realiser.want_switches(0, 0);
        realiser.realise(&mut kernel).unwrap();
        realiser.settle(&mut kernel).unwrap();
        prop_assert_eq!(verdicts_of(&kernel, &probes), verdicts(&state.image(), &probes));
    }
}

fn byte(dice: &mut Dice) -> u8 {
    u8::try_from(dice.below(256)).unwrap()
}
