//! Flow records: what the kernel told, who it was about, and where the answer goes.
//!
//! ring -> [`directory`] (who is who) -> [`fold`] (repeats within a second) -> [`sink`] and [`recent`].

pub mod directory;
pub mod flow;
pub mod fold;
pub mod recent;
pub mod sink;

pub use directory::{Directory, Party};
pub use flow::{FlowEnd, FlowRecord, RuleName};
