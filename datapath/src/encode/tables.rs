//! Slots of tables and places of lists. Both are found by content, so that equal ones are written once and those
//! that an earlier process wrote are taken over; both are freed when nothing names them.

use std::sync::Arc;

use cellwall_datapath_common::policy::LIST;
use cellwall_policy::compiled::{Spans, Table, TableId};
use rustc_hash::FxHashMap;

use super::cells;
use super::new_tables::NewTables;
use super::ranges::Ranges;
use crate::image::TableEntry;

/// A table's slot in use.
#[derive(Debug, Clone)]
struct Home {
    entry: TableEntry,
    /// Table ids that mean it.
    ids: u32,
    /// Policy entries that name it.
    named: u32,
}

/// A list in use.
#[derive(Debug, Clone, Copy)]
struct List {
    /// Places with the header; 0 where they overlap another list's (foul play) and are not ours to give back.
    length: u32,
    /// References of tables.
    users: u32,
}

/// What is where.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    slots: Ranges,
    places: Ranges,
    by_id: FxHashMap<TableId, u32>,
    homes: FxHashMap<u32, Home>,
    by_table: FxHashMap<Arc<Table>, u32>,
    lists: FxHashMap<u32, List>,
    by_spans: FxHashMap<Spans, u32>,
    /// Free after the next grace period.
    retired_slots: Vec<u32>,
    retired_places: Vec<(u32, u32)>,
    /// Taken over unreadable: retired with the next update, which names something else instead.
    unreadable: Vec<u32>,
}

impl Tables {
    /// Nothing in use.
    pub(super) fn new(slots: u32, places: u32) -> Self {
        Self {
            slots: Ranges::new(slots),
            places: Ranges::new(places),
            by_id: FxHashMap::default(),
            homes: FxHashMap::default(),
            by_table: FxHashMap::default(),
            lists: FxHashMap::default(),
            by_spans: FxHashMap::default(),
            retired_slots: Vec::new(),
            retired_places: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    /// Slots of tables: free, in all.
    pub(super) fn slots(&self) -> &Ranges {
        &self.slots
    }

    /// Places of lists: free, in all.
    pub(super) fn places(&self) -> &Ranges {
        &self.places
    }

    /// Takes over a slot that a policy entry names; `entry` where it can be read.
    pub(super) fn adopt(&mut self, slot: u32, entry: Option<&TableEntry>) {
        let claimed = self.slots.claim(slot, 1);
        let Some(entry) = entry else {
            self.unreadable.extend(claimed.then_some(slot));
            return;
        };
        for (reference, spans) in lists_of(entry) {
            let length = length(spans);
            let owned = !self.lists.contains_key(&reference) && self.places.claim(reference, length);
            let list = self.lists.entry(reference).or_insert(List {
                length: if owned { length } else { 0 },
                users: 0,
            });
            list.users += 1;
            self.by_spans.entry(spans.clone()).or_insert(reference);
        }
        self.by_table.entry(entry.table.clone()).or_insert(slot);
        self.homes.insert(
            slot,
            Home {
                entry: entry.clone(),
                ids: 0,
                named: 0,
            },
        );
    }

    /// Finds or makes a place for a table.
    pub(super) fn define(&mut self, new: &mut NewTables, id: TableId, table: &Arc<Table>) {
        let known = self.by_table.get(table).or_else(|| new.by_table.get(table)).copied();
        let slot = known.unwrap_or_else(|| {
            let refs = table.parts().map(|spans| self.reference(new, spans));
            let slot = self.slots.take(1).unwrap_or_else(|| {
                new.short.0 += 1;
                u32::MAX
            });
            new.by_table.insert(table.clone(), slot);
            new.homes.insert(
                slot,
                TableEntry {
                    table: table.clone(),
                    refs,
                },
            );
            slot
        });
        new.ids.insert(id, Some(slot));
    }

    /// The id means nothing any more.
    pub(super) fn forget(new: &mut NewTables, id: TableId) {
        new.ids.insert(id, None);
    }

    fn reference(&mut self, new: &mut NewTables, spans: &Spans) -> u32 {
        if let Some(cell) = spans.as_constant() {
            return cells::pack(cell);
        }
        let known = self.by_spans.get(spans).or_else(|| new.by_spans.get(spans)).copied();
        let start = known.unwrap_or_else(|| {
            let length = length(spans);
            let start = self.places.take(length).unwrap_or_else(|| {
                new.short.1 += u64::from(length);
                new.short.2 = new.short.2.max(length);
                !LIST
            });
            new.by_spans.insert(spans.clone(), start);
            start
        });
        start | LIST
    }

    /// The slot of a table, as it will be after the update.
    pub(super) fn slot(&self, new: &NewTables, id: TableId) -> Option<u32> {
        new.ids
            .get(&id)
            .copied()
            .unwrap_or_else(|| self.by_id.get(&id).copied())
    }

    /// Ids in use and their slots.
    pub(super) fn slots_by_id(&self) -> impl Iterator<Item = (TableId, u32)> {
        self.by_id.iter().map(|(id, slot)| (*id, *slot))
    }

    /// A table in use.
    pub(super) fn entry(&self, slot: u32) -> Option<&TableEntry> {
        self.homes.get(&slot).map(|home| &home.entry)
    }

    /// Whether a policy entry names the slot.
    pub(super) fn is_named(&self, slot: u32) -> bool {
        self.homes.get(&slot).is_some_and(|home| home.named > 0)
    }

    /// A policy entry names `slot` from now on.
    pub(super) fn name(&mut self, slot: u32) {
        if let Some(home) = self.homes.get_mut(&slot) {
            home.named += 1;
        }
    }

    /// A policy entry names `slot` no more.
    pub(super) fn unname(&mut self, slot: u32) {
        if let Some(home) = self.homes.get_mut(&slot) {
            home.named = home.named.saturating_sub(1);
        }
    }

    /// Gives back what an update took that will not be made.
    pub(super) fn abandon(&mut self, new: &NewTables) {
        for slot in new.homes.keys().filter(|slot| **slot != u32::MAX) {
            self.slots.give(*slot, 1);
        }
        for (spans, start) in new.by_spans.iter().filter(|(_, start)| **start != !LIST) {
            self.places.give(*start, length(spans));
        }
    }

    /// The update counts: its tables are in use. Policy entries are named afterwards, then [`Self::sweep`].
    /// Answers the slots that lost an id.
    pub(super) fn commit(&mut self, new: NewTables) -> Vec<u32> {
        self.retired_slots.append(&mut self.unreadable);
        for (spans, start) in new.by_spans {
            self.lists.insert(
                start,
                List {
                    length: length(&spans),
                    users: 0,
                },
            );
            self.by_spans.insert(spans, start);
        }
        for (slot, entry) in new.homes {
            for (reference, _) in lists_of(&entry) {
                if let Some(list) = self.lists.get_mut(&reference) {
                    list.users += 1;
                }
            }
            self.by_table.insert(entry.table.clone(), slot);
            self.homes.insert(
                slot,
                Home {
                    entry,
                    ids: 0,
                    named: 0,
                },
            );
        }
        let mut left = Vec::new();
        for (id, slot) in new.ids {
            let before = match slot {
                Some(slot) => self.by_id.insert(id, slot),
                None => self.by_id.remove(&id),
            };
            if let Some(home) = slot.and_then(|slot| self.homes.get_mut(&slot)) {
                home.ids += 1;
            }
            if let Some(home) = before.and_then(|before| self.homes.get_mut(&before)) {
                home.ids -= 1;
            }
            left.extend(before);
        }
        left
    }

    /// Retires those of `slots` that nothing means any more.
    pub(super) fn sweep(&mut self, slots: impl IntoIterator<Item = u32>) {
        for slot in slots {
            self.retire_unused(slot);
        }
    }

    /// All slots in use.
    pub(super) fn in_use(&self) -> Vec<u32> {
        self.homes.keys().copied().collect()
    }

    fn retire_unused(&mut self, slot: u32) {
        if self.homes.get(&slot).is_none_or(|home| home.ids > 0 || home.named > 0) {
            return;
        }
        let Some(home) = self.homes.remove(&slot) else { return };
        if self.by_table.get(&home.entry.table) == Some(&slot) {
            self.by_table.remove(&home.entry.table);
        }
        self.retired_slots.push(slot);
        for (reference, spans) in lists_of(&home.entry) {
            let Some(list) = self.lists.get_mut(&reference) else {
                continue;
            };
            list.users = list.users.saturating_sub(1);
            if list.users > 0 {
                continue;
            }
            if list.length > 0 {
                self.retired_places.push((reference, list.length));
            }
            self.lists.remove(&reference);
            if self.by_spans.get(spans) == Some(&reference) {
                self.by_spans.remove(spans);
            }
        }
    }

    /// A grace period has passed since the last commit: what was retired is free.
    pub(super) fn settled(&mut self) {
        for slot in std::mem::take(&mut self.retired_slots) {
            self.slots.give(slot, 1);
        }
        for (start, length) in std::mem::take(&mut self.retired_places) {
            self.places.give(start, length);
        }
    }
}

/// Places that a list takes, its header included.
fn length(spans: &Spans) -> u32 {
    u32::try_from(spans.entries().len()).map_or(u32::MAX, |spans| spans.saturating_add(1))
}

/// The lists of a table: place and content.
fn lists_of(entry: &TableEntry) -> impl Iterator<Item = (u32, &Spans)> {
    let parts = entry.refs.into_iter().zip(entry.table.parts());
    parts
        .filter(|(reference, _)| reference & LIST != 0)
        .map(|(reference, spans)| (reference & !LIST, spans))
}
