//! User side of the datapath: what the compiler decided becomes bytes, an ordered plan, and calls to the kernel.

pub use cellwall_datapath_common as abi;

pub mod apply;
pub mod encode;
pub mod image;
mod inspect;
mod keys;
pub mod layout;
pub mod memory;
pub mod plan;
pub mod port;
pub mod links;
mod netlink;
pub mod attach;
pub mod counters;
pub mod events;
pub mod kernel;

pub use netlink::NetlinkError;
pub use inspect::inspect;
