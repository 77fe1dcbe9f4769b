//! One map in memory.

use std::collections::BTreeMap;

use crate::layout::Layout;
use crate::port::{MapKind, MapName};

/// Entries by key. Indices of arrays are kept in big-endian order of bytes, so that they are visited in ascending
/// order; elements that are all zero are not kept.
#[derive(Debug, Clone)]
pub(super) struct MemoryMap {
    kind: MapKind,
    value_size: usize,
    key_size: usize,
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl MemoryMap {
    pub(super) fn new(map: MapName) -> Self {
        let (kind, key_size, value_size) = (map.kind(), map.key_size(), map.value_size());
        Self {
            kind,
            value_size,
            key_size,
            entries: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn is_array(&self) -> bool {
        matches!(self.kind, MapKind::Array | MapKind::PerCpuArray)
    }

    /// The key as it is kept: array indices big-endian, trie keys without the bits that do not count.
    fn kept(&self, key: &[u8]) -> Vec<u8> {
        let mut key = key.to_vec();
        if self.is_array() {
            if let Some(index) = u32::from_bytes(&key) {
                key = index.to_be_bytes().to_vec();
            }
        } else if self.kind == MapKind::Trie {
            let bits = prefix_bits(&key);
            mask(&mut key[4..], bits);
        }
        key
    }

    /// Creates or replaces; the error is an error number.
    pub(super) fn update(&mut self, capacity: u32, key: &[u8], value: &[u8]) -> Result<(), i32> {
        if key.len() != self.key_size || value.len() != self.value_size {
            return Err(libc::EINVAL);
        }
        let full = self.entries.len() >= capacity as usize;
        match self.kind {
            MapKind::Array | MapKind::PerCpuArray => {
                if u32::from_bytes(key).is_none_or(|index| index >= capacity) {
                    return Err(libc::E2BIG);
                }
                if value.iter().all(|byte| *byte == 0) {
                    self.entries.remove(&self.kept(key));
                    return Ok(());
                }
            }
            MapKind::Hash if full && !self.entries.contains_key(key) => return Err(libc::E2BIG),
            MapKind::LruHash if full && !self.entries.contains_key(key) => {
                self.entries.pop_first();
            }
            MapKind::Trie => {
                if prefix_bits(key) > (self.key_size - 4) * 8 {
                    return Err(libc::EINVAL);
                }
                // Kernels before 6.13 ask for room even where a prefix is only replaced.
                if full {
                    return Err(libc::ENOSPC);
                }
            }
            MapKind::Hash | MapKind::LruHash => {}
        }
        self.entries.insert(self.kept(key), value.to_vec());
        Ok(())
    }

    pub(super) fn delete(&mut self, key: &[u8]) {
        self.entries.remove(&self.kept(key));
    }

    /// Exact, but for tries: there the longest prefix of at most the key's bits.
    pub(super) fn lookup(&self, key: &[u8]) -> Option<Vec<u8>> {
        if key.len() != self.key_size {
            return None;
        }
        if self.kind != MapKind::Trie {
            return self.entries.get(&self.kept(key)).cloned();
        }
        (0..=prefix_bits(key).min((self.key_size - 4) * 8))
            .rev()
            .find_map(|bits| {
                let mut shorter = key.to_vec();
                shorter[..4].copy_from_slice(&u32::try_from(bits).ok()?.to_ne_bytes());
                self.entries.get(&self.kept(&shorter)).cloned()
            })
    }

    pub(super) fn visit(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        for (key, value) in &self.entries {
            match key.first_chunk() {
                Some(index) if self.is_array() => visit(&u32::from_be_bytes(*index).to_bytes(), value),
                _ => visit(key, value),
            }
        }
    }
}

fn prefix_bits(key: &[u8]) -> usize {
    key.first_chunk().map_or(0, |bits| u32::from_ne_bytes(*bits) as usize)
}

fn mask(address: &mut [u8], bits: usize) {
    for (place, byte) in address.iter_mut().enumerate() {
        let kept = bits.saturating_sub(place * 8).min(8);
        *byte &= u8::MAX.checked_shl(u32::try_from(8 - kept).unwrap_or(8)).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use cellwall_datapath_common::PrefixKey4;

    use super::*;

    fn prefix(prefix: u32, address: [u8; 4]) -> Vec<u8> {
        PrefixKey4 { prefix, address }.to_bytes()
    }

    #[test]
    fn the_longest_prefix_answers_and_host_bits_do_not_count() {
        let mut trie = MemoryMap::new(MapName::Prefixes4);
        trie.update(8, &prefix(16, [198, 51, 100, 7]), &[1; 16]).unwrap();
        trie.update(8, &prefix(24, [198, 51, 100, 0]), &[2; 16]).unwrap();
        trie.update(8, &prefix(16, [198, 51, 0, 0]), &[3; 16]).unwrap();
        assert_eq!(trie.len(), 2);
        assert_eq!(trie.lookup(&prefix(32, [198, 51, 100, 9])), Some(vec![2; 16]));
        assert_eq!(trie.lookup(&prefix(32, [198, 51, 1, 9])), Some(vec![3; 16]));
        assert_eq!(trie.lookup(&prefix(32, [203, 0, 113, 9])), None);
    }

    #[test]
    fn a_full_hash_is_e2big_and_a_full_trie_enospc() {
        let mut hash = MemoryMap::new(MapName::Addresses4);
        hash.update(1, &[192, 0, 2, 1], &[0; 24]).unwrap();
        assert_eq!(hash.update(1, &[192, 0, 2, 2], &[0; 24]), Err(libc::E2BIG));
        assert_eq!(hash.update(1, &[192, 0, 2, 1], &[1; 24]), Ok(()));
        let mut trie = MemoryMap::new(MapName::Prefixes4);
        trie.update(1, &prefix(24, [192, 0, 2, 0]), &[0; 16]).unwrap();
        assert_eq!(trie.update(1, &prefix(24, [192, 0, 2, 0]), &[1; 16]), Err(libc::ENOSPC));
    }

    #[test]
    fn an_array_has_its_indices_and_no_others() {
        let mut array = MemoryMap::new(MapName::Tables);
        assert_eq!(array.update(4, &4_u32.to_bytes(), &[1; 24]), Err(libc::E2BIG));
        array.update(400, &300_u32.to_bytes(), &[1; 24]).unwrap();
        array.update(400, &2_u32.to_bytes(), &[1; 24]).unwrap();
        let mut seen = Vec::new();
        array.visit(&mut |key, _| seen.extend(u32::from_bytes(key)));
        assert_eq!(seen, [2, 300]);
    }
}
