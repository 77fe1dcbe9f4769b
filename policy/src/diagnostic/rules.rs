//! Rules about objects that do not exist, and rules that contradict each other at one priority.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::overlap::Meeting;
use super::{Diagnostic, Problem, Severity, list};
use crate::compile::Reach;
use crate::compile::flatten::{Covered, coverage};
use crate::model::{DefenseRule, Side};
use crate::world::World;

/// Rules that name an object that does not exist. A disabled one enforces nothing anyhow.
pub fn dangling(world: &World) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for rule in world.rules() {
        let sides = [
            ("spec.source.object", &rule.source),
            ("spec.destination.object", &rule.destination),
        ];
        for (field, side) in sides {
            let Side::Object(name) = side else { continue };
            if world.object(name).is_some() {
                continue;
            }
            found.push(Diagnostic {
                severity: if rule.enabled { Severity::Error } else { Severity::Warning },
                problem: Problem::DanglingObject,
                kind: "DefenseRule",
                name: rule.name.to_string(),
                field,
                message: format!(
                    "no NetworkObject is named {name:?}: this side matches nothing and the rule enforces nothing; create the object or correct the name"
                ),
            });
        }
    }
    found
}

/// Whether a flow exists whose protocol and port both rules cover.
fn ports_meet(one: &DefenseRule, other: &DefenseRule) -> bool {
    if one.ports.is_none() || other.ports.is_none() {
        let empty = |rule: &DefenseRule| rule.ports.as_ref().is_some_and(Vec::is_empty);
        return !empty(one) && !empty(other);
    }
    let mut parts: Vec<Covered> = Vec::new();
    coverage(one.ports.as_deref(), |part| parts.push(part));
    let mut meet = false;
    coverage(other.ports.as_deref(), |part| {
        meet |= parts
            .iter()
            .any(|own| own.dimension == part.dimension && own.first <= part.last && part.first <= own.last);
    });
    meet
}

/// Rules of one priority with different actions that may apply to one flow: the stricter wins, which is rarely what
/// the weaker one was written for. Said of the weaker one.
pub(super) fn equal_priority(world: &World, reach: &Reach, found: &mut Vec<Diagnostic>) {
    let meeting = Meeting::new(world, reach);
    let mut by_priority: BTreeMap<u16, Vec<&Arc<DefenseRule>>> = BTreeMap::new();
    for rule in world.rules().filter(|rule| rule.enabled) {
        by_priority.entry(rule.priority).or_default().push(rule);
    }
    for (priority, rules) in by_priority {
        for weaker in &rules {
            let stricter = rules.iter().filter(|other| {
                other.action > weaker.action
                    && meeting.meet(&weaker.source, &other.source)
                    && meeting.meet(&weaker.destination, &other.destination)
                    && ports_meet(weaker, other)
            });
            let names: Vec<&str> = stricter.map(|rule| &*rule.name).collect();
            if names.is_empty() {
                continue;
            }
            found.push(Diagnostic {
                severity: Severity::Warning,
                problem: Problem::EqualPriority,
                kind: "DefenseRule",
                name: weaker.name.to_string(),
                field: "spec.priority",
                message: format!(
                    "it shares the priority {priority} with {}, which may apply to the same flows and win, being stricter than {}; give them different priorities",
                    list(&names),
                    weaker.action
                ),
            });
        }
    }
}
