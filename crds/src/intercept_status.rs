//! InterceptStatus: what one node reports about its enforcement.

use crate::condition::{Condition, Reason};
use crate::text_enum::text_enum;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one node reports about its enforcement. Named like the node and written by that node's agent; there is nothing
/// in it for people to set.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cellwall.io",
    version = "v1alpha1",
    kind = "InterceptStatus",
    plural = "interceptstatuses",
    shortname = "istat",
    category = "cellwall",
    status = "InterceptStatusReport",
    doc = "What one node reports about its enforcement.",
    printcolumn = r#"{"name": "State", "type": "string", "jsonPath": ".status.state", "description": "How the node is"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.reason", "description": "Why"}"#,
    printcolumn = r#"{"name": "Enforcing", "type": "boolean", "jsonPath": ".status.enforcing", "description": "Whether traffic to its pods is judged"}"#,
    printcolumn = r#"{"name": "Pods", "type": "integer", "jsonPath": ".status.podsProtected", "description": "Pods whose interface is guarded"}"#,
    printcolumn = r#"{"name": "Rules", "type": "integer", "jsonPath": ".status.rulesEnabled", "description": "Rules that are in force"}"#,
    printcolumn = r#"{"name": "Wanted", "type": "integer", "jsonPath": ".status.generationWanted", "description": "Generation of the policy wanted"}"#,
    printcolumn = r#"{"name": "Realised", "type": "integer", "jsonPath": ".status.generationRealised", "description": "Generation of the policy in the kernel"}"#,
    printcolumn = r#"{"name": "Heartbeat", "type": "date", "jsonPath": ".status.heartbeatTime", "description": "When the agent last reported"}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "jsonPath": ".status.message", "description": "Why, and the remedy", "priority": 1}"#,
    printcolumn = r#"{"name": "Version", "type": "string", "jsonPath": ".status.agentVersion", "description": "Version of the agent", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": "When the object was made"}"#,
    derive = "PartialEq",
    derive = "Default",
    no_spec
)]
pub struct InterceptStatusSpec {}

/// The report of a node's agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InterceptStatusReport {
    /// How the node is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = InterceptState::explain)]
    pub state: Option<InterceptState>,
    /// Why, as one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = Reason::explain)]
    pub reason: Option<Reason>,
    /// Why, for a person; names the remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether programs on this node's pod interfaces judge what reaches its pods. Other nodes rely on it: what is
    /// addressed to a pod of a node that does not enforce is judged at the sender for good.
    #[serde(default)]
    pub enforcing: bool,
    /// Addresses on the node's own interfaces, bridges included; they are `Node` for every other node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::addresses")]
    pub addresses: Vec<String>,
    /// Generation of the policy that is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_wanted: Option<i64>,
    /// Generation of the policy that the kernel holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_realised: Option<i64>,
    /// When the policy that the kernel holds was last known to be the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub policy_time: Option<Time>,
    /// Digest of the objects, rules and switches in force on this node: nodes that have the same one enforce the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_digest: Option<String>,
    /// Digest of everything that decides on this node, as it was last read back from the kernel's maps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maps_digest: Option<String>,
    /// Pods of this node whose interface is guarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods_protected: Option<i64>,
    /// Pods of this node that cannot be guarded: those on the host network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods_not_enforceable: Option<i64>,
    /// Rules that are enabled and in force on this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules_enabled: Option<i64>,
    /// Version of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// When the agent last wrote this report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub heartbeat_time: Option<Time>,
    /// Fill of the kernel's maps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub maps: Vec<MapFill>,
    /// The last changes of the node's state, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub transitions: Vec<Transition>,
    /// KernelSupported, ProgramsAttached, PolicySynced, ProbePassed, CapacityOk, LogsIntact and AddressesUnique.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// How full a kernel map is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct MapFill {
    /// Name of the map.
    pub name: String,
    /// Entries in use.
    pub used: i64,
    /// Entries that it has room for.
    pub capacity: i64,
}

/// The node's state became another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Transition {
    /// When it became so.
    #[schemars(schema_with = "crate::schema::time")]
    pub time: Time,
    /// From which state.
    pub from: InterceptState,
    /// To which state.
    pub to: InterceptState,
    /// Who brought it about: the agent, by what it found, or who confirmed and in which way.
    pub by: String,
    /// Why, as one word.
    pub reason: Reason,
    /// Why, for a person.
    pub message: String,
    /// The generation that decided then.
    pub generation: i64,
}

text_enum! {
    /// How a node is.
    pub enum InterceptState {
        /// enforcing, nothing to report.
        Normal = "Normal",
        /// recovered, and waiting until someone confirms: Drop rules act as Alert.
        NormalToBeConfirmed = "NormalToBeConfirmed",
        /// something needs a person.
        Abnormal = "Abnormal",
    }
}
