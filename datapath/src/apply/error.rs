//! Why a wanted state was not realised.

use std::fmt;

use crate::encode::EncodeError;
use crate::port::KernelError;

/// How far an attempt came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Before the plan: what earlier attempts left.
    Ground,
    /// Writing what nobody sees yet.
    Prepare,
    /// Activating.
    Flip,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ground => "finishing earlier work",
            Self::Prepare => "preparing",
            Self::Flip => "activating",
        })
    }
}

/// The wanted state was not realised; the last one decides as before, whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// It does not fit, or contradicts itself: nothing was written.
    #[error("the policy was refused before anything was written, the last one stays in force")]
    Refused(#[from] EncodeError),
    /// A call to the kernel failed.
    #[error("the policy was not realised ({phase} failed{}), the last one stays in force", Size(*limit))]
    Kernel {
        /// Where.
        phase: Phase,
        /// The call.
        source: KernelError,
        /// Capacity of the map, where the call was about one.
        limit: Option<u32>,
        /// Whether everything written was taken back; if not, the next attempt begins with it.
        taken_back: bool,
    },
}

struct Size(Option<u32>);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |limit| write!(f, " at a map of {limit} entries"))
    }
}
