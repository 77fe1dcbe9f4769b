//! What a kernel call that failed says.

use std::fmt;

use super::MapName;

/// What was asked of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the words of `Kernel`")]
pub enum Operation {
    Capacity,
    Lookup,
    Visit,
    Update,
    Delete,
    Zero,
    Activate,
    Grace,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Capacity => "reading the capacity",
            Self::Lookup => "lookup",
            Self::Visit => "reading all entries",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Zero => "setting counters to zero",
            Self::Activate => "activating a generation",
            Self::Grace => "waiting for a grace period",
        })
    }
}

/// Error numbers by what can be done about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The map has no room, or no such index: `E2BIG` (hash, array), `ENOSPC` (trie).
    Full,
    /// No such entry or map: `ENOENT`.
    Missing,
    /// Not allowed: `EPERM`, `EACCES`.
    Denied,
    /// Anything else.
    Other,
}

impl Cause {
    /// The class of `errno`.
    pub fn of(errno: i32) -> Self {
        match errno {
            libc::E2BIG | libc::ENOSPC => Self::Full,
            libc::ENOENT => Self::Missing,
            libc::EPERM | libc::EACCES => Self::Denied,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "no room",
            Self::Missing => "no such entry",
            Self::Denied => "not permitted",
            Self::Other => "failed",
        })
    }
}

/// A kernel call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelError {
    /// The map, where the call was about one.
    pub map: Option<MapName>,
    /// The call.
    pub operation: Operation,
    /// The key at which it failed, where known.
    pub key: Option<Box<[u8]>>,
    /// Class of `errno`.
    pub cause: Cause,
    /// Error number as the kernel gave it; 0 where it gave none.
    pub errno: i32,
}

impl KernelError {
    /// An error of this number; the cause follows from it.
    pub fn new(operation: Operation, map: Option<MapName>, key: Option<&[u8]>, errno: i32) -> Self {
        Self {
            map,
            operation,
            key: key.map(Into::into),
            cause: Cause::of(errno),
            errno,
        }
    }

    /// Whether a map had no room.
    pub fn is_full(&self) -> bool {
        self.cause == Cause::Full
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(map) = self.map {
            write!(f, "{map}: ")?;
        }
        write!(f, "{}", self.operation)?;
        if let Some(key) = &self.key {
            f.write_str(" of key ")?;
            key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        }
        write!(f, ": {} (errno {})", self.cause, self.errno)
    }
}

impl std::error::Error for KernelError {}
