//! The kinds of objects that policy is made of, as an API server and as files have them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "Kubernetes' own words, and ours")]
pub enum Kind {
    ClusterDefense,
    NetworkObject,
    DefenseRule,
    InterceptStatus,
    Namespace,
    Node,
    Pod,
    Service,
    EndpointSlice,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::ClusterDefense,
        Self::NetworkObject,
        Self::DefenseRule,
        Self::InterceptStatus,
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::Service,
        Self::EndpointSlice,
    ];

    /// As a manifest writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClusterDefense => "ClusterDefense",
            Self::NetworkObject => "NetworkObject",
            Self::DefenseRule => "DefenseRule",
            Self::InterceptStatus => "InterceptStatus",
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
        }
    }

    /// The one `apiVersion` that is read.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::ClusterDefense | Self::NetworkObject | Self::DefenseRule | Self::InterceptStatus => {
                cellwall_crds::API_VERSION
            }
            Self::Namespace | Self::Node | Self::Pod | Self::Service => "v1",
            Self::EndpointSlice => "discovery.k8s.io/v1",
        }
    }

    /// Whether objects of the kind live in namespaces.
    pub fn is_namespaced(self) -> bool {
        matches!(self, Self::Pod | Self::Service | Self::EndpointSlice)
    }

    /// Whether it is one of our own kinds, where unknown fields are refused.
    pub fn is_ours(self) -> bool {
        self.api_version() == cellwall_crds::API_VERSION
    }

    /// As the API's paths write it.
    pub fn plural(self) -> &'static str {
        match self {
            Self::ClusterDefense => "clusterdefenses",
            Self::NetworkObject => "networkobjects",
            Self::DefenseRule => "defenserules",
            Self::InterceptStatus => "interceptstatuses",
            Self::Namespace => "namespaces",
            Self::Node => "nodes",
            Self::Pod => "pods",
            Self::Service => "services",
            Self::EndpointSlice => "endpointslices",
        }
    }

    /// The kind whose plural ends this path.
    pub fn of_path(path: &str) -> Option<Self> {
        let last = path.rsplit('/').next().unwrap_or_default();
        Self::ALL.into_iter().find(|kind| kind.plural() == last)
    }

    /// Whether people write policy with it: its last valid version outlives an invalid one, and a restart.
    pub fn is_policy(self) -> bool {
        matches!(self, Self::ClusterDefense | Self::NetworkObject | Self::DefenseRule)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
