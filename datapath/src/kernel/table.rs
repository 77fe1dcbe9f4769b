//! One pinned map behind bytes: aya's typed maps want key and value types, the port speaks of bytes.

use std::io;

use aya::Pod;
use aya::maps::lpm_trie::{Key as TrieKey, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;

use crate::port::MapName;

/// A map by bytes. Errors are error numbers.
pub(super) trait Table: Send + Sync {
    fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>, i32>;
    fn visit(&self, limit: usize, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), i32>;
    fn update(&mut self, key: &[u8], value: &[u8]) -> Result<(), i32>;
    fn delete(&mut self, key: &[u8]) -> Result<(), i32>;
    fn zero(&mut self, index: u32) -> Result<(), i32>;

    /// The values of all processors, where there is one for each.
    fn set(&mut self, _index: u32, _values: &[u8]) -> Result<(), i32> {
        Err(libc::EINVAL)
    }
}

/// Wraps a map. The sizes below are those of [`MapName`]; aya compares them with the
/// kernel's.
pub(super) fn wrap(name: MapName, map: Map) -> Result<Box<dyn Table>, MapError> {
    match name {
        MapName::RuleCards => array::<328>(map),
        MapName::RuleCounters | MapName::ReasonCounters => per_cpu::<32>(map),
        MapName::EventCounters => per_cpu::<8>(map),
        MapName::Active | MapName::EndpointIndex => array::<16>(map),
        MapName::EndpointExtra => hash::<4, 16>(map),
        MapName::Endpoints | MapName::Refused => array::<72>(map),
        MapName::OwnAddresses => hash::<20, 4>(map),
        MapName::RefusedNext | MapName::Spans => array::<8>(map),
        MapName::Addresses4 => hash::<4, 24>(map),
        MapName::Addresses6 => hash::<16, 24>(map),
        MapName::Prefixes4 => trie::<4, 16>(map),
        MapName::Prefixes6 => trie::<16, 16>(map),
        MapName::ServicePorts => hash::<20, 16>(map),
        MapName::Policy => hash::<8, 16>(map),
        MapName::Tables => array::<24>(map),
        MapName::Flows4 | MapName::Opening4 => hash::<16, 32>(map),
        MapName::Flows6 | MapName::Opening6 => hash::<40, 32>(map),
        MapName::Entered | MapName::Gone => hash::<4, 8>(map),
        MapName::Fragments => hash::<44, 16>(map),
    }
}

type Wrapped = Result<Box<dyn Table>, MapError>;

fn array<const V: usize>(map: Map) -> Wrapped {
    Ok(Box::new(ArrayTable::<V>(Array::try_from(map)?)))
}

fn per_cpu<const V: usize>(map: Map) -> Wrapped {
    Ok(Box::new(PerCpuTable::<V>(PerCpuArray::try_from(map)?)))
}

fn hash<const K: usize, const V: usize>(map: Map) -> Wrapped {
    Ok(Box::new(HashTable::<K, V>(HashMap::try_from(map)?)))
}

fn trie<const K: usize, const V: usize>(map: Map) -> Wrapped {
    Ok(Box::new(TrieTable::<K, V>(LpmTrie::try_from(map)?)))
}

struct ArrayTable<const V: usize>(Array<MapData, [u8; V]>);
struct PerCpuTable<const V: usize>(PerCpuArray<MapData, [u8; V]>);
struct HashTable<const K: usize, const V: usize>(HashMap<MapData, [u8; K], [u8; V]>);
struct TrieTable<const K: usize, const V: usize>(LpmTrie<MapData, [u8; K], [u8; V]>);

impl<const V: usize> Table for ArrayTable<V> {
    fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>, i32> {
        found(self.0.get(&index(key)?, 0))
    }

    fn visit(&self, limit: usize, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), i32> {
        for index in 0..self.0.len().min(u32::try_from(limit).unwrap_or(u32::MAX)) {
            let value = self.0.get(&index, 0).map_err(|error| errno(&error))?;
            if value.iter().any(|byte| *byte != 0) {
                visit(&index.to_ne_bytes(), &value);
            }
        }
        Ok(())
    }

    fn update(&mut self, key: &[u8], value: &[u8]) -> Result<(), i32> {
        self.0
            .set(index(key)?, sized::<V>(value)?, 0)
            .map_err(|error| errno(&error))
    }

    fn delete(&mut self, _key: &[u8]) -> Result<(), i32> {
        Err(libc::EINVAL)
    }

    fn zero(&mut self, index: u32) -> Result<(), i32> {
        self.0.set(index, [0; V], 0).map_err(|error| errno(&error))
    }
}

impl<const V: usize> Table for PerCpuTable<V> {
    fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>, i32> {
        match self.0.get(&index(key)?, 0) {
            Ok(values) => Ok(Some(values.iter().flatten().copied().collect())),
            Err(error) => found::<V>(Err(error)),
        }
    }

    fn visit(&self, _limit: usize, _visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), i32> {
        Err(libc::EINVAL)
    }

    fn update(&mut self, _key: &[u8], _value: &[u8]) -> Result<(), i32> {
        Err(libc::EINVAL)
    }

    fn delete(&mut self, _key: &[u8]) -> Result<(), i32> {
        Err(libc::EINVAL)
    }

    fn zero(&mut self, index: u32) -> Result<(), i32> {
        let cpus = nr_cpus().map_err(|(_, error)| number(&error))?;
        self.set(index, &vec![0; V * cpus])
    }

    fn set(&mut self, index: u32, values: &[u8]) -> Result<(), i32> {
        let each: Vec<[u8; V]> = values.chunks(V).map(sized).collect::<Result<_, _>>()?;
        let values = PerCpuValues::try_from(each).map_err(|error| number(&error))?;
        self.0.set(index, values, 0).map_err(|error| errno(&error))
    }
}

impl<const K: usize, const V: usize> Table for HashTable<K, V> {
    fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>, i32> {
        found(self.0.get(&sized(key)?, 0))
    }

    fn visit(&self, limit: usize, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), i32> {
        all(
            self.0.keys(),
            limit,
            |key| self.0.get(key, 0),
            |key, value| visit(key, value),
        )
    }

    fn update(&mut self, key: &[u8], value: &[u8]) -> Result<(), i32> {
        self.0
            .insert(sized::<K>(key)?, sized::<V>(value)?, 0)
            .map_err(|error| errno(&error))
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), i32> {
        gone(self.0.remove(&sized(key)?))
    }

    fn zero(&mut self, _index: u32) -> Result<(), i32> {
        Err(libc::EINVAL)
    }
}

impl<const K: usize, const V: usize> Table for TrieTable<K, V> {
    fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>, i32> {
        // As the kernel has it: the longest prefix that covers the key answers.
        found(self.0.get(&prefix(key)?, 0))
    }

    fn visit(&self, limit: usize, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), i32> {
        all(
            self.0.keys(),
            limit,
            |key| self.0.get(key, 0),
            |key, value| {
                let mut bytes = key.prefix_len().to_ne_bytes().to_vec();
                bytes.extend_from_slice(&key.data());
                visit(&bytes, value);
            },
        )
    }

    fn update(&mut self, key: &[u8], value: &[u8]) -> Result<(), i32> {
        self.0
            .insert(&prefix::<K>(key)?, sized::<V>(value)?, 0)
            .map_err(|error| errno(&error))
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), i32> {
        gone(self.0.remove(&prefix(key)?))
    }

    fn zero(&mut self, _index: u32) -> Result<(), i32> {
        Err(libc::EINVAL)
    }
}

/// Walks all keys, at most `limit`: a walk begins anew where its last key was deleted meanwhile, and must end.
fn all<K: Pod, const V: usize>(
    keys: impl Iterator<Item = Result<K, MapError>>,
    limit: usize,
    get: impl Fn(&K) -> Result<[u8; V], MapError>,
    mut visit: impl FnMut(&K, &[u8]),
) -> Result<(), i32> {
    for key in keys.take(limit) {
        let key = key.map_err(|error| errno(&error))?;
        match get(&key) {
            Ok(value) => visit(&key, &value),
            Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(errno(&error)),
        }
    }
    Ok(())
}

fn sized<const N: usize>(bytes: &[u8]) -> Result<[u8; N], i32> {
    bytes.try_into().map_err(|_| libc::EINVAL)
}

fn index(key: &[u8]) -> Result<u32, i32> {
    sized(key).map(u32::from_ne_bytes)
}

fn prefix<const K: usize>(key: &[u8]) -> Result<TrieKey<[u8; K]>, i32> {
    let (length, address) = key.split_first_chunk().ok_or(libc::EINVAL)?;
    Ok(TrieKey::new(u32::from_ne_bytes(*length), sized(address)?))
}

fn found<const V: usize>(value: Result<[u8; V], MapError>) -> Result<Option<Vec<u8>>, i32> {
    match value {
        Ok(value) => Ok(Some(value.to_vec())),
        Err(MapError::KeyNotFound | MapError::ElementNotFound | MapError::OutOfBounds { .. }) => Ok(None),
        Err(error) => Err(errno(&error)),
    }
}

fn gone(removed: Result<(), MapError>) -> Result<(), i32> {
    match removed.map_err(|error| errno(&error)) {
        Err(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// The kernel's error number. An index past an array's end is what the kernel calls `E2BIG`, aya notices it first.
fn errno(error: &MapError) -> i32 {
    match error {
        MapError::SyscallError(error) => number(&error.io_error),
        MapError::IoError(error) => number(error),
        MapError::CreateError { io_error, .. } => number(io_error),
        MapError::KeyNotFound | MapError::ElementNotFound => libc::ENOENT,
        MapError::OutOfBounds { .. } => libc::E2BIG,
        _ => libc::EINVAL,
    }
}

fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
