//! Actions and reasons as numbers, and what alert-only lets through.

use cellwall_datapath_common::Cell;

/// Actions of a [`Cell`].
pub mod action {
    /// Passes.
    pub const PASS: u32 = 0;
    /// Passes and is logged.
    pub const ALERT: u32 = 1;
    /// Is refused.
    pub const DROP: u32 = 2;
}

/// Reasons of a [`Cell`], as the policy core numbers them.
pub mod reason {
    #![allow(missing_docs, reason = "documented at Reason in the policy crate")]
    pub const RULE: u32 = 0;
    pub const NO_RULE: u32 = 1;
    pub const SERVICE: u32 = 2;
    pub const STARTUP: u32 = 4;
    pub const UNRESOLVED: u32 = 5;
    pub const MALFORMED: u32 = 7;
    pub const SPOOFED: u32 = 8;
    pub const NOT_IP: u32 = 9;
    pub const VLAN: u32 = 10;
    pub const FRAGMENT: u32 = 11;
    pub const EXTENSION_CHAIN: u32 = 12;
    pub const LOOPBACK: u32 = 13;
    pub const ROUTER: u32 = 14;
    pub const TUNNEL: u32 = 15;
    pub const NO_STATE: u32 = 16;
    pub const SELF: u32 = 18;
    pub const OFF: u32 = 20;
    pub const NEIGHBOUR: u32 = 21;
    pub const RELATED: u32 = 22;
    pub const INTERNAL: u32 = 23;
}

/// A refusal of the packet path itself, which no rule is credited with.
#[inline(always)]
pub const fn refusal(reason: u32) -> Cell {
    Cell::new(action::DROP, reason, 0, Cell::NO_RULE)
}

/// A pass of the packet path itself.
#[inline(always)]
pub const fn passing(reason: u32) -> Cell {
    Cell::new(action::PASS, reason, 0, Cell::NO_RULE)
}

/// Whether alert-only lets a Drop of this reason through: a policy's may pass, malformed and forged packets never do.
#[inline(always)]
pub const fn is_lenient(reason: u32) -> bool {
    const LENIENT: u64 = 1 << reason::RULE
        | 1 << reason::NO_RULE
        | 1 << reason::SERVICE
        | 1 << reason::STARTUP
        | 1 << reason::UNRESOLVED
        | 1 << reason::NO_STATE;
    LENIENT >> (reason & 63) & 1 != 0
}

/// What a check answers that found nothing to refuse; otherwise it answers a [`reason`]. A number, because a function
/// that is called (not inlined) in the kernel answers one scalar.
pub const FINE: u32 = 0xff;

/// [`FINE`] or the reason of a refusal, as a result.
#[inline(always)]
pub const fn checked(answer: u32) -> Result<(), u32> {
    if answer == FINE { Ok(()) } else { Err(answer) }
}
