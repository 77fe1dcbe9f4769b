//! Bytes as a world that changes: the compiled state says what the reference says, and however it came about it is that
//! of a compiler which begins anew.

use cellwall_policy::compile::{Compiler, Image};
use cellwall_policy::generate::{self, Dice};
use cellwall_policy::scenario::Scenario;
use cellwall_policy::world::{DocumentKey, World};

use compiled::{disagreements, links};

// The comparison that the policy's own tests make.
#[path = "../../../policy/tests/compiled/mod.rs"]
mod compiled;

/// Questions about each state of the world, and aimed ones where Services crowd.
const QUESTIONS: usize = 24;
const AIMED: usize = 16;

/// Fails where one of these does not hold.
pub fn check(bytes: &[u8]) {
    let dice = &mut Dice::chosen(bytes);
    let size = usize::try_from(dice.between(0, 9)).unwrap_or(0);
    let edits = dice.between(0, 3);
    let crowded = dice.chance(1, 3);
    let mut world = generate::world_by(dice, size);
    if crowded {
        generate::crowd_by(dice, &mut world);
    }
    let mut compiler = Compiler::new(generate::LOCAL_NODE);
    let mut folded = Image::default();
    folded.apply(compiler.update(&world, &[], &links(&world), 1).changes);
    agrees(dice, &world, crowded);
    for generation in 2..2 + u32::try_from(edits).unwrap_or(0) {
        let touched = change(dice, &mut world, crowded);
        let update = compiler.update(&world, &touched, &links(&world), generation);
        folded.apply(update.changes);
        assert_eq!(
            folded.to_string(),
            compiler.image().to_string(),
            "the changes do not add up: {touched:?}"
        );
        let mut fresh = Compiler::new(generate::LOCAL_NODE);
        fresh.update(&world, &[], &links(&world), generation);
        let (grown, fresh) = (compiler.image().canonical(), fresh.image().canonical());
        assert_eq!(grown, fresh, "after {touched:?}:\n{}", described(&world));
        agrees(dice, &world, crowded);
    }
}

fn change(dice: &mut Dice, world: &mut World, crowded: bool) -> Vec<DocumentKey> {
    let mut touched = generate::edit_by(dice, world);
    if crowded && dice.chance(1, 2) {
        touched.extend(generate::crowd_by(dice, world));
        touched.sort();
        touched.dedup();
    }
    touched
}

fn agrees(dice: &mut Dice, world: &World, crowded: bool) {
    let mut questions = generate::questions_by(dice, world, QUESTIONS);
    if crowded {
        questions.extend(generate::aimed_questions_by(dice, world, AIMED));
    }
    let found = disagreements(world, questions);
    assert!(found.is_empty(), "{found}\n{}", described(world));
}

fn described(world: &World) -> String {
    Scenario::of("Found by chance".to_owned(), world, []).to_string()
}
