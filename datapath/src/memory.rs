//! A kernel in memory, for tests, dry runs and simulated lookups: capacities and errors like the real one's, a
//! journal of what was done, and calls that fail on demand.

mod map;

use std::collections::BTreeMap;

use cellwall_datapath_common::Active;

use crate::layout::Layout;
use crate::port::{Entries, Kernel, KernelError, MapKind, MapName, Operation, Reads};
use map::MemoryMap;

/// What is to go wrong. Writes are counted one by one, the entries of a batch too; reads never fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// The write after this many, once.
    Once(usize),
    /// Every write after this many: the process was killed, or the kernel refuses for good.
    From(usize),
}

/// A write that took place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// An entry was created or replaced.
    Update(MapName, Vec<u8>, Vec<u8>),
    /// An entry went (or was not there).
    Delete(MapName, Vec<u8>),
    /// A per-CPU value was set to zero.
    Zero(MapName, u32),
    /// A generation was activated.
    Activate(Active),
    /// A grace period passed.
    Grace,
}

/// The kernel in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryKernel {
    capacities: BTreeMap<MapName, u32>,
    maps: BTreeMap<MapName, MemoryMap>,
    fault: Fault,
    writes: usize,
    journal: Vec<Write>,
}

impl MemoryKernel {
    /// Empty maps of the default capacities.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with another capacity of `map`.
    #[must_use]
    pub fn with_capacity(mut self, map: MapName, capacity: u32) -> Self {
        self.capacities.insert(map, capacity);
        self
    }

    /// From now on this goes wrong; writes are counted from here.
    pub fn set_fault(&mut self, fault: Fault) {
        self.fault = fault;
        self.writes = 0;
    }

    /// Everything written since the last call, in order.
    pub fn take_journal(&mut self) -> Vec<Write> {
        std::mem::take(&mut self.journal)
    }

    /// Does one write again.
    pub fn replay(&mut self, write: &Write) -> Result<(), KernelError> {
        match write {
            Write::Update(map, key, value) => self.update_one(*map, key, value),
            Write::Delete(map, key) => self.delete_one(*map, key),
            Write::Zero(map, index) => self.zero(*map, &[*index]),
            Write::Activate(active) => self.activate(*active),
            Write::Grace => self.grace(),
        }
    }

    /// Number of entries; for arrays of elements that are not all zero.
    pub fn len(&self, map: MapName) -> usize {
        self.maps.get(&map).map_or(0, MemoryMap::len)
    }

    /// Whether a map has no entries.
    pub fn is_empty(&self, map: MapName) -> bool {
        self.len(map) == 0
    }

    fn size(&self, map: MapName) -> u32 {
        self.capacities
            .get(&map)
            .copied()
            .unwrap_or_else(|| map.default_capacity())
    }

    /// Counts a write and fails it where that was asked for.
    fn count(&mut self, operation: Operation, map: Option<MapName>, key: Option<&[u8]>) -> Result<(), KernelError> {
        let before = self.writes;
        self.writes += 1;
        let fails = match self.fault {
            Fault::None => false,
            Fault::Once(number) => before == number,
            Fault::From(number) => before >= number,
        };
        if fails {
            Err(KernelError::new(operation, map, key, libc::EIO))
        } else {
            Ok(())
        }
    }

    fn update_one(&mut self, map: MapName, key: &[u8], value: &[u8]) -> Result<(), KernelError> {
        self.count(Operation::Update, Some(map), Some(key))?;
        let capacity = self.size(map);
        let entries = self.maps.entry(map).or_insert_with(|| MemoryMap::new(map));
        entries
            .update(capacity, key, value)
            .map_err(|errno| KernelError::new(Operation::Update, Some(map), Some(key), errno))?;
        self.journal.push(Write::Update(map, key.to_vec(), value.to_vec()));
        Ok(())
    }

    fn delete_one(&mut self, map: MapName, key: &[u8]) -> Result<(), KernelError> {
        self.count(Operation::Delete, Some(map), Some(key))?;
        if matches!(map.kind(), MapKind::Array | MapKind::PerCpuArray) {
            return Err(KernelError::new(Operation::Delete, Some(map), Some(key), libc::EINVAL));
        }
        if let Some(entries) = self.maps.get_mut(&map) {
            entries.delete(key);
        }
        self.journal.push(Write::Delete(map, key.to_vec()));
        Ok(())
    }
}

impl Reads for MemoryKernel {
    fn capacity(&self, map: MapName) -> Result<u32, KernelError> {
        Ok(self.size(map))
    }

    fn lookup(&self, map: MapName, key: &[u8]) -> Result<Option<Vec<u8>>, KernelError> {
        let found = self.maps.get(&map).and_then(|entries| entries.lookup(key));
        if found.is_some() || !matches!(map.kind(), MapKind::Array | MapKind::PerCpuArray) {
            return Ok(found);
        }
        let index = u32::from_bytes(key);
        Ok(index
            .filter(|index| *index < self.size(map))
            .map(|_| vec![0; map.value_size()]))
    }

    fn visit(&self, map: MapName, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), KernelError> {
        if let Some(entries) = self.maps.get(&map) {
            entries.visit(visit);
        }
        Ok(())
    }
}

impl Kernel for MemoryKernel {
    fn update(&mut self, entries: &Entries) -> Result<(), KernelError> {
        entries
            .iter()
            .try_for_each(|(key, value)| self.update_one(entries.map(), key, value))
    }

    fn delete(&mut self, keys: &Entries) -> Result<(), KernelError> {
        keys.iter().try_for_each(|(key, _)| self.delete_one(keys.map(), key))
    }

    fn zero(&mut self, map: MapName, indices: &[u32]) -> Result<(), KernelError> {
        for index in indices {
            let key = index.to_bytes();
            self.count(Operation::Zero, Some(map), Some(&key))?;
            if map.kind() != MapKind::PerCpuArray || *index >= self.size(map) {
                return Err(KernelError::new(Operation::Zero, Some(map), Some(&key), libc::E2BIG));
            }
            if let Some(entries) = self.maps.get_mut(&map) {
                entries.delete(&key);
            }
            self.journal.push(Write::Zero(map, *index));
        }
        Ok(())
    }

    fn set(&mut self, map: MapName, index: u32, values: &[u8]) -> Result<(), KernelError> {
        self.update_one(map, &index.to_bytes(), values)
    }

    fn activate(&mut self, active: Active) -> Result<(), KernelError> {
        self.count(Operation::Activate, Some(MapName::Active), None)?;
        let entries = self
            .maps
            .entry(MapName::Active)
            .or_insert_with(|| MemoryMap::new(MapName::Active));
        entries
            .update(1, &0_u32.to_bytes(), &active.to_bytes())
            .map_err(|errno| KernelError::new(Operation::Activate, Some(MapName::Active), None, errno))?;
        self.journal.push(Write::Activate(active));
        Ok(())
    }

    fn grace(&mut self) -> Result<(), KernelError> {
        self.count(Operation::Grace, None, None)?;
        self.journal.push(Write::Grace);
        Ok(())
    }
}
