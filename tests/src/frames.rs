//! Raw frames against the real agent: the corpus, what is to become of each of its frames by the second opinion, and a
//! range on which they are sent and their arrival is watched.

mod flood;
mod paged;
pub mod range;
mod tally;
mod tap;
mod totals;
pub(crate) mod wiring;

pub use cellwall_frames::{Expected, Places, Reason, Sender, Shot, corpus, make, reference};
pub use range::Range;
pub use tap::link;
pub use tap::{Heard, Tap, link_address};
