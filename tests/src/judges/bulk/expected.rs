//! What a frame must be answered, and whether it was.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cellwall_datapath::abi::Cell;
use cellwall_policy::model::{Action, Address, Reason};

use super::super::verdict::{Said, Told};
use crate::frames;
use crate::frames::reference::asks::Asked;

/// What a frame must be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected<'a> {
    /// Exactly this.
    One(Told),
    /// One of two: nobody can tell who opened the flow.
    Either(Told, Told),
    /// Refused for one of these reasons.
    Refused(&'a BTreeSet<frames::Reason>),
    /// Passes, whatever is said.
    Passes,
}

pub(super) fn bare(dropped: bool, action: Action, reason: Reason) -> Told {
    let action = match action {
        Action::Pass => 0,
        Action::Alert => 1,
        Action::Drop => 2,
    };
    Told {
        dropped,
        said: Some(Said {
            action,
            reason: u32::from(reason as u8),
            slot: Cell::NO_RULE,
        }),
    }
}

pub(super) fn reason_name(number: u32) -> &'static str {
    let reason = u8::try_from(number).ok().and_then(Reason::from_number);
    reason.map_or("no reason", Reason::name)
}

pub(super) fn is_of(told: Told, reason: Reason) -> bool {
    told.said.is_some_and(|said| said.reason == u32::from(reason as u8))
}

/// Whether what was told is what was expected. What passes at to-pod may have been told at the sender's hook.
pub(super) fn fits(expected: &Expected<'_>, told: Told) -> bool {
    let is =
        |one: &Told| told.dropped == one.dropped && (told.said == one.said || told.said.is_none() && !told.dropped);
    match expected {
        Expected::One(one) => is(one),
        Expected::Either(one, other) => is(one) || is(other),
        Expected::Refused(reasons) => {
            let is_one = |name: &str| reasons.iter().any(|reason| reason.as_str() == name);
            told.dropped && told.said.is_some_and(|said| is_one(reason_name(said.reason)))
        }
        Expected::Passes => !told.dropped,
    }
}

/// Whether a packet opened a flow that can be gone on with.
pub(super) fn opens(told: &Told, asked: &Asked) -> bool {
    let is_query = match (asked.protocol, asked.source.is_ipv4()) {
        (1, true) => matches!(asked.port, Some(8 | 13 | 15 | 17)),
        (58, false) => asked.port == Some(128),
        _ => true,
    };
    let is_one = |address: IpAddr| !Address::from(address).is_multicast_or_broadcast() && !address.is_unspecified();
    !told.dropped
        && is_query
        && !is_of(*told, Reason::SelfTraffic)
        && asked.back.is_none()
        && !asked.is_first_fragment
        && asked.source != asked.destination
        && is_one(asked.source)
        && is_one(asked.destination)
}
