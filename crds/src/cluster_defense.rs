//! ClusterDefense: the defence switch of the cluster.

use crate::condition::Condition;
use crate::intercept_status::InterceptState;
use crate::rule;
use crate::schema::{self, given, some};
use crate::text_enum::text_enum;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The defence switch of the cluster: one object, named `default`. Without it every field has its default.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cellwall.io",
    version = "v1alpha1",
    kind = "ClusterDefense",
    plural = "clusterdefenses",
    shortname = "cdef",
    category = "cellwall",
    status = "ClusterDefenseStatus",
    doc = "The defence switch of the cluster: one object, named `default`.",
    validation = rule::DEFENSE_NAME.of_kube(),
    printcolumn = r#"{"name": "Mode", "type": "string", "jsonPath": ".spec.mode", "description": "Whether rules are enforced"}"#,
    printcolumn = r#"{"name": "State", "type": "string", "jsonPath": ".status.state", "description": "The worst state of any node"}"#,
    printcolumn = r#"{"name": "Nodes", "type": "integer", "jsonPath": ".status.nodes", "description": "Nodes that report"}"#,
    printcolumn = r#"{"name": "Normal", "type": "integer", "jsonPath": ".status.nodesNormal", "description": "Nodes that are Normal"}"#,
    printcolumn = r#"{"name": "Protected", "type": "integer", "jsonPath": ".status.podsProtected", "description": "Pods whose interface is guarded"}"#,
    printcolumn = r#"{"name": "Unenforceable", "type": "integer", "jsonPath": ".status.podsNotEnforceable", "description": "Pods that cannot be guarded"}"#,
    printcolumn = r#"{"name": "Rules", "type": "integer", "jsonPath": ".status.rulesEnabled", "description": "Rules that are enabled and in force"}"#,
    printcolumn = r#"{"name": "Recovery", "type": "string", "jsonPath": ".spec.recovery", "description": "How a node leaves Abnormal", "priority": 1}"#,
    printcolumn = r#"{"name": "LocalNode", "type": "string", "jsonPath": ".spec.localNode", "description": "What a node may open to its own pods", "priority": 1}"#,
    printcolumn = r#"{"name": "Startup", "type": "string", "jsonPath": ".spec.startup", "description": "What happens until it is known whose an address is", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": "When the object was made"}"#,
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("allOf" = schema::no_nulls(&["podCIDRs"])))]
pub struct ClusterDefenseSpec {
    /// Whether rules are enforced.
    #[serde(default)]
    #[schemars(transform = Mode::explain)]
    pub mode: Mode,
    /// How a node leaves Abnormal.
    #[serde(default)]
    #[schemars(transform = Recovery::explain)]
    pub recovery: Recovery,
    /// What a node may open to its own pods.
    #[serde(default)]
    #[schemars(transform = LocalNode::explain)]
    pub local_node: LocalNode,
    /// What happens to a new pod interface, or an address of the pod ranges, until it is known whose it is.
    #[serde(default)]
    #[schemars(transform = Startup::explain)]
    pub startup: Startup,
    /// The ranges that pod addresses come from, where the Nodes do not tell them: `10.244.0.0/16`.
    #[serde(
        default,
        rename = "podCIDRs",
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "schema::pod_cidrs")]
    pub pod_cidrs: Option<Vec<String>>,
    /// The policy generation that an administrator confirms: nodes that are NormalToBeConfirmed with this generation
    /// become Normal and enforce again. InterceptStatus shows the generation of each node.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::generation")]
    pub confirmed_generation: Option<i64>,
}

text_enum! {
    /// Whether rules are enforced.
    #[derive(Default)]
    pub enum Mode {
        /// rules decide.
        #[default]
        Enforce = "Enforce",
        /// what would be dropped is let through and logged as the drop it would have been.
        AlertOnly = "AlertOnly",
        /// nothing is evaluated; the programs stay attached.
        Off = "Off",
    }
}

text_enum! {
    /// How a node leaves Abnormal.
    #[derive(Default)]
    pub enum Recovery {
        /// by itself, to Normal.
        #[default]
        Automatic = "Automatic",
        /// to NormalToBeConfirmed, where Drop rules act as Alert until someone confirms.
        Manual = "Manual",
    }
}

text_enum! {
    /// What a node may open to its own pods.
    #[derive(Default)]
    pub enum LocalNode {
        /// the ports that the pod's probes and lifecycle hooks name; anything else is judged like any source.
        #[default]
        Probes = "Probes",
        /// everything.
        Pass = "Pass",
        /// nothing beyond what rules allow.
        Enforce = "Enforce",
    }
}

text_enum! {
    /// What happens until it is known whose an interface or address is.
    #[derive(Default)]
    pub enum Startup {
        /// pass.
        Open = "Open",
        /// judged as each pod it could be, and the strictest verdict holds.
        #[default]
        Guarded = "Guarded",
        /// drop.
        Closed = "Closed",
    }
}

/// The defence of the whole cluster, counted over its nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterDefenseStatus {
    /// `metadata.generation` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The worst state of any node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = InterceptState::explain)]
    pub state: Option<InterceptState>,
    /// Nodes that report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<i64>,
    /// Nodes that are Normal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_normal: Option<i64>,
    /// Nodes that are Abnormal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_abnormal: Option<i64>,
    /// Nodes that wait for a confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_to_be_confirmed: Option<i64>,
    /// Pods whose interface is guarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods_protected: Option<i64>,
    /// Pods that cannot be guarded: those on the host network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods_not_enforceable: Option<i64>,
    /// Rules that are enabled and in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules_enabled: Option<i64>,
    /// Accepted: whether the object is in force as written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}
