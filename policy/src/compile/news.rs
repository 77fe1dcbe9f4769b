//! What rules that changed may change: most rules are hidden behind others wherever they apply, and change nothing there.

use rustc_hash::FxHashMap;

use super::flatten::coverage;
use super::ids::Interned;
use super::rules::{Rule, Rules};
use super::selector::Sel;
use crate::compiled::{Cell, Spans, Table};
use crate::model::Reason;

/// Rules from one side to another that came, went or are otherwise now.
#[derive(Debug)]
pub(super) struct News<'a> {
    rules: &'a Rules,
    /// (source, destination).
    pub(super) sides: (Sel, Sel),
    slots: &'a [u32],
    /// What was found of each table.
    known: FxHashMap<u32, bool>,
}

impl<'a> News<'a> {
    pub(super) fn new(rules: &'a Rules, sides: (Sel, Sel), slots: &'a [u32]) -> Self {
        Self {
            rules,
            sides,
            slots,
            known: FxHashMap::default(),
        }
    }

    /// Whether a table of one pod against a peer, to both of which these rules apply, may be another one now: one of them
    /// is credited in it, or goes before what is.
    pub(super) fn concern(&mut self, tables: &Interned<Table>, id: u32) -> bool {
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        let found = tables.get(id).is_none_or(|table| self.may_change(table));
        self.known.insert(id, found);
        found
    }

    fn may_change(&self, table: &Table) -> bool {
        let parts = table.parts();
        let credited = |cell: &Cell| cell.rule.is_some_and(|slot| self.slots.contains(&slot.0));
        let mut cells = parts.into_iter().flat_map(Spans::entries);
        cells.any(|(_, cell)| credited(cell)) || self.in_force().any(|rule| self.shows(rule, parts))
    }

    /// Those of the rules that apply now.
    fn in_force(&self) -> impl Iterator<Item = &Rule> {
        let rules = self.slots.iter().filter_map(|slot| self.rules.get(*slot));
        rules.filter(|rule| rule.is_between(self.sides))
    }

    /// Whether the rule goes before what is credited, anywhere that it covers.
    fn shows(&self, rule: &Rule, parts: [&Spans; 6]) -> bool {
        let goes_before = |cell: Cell| match cell.rule {
            Some(slot) => self.rules.get(slot.0).is_none_or(|other| rule.order < other.order),
            None => matches!(cell.reason, Reason::NoRule | Reason::Unresolved),
        };
        let mut shows = false;
        coverage(rule.doc.ports.as_deref(), |part| {
            let spans = parts[part.dimension].entries();
            let from = spans
                .partition_point(|(start, _)| *start <= part.first)
                .saturating_sub(1);
            let mut covered = spans[from..].iter().take_while(|(start, _)| *start <= part.last);
            shows |= covered.any(|(_, cell)| goes_before(*cell));
        });
        shows
    }
}
