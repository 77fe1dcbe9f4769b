//! Verdicts merged: the strictest of several, and what a Service's backends make together.

use super::rules::Rules;
use crate::compiled::{Cell, RuleSlot, Spans, Table};
use crate::model::{Action, Reason, RuleOrder};

/// Order of the rule credited; none sorts after every rule.
fn order(rules: &Rules, slot: Option<RuleSlot>) -> Option<&RuleOrder> {
    Some(&rules.get(slot?.0)?.order)
}

/// Whether `one` is credited rather than `other`: the first in the order of rules, any rule before none.
fn comes_first(rules: &Rules, one: Option<RuleSlot>, other: Option<RuleSlot>) -> bool {
    match (order(rules, one), order(rules, other)) {
        (Some(one), Some(other)) => one < other,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// The stricter cell; of equally strict ones that whose rule comes first.
fn stricter(rules: &Rules, one: Cell, other: Cell) -> Cell {
    let other_wins =
        other.action > one.action || (other.action == one.action && comes_first(rules, other.rule, one.rule));
    if other_wins { other } else { one }
}

/// The strictest of `cells` under `reason`; none where there are none.
pub(super) fn strictest(rules: &Rules, cells: impl IntoIterator<Item = Cell>, reason: Reason) -> Option<Cell> {
    let cell = cells.into_iter().reduce(|one, other| stricter(rules, one, other))?;
    Some(Cell { reason, ..cell })
}

/// Pointwise [`strictest`].
pub(super) fn strictest_table(rules: &Rules, tables: &[Table], reason: Reason) -> Option<Table> {
    let merge = |part: fn(&Table) -> &Spans| -> Option<Spans> {
        let mut starts: Vec<u16> = tables
            .iter()
            .flat_map(|t| part(t).entries())
            .map(|(start, _)| *start)
            .collect();
        starts.sort_unstable();
        starts.dedup();
        let at = |port: u16| strictest(rules, tables.iter().map(|table| part(table).at(port)), reason);
        Spans::from_sorted(starts.into_iter().filter_map(|start| Some((start, at(start)?))))
    };
    Some(Table {
        tcp: merge(|t| &t.tcp)?,
        udp: merge(|t| &t.udp)?,
        sctp: merge(|t| &t.sctp)?,
        icmp: merge(|t| &t.icmp)?,
        icmpv6: merge(|t| &t.icmpv6)?,
        other: merge(|t| &t.other)?,
    })
}

/// `table` with every cell changed by `change`.
pub(super) fn map_table(table: &Table, change: impl Fn(Cell) -> Cell) -> Table {
    let map = |spans: &Spans| {
        let entries = spans.entries().iter().map(|(start, cell)| (*start, change(*cell)));
        Spans::from_sorted(entries).unwrap_or_else(|| Spans::constant(Cell::NO_RULE))
    };
    Table {
        tcp: map(&table.tcp),
        udp: map(&table.udp),
        sctp: map(&table.sctp),
        icmp: map(&table.icmp),
        icmpv6: map(&table.icmpv6),
        other: map(&table.other),
    }
}

/// `table` with the TCP `ports` given to `cell`.
pub(super) fn with_tcp_ports(table: &Table, ports: &[u16], cell: Cell) -> Table {
    let mut starts: Vec<u16> = table.tcp.entries().iter().map(|(start, _)| *start).collect();
    starts.extend(
        ports
            .iter()
            .flat_map(|port| [Some(*port), port.checked_add(1)])
            .flatten(),
    );
    starts.sort_unstable();
    starts.dedup();
    let at = |port: u16| {
        if ports.contains(&port) {
            cell
        } else {
            table.tcp.at(port)
        }
    };
    let tcp = Spans::from_sorted(starts.into_iter().map(|start| (start, at(start))));
    Table {
        tcp: tcp.unwrap_or_else(|| table.tcp.clone()),
        ..table.clone()
    }
}

/// One backend's own verdict, and whether no pod hook will see the packet again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged {
    pub(super) cell: Cell,
    pub(super) unseen: bool,
}

/// What the backends of a Service port make together, at the sender: a Drop where all give Drop, or one that nobody
/// sees again does; an Alert only for those that nobody sees again; else it passes and is judged where it arrives.
pub(super) fn service(rules: &Rules, backends: &[Judged]) -> Cell {
    if backends.is_empty() {
        return Cell::NO_RULE;
    }
    let drops = || backends.iter().filter(|b| b.cell.action == Action::Drop);
    if drops().count() == backends.len() || drops().any(|b| b.unseen) {
        return credited(rules, drops().map(|b| b.cell));
    }
    let mut alerts = backends
        .iter()
        .filter(|b| b.unseen && b.cell.action == Action::Alert)
        .peekable();
    if alerts.peek().is_some() {
        return credited(rules, alerts.map(|b| b.cell));
    }
    Cell {
        reason: Reason::Service,
        ..Cell::NO_RULE
    }
}

/// Cells of one action as one: credited is the first rule; where no rule gave it, the first cell's reason stays.
fn credited(rules: &Rules, cells: impl Iterator<Item = Cell>) -> Cell {
    let mut cells = cells;
    let Some(mut first) = cells.next() else {
        return Cell::NO_RULE;
    };
    for cell in cells {
        if comes_first(rules, cell.rule, first.rule) {
            first = cell;
        }
    }
    Cell {
        reason: if first.rule.is_some() {
            Reason::Rule
        } else {
            first.reason
        },
        quiet_alert: false,
        quiet_drop: false,
        ..first
    }
}
