//! Whatever the way, the state is that of a fresh build (case 64), and changes add up to it.

mod worlds;

use cellwall_policy::compile::{Compiler, Image};
use cellwall_policy::compiled::Change;
use cellwall_policy::world::DocumentKey;
use proptest::prelude::*;
use worlds::{Dice, LOCAL, change, links, world};

/// The key of a change, to see that none comes twice.
fn key(change: &Change) -> String {
    match change {
        Change::Interface(key, _) => format!("interface {key}"),
        Change::Address(key, _) => format!("address {key}"),
        Change::Prefix(key, _) => format!("prefix {key}"),
        Change::ServicePort(key, _) => format!("service port {key:?}"),
        Change::Policy(policy, peer, _) => format!("policy {policy:?} {peer:?}"),
        Change::Table(key, _) => format!("table {key:?}"),
        Change::Rule(key, _) => format!("rule {key:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn case_64_any_sequence_of_changes_equals_a_fresh_build(seed: u64, size in 0usize..60, steps in 1usize..25) {
        let mut dice = Dice::new(seed);
        let mut world = world(&mut dice, size);
        let mut compiler = Compiler::new(LOCAL);
        let mut folded = Image::default();
        let mut current = links(&mut dice, &world);
        folded.apply(compiler.update(&world, &[], &current, 1).changes);
        for step in 0..steps {
            let mut touched: Vec<DocumentKey> = Vec::new();
            for _ in 0..=dice.below(4) {
                touched.extend(change(&mut dice, &mut world));
            }
            if dice.chance(40) {
                current = links(&mut dice, &world);
            }
            let generation = u32::try_from(step).unwrap() + 2;
            let update = compiler.update(&world, &touched, &current, generation);
            let mut keys: Vec<String> = update.changes.iter().map(key).collect();
            keys.sort();
            let count = keys.len();
            keys.dedup();
            prop_assert_eq!(keys.len(), count, "a key came twice");
            folded.apply(update.changes);
            prop_assert_eq!(folded.to_string(), compiler.image().to_string());
            let mut fresh = Compiler::new(LOCAL);
            fresh.update(&world, &[], &current, generation);
            let (one, other) = (compiler.image().canonical(), fresh.image().canonical());
            prop_assert_eq!(one, other, "after step {}: {:?}", step, touched);
        }
    }

    #[test]
    fn an_update_about_nothing_changes_nothing(seed: u64, size in 0usize..80) {
        let mut dice = Dice::new(seed);
        let world = world(&mut dice, size);
        let links = links(&mut dice, &world);
        let mut compiler = Compiler::new(LOCAL);
        compiler.update(&world, &[], &links, 1);
        let everything: Vec<DocumentKey> = world.keys().collect();
        for generation in 2..4 {
            let update = compiler.update(&world, &everything, &links, generation);
            prop_assert_eq!(update.changes, vec![]);
        }
    }

    #[test]
    fn all_that_goes_leaves_nothing_behind(seed: u64, size in 0usize..80) {
        let mut dice = Dice::new(seed);
        let mut world = world(&mut dice, size);
        let links = links(&mut dice, &world);
        let mut compiler = Compiler::new(LOCAL);
        compiler.update(&world, &[], &links, 1);
        let everything = world.reset([]);
        compiler.update(&world, &everything, &[], 2);
        let mut empty = Compiler::new(LOCAL);
        empty.update(&world, &[], &[], 1);
        prop_assert_eq!(compiler.image().to_string(), empty.image().to_string());
    }
}
