//! NetworkObject: a named set of workloads, or of addresses.

use crate::condition::Condition;
use crate::rule::{self, validations};
use crate::schema::{self, given};
use crate::selector::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A named set of workloads (by namespace, application, image and labels) or of addresses outside the cluster.
///
/// Fields that are given are ANDed, entries of a list are ORed. An object without any field is refused: everything is
/// written `namespaces: ["*"]`.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cellwall.io",
    version = "v1alpha1",
    kind = "NetworkObject",
    plural = "networkobjects",
    shortname = "netobj",
    category = "cellwall",
    status = "NetworkObjectStatus",
    doc = "A named set of workloads, or of addresses outside the cluster.",
    printcolumn = r#"{"name": "Pods", "type": "integer", "jsonPath": ".status.selectedPods", "description": "Pods in the object now"}"#,
    printcolumn = r#"{"name": "Rules", "type": "integer", "jsonPath": ".status.usedByRules", "description": "Rules that name the object"}"#,
    printcolumn = r#"{"name": "Accepted", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Accepted\")].status", "description": "Whether the object is in force as written"}"#,
    printcolumn = r#"{"name": "Namespaces", "type": "string", "jsonPath": ".spec.namespaces", "description": "Globs on the namespace", "priority": 1}"#,
    printcolumn = r#"{"name": "Apps", "type": "string", "jsonPath": ".spec.apps", "description": "Globs on the application", "priority": 1}"#,
    printcolumn = r#"{"name": "CIDRs", "type": "string", "jsonPath": ".spec.cidrs", "description": "Address blocks", "priority": 1}"#,
    printcolumn = r#"{"name": "Sample", "type": "string", "jsonPath": ".status.sample", "description": "Some of the pods", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": "When the object was made"}"#,
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(
    extend("x-kubernetes-validations" = validations(&[&rule::OBJECT_WITHOUT_FIELDS, &rule::CIDRS_WITH_OTHERS])),
    extend("allOf" = schema::no_nulls(&[
        "namespaces",
        "apps",
        "images",
        "podSelector",
        "namespaceSelector",
        "cidrs",
    ]))
)]
pub struct NetworkObjectSpec {
    /// Globs on the namespace's name: `shop`, `pay*`, `*-prod`, `*`. `*` matches any run of characters, `?` one, and
    /// the whole name must match.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::globs")]
    pub namespaces: Option<Vec<String>>,
    /// Globs on the pod's application name: the label `app`, else `app.kubernetes.io/name`. A pod without either is
    /// matched by no entry, not even `*`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::globs")]
    pub apps: Option<Vec<String>>,
    /// Globs on the image of any container of the pod, init and ephemeral ones included, tried on the reference as
    /// written and on its normal form (`nginx` is `docker.io/library/nginx:latest`).
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::globs")]
    pub images: Option<Vec<String>>,
    /// Label selector on the pod's labels.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::selector")]
    pub pod_selector: Option<LabelSelector>,
    /// Label selector on the labels of the pod's namespace.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::selector")]
    pub namespace_selector: Option<LabelSelector>,
    /// Address blocks, IPv4 or IPv6, for what is not a pod; excludes every other field. Never matches a pod, a Service
    /// address or an address of the pod ranges.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::cidrs")]
    pub cidrs: Option<Vec<CidrBlock>>,
}

/// An address block, and what is cut out of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(
    inline,
    extend("x-kubernetes-validations" = validations(&[&rule::EXCEPT_OUTSIDE])),
    extend("allOf" = schema::no_nulls(&["except"]))
)]
pub struct CidrBlock {
    /// The block, with its prefix length and without host bits: `192.0.2.0/24`, `2001:db8::/32`.
    #[schemars(schema_with = "schema::cidr")]
    pub cidr: String,
    /// Smaller blocks inside `cidr` that this entry leaves out; other entries may still contain them.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::except")]
    pub except: Option<Vec<String>>,
}

/// What the agents found out about an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkObjectStatus {
    /// `metadata.generation` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods in the object now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selected_pods: Option<i64>,
    /// Some of those pods, as `namespace/name`: the first few in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sample: Vec<String>,
    /// Rules that name the object; while there is one, the object is protected from deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by_rules: Option<i64>,
    /// Accepted: whether the object is in force as written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}
