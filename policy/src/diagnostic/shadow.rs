//! Rules that never decide: others of smaller order cover all that they could.
//!
//! Sound, not complete: a side counts as covered by the same side or a wider entity (objects by name, never by what
//! they happen to select), ports by the union of all earlier rules with covering sides. What is said holds for every
//! world with these rules and objects; a rule shadowed only because two objects happen to select the same is not
//! found.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{Diagnostic, Problem, Severity, list};
use crate::compile::flatten::{Covered, coverage};
use crate::model::{DefenseRule, Entity, Selector, Side};
use crate::world::World;

/// What the rules of one pair of sides decide, by dimension: disjoint (first, last, rule) in order.
type Decided = [Vec<(u16, u16, usize)>; 6];

/// The sides that contain everything `side` contains, itself included.
fn wider(side: &Side, world: &World) -> Vec<Side> {
    let mut all = vec![side.clone(), Side::Entity(Entity::Any)];
    match side {
        Side::Entity(Entity::LocalNode) => all.push(Side::Entity(Entity::Node)),
        Side::Object(name) => {
            let object = world.object(name);
            if object.is_some_and(|object| matches!(object.selector, Selector::Workloads(_))) {
                all.push(Side::Entity(Entity::Cluster));
            }
        }
        Side::Entity(_) => {}
    }
    all.dedup();
    all
}

/// Rules that others shadow wholly.
pub(super) fn shadowed(world: &World, found: &mut Vec<Diagnostic>) {
    let exists = |side: &Side| match side {
        Side::Entity(_) => true,
        Side::Object(name) => world.object(name).is_some(),
    };
    let acts = |rule: &&Arc<DefenseRule>| rule.enabled && exists(&rule.source) && exists(&rule.destination);
    let mut rules: Vec<&Arc<DefenseRule>> = world.rules().filter(acts).collect();
    rules.sort_by_key(|rule| rule.order());
    let mut decided: FxHashMap<(Side, Side), Decided> = FxHashMap::default();
    for (at, rule) in rules.iter().enumerate() {
        let mut earlier: Vec<&Decided> = Vec::new();
        for source in wider(&rule.source, world) {
            for destination in wider(&rule.destination, world) {
                earlier.extend(decided.get(&(source.clone(), destination)));
            }
        }
        if let Some(by) = covered_by(rule, &earlier) {
            let names = by.into_iter().filter_map(|at| rules.get(at)).map(|rule| &rule.name);
            found.push(Diagnostic {
                severity: Severity::Warning,
                problem: Problem::Shadowed,
                kind: "DefenseRule",
                name: rule.name.to_string(),
                field: "spec",
                message: format!(
                    "it never decides: all that it covers is decided before by {}; delete it, narrow them, or give it a smaller priority",
                    list(names)
                ),
            });
            continue;
        }
        let own = decided
            .entry((rule.source.clone(), rule.destination.clone()))
            .or_default();
        coverage(rule.ports.as_deref(), |part| fill(&mut own[part.dimension], part, at));
    }
}

/// The rules that together cover all of `rule`; none where something is left to it, or where it covers nothing.
fn covered_by(rule: &DefenseRule, earlier: &[&Decided]) -> Option<Vec<usize>> {
    let mut by: Vec<usize> = Vec::new();
    let (mut whole, mut any) = (true, false);
    coverage(rule.ports.as_deref(), |part| {
        any = true;
        let mut next = u32::from(part.first);
        while whole && next <= u32::from(part.last) {
            match earlier.iter().find_map(|decided| at(&decided[part.dimension], next)) {
                Some((last, rule)) => {
                    by.push(rule);
                    next = u32::from(last) + 1;
                }
                None => whole = false,
            }
        }
    });
    by.sort_unstable();
    by.dedup();
    (whole && any).then_some(by)
}

/// The interval around `port`: its end and its rule.
fn at(list: &[(u16, u16, usize)], port: u32) -> Option<(u16, usize)> {
    let after = list.partition_point(|(first, ..)| u32::from(*first) <= port);
    let (_, end, rule) = list.get(after.checked_sub(1)?)?;
    (u32::from(*end) >= port).then_some((*end, *rule))
}

/// Gives what is still undecided of `part` to `rule`.
fn fill(list: &mut Vec<(u16, u16, usize)>, part: Covered, rule: usize) {
    let mut gaps = Vec::new();
    let mut next = u32::from(part.first);
    let from = list.partition_point(|(_, last, _)| *last < part.first);
    for (first, last, _) in list[from..].iter().take_while(|(first, ..)| *first <= part.last) {
        if next < u32::from(*first) {
            gaps.push((next, u32::from(*first) - 1));
        }
        next = next.max(u32::from(*last) + 1);
    }
    if next <= u32::from(part.last) {
        gaps.push((next, u32::from(part.last)));
    }
    for (first, last) in gaps {
        let (Ok(start), Ok(end)) = (u16::try_from(first), u16::try_from(last)) else {
            continue;
        };
        let place = list.partition_point(|(other, ..)| *other < start);
        list.insert(place, (start, end, rule));
    }
}
