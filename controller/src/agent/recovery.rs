//! How a node gets out of `Abnormal`: by itself, or by way of a confirmation; and what became of its state when, and
//! who brought it about.
//!
//! With `recovery: Manual` a node that was Abnormal in what enforces (programs, policy, self-test) does not go back to
//! enforcing by itself: its Drop rules act as Alert until someone confirms the generation that decides. What pods can
//! bring about by what they send (records lost, tables full, addresses contested) makes a node Abnormal and needs no
//! confirmation: else any pod could have the Drop rules of its node put out of force.

use std::path::Path;

use cellwall_policy::model::{Defense, Recovery as How};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::state_file::StateFile;
use crate::status::{Report, State, Transition};

/// Its file in the state directory.
pub(crate) const STATE: &str = "recovery.json";
/// Transitions that are remembered.
const REMEMBERED: usize = 32;
/// Who acts where nobody else does.
const AGENT: &str = "agent";

/// What is remembered over restarts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    state: State,
    /// It has been Abnormal in what enforces since it was last Normal.
    grave: bool,
    /// It waits for a confirmation: Drop rules act as Alert.
    waiting: bool,
    /// What ClusterDefense confirmed when the waiting began: that was meant for an earlier time.
    confirmed_before: Option<i64>,
    transitions: Vec<Transition>,
}

/// The state of the node over time.
#[derive(Debug)]
pub(super) struct Recovery {
    file: StateFile,
    kept: Kept,
}

/// Why there is nothing to confirm, or not that.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum ConfirmError {
    #[error("nothing waits for a confirmation: the node is {state}")]
    NotWaiting { state: State },
    #[error("the node is still Abnormal; see `cellwall intercept-status`, and confirm when that is over")]
    Abnormal,
    #[error(
        "generation {current} decides, not {asked}; look at what is in force (`cellwall rules`, `cellwall dump`) and \
             confirm that"
    )]
    OtherGeneration { current: u32, asked: u32 },
}

impl Recovery {
    /// Goes on where the agent before left off.
    pub(super) fn open(directory: &Path) -> Self {
        let file = StateFile::new(directory, STATE);
        let kept = file.load().unwrap_or_else(|error| {
            tracing::warn!(%error, "what the node's state was before is not known");
            None
        });
        Self {
            file,
            kept: kept.unwrap_or_default(),
        }
    }

    /// Whether Drop rules act as Alert.
    pub(super) fn is_waiting(&self) -> bool {
        self.kept.waiting
    }

    /// Sees a report on its way out, and gives it state and history. `grave`: something that enforces is wrong.
    /// `starting`: the first policy of this process is not in force, so that nothing follows from what is amiss.
    pub(super) fn conclude(&mut self, report: Report, defense: &Defense, grave: bool, starting: bool) -> Report {
        let mut report = report.concluded();
        if !starting || grave {
            self.follow(&report, defense, grave);
        }
        if self.kept.waiting && report.state == State::Normal {
            report.state = State::NormalToBeConfirmed;
            "AwaitingConfirmation".clone_into(&mut report.reason);
            report.message = waiting(report.generation_realised);
        }
        report.transitions.clone_from(&self.kept.transitions);
        report
    }

    fn follow(&mut self, report: &Report, defense: &Defense, grave: bool) {
        let before = self.kept.clone();
        let generation = report.generation_realised;
        match report.state {
            State::Abnormal => {
                self.kept.grave |= grave;
                self.turn(State::Abnormal, AGENT, (&report.reason, &report.message), generation);
            }
            _ if defense.recovery == How::Automatic => {
                let by = if self.kept.waiting {
                    "ClusterDefense recovery: Automatic"
                } else {
                    AGENT
                };
                self.normal(by, (&report.reason, &report.message), generation);
            }
            _ if self.kept.grave => {
                self.kept.grave = false;
                self.kept.waiting = true;
                self.kept.confirmed_before = defense.confirmed;
                let message = waiting(generation);
                self.turn(
                    State::NormalToBeConfirmed,
                    AGENT,
                    ("AwaitingConfirmation", &message),
                    generation,
                );
            }
            _ if self.kept.waiting => {
                let message = waiting(generation);
                self.turn(
                    State::NormalToBeConfirmed,
                    AGENT,
                    ("AwaitingConfirmation", &message),
                    generation,
                );
                let confirmed = defense
                    .confirmed
                    .filter(|_| defense.confirmed != self.kept.confirmed_before);
                if confirmed == Some(generation.into()) {
                    let message = format!("generation {generation} was confirmed: Drop rules drop again");
                    self.normal("ClusterDefense confirmedGeneration", ("AllGood", &message), generation);
                }
            }
            _ => self.normal(AGENT, (&report.reason, &report.message), generation),
        }
        if self.kept != before {
            self.save();
        }
    }

    /// Confirms the generation that decides.
    pub(super) fn confirm(&mut self, asked: Option<u32>, current: u32, by: &str) -> Result<(), ConfirmError> {
        if !self.kept.waiting {
            return Err(ConfirmError::NotWaiting { state: self.kept.state });
        }
        if self.kept.state == State::Abnormal {
            return Err(ConfirmError::Abnormal);
        }
        if let Some(asked) = asked.filter(|asked| *asked != current) {
            return Err(ConfirmError::OtherGeneration { current, asked });
        }
        let message = format!("generation {current} was confirmed: Drop rules drop again");
        self.normal(by, ("AllGood", &message), current);
        self.save();
        Ok(())
    }

    fn normal(&mut self, by: &str, why: (&str, &str), generation: u32) {
        self.kept.waiting = false;
        self.kept.grave = false;
        self.kept.confirmed_before = None;
        self.turn(State::Normal, by, why, generation);
    }

    fn turn(&mut self, to: State, by: &str, (reason, message): (&str, &str), generation: u32) {
        let from = std::mem::replace(&mut self.kept.state, to);
        if from == to {
            return;
        }
        match to {
            State::Normal => tracing::info!(%from, by, reason, generation, "Normal: {message}"),
            to => tracing::warn!(%from, by, reason, generation, "{to}: {message}"),
        }
        self.kept.transitions.push(Transition {
            time: Timestamp::now(),
            from,
            to,
            by: by.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            generation,
        });
        let surplus = self.kept.transitions.len().saturating_sub(REMEMBERED);
        self.kept.transitions.drain(..surplus);
    }

    fn save(&self) {
        if let Err(error) = self.file.save(&self.kept) {
            tracing::error!(%error, "a restart will not know of the node's last change of state");
        }
    }
}

fn waiting(generation: u32) -> String {
    format!(
        "recovered; Drop rules act as Alert until someone confirms generation {generation}: `cellwall confirm --generation \
         {generation}`, or `confirmedGeneration: {generation}` in ClusterDefense"
    )
}

#[cfg(test)]
mod tests;
