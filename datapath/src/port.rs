//! The kernel port: the few calls that a plan and an inspection need, in terms of map names and bytes.
//!
//! Two implementations: the real kernel, and [`crate::memory::MemoryKernel`], which behaves like it down to its
//! errors and can be told to fail.

mod entries;
mod error;
mod map_name;

pub use entries::Entries;
pub use error::{Cause, KernelError, Operation};
pub use map_name::{MapKind, MapName};

use cellwall_datapath_common::Active;

/// The calls an inspection needs. Keys and values are the bytes of `datapath_common`'s types, in the machine's own order.
pub trait Reads {
    /// Most entries that `map` holds, as it was created (an adopted map may differ from today's defaults).
    fn capacity(&self, map: MapName) -> Result<u32, KernelError>;

    /// The value at `key`, none where there is no such entry. Arrays have every key below their capacity. A per-CPU
    /// map gives the values of all possible CPUs, one after the other.
    fn lookup(&self, map: MapName, key: &[u8]) -> Result<Option<Vec<u8>>, KernelError>;

    /// Calls `visit` with key and value of every entry, arrays in the order of their indices, others in any order.
    /// Elements of an array that are all zero may be left out. Not for per-CPU maps.
    fn visit(&self, map: MapName, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), KernelError>;
}

/// The calls a plan needs besides.
pub trait Kernel: Reads {
    /// Creates or replaces entries, in their order. On an error, those before the one that failed may have been
    /// written and those after it have not.
    fn update(&mut self, entries: &Entries) -> Result<(), KernelError>;

    /// Deletes entries (values of `keys` are not looked at), in their order; one that is not there counts as deleted.
    /// Hashes and tries only.
    fn delete(&mut self, keys: &Entries) -> Result<(), KernelError>;

    /// Sets elements of a per-CPU array to zero on every CPU.
    fn zero(&mut self, map: MapName, indices: &[u32]) -> Result<(), KernelError>;

    /// Sets an element of a per-CPU array to the values of all possible CPUs, one after the other.
    fn set(&mut self, map: MapName, index: u32, values: &[u8]) -> Result<(), KernelError>;

    /// Writes `ACTIVE`: the flip.
    fn activate(&mut self, active: Active) -> Result<(), KernelError>;

    /// Returns when every program run that began before the call has ended (an RCU grace period).
    fn grace(&mut self) -> Result<(), KernelError>;
}
