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

/// Part of what a rule's ports cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Covered {
    /// Index of the protocol's spans in a table.
    pub(crate) dimension: usize,
    pub(crate) first: u16,
    pub(crate) last: u16,
    /// Whether the entry names the port, or this protocol by its number: encapsulation is something that rules must
    /// name to let it through, and `UDP` as a whole names none.
    pub(crate) named: bool,
}

/// Whether an entry says everything without naming anything.
fn is_everything(entry: PortEntry) -> bool {
    entry.protocol == ProtocolMatch::Any && entry.ports == PortMatch::All
}

fn dimensions(entry: PortEntry, add: &mut impl FnMut(Covered)) {
    let (first, last) = match entry.ports {
        PortMatch::All => WHOLE,
        PortMatch::Range(first, last) => (first, last),
    };
    let by_port = matches!(entry.ports, PortMatch::Range(..));
    let everything = is_everything(entry);
    let mut part = |dimension, (first, last)| {
        add(Covered {
            dimension,
            first,
            last,
            named: by_port || (dimension == OTHER && !everything),
        });
    };
    match entry.protocol {
        ProtocolMatch::Tcp => part(TCP, (first, last)),
        ProtocolMatch::Udp => part(UDP, (first, last)),
        ProtocolMatch::Sctp => part(SCTP, (first, last)),
        ProtocolMatch::Icmp => part(ICMP, (first, last)),
        ProtocolMatch::Icmpv6 => part(ICMPV6, (first, last)),
        ProtocolMatch::Any if everything => (TCP..=OTHER).for_each(|dimension| part(dimension, WHOLE)),
        ProtocolMatch::Any => [TCP, UDP, SCTP]
            .into_iter()
            .for_each(|dimension| part(dimension, (first, last))),
        ProtocolMatch::Number(6) => part(TCP, WHOLE),
        ProtocolMatch::Number(17) => part(UDP, WHOLE),
        ProtocolMatch::Number(132) => part(SCTP, WHOLE),
        ProtocolMatch::Number(number) => {
            // ICMP and ICMPv6 over the family that is theirs, and the same numbers over the other.
            match number {
                1 => part(ICMP, WHOLE),
                58 => part(ICMPV6, WHOLE),
                _ => {}
            }
            part(OTHER, (number.into(), number.into()));
        }
    }
}

/// What `ports` cover, what names something first; a rule without a list covers everything.
pub(crate) fn coverage(ports: Option<&[PortEntry]>, mut add: impl FnMut(Covered)) {
    let everything = PortEntry {
        protocol: ProtocolMatch::Any,
        ports: PortMatch::All,
    };
    let Some(entries) = ports else {
        return dimensions(everything, &mut add);
    };
    for entry in entries.iter().filter(|entry| !is_everything(**entry)) {
        dimensions(*entry, &mut add);
    }
    if entries.iter().copied().any(is_everything) {
        dimensions(everything, &mut add);
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

/// The cell of a rule that decides by an entry that names something or not.
fn cell_of(slot: u32, action: Action, named: bool) -> Cell {
    Cell {
        action,
        reason: Reason::Rule,
        rule: Some(RuleSlot(slot)),
        named: named && action != Action::Drop,
        ..Cell::NO_RULE
    }
}

/// The table of `rules`, which are in order.
pub(super) fn flatten<'a>(rules: impl IntoIterator<Item = (u32, &'a Rule)>) -> Table {
    let mut lists: [Vec<(u16, u16, Cell)>; 6] = Default::default();
    let mut closed = [false; 6];
    for (slot, rule) in rules {
        coverage(rule.doc.ports.as_deref(), |part| {
            if !closed[part.dimension] {
                let cell = cell_of(slot, rule.doc.action, part.named);
                lists[part.dimension].push((part.first, part.last, cell));
                closed[part.dimension] = (part.first, part.last) == WHOLE;
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
        let mut hit = None;
        coverage(rule.doc.ports.as_deref(), |part| {
            if part.dimension == wanted && (part.first..=part.last).contains(&at) {
                hit = hit.or(Some(part.named));
            }
        });
        if let Some(named) = hit {
            return cell_of(slot, rule.doc.action, named);
        }
    }
    Cell::NO_RULE
}
