//! Four judges on one packet: the reference on the documents, a lookup over the map image, the packet path built for
//! the host, and the loaded programs. What each needs to be asked, and what it answered as one line.

pub mod bulk;
pub mod course;
pub mod host;
pub mod live;
pub mod lodging;
pub mod node;
pub mod random;
pub mod verdict;

pub use cellwall_datapath::selftest::Opening;
pub use host::Host;
pub use live::Live;
pub use lodging::Lodging;
pub use node::Node;
pub use verdict::{Told, Verdict};
