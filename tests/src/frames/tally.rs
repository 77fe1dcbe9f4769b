//! What was sent, what became of it, and whether the agent counted the same.

use std::collections::BTreeMap;
use std::fmt;

use super::reference::{Expected, Sender};
use super::totals::Counted;

/// What was sent and what became of it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) from_pod: u64,
    pub(super) seen: u64,
    /// Refusals by reason: how many are surely of it, and how many may be.
    pub(super) refused: BTreeMap<&'static str, (u64, u64)>,
    pub(super) refusals: u64,
    /// Frames that were not ours, by who sent them.
    pub(super) noise: u64,
    pub(super) problems: Vec<String>,
}

impl Tally {
    pub(super) fn take(&mut self, sender: Sender, expected: &Expected) {
        self.sent += 1;
        let from_pod = matches!(sender, Sender::Pod(_));
        match expected {
            Expected::Pass => self.from_pod += u64::from(from_pod),
            Expected::Refuse(reasons) | Expected::RefuseThere(reasons) => {
                self.from_pod += u64::from(matches!(expected, Expected::RefuseThere(_)));
                self.refusals += 1;
                for reason in reasons {
                    let bounds = self.refused.entry(reason.as_str()).or_default();
                    bounds.0 += u64::from(reasons.len() == 1);
                    bounds.1 += 1;
                }
            }
        }
    }

    pub(super) fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// In what the counters differ from what was sent.
    pub(super) fn differs(&self, counted: &Counted) -> Option<String> {
        let dropped = counted.dropped();
        for (reason, packets) in &dropped {
            let (least, most) = self.refused.get(reason).copied().unwrap_or((0, 0));
            if !(least..=most).contains(packets) {
                return Some(format!("{packets} {reason}, not {least} to {most}"));
            }
        }
        let total: u64 = dropped.values().sum();
        if total != self.refusals {
            return Some(format!("{total} refused, not {}", self.refusals));
        }
        let (passed, due) = (counted.passed("FROM_POD"), self.from_pod + self.noise);
        (passed != due).then(|| format!("{passed} passed from pods, not {due} ({} of them noise)", self.noise))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons: Vec<String> = self
            .refused
            .iter()
            .map(|(name, (_, most))| format!("{name} {most}"))
            .collect();
        let Self {
            sent, seen, refusals, ..
        } = self;
        write!(
            out,
            "sent {sent} = seen {seen} + refused {refusals} ({})",
            reasons.join(", ")
        )
    }
}
