//! The course of a random world: what it is changed to, and what is kept of it where judges disagree.

use std::path::{Path, PathBuf};

use cellwall_policy::evaluate::{HookQuestion, at_hook};
use cellwall_policy::generate;
use cellwall_policy::model::{LocalNodeMode, Mode};
use cellwall_policy::scenario::{Ask, Case, Expected, Scenario};
use cellwall_policy::world::{Document, DocumentKey, World};

/// What sort of world a fresh seed gives.
pub fn is_crowded(seed: u64) -> bool {
    !seed.is_multiple_of(3)
}

/// Changes a world to its state `state`. Of some seeds the last one has switches that chance seldom gives.
pub fn edit(world: &mut World, seed: u64, last: bool, state: u64, crowded: bool) -> Vec<DocumentKey> {
    let edit = seed.wrapping_mul(100).wrapping_add(state);
    let mut touched = generate::edit(edit, world);
    if crowded {
        touched.extend(generate::crowd(edit, world));
        let mut defense = world.defense();
        match (last, seed % 6) {
            (true, 1) => defense.mode = Mode::Off,
            (true, 2) => (defense.mode, defense.local_node) = (Mode::Enforce, LocalNodeMode::Pass),
            (true, 4) => (defense.mode, defense.local_node) = (Mode::Enforce, LocalNodeMode::Probes),
            _ => {}
        }
        if world.apply(Document::Defense(defense)) {
            touched.push(DocumentKey::Defense);
        }
    }
    touched.sort();
    touched.dedup();
    touched
}

/// Writes a world and one question, with the reference's answer, as a scenario, so that it can stay as a case: shrunk by
/// hand, under `policy/tests/scenarios`.
pub fn keep(directory: &str, name: &str, world: &World, question: &HookQuestion) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    let case = Case {
        ask: Ask::Hook(question.clone()),
        expected: Some(Expected::from(&at_hook(world, question))),
    };
    let scenario = Scenario::of(format!("Four judges disagreed: {name}"), world, [case]);
    let file = Path::new(directory).join(format!("{name}.txt"));
    std::fs::write(&file, scenario.to_string())?;
    Ok(file)
}
