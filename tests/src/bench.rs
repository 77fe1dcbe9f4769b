//! What a packet filter costs: the same traffic between the same two pods under one filter after the other, single runs
//! of the programs in the kernel, and how long changes of policy take. `make bench` prints and writes what comes of it.

mod figures;
mod filters;
mod in_traffic;
mod manifests;
mod nft;
mod page;
mod policy;
mod runs;
mod sockets;
mod traffic;

pub use figures::{Figure, Spread};
pub use filters::{Filter, Stand};
pub use in_traffic::in_traffic;
pub use nft::replaced as nft_replaced;
pub use page::{Column, Measured, Page, Place};
pub use policy::{Sizes, policy, replaced};
pub use runs::runs;
pub use traffic::{Row, Traffic};
