//! Numbers: given out, taken back, given out again, but never within the update that took them back. The smallest one
//! that is free is given first, so that numbers stay within what is in use at once: a policy that was too large for a map
//! leaves no numbers behind that have no place in it.

use std::collections::BTreeSet;
use std::hash::Hash;

use rustc_hash::FxHashMap;

/// A source of small numbers.
#[derive(Debug, Default)]
pub(super) struct Ids {
    next: u32,
    free: BTreeSet<u32>,
    resting: Vec<u32>,
}

impl Ids {
    /// A number nobody has.
    pub(super) fn take(&mut self) -> u32 {
        self.free.pop_first().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Takes `id` out of the numbers that are free, so that nobody else gets it.
    pub(super) fn reserve(&mut self, id: u32) {
        while self.next <= id {
            self.free.insert(self.next);
            self.next += 1;
        }
        self.free.remove(&id);
    }

    /// Gives a number back; it rests until the next [`Ids::settle`].
    pub(super) fn give(&mut self, id: u32) {
        self.resting.push(id);
    }

    /// The beginning of an update: what was given back may be taken again.
    pub(super) fn settle(&mut self) {
        self.free.extend(self.resting.drain(..));
    }
}

/// Values kept once, by content, with a number and a count of those who hold it.
#[derive(Debug)]
pub(super) struct Interned<T> {
    ids: Ids,
    by_value: FxHashMap<std::sync::Arc<T>, u32>,
    slots: Vec<Option<(std::sync::Arc<T>, u32)>>,
    /// Numbers that came (true) or went since they were last asked for.
    touched: FxHashMap<u32, bool>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self {
            ids: Ids::default(),
            by_value: FxHashMap::default(),
            slots: Vec::new(),
            touched: FxHashMap::default(),
        }
    }
}

impl<T: Eq + Hash> Interned<T> {
    pub(super) fn settle(&mut self) {
        self.ids.settle();
    }

    /// The number of `value`, held once more.
    pub(super) fn hold(&mut self, value: T) -> u32 {
        if let Some(id) = self.by_value.get(&value) {
            if let Some((_, holders)) = &mut self.slots[*id as usize] {
                *holders += 1;
            }
            return *id;
        }
        let id = self.ids.take();
        let value = std::sync::Arc::new(value);
        self.by_value.insert(value.clone(), id);
        put(&mut self.slots, id, (value, 1));
        self.touched.insert(id, true);
        id
    }

    /// Holds `id` once more.
    pub(super) fn hold_again(&mut self, id: u32) {
        if let Some(Some((_, holders))) = self.slots.get_mut(id as usize) {
            *holders += 1;
        }
    }

    /// Holds `id` once less; nobody left: it goes.
    pub(super) fn drop_one(&mut self, id: u32) {
        let Some(slot) = self.slots.get_mut(id as usize) else {
            return;
        };
        if let Some((_, holders)) = slot {
            *holders -= 1;
            if *holders > 0 {
                return;
            }
        }
        if let Some((value, _)) = slot.take() {
            self.by_value.remove(&value);
            self.ids.give(id);
            // What came and went unseen was never there.
            if self.touched.remove(&id).is_none() {
                self.touched.insert(id, false);
            }
        }
    }

    /// The value of `id`.
    pub(super) fn get(&self, id: u32) -> Option<&std::sync::Arc<T>> {
        self.slots.get(id as usize)?.as_ref().map(|(value, _)| value)
    }

    /// The numbers that came or went since the last call, in order.
    pub(super) fn take_touched(&mut self) -> Vec<u32> {
        let mut touched: Vec<u32> = self.touched.drain().map(|(id, _)| id).collect();
        touched.sort_unstable();
        touched
    }

    /// All values in order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &std::sync::Arc<T>)> {
        let numbered = self.slots.iter().enumerate();
        numbered.filter_map(|(id, slot)| Some((u32::try_from(id).ok()?, &slot.as_ref()?.0)))
    }
}

/// Writes `value` at `id`, making room.
pub(super) fn put<T>(slots: &mut Vec<Option<T>>, id: u32, value: T) {
    let at = id as usize;
    if slots.len() <= at {
        slots.resize_with(at + 1, || None);
    }
    slots[at] = Some(value);
}

#[cfg(test)]
mod tests {
    use super::Ids;

    #[test]
    fn the_smallest_number_that_is_free_is_given_first_and_none_within_the_update_that_took_it_back() {
        let mut ids = Ids::default();
        let taken: Vec<u32> = (0..5).map(|_| ids.take()).collect();
        assert_eq!(taken, [0, 1, 2, 3, 4]);
        for id in [3, 1, 4] {
            ids.give(id);
        }
        assert_eq!(ids.take(), 5);
        ids.settle();
        ids.reserve(3);
        assert_eq!([ids.take(), ids.take(), ids.take()], [1, 4, 6]);
    }
}
