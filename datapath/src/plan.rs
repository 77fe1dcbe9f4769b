//! A plan: the writes that take the kernel from one generation to the next, in phases, with what undoes them.
//!
//! GROUND comes before the plan: the previous flip is older than a grace period, and what it left to delete is gone.
//! PREPARE writes what no packet sees yet: records, tables and lists into free slots, and versioned entries that still
//! answer as before. FLIP activates the generation: one write, every map at once. FINISH writes the few fields that
//! have no versions. CLEAN deletes, after a grace period, what says nothing any more. The process may end after any
//! write: packets get the old verdict before FLIP and the new one after it, never a third.

use std::fmt;

use cellwall_datapath_common::Active;

use crate::port::{Entries, MapName};

/// A batch of writes, or a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Creates or replaces entries.
    Update(Entries),
    /// Deletes entries; values are not looked at.
    Delete(Entries),
    /// Sets per-CPU values to zero.
    Zero(MapName, Vec<u32>),
    /// Activates a generation.
    Activate(Active),
    /// Waits until no packet is on its way that saw the maps as they were before.
    Grace,
}

/// A step of PREPARE and what takes it back, whole or half done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The step.
    pub step: Step,
    /// Steps that take it back; taking back what was never done changes nothing.
    pub undo: Vec<Step>,
}

/// The phases. A plan without anything to do is empty and activates nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// PREPARE.
    pub prepare: Vec<Prepared>,
    /// FLIP.
    pub flip: Option<Active>,
    /// FINISH.
    pub finish: Vec<Step>,
    /// CLEAN, without the wait before it.
    pub clean: Vec<Step>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.flip.is_none()
    }

    /// What is written before the flip, at it and right after it, in order.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        let prepare = self.prepare.iter().map(|prepared| prepared.step.clone());
        prepare
            .chain(self.flip.map(Step::Activate))
            .chain(self.finish.iter().cloned())
    }

    /// Number of single writes, CLEAN included: the exact cost of a change.
    pub fn writes(&self) -> usize {
        self.steps().map(|step| step.writes()).sum::<usize>() + self.clean.iter().map(Step::writes).sum::<usize>()
    }
}

impl Step {
    /// Number of single writes.
    pub fn writes(&self) -> usize {
        match self {
            Self::Update(entries) | Self::Delete(entries) => entries.len(),
            Self::Zero(_, indices) => indices.len(),
            Self::Activate(_) => 1,
            Self::Grace => 0,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Update(entries) => write!(f, "update {} of {}", entries.len(), entries.map()),
            Self::Delete(entries) => write!(f, "delete {} of {}", entries.len(), entries.map()),
            Self::Zero(map, indices) => write!(f, "zero {} of {map}", indices.len()),
            Self::Activate(active) => write!(f, "activate generation {}", active.generation),
            Self::Grace => f.write_str("wait for a grace period"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.prepare
            .iter()
            .try_for_each(|prepared| writeln!(f, "PREPARE {}", prepared.step))?;
        self.flip
            .iter()
            .try_for_each(|active| writeln!(f, "FLIP {}", Step::Activate(*active)))?;
        self.finish.iter().try_for_each(|step| writeln!(f, "FINISH {step}"))?;
        self.clean.iter().try_for_each(|step| writeln!(f, "CLEAN {step}"))
    }
}
