//! Whether maps still hold the bytes that an inspection read: as one sum, without making anything of them.
//!
//! An inspection makes an image of every entry, which for half a million of them takes the better part of a second.
//! The same bytes give the same image: while nobody is known to have written, reading them again is enough.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};

use crate::port::{KernelError, MapName, Reads};

/// What was read, and the sum of it. Hashed with a key of its own, so that nobody can write something else of the same
/// sum.
#[derive(Debug, Clone)]
pub struct Witness {
    hashing: RandomState,
    visited: BTreeSet<MapName>,
    looked: Vec<(MapName, Box<[u8]>)>,
    sum: u64,
}

impl Witness {
    /// Whether reading the same again finds the same.
    pub fn holds(&self, kernel: &dyn Reads) -> Result<bool, KernelError> {
        let mut sum = 0_u64;
        for map in &self.visited {
            kernel.visit(*map, &mut |key, value| self.add(&mut sum, *map, key, Some(value)))?;
        }
        for (map, key) in &self.looked {
            let value = kernel.lookup(*map, key)?;
            self.add(&mut sum, *map, key, value.as_deref());
        }
        Ok(sum == self.sum)
    }

    /// Takes an entry into a sum, whatever the order.
    fn add(&self, sum: &mut u64, map: MapName, key: &[u8], value: Option<&[u8]>) {
        let mut hasher = self.hashing.build_hasher();
        map.hash(&mut hasher);
        hasher.write(key);
        value.hash(&mut hasher);
        *sum = sum.wrapping_add(hasher.finish());
    }
}

/// Lets `read` read `kernel`. Answers what it made of it, and the witness of what it read.
pub(crate) fn witness<T>(
    kernel: &dyn Reads,
    read: impl FnOnce(&dyn Reads) -> Result<T, KernelError>,
) -> Result<(T, Witness), KernelError> {
    let watched = Watched {
        kernel,
        witness: RefCell::new(Witness {
            hashing: RandomState::new(),
            visited: BTreeSet::new(),
            looked: Vec::new(),
            sum: 0,
        }),
    };
    let made = read(&watched)?;
    Ok((made, watched.witness.into_inner()))
}

/// A kernel whose reader is watched.
struct Watched<'k> {
    kernel: &'k dyn Reads,
    witness: RefCell<Witness>,
}

impl Reads for Watched<'_> {
    fn capacity(&self, map: MapName) -> Result<u32, KernelError> {
        self.kernel.capacity(map)
    }

    fn lookup(&self, map: MapName, key: &[u8]) -> Result<Option<Vec<u8>>, KernelError> {
        let value = self.kernel.lookup(map, key)?;
        let mut witness = self.witness.borrow_mut();
        let mut sum = witness.sum;
        witness.add(&mut sum, map, key, value.as_deref());
        witness.sum = sum;
        witness.looked.push((map, key.into()));
        Ok(value)
    }

    fn visit(&self, map: MapName, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), KernelError> {
        let mut sum = 0;
        let is_first = self.witness.borrow_mut().visited.insert(map);
        {
            let witness = self.witness.borrow();
            self.kernel.visit(map, &mut |key, value| {
                witness.add(&mut sum, map, key, Some(value));
                visit(key, value);
            })?;
        }
        if is_first {
            let mut witness = self.witness.borrow_mut();
            witness.sum = witness.sum.wrapping_add(sum);
        }
        Ok(())
    }
}
