//! A batch of entries of one map, flat as the batch system calls want it.

use super::MapName;

/// Keys and values of one map, one after the other in two buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entries {
    map: MapName,
    keys: Vec<u8>,
    values: Vec<u8>,
}

impl Entries {
    /// No entries of `map` yet.
    pub fn new(map: MapName) -> Self {
        Self {
            map,
            keys: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Adds an entry. A key or value of the wrong size is cut or padded with zeros: sizes are fixed by the types
    /// that callers encode, and a buffer out of step would put values under wrong keys.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        debug_assert_eq!((key.len(), value.len()), (self.map.key_size(), self.map.value_size()));
        let ends = (
            self.keys.len() + self.map.key_size(),
            self.values.len() + self.map.value_size(),
        );
        self.keys.extend_from_slice(key);
        self.keys.resize(ends.0, 0);
        self.values.extend_from_slice(value);
        self.values.resize(ends.1, 0);
    }

    /// Adds a key for [`super::Kernel::delete`]; its value is zero.
    pub fn push_key(&mut self, key: &[u8]) {
        let end = self.values.len() + self.map.value_size();
        debug_assert_eq!(key.len(), self.map.key_size());
        self.keys.extend_from_slice(key);
        self.values.resize(end, 0);
    }

    /// The map.
    pub fn map(&self) -> MapName {
        self.map
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.keys.len() / self.map.key_size()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// All keys, one after the other.
    pub fn keys(&self) -> &[u8] {
        &self.keys
    }

    /// All values, one after the other.
    pub fn values(&self) -> &[u8] {
        &self.values
    }

    /// The entries in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.keys
            .chunks_exact(self.map.key_size())
            .zip(self.values.chunks_exact(self.map.value_size()))
    }
}
