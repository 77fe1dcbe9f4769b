//! User side of the datapath: what the compiler decided becomes bytes, an ordered plan, and calls to the kernel.

pub use cellwall_datapath_common as abi;

pub mod apply;
pub mod attach;
pub mod carry;
pub mod counters;
pub mod encode;
pub mod events;
pub mod image;
mod inspect;
pub mod kernel;
mod keys;
pub mod layout;
pub mod links;
pub mod memory;
mod netlink;
pub mod plan;
pub mod port;
pub mod selftest;
mod witness;

pub use inspect::{Places, inspect, inspect_places, inspect_witnessed};
pub use netlink::NetlinkError;
pub use witness::Witness;
