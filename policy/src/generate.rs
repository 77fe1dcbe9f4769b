//! Random worlds and questions for comparing judges: small pools of names, addresses and ports, so that things collide,
//! and every odd corner of the rules turns up in a few dozen worlds.
//!
//! A seed gives the same world and questions everywhere, so a disagreement is told by two numbers; or somebody chooses
//! how the dice fall ([`Dice::chosen`]), as a fuzzer does. Worlds and questions are not meant for
//! production use, and public because judges live in several crates; the dice also fall for the agent's self-test.

mod aimed;
mod cluster;
mod dice;
mod pools;
mod questions;
mod rules;
mod scale;

pub use aimed::{aimed_questions, aimed_questions_by, crowd, crowd_by};
pub use dice::Dice;
pub use questions::{flow_questions, questions, questions_by};
pub use scale::Scale;

use crate::model::Name;
use crate::world::{Document, DocumentKey, World};

/// Name of the local node of every generated world.
pub const LOCAL_NODE: &str = "node-a";

/// A world of about `size` pods on three nodes, [`LOCAL_NODE`] the local one, with objects, rules, Services and switches
/// to match. Documents are such as a validated cluster holds them, odd but never invalid.
pub fn world(seed: u64, size: usize) -> World {
    world_by(&mut Dice::new(seed), size)
}

/// The [`world`] that these dice give.
pub fn world_by(dice: &mut Dice, size: usize) -> World {
    let mut world = World::new(LOCAL_NODE, dice.chance(3, 4));
    let documents = [
        cluster::nodes(dice),
        cluster::namespaces(dice),
        cluster::pods(dice, size),
        cluster::services(dice, 1 + size / 4),
        rules::objects(dice, 3 + size / 3),
        rules::rules(dice, 3 + size / 2),
        rules::switches(dice),
    ];
    for document in documents.into_iter().flatten() {
        world.apply(document);
    }
    world
}

/// Changes `world` in one to three places (something appears, changes or goes) and answers the keys touched.
pub fn edit(seed: u64, world: &mut World) -> Vec<DocumentKey> {
    edit_by(&mut Dice::new(seed), world)
}

/// The [`edit`] that these dice give.
pub fn edit_by(dice: &mut Dice, world: &mut World) -> Vec<DocumentKey> {
    let mut touched = Vec::new();
    for _ in 0..dice.between(1, 3) {
        let keys: Vec<DocumentKey> = world.keys().collect();
        let changed = if dice.chance(1, 4) && !keys.is_empty() {
            let key = dice.pick(&keys).clone();
            world.delete(&key).then_some(key)
        } else {
            let document = fresh(dice);
            let key = document.key();
            world.apply(document).then_some(key)
        };
        touched.extend(changed);
    }
    touched.sort();
    touched.dedup();
    touched
}

/// A document of any kind that a world of this size class may hold.
fn fresh(dice: &mut Dice) -> Document {
    let several = match dice.between(0, 9) {
        0 => cluster::nodes(dice),
        1 => cluster::namespaces(dice),
        2..=4 => cluster::pods(dice, 12),
        5 => cluster::services(dice, 4),
        6 | 7 => rules::objects(dice, 6),
        8 => rules::switches(dice),
        _ => rules::rules(dice, 9),
    };
    if several.is_empty() {
        return rules::rule(dice, 0);
    }
    dice.pick(&several).clone()
}

/// The name `prefix-number`.
fn numbered(prefix: &str, number: usize) -> Name {
    format!("{prefix}-{number}").into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{edit, flow_questions, questions, world};
    use crate::evaluate::{at_hook, evaluate};
    use crate::model::Reason;

    #[test]
    fn a_seed_gives_the_same_world_and_questions_again() {
        let (one, other) = (world(7, 20), world(7, 20));
        assert_eq!(one, other);
        assert_eq!(questions(3, &one, 50), questions(3, &other, 50));
        assert_ne!(one, world(8, 20));
    }

    #[test]
    fn a_few_hundred_worlds_show_every_reason_that_documents_can_give() {
        let mut seen = BTreeSet::new();
        for seed in 0..300 {
            let world = world(seed, 4 + usize::try_from(seed % 5).unwrap_or(0) * 5);
            for question in questions(seed, &world, 40) {
                seen.insert(at_hook(&world, &question).reason);
            }
            for question in flow_questions(seed, &world, 10) {
                seen.extend(evaluate(&world, &question).map(|answer| answer.reason));
            }
        }
        for reason in [
            Reason::Rule,
            Reason::NoRule,
            Reason::Service,
            Reason::NodeProbe,
            Reason::Startup,
            Reason::Unresolved,
            Reason::Loopback,
            Reason::Router,
            Reason::Tunnel,
            Reason::LocalNode,
            Reason::SelfTraffic,
            Reason::NotEnforced,
            Reason::Off,
            Reason::Neighbour,
        ] {
            assert!(seen.contains(&reason), "{reason} never came up");
        }
    }

    #[test]
    fn an_edit_names_exactly_what_it_changed() {
        for seed in 0..50 {
            let before = world(seed, 10);
            let mut after = before.clone();
            let touched = edit(seed, &mut after);
            let present = |world: &crate::world::World| world.keys().collect::<BTreeSet<_>>();
            for key in present(&before).symmetric_difference(&present(&after)) {
                assert!(touched.contains(key), "{key:?} came or went unnamed");
            }
            assert!(!touched.is_empty() || before == after);
        }
    }
}
