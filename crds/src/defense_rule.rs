//! DefenseRule: what happens to connections from a source to a destination.

use crate::condition::Condition;
use crate::peer::Peer;
use crate::port::PortEntry;
use crate::schema::{self, given};
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
    doc = "What happens to connections from a source to a destination.",
    printcolumn = r#"{"name": "Priority", "type": "integer", "jsonPath": ".spec.priority", "description": "The smallest wins"}"#,
    printcolumn = r#"{"name": "Source", "type": "string", "jsonPath": ".spec.source.*", "description": "Who opens the connection"}"#,
    printcolumn = r#"{"name": "Destination", "type": "string", "jsonPath": ".spec.destination.*", "description": "Whom it is opened to"}"#,
    printcolumn = r#"{"name": "Action", "type": "string", "jsonPath": ".spec.action", "description": "What happens"}"#,
    printcolumn = r#"{"name": "Enabled", "type": "boolean", "jsonPath": ".spec.enabled", "description": "Whether the rule counts"}"#,
    printcolumn = r#"{"name": "Accepted", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Accepted\")].status", "description": "Whether the rule is in force as written"}"#,
    printcolumn = r#"{"name": "Resolved", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Resolved\")].status", "description": "Whether every object that it names exists"}"#,
    printcolumn = r#"{"name": "Programmed", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Programmed\")].status", "description": "Whether it is realised in the kernel"}"#,
    printcolumn = r#"{"name": "Nodes", "type": "integer", "jsonPath": ".status.nodesProgrammed", "description": "Nodes that enforce it as written", "priority": 1}"#,
    printcolumn = r#"{"name": "Shadowed", "type": "string", "jsonPath": ".status.shadowed", "description": "Rules that decide everything before it", "priority": 1}"#,
    printcolumn = r#"{"name": "Ports", "type": "string", "jsonPath": ".spec.ports", "description": "Destination ports", "priority": 1}"#,
    printcolumn = r#"{"name": "From", "type": "integer", "jsonPath": ".status.sourcePods", "description": "Pods that the source selects", "priority": 1}"#,
    printcolumn = r#"{"name": "To", "type": "integer", "jsonPath": ".status.destinationPods", "description": "Pods that the destination selects", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": "When the object was made"}"#,
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("allOf" = schema::no_nulls(&["ports"])))]
pub struct DefenseRuleSpec {
    /// Who opens the connection.
    pub source: Peer,
    /// Whom the connection is opened to.
    pub destination: Peer,
    /// Destination ports; every protocol and port when left out. Entries may not overlap.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::ports")]
    pub ports: Option<Vec<PortEntry>>,
    /// What happens.
    #[schemars(transform = Action::explain)]
    pub action: Action,
    /// 1..1000; the smallest wins.
    #[schemars(schema_with = "schema::priority")]
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
    /// Nodes that report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<i64>,
    /// Nodes that enforce the rule as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_programmed: Option<i64>,
    /// Which rules decide everything that this one could, and what to do; absent: none do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadowed: Option<String>,
    /// Accepted, Resolved and Programmed: in force as written, naming what exists, realised in the kernel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}
