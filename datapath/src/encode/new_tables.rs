//! Tables and lists that an update brings.

use std::collections::BTreeMap;
use std::sync::Arc;

use cellwall_policy::compiled::{Spans, Table, TableId};
use rustc_hash::FxHashMap;

use crate::image::TableEntry;

/// Tables that an update adds: taken out of the free ranges already, written by its plan, in use once committed.
#[derive(Debug, Clone, Default)]
pub(super) struct NewTables {
    pub(super) ids: BTreeMap<TableId, Option<u32>>,
    pub(super) homes: BTreeMap<u32, TableEntry>,
    pub(super) by_table: FxHashMap<Arc<Table>, u32>,
    pub(super) by_spans: FxHashMap<Spans, u32>,
    /// Places that were not to be had: slots, list places, longest list among these.
    pub(super) short: (u64, u64, u32),
}

impl NewTables {
    /// New tables by slot.
    pub(super) fn homes(&self) -> impl Iterator<Item = (u32, &TableEntry)> {
        self.homes.iter().map(|(slot, entry)| (*slot, entry))
    }

    /// New lists by place.
    pub(super) fn lists(&self) -> BTreeMap<u32, &Spans> {
        self.by_spans.iter().map(|(spans, start)| (*start, spans)).collect()
    }
}
