//! The intercept status of this node: whether the wall stands, and if not, what to do.

use serde::{Deserialize, Serialize};

/// How the node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Enforcing, nothing to report.
    Normal,
    /// Something needs a person.
    Abnormal,
    /// Recovered; waits for a confirmation.
    NormalToBeConfirmed,
}

impl State {
    /// Exit code of `cellwall intercept-status`.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::Abnormal => 1,
            Self::NormalToBeConfirmed => 2,
        }
    }
}

/// One condition, as Kubernetes writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// KernelSupported, ProgramsAttached, PolicySynced, ProbePassed, CapacityOk, LogsIntact, AddressesUnique.
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False, Unknown.
    pub status: String,
    /// One word.
    pub reason: String,
    /// For a person; names the remedy where there is something to do.
    pub message: String,
}

impl Condition {
    /// A condition that holds or does not.
    pub fn new(kind: &str, holds: bool, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            status: if holds { "True" } else { "False" }.to_owned(),
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    /// A condition that nobody has looked at.
    pub fn unknown(kind: &str, reason: &str, message: impl Into<String>) -> Self {
        Self {
            status: "Unknown".to_owned(),
            ..Self::new(kind, false, reason, message)
        }
    }
}

/// What the node reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Node name.
    pub node: String,
    /// State.
    pub state: State,
    /// Why, as one word: that of the first condition that does not hold.
    pub reason: String,
    /// Why, for a person.
    pub message: String,
    /// All conditions.
    pub conditions: Vec<Condition>,
    /// Enforce, AlertOnly or Off.
    pub mode: String,
    /// Generation last asked for.
    pub generation_wanted: u32,
    /// Generation that the kernel decides by.
    pub generation_realised: u32,
    /// Seconds since the policy was last known to be the wanted one.
    pub policy_age_seconds: u64,
    /// Pods of this node whose interfaces are guarded.
    pub pods_protected: usize,
    /// Pods of this node that cannot be guarded: those on the host network.
    pub pods_not_enforceable: usize,
    /// Rules that are enabled.
    pub rules_enabled: usize,
    /// Why `/readyz` says no; empty when it says yes.
    pub unready: Vec<String>,
}

impl Report {
    /// State, reason and message from the conditions: the first that is False decides. That addresses are not unique
    /// is told and decides nothing: any pod's root can bring it about.
    #[must_use]
    pub fn concluded(self) -> Self {
        let bad = self
            .conditions
            .iter()
            .find(|condition| condition.status == "False" && condition.kind != "AddressesUnique");
        let (state, reason, message) = if let Some(bad) = bad {
            (State::Abnormal, bad.reason.clone(), bad.message.clone())
        } else {
            let message = format!("{} pods guarded by {} rules", self.pods_protected, self.rules_enabled);
            (State::Normal, "AllGood".to_owned(), message)
        };
        Self {
            state,
            reason,
            message,
            ..self
        }
    }
}
