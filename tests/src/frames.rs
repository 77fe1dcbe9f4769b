//! Raw frames against the real agent: a corpus of them, what is to become of each by a second opinion that shares
//! nothing with the packet path, and a range on which they are sent and their arrival is watched.

pub mod corpus;
mod flood;
pub mod make;
mod paged;
pub mod range;
pub mod reference;
mod tally;
mod tap;
mod totals;
mod wiring;

pub use corpus::{Places, Shot};
pub use range::Range;
pub use reference::{Expected, Reason, Sender};
pub(crate) use tap::link;
pub use tap::{Heard, Tap, link_address};
