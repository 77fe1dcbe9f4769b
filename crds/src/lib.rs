//! The `cellwall.io/v1alpha1` kinds: what a manifest may say, and why it is refused when it says something else.
//!
//! - Types, one kind a file: [`NetworkObject`], [`DefenseRule`], [`ClusterDefense`], [`InterceptStatus`].
//! - [`read`]: from JSON to a typed object, strictly; every fault with its field path, words and remedy.
//! - [`Validate`]: the rules of the schema, for objects that are already typed.
//! - [`manifests`]: the CustomResourceDefinitions as YAML, the same rules as schema limits and CEL.
//!
//! The words of a refusal are the same wherever the refusal happens: an API server prints the CEL message, which is
//! built from the constants that the Rust side uses.

mod cidr;
mod cluster_defense;
mod condition;
mod defense_rule;
mod intercept_status;
mod manifest;
mod network_object;
mod peer;
mod port;
mod read;
mod rule;
mod schema;
mod selector;
mod text_enum;
mod validate;
mod violation;

pub use cidr::parse_cidr;
pub use cluster_defense::{
    ClusterDefense, ClusterDefenseSpec, ClusterDefenseStatus, LocalNode, Mode, Recovery, Startup,
};
pub use condition::{Condition, ConditionStatus, ConditionType, Reason, set_condition};
pub use defense_rule::{Action, DefenseRule, DefenseRuleSpec, DefenseRuleStatus};
pub use intercept_status::{
    InterceptState, InterceptStatus, InterceptStatusReport, InterceptStatusSpec, MapFill, Transition,
};
pub use manifest::{definitions, manifests};
pub use network_object::{CidrBlock, NetworkObject, NetworkObjectSpec, NetworkObjectStatus};
pub use peer::{Entity, Peer};
pub use port::{PortEntry, Protocol};
pub use read::{Document, KINDS, is_ours, read};
pub use selector::{LabelSelector, LabelSelectorRequirement, Operator};
pub use text_enum::UnknownWord;
pub use validate::Validate;
pub use violation::{Violation, escaped, is_invisible, shortened};

/// The API group of all our kinds.
pub const GROUP: &str = "cellwall.io";
/// The one version that exists.
pub const VERSION: &str = "v1alpha1";
/// Group and version as `apiVersion` has them.
pub const API_VERSION: &str = "cellwall.io/v1alpha1";
/// The only name a ClusterDefense may have.
pub const CLUSTER_DEFENSE_NAME: &str = "default";
