//! What the kernel side and the user side share: map names, keys, values, records, limits.
//!
//! Every struct is `repr(C)`, made of integers and arrays of them, without implicit padding (checked below), so that
//! the same bytes mean the same thing on both sides and in a pinned map after an upgrade. A change of layout or of
//! meaning is a new [`ABI_VERSION`], which is part of every pin's name.
#![no_std]
#![allow(clippy::inline_always, reason = "the kernel's verifier wants straight code")]
// Why: aya asks for `unsafe impl Pod` on each type that goes through a map, and has no call for batches of entries.
#![cfg_attr(feature = "user", allow(unsafe_code))]

#[cfg(feature = "user")]
extern crate std;

#[cfg(feature = "user")]
pub mod batch;
pub mod flow;
pub mod limits;
pub mod maps;
mod pod;
pub mod policy;
pub mod record;

pub use flow::{FlowKey4, FlowKey6, FlowValue, FragmentKey, FragmentValue, flow_flags, fragment_flags};
pub use policy::{
    Active, AddressValue, Cell, EndpointRecord, PeerKey, PrefixKey4, PrefixKey6, RuleCardValue, ServiceKey, Span,
    TableValue, Versioned, cell_flags, switches,
};
pub use record::{Counter, Record, Refused, hook};

/// Version of everything in this crate; part of every pin's name (`v1/...`).
pub const ABI_VERSION: u32 = 3;

/// Version of what the programs remember beside the policy: keys and values of the flow tables, cells, rule cards and
/// counters, what an address is whose, the clock of ticks. A layout takes over from another what has the same version; a
/// change of any of these is a new one (and a new [`ABI_VERSION`]).
pub const STATE_VERSION: u32 = 1;

/// Time on the kernel side that is stored in 32 bits: `CLOCK_MONOTONIC` nanoseconds shifted right by this, 16.8 ms
/// a tick; wraps after 2.3 years.
pub const TICK_SHIFT: u32 = 24;

/// Ticks in `seconds`, rounded down.
#[allow(clippy::cast_possible_truncation, reason = "callers pass idle times, at most a day")]
pub const fn ticks(seconds: u64) -> u32 {
    ((seconds * 1_000_000_000) >> TICK_SHIFT) as u32
}
