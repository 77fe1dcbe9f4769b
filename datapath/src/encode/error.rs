//! Why an update is refused before anything is written.

use cellwall_policy::compiled::{PeerId, PolicyId, TableId};

use crate::port::MapName;

/// The update cannot be written; the kernel was not touched and the encoder believes what it believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A map is too small.
    #[error("{map} would need {needed} entries and holds {limit}: name fewer things in rules, or raise the map's size")]
    Capacity {
        /// Map.
        map: MapName,
        /// Entries at once while the update is made: the old ones go only after the new ones count.
        needed: u64,
        /// Capacity.
        limit: u64,
    },
    /// There is room, but not in one piece.
    #[error("{map} has no {length} free places in a row ({free} in all): raise the map's size")]
    Fragmented {
        /// Map.
        map: MapName,
        /// Places asked for.
        length: u32,
        /// Free places.
        free: u32,
    },
    /// The compiler named a table that it never gave.
    #[error("policy {} names table {} for peer {peer:?}, and there is no such table", policy.0, table.0)]
    UnknownTable {
        /// Policy.
        policy: PolicyId,
        /// Peer.
        peer: PeerId,
        /// Table.
        table: TableId,
    },
    /// A rule's name is longer than its card.
    #[error("the name of a rule has {bytes} bytes, and at most {limit} have room on its card")]
    LongName {
        /// Bytes of the name.
        bytes: usize,
        /// Bytes on the card.
        limit: usize,
    },
    /// The previous update's grace period has not passed yet.
    #[error("generation {generation} is not settled yet")]
    Unsettled {
        /// Active generation.
        generation: u32,
    },
}
