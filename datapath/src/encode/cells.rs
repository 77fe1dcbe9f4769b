//! Cells and lists of spans as the kernel has them.

use cellwall_datapath_common::policy::{LIST, NEVER_DROPS};
use cellwall_datapath_common::{Cell as Packed, Span, cell_flags};
use cellwall_policy::compiled::{Cell, RuleSlot, Spans, Table};
use cellwall_policy::model::{Action, Reason};

/// Longest list.
pub(crate) const LONGEST: u32 = 65_536;

/// The number of an action.
pub(crate) fn action_number(action: Action) -> u8 {
    match action {
        Action::Pass => 0,
        Action::Alert => 1,
        Action::Drop => 2,
    }
}

/// The action of this number.
pub(crate) fn action_of(number: u32) -> Option<Action> {
    [Action::Pass, Action::Alert, Action::Drop]
        .get(number as usize)
        .copied()
}

/// A cell in 32 bits. Rule slots were checked against the capacity, which is below [`Packed::NO_RULE`].
pub(crate) fn pack(cell: Cell) -> u32 {
    let Cell {
        action,
        reason,
        rule,
        quiet_alert,
        quiet_drop,
        named,
    } = cell;
    let flag = |set, bit| if set { bit } else { 0 };
    let flags = flag(quiet_alert, cell_flags::QUIET_ALERT)
        | flag(quiet_drop, cell_flags::QUIET_DROP)
        | flag(named, cell_flags::NAMED);
    let slot = rule.map_or(Packed::NO_RULE, |slot| slot.0);
    Packed::new(action_number(action).into(), reason as u32, flags, slot).0
}

/// The cell in these 32 bits; none where they say nothing known.
pub(crate) fn unpack(bits: u32) -> Option<Cell> {
    let packed = Packed(bits);
    let flag = |bit| packed.flags() & bit != 0;
    let cell = Cell {
        action: action_of(packed.action())?,
        reason: Reason::from_number(u8::try_from(packed.reason()).ok()?)?,
        rule: (packed.slot() != Packed::NO_RULE).then_some(RuleSlot(packed.slot())),
        quiet_alert: flag(cell_flags::QUIET_ALERT),
        quiet_drop: flag(cell_flags::QUIET_DROP),
        named: flag(cell_flags::NAMED),
    };
    (pack(cell) == bits).then_some(cell)
}

/// A list's header and spans.
pub(crate) fn list(spans: &Spans) -> Vec<Span> {
    let entries = spans.entries();
    let drops = entries.iter().any(|(_, cell)| cell.action == Action::Drop);
    // why: ports are 16 bits and starts ascend, so there are at most 65,536 entries
    let count = u32::try_from(entries.len()).unwrap_or(LONGEST);
    let header = Span {
        start: count,
        cell: if drops { 0 } else { NEVER_DROPS },
    };
    let spans = entries.iter().map(|(start, cell)| Span {
        start: (*start).into(),
        cell: pack(*cell),
    });
    std::iter::once(header).chain(spans).collect()
}

/// The list whose header is at `index` of all spans; none where it is not one that [`list`] makes.
pub(crate) fn list_at(all: &[Span], index: u32) -> Option<Spans> {
    let from = all.get(index as usize..)?;
    let header = from.first()?;
    let count = usize::try_from(header.start).ok().filter(|_| header.start <= LONGEST)?;
    let found = from.get(..=count)?;
    let cells = found[1..]
        .iter()
        .map(|span| Some((u16::try_from(span.start).ok()?, unpack(span.cell)?)));
    let spans = Spans::from_sorted(cells.collect::<Option<Vec<_>>>()?)?;
    (list(&spans) == found).then_some(spans)
}

/// The table with these references, lists taken from all spans.
pub(crate) fn table(refs: [u32; 6], all: &[Span]) -> Option<Table> {
    let part = |reference: u32| match reference & LIST {
        0 => unpack(reference).map(Spans::constant),
        _ => list_at(all, reference & !LIST),
    };
    let [tcp, udp, sctp, icmp, icmpv6, other] = refs.map(part);
    Some(Table {
        tcp: tcp?,
        udp: udp?,
        sctp: sctp?,
        icmp: icmp?,
        icmpv6: icmpv6?,
        other: other?,
    })
}

/// The highest rule slot that a table credits.
pub(crate) fn highest_rule(table: &Table) -> Option<RuleSlot> {
    table
        .parts()
        .into_iter()
        .flat_map(Spans::entries)
        .filter_map(|(_, cell)| cell.rule)
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_survives_packing() {
        for (action, reason) in [(Action::Pass, Reason::NoRule), (Action::Drop, Reason::Rule)] {
            for bits in 0..8 {
                let rule = (bits & 1 == 0).then_some(RuleSlot(32_767));
                let (quiet_alert, quiet_drop, named) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
                let cell = Cell {
                    action,
                    reason,
                    rule,
                    quiet_alert,
                    quiet_drop,
                    named,
                };
                assert_eq!(unpack(pack(cell)), Some(cell));
                assert_eq!(pack(cell) & LIST, 0);
            }
        }
        assert_eq!(unpack(0), None);
    }

    #[test]
    fn a_list_says_whether_anything_in_it_drops_and_reads_back_only_whole() {
        let drop = Cell {
            action: Action::Drop,
            reason: Reason::Rule,
            rule: Some(RuleSlot(1)),
            ..Cell::NO_RULE
        };
        let spans = Spans::from_sorted([(0, Cell::NO_RULE), (80, drop)]).unwrap();
        let mut all = vec![Span::default(); 3];
        all.extend(list(&spans));
        assert_eq!(all[3].cell, 0);
        assert_eq!(list_at(&all, 3), Some(spans));
        assert_eq!(list_at(&all[..5], 3), None);
        all[3].cell = NEVER_DROPS;
        assert_eq!(list_at(&all, 3), None);
        assert_eq!(list_at(&all, 99), None);
    }
}
