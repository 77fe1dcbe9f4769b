//! Alerts: what was refused or alerted, folded by day and kept for 180 of them.
//!
//! Every record whose verdict is ALERT or DROP becomes part of one alert per (source pod, destination pod, port,
//! protocol, rule, UTC day), whatever was applied: one place answers who tried, how often, since when. Where an end is no
//! pod its address stands for it, where no rule decided the reason does.
//!
//! records -> [`book`] (what is not on disk yet) -> [`store`] (one transaction a second).

pub mod alert;
pub mod book;
pub mod index;
pub mod store;
pub mod sums;

pub use alert::{Alert, AlertEnd, Key};
pub use book::{Alerts, Query};
pub use store::{Counts, Store};

/// Days that alerts are kept.
pub const KEPT_DAYS: u32 = 180;

#[cfg(test)]
mod tests;
