//! What an attempt did.

use std::collections::BTreeMap;
use std::fmt;

use crate::plan::Step;
use crate::port::{KernelError, MapName};

/// Single writes to one map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Writes {
    /// Entries created or replaced.
    pub updates: usize,
    /// Entries deleted.
    pub deletes: usize,
    /// Counters set to zero.
    pub zeros: usize,
}

/// What an attempt did, undo included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The generation that decides now.
    pub generation: u32,
    /// Whether it is a new one.
    pub activated: bool,
    /// Writes by map.
    pub writes: BTreeMap<MapName, Writes>,
    /// Grace periods waited for.
    pub graces: usize,
    /// What failed after the flip, or while deleting: it is done later and changes no verdict.
    pub postponed: Vec<KernelError>,
}

impl Report {
    pub(super) fn new(generation: u32) -> Self {
        Self {
            generation,
            ..Self::default()
        }
    }

    pub(super) fn count(&mut self, step: &Step) {
        match step {
            Step::Update(entries) => self.writes.entry(entries.map()).or_default().updates += entries.len(),
            Step::Delete(keys) => self.writes.entry(keys.map()).or_default().deletes += keys.len(),
            Step::Zero(map, indices) => self.writes.entry(*map).or_default().zeros += indices.len(),
            Step::Activate(_) => self.writes.entry(MapName::Active).or_default().updates += 1,
            Step::Grace => self.graces += 1,
        }
    }

    /// Single writes in all.
    pub fn total(&self) -> usize {
        self.writes
            .values()
            .map(|writes| writes.updates + writes.deletes + writes.zeros)
            .sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {}, {} writes", self.generation, self.total())?;
        self.postponed
            .iter()
            .try_for_each(|error| write!(f, "; postponed: {error}"))
    }
}
