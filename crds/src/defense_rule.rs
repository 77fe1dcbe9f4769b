//! DefenseRule: what happens to connections from a source to a destination.

use crate::condition::Condition;
use crate::peer::Peer;
use crate::port::PortEntry;
use crate::schema::given;
use crate::text_enum::text_enum;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens to connections from a source to a destination.
///
/// Of the rules that apply to a connection, the one with the smallest `priority` decides; at equal priority Drop beats
/// Alert beats Pass. Where none applies, the connection passes: default deny is the rule `Any` to the object, `Drop`,
/// priority 1000.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cellwall.io",
    version = "v1alpha1",
    kind = "DefenseRule",
    plural = "defenserules",
    shortname = "drule",
    category = "cellwall",
    status = "DefenseRuleStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DefenseRuleSpec {
    /// Who opens the connection.
    pub source: Peer,
    /// Whom the connection is opened to.
    pub destination: Peer,
    /// Destination ports; every protocol and port when left out. Entries may not overlap.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<PortEntry>>,
    /// What happens.
    pub action: Action,
    /// 1..1000; the smallest wins.
    pub priority: i64,
    /// Whether the rule counts; a disabled rule is as if it were not there.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn yes() -> bool {
    true
}

text_enum! {
    /// What a rule does with the connections it decides.
    pub enum Action {
        /// allow, silently.
        Pass = "Pass",
        /// allow, and log.
        Alert = "Alert",
        /// refuse, and log.
        Drop = "Drop",
    }
}

/// What the agents found out about a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DefenseRuleStatus {
    /// `metadata.generation` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods that the source selects now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_pods: Option<i64>,
    /// Pods that the destination selects now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_pods: Option<i64>,
    /// Accepted, Resolved and Programmed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
