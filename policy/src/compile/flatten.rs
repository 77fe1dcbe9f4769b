//! Rules in order to a table: the first that covers a protocol and port has it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::rules::Rule;
use crate::compiled::{Cell, RuleSlot, Spans, Table};
use crate::model::{Action, PortEntry, PortMatch, Protocol, ProtocolMatch, Reason};

const TCP: usize = 0;
const UDP: usize = 1;
const SCTP: usize = 2;
const ICMP: usize = 3;
const ICMPV6: usize = 4;
const OTHER: usize = 5;
const WHOLE: (u16, u16) = (0, u16::MAX);

/// What an entry covers: (dimension, first, last).
fn covered(entry: &PortEntry, mut add: impl FnMut(usize, (u16, u16))) {
    let range = match entry.ports {
        PortMatch::All => WHOLE,
        PortMatch::Range(first, last) => (first, last),
    };
    match entry.protocol {
        ProtocolMatch::Tcp => add(TCP, range),
        ProtocolMatch::Udp => add(UDP, range),
        ProtocolMatch::Sctp => add(SCTP, range),
        ProtocolMatch::Icmp => add(ICMP, range),
        ProtocolMatch::Icmpv6 => add(ICMPV6, range),
        ProtocolMatch::Any if entry.ports == PortMatch::All => {
            (TCP..=OTHER).for_each(|dimension| add(dimension, WHOLE))
        }
        ProtocolMatch::Any => [TCP, UDP, SCTP].into_iter().for_each(|dimension| add(dimension, range)),
        ProtocolMatch::Number(6) => add(TCP, WHOLE),
        ProtocolMatch::Number(17) => add(UDP, WHOLE),
        ProtocolMatch::Number(132) => add(SCTP, WHOLE),
        ProtocolMatch::Number(number) => {
            // ICMP and ICMPv6 over the family that is theirs, and the same numbers over the other.
            match number {
                1 => add(ICMP, WHOLE),
                58 => add(ICMPV6, WHOLE),
                _ => {}
            }
            add(OTHER, (number.into(), number.into()));
        }
    }
}

/// What `ports` cover, where a rule without a list covers everything.
pub(super) fn coverage(ports: Option<&[PortEntry]>, mut add: impl FnMut(usize, (u16, u16))) {
    match ports {
        None => (TCP..=OTHER).for_each(|dimension| add(dimension, WHOLE)),
        Some(entries) => entries.iter().for_each(|entry| covered(entry, &mut add)),
    }
}

/// Where a packet's protocol and port are looked up: (dimension, position). ICMP types are their own position, the
/// protocols without a name stand at their number.
pub(super) fn position(protocol: Protocol, port: u16) -> (usize, u16) {
    match protocol {
        Protocol::Tcp => (TCP, port),
        Protocol::Udp => (UDP, port),
        Protocol::Sctp => (SCTP, port),
        Protocol::Icmp => (ICMP, port),
        Protocol::Icmpv6 => (ICMPV6, port),
        Protocol::Other(number) => (OTHER, number.into()),
    }
}

/// The cell of a rule that decides.
pub(super) fn cell_of(slot: u32, action: Action) -> Cell {
    Cell {
        action,
        reason: Reason::Rule,
        rule: Some(RuleSlot(slot)),
        ..Cell::NO_RULE
    }
}

/// The table of `rules`, which are in order.
pub(super) fn flatten<'a>(rules: impl IntoIterator<Item = (u32, &'a Rule)>) -> Table {
    let mut lists: [Vec<(u16, u16, Cell)>; 6] = Default::default();
    let mut closed = [false; 6];
    for (slot, rule) in rules {
        let cell = cell_of(slot, rule.doc.action);
        coverage(rule.doc.ports.as_deref(), |dimension, (first, last)| {
            if !closed[dimension] {
                lists[dimension].push((first, last, cell));
                closed[dimension] = (first, last) == WHOLE;
            }
        });
        if closed == [true; 6] {
            break;
        }
    }
    let [tcp, udp, sctp, icmp, icmpv6, other] = lists.map(|list| sweep(&list));
    Table {
        tcp,
        udp,
        sctp,
        icmp,
        icmpv6,
        other,
    }
}

/// Intervals, the earlier ones covering the later ones, as spans; uncovered ports have no rule.
fn sweep(list: &[(u16, u16, Cell)]) -> Spans {
    match list {
        [] => return Spans::constant(Cell::NO_RULE),
        [(0, u16::MAX, cell), ..] => return Spans::constant(*cell),
        _ => {}
    }
    let mut by_start: Vec<usize> = (0..list.len()).collect();
    by_start.sort_by_key(|at| list[*at].0);
    let mut bounds: Vec<u32> = vec![0];
    bounds.extend(
        list.iter()
            .flat_map(|(first, last, _)| [u32::from(*first), u32::from(*last) + 1]),
    );
    bounds.sort_unstable();
    bounds.dedup();
    let mut coming = by_start.into_iter().peekable();
    let mut open: BinaryHeap<Reverse<usize>> = BinaryHeap::new();
    let mut entries = Vec::new();
    for start in bounds.into_iter().filter_map(|bound| u16::try_from(bound).ok()) {
        while let Some(at) = coming.next_if(|at| list[*at].0 <= start) {
            open.push(Reverse(at));
        }
        while open.peek().is_some_and(|Reverse(at)| list[*at].1 < start) {
            open.pop();
        }
        entries.push((start, open.peek().map_or(Cell::NO_RULE, |Reverse(at)| list[*at].2)));
    }
    Spans::from_sorted(entries).unwrap_or_else(|| Spans::constant(Cell::NO_RULE))
}

/// The first of `rules` (in order) that covers a protocol and port.
pub(super) fn first_match<'a>(rules: impl IntoIterator<Item = (u32, &'a Rule)>, protocol: Protocol, port: u16) -> Cell {
    let (wanted, at) = position(protocol, port);
    for (slot, rule) in rules {
        let mut hit = false;
        coverage(rule.doc.ports.as_deref(), |dimension, (first, last)| {
            hit |= dimension == wanted && (first..=last).contains(&at);
        });
        if hit {
            return cell_of(slot, rule.doc.action);
        }
    }
    Cell::NO_RULE
}
