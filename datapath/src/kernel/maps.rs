//! The real kernel behind the port: an instance's pinned maps.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aya::maps::{Map, MapData, MapError};
use cellwall_datapath_common::Active;
use cellwall_datapath_common::batch::{self, Batch, batch};
use rustix::thread::{MembarrierCommand, membarrier};

use super::OpenError;
use super::place::Place;
use super::table::{Table, wrap};
use crate::port::{Entries, Kernel, KernelError, MapKind, MapName, Operation, Reads};

/// Waited where the kernel has no barrier for us (it refuses one on machines with `nohz_full`). A program runs for
/// microseconds with softirqs off; readers check seals besides.
const GRACE: Duration = Duration::from_millis(250);

/// Entries given to the kernel at once; more bring nothing, and hold up whoever waits for the same locks.
const BATCH: usize = 1_024;
/// Fewer entries than this are written singly.
const FEW: usize = 4;

/// How often a batch is read anew that the kernel was disturbed at.
const TRIES: u32 = 64;

/// The maps of an instance, by name.
pub struct Maps {
    tables: Vec<(MapName, u32, Box<dyn Table>)>,
    /// The same maps, for batches.
    descriptors: Vec<(MapName, OwnedFd)>,
}

impl Maps {
    /// Opens the pinned maps; needs no lock, so that a look at them is possible beside a running agent.
    pub fn open(place: &Place) -> Result<Self, OpenError> {
        Self::open_some(place, MapName::ALL)
    }

    /// Opens these of the pinned maps; there are no others then.
    pub(super) fn open_some(place: &Place, maps: &[MapName]) -> Result<Self, OpenError> {
        Self::gather(maps, |map| {
            let data = MapData::from_pin(place.map(map.name()))?;
            let capacity = data.info()?.max_entries();
            Ok((Map::from_map_data(data)?, capacity))
        })
    }

    /// These maps, each with its capacity, from where `take` has it.
    pub(crate) fn gather(
        maps: &[MapName],
        mut take: impl FnMut(MapName) -> Result<(Map, u32), MapError>,
    ) -> Result<Self, OpenError> {
        let mut tables = Vec::with_capacity(maps.len());
        let mut descriptors = Vec::with_capacity(maps.len());
        for map in maps {
            let failed = |source| OpenError::Map {
                name: map.name(),
                source,
            };
            let (taken, capacity) = take(*map).map_err(failed)?;
            if let Some(data) = data_of(&taken) {
                let own = data.fd().as_fd().try_clone_to_owned();
                descriptors.push((*map, own.map_err(MapError::IoError).map_err(failed)?));
            }
            tables.push((*map, capacity, wrap(*map, taken).map_err(failed)?));
        }
        Ok(Self { tables, descriptors })
    }

    /// Does it to as many entries as the kernel takes in batches, from the first on; what is left, the caller does
    /// singly, and meets any error there.
    fn in_batches(&self, what: Batch, entries: &Entries) -> usize {
        let map = entries.map();
        let Some((_, descriptor)) = self.descriptors.iter().find(|(name, _)| *name == map) else {
            return 0;
        };
        if entries.len() < FEW {
            return 0;
        }
        let (key_size, value_size) = (map.key_size(), map.value_size());
        let mut done = 0;
        let keys = entries.keys().chunks(BATCH * key_size);
        for (keys, values) in keys.zip(entries.values().chunks(BATCH * value_size)) {
            let count = u32::try_from(keys.len() / key_size).unwrap_or(0);
            let (some, answer) = batch(descriptor.as_fd(), what, (keys, key_size), (values, value_size), count);
            done += some as usize;
            if answer.is_err() {
                break;
            }
        }
        done
    }

    /// Visits every entry, many in each call of the kernel; none where this kernel has no batches for the kind of map.
    /// Elements of arrays that are all zero are left out, as by [`Table::visit`].
    fn visit_in_batches(
        &self,
        map: MapName,
        limit: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Option<Result<(), KernelError>> {
        let (_, descriptor) = self.descriptors.iter().find(|(name, _)| *name == map)?;
        let is_array = match map.kind() {
            MapKind::PerCpuArray => return None,
            MapKind::Array => true,
            MapKind::Hash | MapKind::LruHash | MapKind::Trie => false,
        };
        let (key_size, value_size) = (map.key_size(), map.value_size());
        let mut room = BATCH;
        let (mut keys, mut values) = (vec![0; room * key_size], vec![0; room * value_size]);
        let mut position = batch::Position::default();
        let (mut seen, mut again) = (0, 0);
        loop {
            let read = batch::read(
                descriptor.as_fd(),
                &mut position,
                (&mut keys, key_size),
                (&mut values, value_size),
            );
            let (count, more) = match read.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO)) {
                Ok(read) => read,
                // One bucket of a hash has more entries than there is room for.
                Err(libc::ENOSPC) if room < limit => {
                    room *= 2;
                    keys.resize(room * key_size, 0);
                    values.resize(room * value_size, 0);
                    continue;
                }
                // An entry was deleted under the reader.
                Err(libc::EINTR | libc::EAGAIN) if again < TRIES => {
                    again += 1;
                    continue;
                }
                Err(_) if seen == 0 => return None,
                Err(errno) => return Some(Err(KernelError::new(Operation::Visit, Some(map), None, errno))),
            };
            let entries = keys.chunks_exact(key_size).zip(values.chunks_exact(value_size));
            for (key, value) in entries.take(count) {
                if !is_array || value.iter().any(|byte| *byte != 0) {
                    visit(key, value);
                }
            }
            seen += count;
            // A walk of a trie begins anew where its last key has gone.
            if !more || seen > limit {
                return Some(Ok(()));
            }
        }
    }

    fn table(&self, map: MapName, operation: Operation) -> Result<(u32, &dyn Table), KernelError> {
        let table = self.tables.iter().find(|(name, ..)| *name == map);
        let missing = || KernelError::new(operation, Some(map), None, libc::ENOENT);
        table
            .map(|(_, capacity, table)| (*capacity, table.as_ref()))
            .ok_or_else(missing)
    }

    fn table_mut(&mut self, map: MapName, operation: Operation) -> Result<&mut dyn Table, KernelError> {
        match self.tables.iter_mut().find(|(name, ..)| *name == map) {
            Some((.., table)) => Ok(table.as_mut()),
            None => Err(KernelError::new(operation, Some(map), None, libc::ENOENT)),
        }
    }
}

impl Reads for Maps {
    fn capacity(&self, map: MapName) -> Result<u32, KernelError> {
        self.table(map, Operation::Capacity).map(|(capacity, _)| capacity)
    }

    fn lookup(&self, map: MapName, key: &[u8]) -> Result<Option<Vec<u8>>, KernelError> {
        let (_, table) = self.table(map, Operation::Lookup)?;
        let failed = |errno| KernelError::new(Operation::Lookup, Some(map), Some(key), errno);
        table.lookup(key).map_err(failed)
    }

    fn visit(&self, map: MapName, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), KernelError> {
        let (capacity, table) = self.table(map, Operation::Visit)?;
        let limit = usize::try_from(capacity).unwrap_or(usize::MAX).saturating_mul(2);
        let failed = |errno| KernelError::new(Operation::Visit, Some(map), None, errno);
        match self.visit_in_batches(map, limit, visit) {
            Some(visited) => visited,
            None => table.visit(limit, visit).map_err(failed),
        }
    }
}

impl Kernel for Maps {
    fn update(&mut self, entries: &Entries) -> Result<(), KernelError> {
        let map = entries.map();
        let done = self.in_batches(Batch::Update, entries);
        let table = self.table_mut(map, Operation::Update)?;
        for (key, value) in entries.iter().skip(done) {
            let failed = |errno| KernelError::new(Operation::Update, Some(map), Some(key), errno);
            table.update(key, value).map_err(failed)?;
        }
        Ok(())
    }

    fn delete(&mut self, keys: &Entries) -> Result<(), KernelError> {
        let map = keys.map();
        let done = self.in_batches(Batch::Delete, keys);
        let table = self.table_mut(map, Operation::Delete)?;
        for (key, _) in keys.iter().skip(done) {
            let failed = |errno| KernelError::new(Operation::Delete, Some(map), Some(key), errno);
            table.delete(key).map_err(failed)?;
        }
        Ok(())
    }

    fn zero(&mut self, map: MapName, indices: &[u32]) -> Result<(), KernelError> {
        let table = self.table_mut(map, Operation::Zero)?;
        for index in indices {
            let key = index.to_ne_bytes();
            let failed = |errno| KernelError::new(Operation::Zero, Some(map), Some(&key), errno);
            table.zero(*index).map_err(failed)?;
        }
        Ok(())
    }

    fn set(&mut self, map: MapName, index: u32, values: &[u8]) -> Result<(), KernelError> {
        let table = self.table_mut(map, Operation::Update)?;
        let key = index.to_ne_bytes();
        let failed = |errno| KernelError::new(Operation::Update, Some(map), Some(&key), errno);
        table.set(index, values).map_err(failed)
    }

    fn activate(&mut self, active: Active) -> Result<(), KernelError> {
        let Active {
            generation,
            switches,
            pass_sample,
            check,
        } = active;
        let value = [generation, switches, pass_sample, check]
            .map(u32::to_ne_bytes)
            .concat();
        let table = self.table_mut(MapName::Active, Operation::Activate)?;
        let failed = |errno| KernelError::new(Operation::Activate, Some(MapName::Active), None, errno);
        table.update(&0_u32.to_ne_bytes(), &value).map_err(failed)
    }

    fn grace(&mut self) -> Result<(), KernelError> {
        static TOLD: AtomicBool = AtomicBool::new(false);
        match membarrier(MembarrierCommand::Global) {
            Ok(()) => {}
            Err(error) => {
                if !TOLD.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "no membarrier(GLOBAL) on this kernel: grace periods are waited for by the clock");
                }
                std::thread::sleep(GRACE);
            }
        }
        Ok(())
    }
}

/// What is behind a map of one of our kinds.
fn data_of(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data) | Map::HashMap(data) | Map::LpmTrie(data) | Map::LruHashMap(data) | Map::PerCpuArray(data) => {
            Some(data)
        }
        _ => None,
    }
}

/// Fill of a map that counts its entries nowhere: how many keys it has now. Hashes and tries only.
pub fn count(kernel: &impl Kernel, map: MapName) -> Result<u32, KernelError> {
    let mut entries = 0_u32;
    kernel.visit(map, &mut |_, _| entries = entries.saturating_add(1))?;
    Ok(entries)
}
