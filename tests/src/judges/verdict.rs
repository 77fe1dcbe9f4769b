//! A verdict as one line of text, whoever gave it.

use std::fmt;

use cellwall_datapath::abi::{Cell, switches};
use cellwall_datapath::image::Image;
use cellwall_policy::compiled;
use cellwall_policy::evaluate::Answer;
use cellwall_policy::model::{Action, Reason};

/// What judges are compared by. Its text is `APPLIED ACTION REASON RULE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the packet is dropped.
    pub dropped: bool,
    /// What the policy says: Pass, Alert or Drop.
    pub action: String,
    /// Why.
    pub reason: String,
    /// Name of the rule credited.
    pub rule: Option<String>,
}

/// What a program told of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Whether it dropped the packet.
    pub dropped: bool,
    /// What it recorded, or only counted; none where it did neither, because the sender's hook does.
    pub said: Option<Said>,
}

/// The cell that decided, as records and counters have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// 0 Pass, 1 Alert, 2 Drop.
    pub action: u32,
    /// Reason number.
    pub reason: u32,
    /// Rule slot, [`Cell::NO_RULE`] without.
    pub slot: u32,
}

impl From<Cell> for Said {
    fn from(cell: Cell) -> Self {
        Self {
            action: cell.action(),
            reason: cell.reason(),
            slot: cell.slot(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let applied = if self.dropped { "dropped" } else { "passed" };
        let rule = self.rule.as_deref().unwrap_or("-");
        write!(f, "{applied} {} {} {rule}", self.action, self.reason)
    }
}

impl Verdict {
    /// Of the reference.
    pub fn of_answer(answer: &Answer) -> Self {
        Self {
            dropped: answer.applied == Action::Drop,
            action: answer.verdict.to_string(),
            reason: answer.reason.to_string(),
            rule: answer.rule.as_ref().map(|rule| rule.name.to_string()),
        }
    }

    /// Of a lookup over the image: alert-only lets through what the policy drops, not what cannot be read.
    pub fn of_cell(cell: compiled::Cell, image: &Image) -> Self {
        let lenient = image.active.switches & switches::ALERT_ONLY != 0 && cell.reason != Reason::Internal;
        Self {
            dropped: cell.action == Action::Drop && !lenient,
            action: cell.action.to_string(),
            reason: cell.reason.to_string(),
            rule: cell.rule.map(|slot| card(slot.0, image)),
        }
    }

    /// Of a program; none where it told nothing.
    pub fn of_told(told: Told, image: &Image) -> Option<Self> {
        let Said { action, reason, slot } = told.said?;
        let reason = u8::try_from(reason).ok().and_then(Reason::from_number);
        let actions = [Action::Pass, Action::Alert, Action::Drop];
        Some(Self {
            dropped: told.dropped,
            action: actions
                .get(action as usize)
                .map_or("no action".to_owned(), ToString::to_string),
            reason: reason.map_or("no reason".to_owned(), |reason| reason.to_string()),
            rule: (slot != Cell::NO_RULE).then(|| card(slot, image)),
        })
    }
}

/// Name of the rule in a slot.
fn card(slot: u32, image: &Image) -> String {
    let card = image.rules.iter().find(|(at, _)| at.0 == slot);
    card.map_or_else(
        || format!("slot {slot} without a card"),
        |(_, card)| card.name.to_string(),
    )
}
