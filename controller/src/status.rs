//! The intercept status of this node: whether the wall stands, and if not, what to do.

use serde::{Deserialize, Serialize};

/// How the node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum State {
    /// Enforcing, nothing to report.
    #[default]
    Normal,
    /// Something needs a person.
    Abnormal,
    /// Recovered; waits for a confirmation.
    NormalToBeConfirmed,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Normal => "Normal",
            Self::Abnormal => "Abnormal",
            Self::NormalToBeConfirmed => "NormalToBeConfirmed",
        })
    }
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

/// The node's state became another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When.
    pub time: jiff::Timestamp,
    /// From which state.
    pub from: State,
    /// To which.
    pub to: State,
    /// Who brought it about: the agent, by what it found, or who confirmed and in which way.
    pub by: String,
    /// Why, as one word.
    pub reason: String,
    /// Why, for a person.
    pub message: String,
    /// The generation that decided then.
    pub generation: u32,
}

/// How full a kernel map is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapFill {
    /// Its name.
    pub map: String,
    /// Entries in use.
    pub used: u64,
    /// Entries that it has room for.
    pub capacity: u64,
}

/// A program that the interfaces have, as the kernel tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramState {
    /// FROM_POD or TO_POD.
    pub hook: String,
    /// Its number in the kernel.
    pub id: u32,
    /// The kernel's digest of its instructions.
    pub tag: String,
    /// Interfaces at whose hook a program of this tag was read back, first in the chain as far as can be seen.
    pub attached: usize,
}

/// What the node reports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Automatic or Manual.
    #[serde(default)]
    pub recovery: String,
    /// Digest of what decides, as it was last read back from the kernel's maps; none: they were not read yet.
    #[serde(default)]
    pub policy_hash: Option<String>,
    /// Interfaces that are to have programs.
    #[serde(default)]
    pub interfaces: usize,
    /// The programs there.
    #[serde(default)]
    pub programs: Vec<ProgramState>,
    /// Packets that the self-test has run and judged since the agent started.
    #[serde(default)]
    pub probed: u64,
    /// Fill of each map.
    #[serde(default)]
    pub maps: Vec<MapFill>,
    /// The last changes of state, oldest first.
    #[serde(default)]
    pub transitions: Vec<Transition>,
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
