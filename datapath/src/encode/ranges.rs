//! Free ranges of an array: best fit, coalescing.

use std::collections::{BTreeMap, BTreeSet};

/// The free part of `0..limit`. A range is never free twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ranges {
    limit: u32,
    free: u32,
    by_start: BTreeMap<u32, u32>,
    by_length: BTreeSet<(u32, u32)>,
}

impl Ranges {
    /// Everything below `limit` is free.
    pub(super) fn new(limit: u32) -> Self {
        let mut ranges = Self {
            limit,
            free: 0,
            by_start: BTreeMap::new(),
            by_length: BTreeSet::new(),
        };
        ranges.insert(0, limit);
        ranges
    }

    /// Number of places in all.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Number of free places.
    pub(super) fn free(&self) -> u32 {
        self.free
    }

    /// Takes `length` places in a row out of the smallest free range that has them.
    pub(super) fn take(&mut self, length: u32) -> Option<u32> {
        let (found, start) = *self.by_length.range((length, 0)..).next()?;
        self.remove(start, found);
        self.insert(start + length, found - length);
        Some(start)
    }

    /// Takes exactly these places; false, and nothing taken, where they are not all free.
    pub(super) fn claim(&mut self, start: u32, length: u32) -> bool {
        let Some((&from, &found)) = self.by_start.range(..=start).next_back() else {
            return false;
        };
        let before = start - from;
        if found < before || found - before < length {
            return false;
        }
        self.remove(from, found);
        self.insert(from, before);
        self.insert(start + length, found - before - length);
        true
    }

    /// Gives places back that were taken.
    pub(super) fn give(&mut self, start: u32, length: u32) {
        let (mut start, mut length) = (start, length);
        if let Some((&from, &found)) = self.by_start.range(..start).next_back()
            && from + found == start
        {
            self.remove(from, found);
            (start, length) = (from, found + length);
        }
        if let Some(&found) = self.by_start.get(&(start + length)) {
            self.remove(start + length, found);
            length += found;
        }
        self.insert(start, length);
    }

    fn insert(&mut self, start: u32, length: u32) {
        if length > 0 {
            self.by_start.insert(start, length);
            self.by_length.insert((length, start));
            self.free += length;
        }
    }

    fn remove(&mut self, start: u32, length: u32) {
        if self.by_start.remove(&start).is_some() {
            self.by_length.remove(&(length, start));
            self.free -= length;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn given_back_neighbours_become_one_range_again() {
        let mut ranges = Ranges::new(10);
        let taken: Vec<_> = (0..5).filter_map(|_| ranges.take(2)).collect();
        assert_eq!(taken, [0, 2, 4, 6, 8]);
        assert_eq!(ranges.take(1), None);
        for start in [2, 6, 4, 8, 0] {
            ranges.give(start, 2);
        }
        assert_eq!(ranges, Ranges::new(10));
    }

    #[test]
    fn a_claim_takes_exactly_its_places_or_none() {
        let mut ranges = Ranges::new(10);
        assert!(ranges.claim(3, 2));
        assert!(!ranges.claim(4, 1));
        assert!(!ranges.claim(2, 2));
        assert!(!ranges.claim(9, 2));
        assert_eq!(ranges.free(), 8);
        assert_eq!(ranges.take(4), Some(5));
    }

    proptest! {
        #[test]
        fn what_is_taken_never_overlaps_and_all_of_it_comes_back(lengths in prop::collection::vec((1..5_u32, any::<bool>()), 1..60)) {
            let mut ranges = Ranges::new(64);
            let mut held: Vec<(u32, u32)> = Vec::new();
            for (length, give) in lengths {
                if give && !held.is_empty() {
                    let (start, length) = held.swap_remove(length as usize % held.len());
                    ranges.give(start, length);
                } else if let Some(start) = ranges.take(length) {
                    prop_assert!(held.iter().all(|(other, size)| start + length <= *other || other + size <= start));
                    held.push((start, length));
                }
                prop_assert_eq!(ranges.free() + held.iter().map(|(_, size)| size).sum::<u32>(), 64);
            }
            for (start, length) in held {
                ranges.give(start, length);
            }
            prop_assert_eq!(ranges, Ranges::new(64));
        }
    }
}
