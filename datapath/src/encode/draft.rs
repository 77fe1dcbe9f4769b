//! A plan being drawn up: writes with their undo in batches, and what will be believed once they count.

use std::collections::{BTreeMap, BTreeSet};

use cellwall_datapath_common::Versioned;
use cellwall_policy::compiled::{AddressEntry, PeerId, PolicyId, RuleCard, RuleSlot, ServiceKey};
use cellwall_policy::model::{Address, Cidr};

use super::new_tables::NewTables;
use crate::image::{InterfaceEntry, Leftover, RawKey};
use crate::keys::Key;
use crate::layout::Layout;
use crate::plan::{Prepared, Step};
use crate::port::{Entries, MapKind, MapName};

/// Entries in a batch: larger ones are not faster.
pub(crate) const BATCH: usize = 256;

/// Something that will be believed.
#[derive(Debug, Clone)]
pub(super) enum Fact {
    Rule(RuleSlot, RuleCard),
    Interface(u32, Option<InterfaceEntry>),
    Own(u32, Address, bool),
    Address(Address, Option<AddressEntry>),
    Prefix(Cidr, Option<PeerId>),
    ServicePort(ServiceKey, Option<PeerId>),
    Policy(PolicyId, PeerId, Option<u32>),
}

/// What a write of PREPARE is taken back by.
pub(super) enum Undo {
    /// Nothing: nobody reads there.
    Nothing,
    /// The value before.
    Restore(Vec<u8>),
    /// Deleting what was not there.
    Delete,
}

/// How a versioned entry changes.
pub(super) struct Change<'a> {
    pub(super) key: Key,
    /// Digest of the key; for [`Key::Index`] that of the interface.
    pub(super) digest: u32,
    /// What it gives now; `none` where it is absent or says nothing.
    pub(super) was: u32,
    /// What it will give.
    pub(super) will: u32,
    /// "No entry" in this map.
    pub(super) none: u32,
    /// Whether the kernel has the key.
    pub(super) exists: bool,
    /// The value's bytes around the version: for PREPARE (true) and for its undo (false).
    pub(super) wrap: &'a dyn Fn(Versioned, bool) -> Vec<u8>,
}

/// A batch of PREPARE and its undo.
struct Batch {
    write: Entries,
    restore: Entries,
    delete: Entries,
}

/// The plan being drawn up.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) active: u32,
    pub(super) next: u32,
    batches: BTreeMap<MapName, Vec<Batch>>,
    zeros: BTreeMap<MapName, Vec<u32>>,
    pub(super) finish: Vec<Step>,
    pub(super) facts: Vec<Fact>,
    /// Keys that say nothing after the flip.
    pub(super) dead: BTreeSet<Key>,
    /// Dead keys that are used again.
    pub(super) revived: BTreeSet<Key>,
    /// Keys that the kernel does not have yet, by map.
    pub(super) inserted: BTreeMap<MapName, u64>,
    pub(super) tables: NewTables,
    /// Elements of the index that interfaces of this update take.
    pub(super) elements: BTreeSet<u32>,
    /// Addresses of pods that another interface will have: they count for nothing, and are written last of all.
    pub(super) claimed: Vec<Key>,
    /// Endpoint slots taken and not to be had.
    pub(super) slots: Vec<u32>,
    pub(super) slots_short: u64,
    /// Endpoint slots that are free after the flip and a grace period.
    pub(super) slots_left: Vec<u32>,
}

impl Draft {
    pub(super) fn new(active: u32) -> Self {
        Self {
            active,
            next: super::following(active),
            ..Self::default()
        }
    }

    /// A write of PREPARE.
    pub(super) fn write(&mut self, map: MapName, key: &[u8], value: &[u8], undo: &Undo) {
        let batches = self.batches.entry(map).or_default();
        if batches.last().is_none_or(|batch| batch.write.len() >= BATCH) {
            let empty = || Entries::new(map);
            batches.push(Batch {
                write: empty(),
                restore: empty(),
                delete: empty(),
            });
        }
        let Some(batch) = batches.last_mut() else { return };
        batch.write.push(key, value);
        match undo {
            Undo::Nothing => {}
            Undo::Restore(before) => batch.restore.push(key, before),
            Undo::Delete => batch.delete.push_key(key),
        }
    }

    /// Sets counters to zero before anything can count there.
    pub(super) fn zero(&mut self, map: MapName, index: u32) {
        self.zeros.entry(map).or_default().push(index);
    }

    /// A write right after the flip.
    pub(super) fn finish(&mut self, map: MapName, key: &[u8], value: &[u8]) {
        match self.finish.last_mut() {
            Some(Step::Update(entries)) if entries.map() == map && entries.len() < BATCH => entries.push(key, value),
            _ => {
                let mut entries = Entries::new(map);
                entries.push(key, value);
                self.finish.push(Step::Update(entries));
            }
        }
    }

    /// A key deleted right after the flip.
    pub(super) fn finish_delete(&mut self, map: MapName, key: &[u8]) {
        match self.finish.last_mut() {
            Some(Step::Delete(entries)) if entries.map() == map && entries.len() < BATCH => entries.push_key(key),
            _ => {
                let mut entries = Entries::new(map);
                entries.push_key(key);
                self.finish.push(Step::Delete(entries));
            }
        }
    }

    /// Writes what pods claim and others have, behind all other writes.
    pub(super) fn finish_claimed(&mut self) {
        for key in std::mem::take(&mut self.claimed) {
            let RawKey { map, key } = key.raw();
            self.finish(map, &key, &1_u32.to_bytes());
        }
    }

    /// A new key in a hash or trie.
    pub(super) fn insert(&mut self, map: MapName) {
        *self.inserted.entry(map).or_default() += 1;
    }

    /// The entry will give something else from the next generation on. `leftover` is what is wrong with it now.
    pub(super) fn versioned(&mut self, change: &Change<'_>, leftover: Option<Leftover>) {
        let Change {
            key,
            digest,
            was,
            will,
            none,
            exists,
            wrap,
        } = *change;
        let broken = leftover == Some(Leftover::Broken);
        // An entry that cannot be read is repaired at once rather than left to fall back to something wider.
        let previous = if broken { will } else { was };
        let RawKey { map, key: bytes } = key.raw();
        let undo = if broken {
            Undo::Restore(vec![0xff; map.value_size()])
        } else if exists {
            Undo::Restore(wrap(Versioned::sealed(self.active, was, was, digest), false))
        } else if map.kind() == MapKind::Array {
            Undo::Restore(vec![0; map.value_size()])
        } else {
            Undo::Delete
        };
        let value = wrap(Versioned::sealed(self.next, will, previous, digest), true);
        self.write(map, &bytes, &value, &undo);
        if !exists && map.kind() != MapKind::Array {
            self.insert(map);
        }
        // A range that goes still answers, as the range around it does: its caller knows.
        match key {
            Key::Prefix(_) => false,
            _ if will == none => self.dead.insert(key),
            _ => leftover.is_some() && self.revived.insert(key),
        };
    }

    /// The steps of PREPARE.
    pub(super) fn prepare(&mut self) -> Vec<Prepared> {
        let zeros = std::mem::take(&mut self.zeros).into_iter();
        let zeros = zeros.map(|(map, indices)| Prepared {
            step: Step::Zero(map, indices),
            undo: Vec::new(),
        });
        let mut batches: Vec<_> = std::mem::take(&mut self.batches).into_iter().collect();
        batches.sort_by_key(|(map, _)| turn(*map));
        let batches = batches.into_iter().flat_map(|(_, batches)| batches);
        let batches = batches.map(|Batch { write, restore, delete }| {
            let undo = [Step::Update(restore), Step::Delete(delete)];
            let undo = undo.into_iter().filter(|step| step.writes() > 0).collect();
            Prepared {
                step: Step::Update(write),
                undo,
            }
        });
        zeros.chain(batches).collect()
    }
}

/// When a map is written: values with versions after what they name. Addresses that are a pod's own have none, and count at
/// once unless another interface is known to have them: they come last, when that is known.
fn turn(map: MapName) -> u8 {
    use MapName::{Addresses4, Addresses6, EndpointExtra, EndpointIndex, Policy, Prefixes4, Prefixes6, ServicePorts};
    let versioned = [
        EndpointIndex,
        EndpointExtra,
        Addresses4,
        Addresses6,
        Prefixes4,
        Prefixes6,
        ServicePorts,
        Policy,
    ];
    match map {
        MapName::OwnAddresses => 2,
        map => versioned.contains(&map).into(),
    }
}

/// Steps that remove keys: elements of arrays are set to zero, the others deleted.
pub(super) fn removals<'a>(dead: impl IntoIterator<Item = &'a Key>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for key in dead {
        let RawKey { map, key } = key.raw();
        let is_array = map.kind() == MapKind::Array;
        let open = steps.last_mut().and_then(|step| match step {
            Step::Update(entries) | Step::Delete(entries) if entries.map() == map && entries.len() < BATCH => {
                Some(entries)
            }
            _ => None,
        });
        if let Some(entries) = open {
            entries.push_key(&key);
            continue;
        }
        let mut entries = Entries::new(map);
        entries.push_key(&key);
        steps.push(if is_array {
            Step::Update(entries)
        } else {
            Step::Delete(entries)
        });
    }
    steps
}

/// A version alone in its value.
pub(super) fn bare(version: Versioned, _: bool) -> Vec<u8> {
    version.to_bytes()
}
