//! One side of a rule: an object by name, or an entity.

use crate::rule::{self, validations};
use crate::schema::{self, some};
use crate::text_enum::text_enum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One side of a rule: exactly one of `object` and `entity`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(
    inline,
    extend("x-kubernetes-validations" = validations(&[&rule::PEER]))
)]
pub struct Peer {
    /// Name of a NetworkObject. While it does not exist, this side matches nothing.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub object: Option<String>,
    /// A set that needs no definition.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::entity", transform = Entity::explain)]
    pub entity: Option<Entity>,
}

impl Peer {
    /// The side that names the NetworkObject `name`.
    pub fn object(name: impl Into<String>) -> Self {
        Self {
            object: Some(name.into()),
            entity: None,
        }
    }

    /// The side that is an entity.
    pub fn entity(entity: Entity) -> Self {
        Self {
            object: None,
            entity: Some(entity),
        }
    }
}

text_enum! {
    /// The sets that need no definition.
    pub enum Entity {
        /// every pod, node and address (a Service address through its backends).
        Any = "Any",
        /// every pod that has an address of its own.
        Cluster = "Cluster",
        /// every address that is not a pod, a node, a Service or of the pod ranges.
        World = "World",
        /// any node of the cluster; host-network pods are their node.
        Node = "Node",
        /// the node that the pod at the other end of the flow is on.
        LocalNode = "LocalNode",
    }
}
