//! Raw frames in every shape that we could think of, and what is to become of each by a second opinion that shares
//! nothing with the packet path. The packet path is held against it on the host, in the kernel and by the fuzzer.

pub mod corpus;
pub mod make;
pub mod reference;

pub use corpus::{Places, Shot};
pub use reference::{Expected, Reason, Reference, Sender, World};

use reference::What;

/// A port that is dropped on the way to a guarded pod.
pub const REFUSED: u16 = 9;

/// What the rule drops that frames are judged by: the corpus aims at these and at what is beside them.
pub const DROPS: [What; 6] = [
    What::Port(REFUSED),
    What::Icmp(13),
    What::Icmpv6(135),
    What::Icmpv6(139),
    What::Protocol(2),
    What::Protocol(50),
];
