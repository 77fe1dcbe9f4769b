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

#[cfg(test)]
mod tests {
    use super::super::objects::Objects;
    use super::super::rules::Rules;
    use super::super::selector::Sel;
    use super::super::verdicts::at;
    use super::{Cell, Protocol, Rule, first_match, flatten};
    use crate::model::Action;
    use crate::scenario::{Line, Scenario};
    use crate::world::Document;

    /// The rules of these lines, all from anybody to anybody.
    fn rules(lines: &str) -> Rules {
        let (mut rules, mut objects) = (Rules::default(), Objects::default());
        for line in &Scenario::read(&format!("scenario rules\n{lines}")).unwrap()[0].lines {
            if let Line::Document(Document::DefenseRule(rule)) = line {
                rules.replace(&rule.name, Some(&rule.clone().into()), &mut objects);
            }
        }
        rules.put_in_order();
        rules
    }

    fn in_order(rules: &Rules) -> Vec<(u32, &Rule)> {
        let slots = rules.between(Sel::ANY, Sel::ANY);
        slots.iter().map(|slot| (*slot, rules.get(*slot).unwrap())).collect()
    }

    #[test]
    fn the_first_rule_that_fits_is_what_the_table_has_there() {
        let rules = rules(
            "rule a 1 Drop Any -> Any on TCP/80-90 UDP/53\n\
             rule b 2 Pass Any -> Any on Any/85-95 47 ICMP/8\n\
             rule c 3 Alert Any -> Any on SCTP ICMPv6/128-255 1 TCP/65535\n\
             rule d 4 Drop Any -> Any on UDP/1-100 58 6",
        );
        let table = flatten(in_order(&rules));
        let mut differing = std::collections::BTreeSet::new();
        let with_ports = [
            Protocol::Tcp,
            Protocol::Udp,
            Protocol::Sctp,
            Protocol::Icmp,
            Protocol::Icmpv6,
        ];
        let others = (0..=255).map(|number| (Protocol::Other(number), 0));
        let ports = [
            0, 1, 8, 52, 53, 54, 79, 80, 84, 85, 90, 91, 95, 96, 100, 101, 128, 255, 65_535,
        ];
        let with_ports = with_ports.into_iter().flat_map(|one| ports.map(|port| (one, port)));
        for (protocol, port) in with_ports.chain(others) {
            let cell = first_match(in_order(&rules), protocol, port);
            assert_eq!(cell, at(&table, protocol, port), "{protocol} {port}");
            differing.insert(cell);
        }
        assert!(differing.len() > 5, "{differing:?}");
        assert_eq!(at(&table, Protocol::Other(1), 0).action, Action::Alert);
    }

    #[test]
    fn a_rule_names_the_ports_it_lists_and_protocols_by_number_where_it_lets_them_through() {
        let cell = |ports: &str, protocol, port| {
            let rules = rules(&format!("rule a 1 {ports}"));
            let table = flatten(in_order(&rules));
            at(&table, protocol, port)
        };
        let vxlan = |rule: &str| cell(rule, Protocol::Udp, 4789);
        let gre = |rule: &str| cell(rule, Protocol::Other(47), 0);
        for (named, cell) in [
            (true, vxlan("Pass Any -> Any on UDP/4789")),
            (true, vxlan("Alert Any -> Any on Any/4000-5000")),
            (false, vxlan("Drop Any -> Any on UDP/4789")),
            (false, vxlan("Pass Any -> Any on UDP")),
            (false, vxlan("Pass Any -> Any on Any")),
            (false, vxlan("Pass Any -> Any")),
            (true, gre("Pass Any -> Any on 47")),
            (false, gre("Drop Any -> Any on 47")),
            (false, gre("Pass Any -> Any on Any")),
            (false, gre("Pass Any -> Any")),
        ] {
            assert_ne!(cell, Cell::NO_RULE);
            assert_eq!(cell.named, named, "{cell:?}");
        }
    }
}
