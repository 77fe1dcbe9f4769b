//! What Kubernetes tells us: namespaces, pods, nodes, services, endpoint slices, and what node agents report.

use std::sync::Arc;

use super::{Address, Cidr, Labels, Transport};

/// A name, shared: worlds hold the same few thousand names hundreds of thousands of times.
pub type Name = Arc<str>;

/// A namespace and its labels. The label `kubernetes.io/metadata.name` always holds the namespace's own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Name.
    pub name: Name,
    /// Labels as the API server has them; the built-in name label is added by the world, never taken from here.
    pub labels: Labels,
}

/// `status.phase`; a pod without a status is [`Phase::Running`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "Kubernetes' own words")]
pub enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
    Unknown,
}

impl Phase {
    /// Whether a pod in this phase still owns its addresses. Terminating pods keep them until they are deleted.
    pub fn is_live(self) -> bool {
        !matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// A pod, reduced to what decides who it is. Known by its UID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.uid`; in files without one derived from kind, namespace and name.
    pub uid: Name,
    /// Namespace name.
    pub namespace: Name,
    /// Pod name.
    pub name: Name,
    /// Labels of the pod.
    pub labels: Labels,
    /// Images of all containers (init and ephemeral ones too), as written, sorted, without repeats.
    pub images: Vec<Name>,
    /// All addresses of both families in the order given. IPv4-mapped IPv6 addresses have become IPv4.
    pub addresses: Vec<Address>,
    /// Link-local addresses found on the pod's own link (and the one its MAC yields): local pods only.
    pub link_local: Vec<Address>,
    /// `spec.nodeName`; none: the pod is on the node that this process acts for.
    pub node: Option<Name>,
    /// `spec.hostNetwork`: the pod has its node's addresses and is matched by no object.
    pub host_network: bool,
    /// Phase.
    pub phase: Phase,
    /// `metadata.creationTimestamp` in seconds since the epoch, 0 where unknown. Of two live pods with one address
    /// the one created later has it, then the one with the larger uid.
    pub created: i64,
    /// Ports that probes and lifecycle hooks name (TCP), named ports resolved, sorted, without repeats.
    pub probe_ports: Vec<ProbePort>,
    /// Host ports.
    pub host_ports: Vec<HostPort>,
    /// Controller that owns the pod (`Kind/name`), for records.
    pub owner: Option<Name>,
}

impl Pod {
    /// The application name: the label `app`, else `app.kubernetes.io/name`. An empty label is a name, the empty one.
    pub fn app(&self) -> Option<&str> {
        self.labels
            .get("app")
            .or_else(|| self.labels.get("app.kubernetes.io/name"))
    }
}

/// A TCP port that the kubelet reaches on the pod.
pub type ProbePort = u16;

/// A `hostPort` of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// `hostIP`; none (or unspecified) means every address of the node.
    pub address: Option<Address>,
    /// Protocol.
    pub transport: Transport,
    /// Port on the node.
    pub port: u16,
    /// Port in the container, where the packet ends up.
    pub container_port: u16,
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: Name,
    /// InternalIP and ExternalIP addresses of the status.
    pub addresses: Vec<Address>,
    /// `spec.podCIDRs` (`spec.podCIDR` where the list is absent).
    pub pod_cidrs: Vec<Cidr>,
}

/// What a node's own agent reports about it (from its InterceptStatus; for the local node from its interfaces).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// Name of the node.
    pub node: Name,
    /// Whether pod hooks are in force there.
    pub enforcing: bool,
    /// Every address on the node's own interfaces.
    pub addresses: Vec<Address>,
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Namespace name.
    pub namespace: Name,
    /// Name.
    pub name: Name,
    /// Cluster IPs (no `None`, no empty text).
    pub cluster_ips: Vec<Address>,
    /// External IPs and load-balancer ingress IPs.
    pub external_ips: Vec<Address>,
    /// Ports.
    pub ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Name, empty where there is only one.
    pub name: Name,
    /// Protocol.
    pub transport: Transport,
    /// Port of the Service.
    pub port: u16,
    /// Node port, where there is one.
    pub node_port: Option<u16>,
}

/// An EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Namespace name.
    pub namespace: Name,
    /// Name.
    pub name: Name,
    /// Label `kubernetes.io/service-name`; none: the slice is nobody's.
    pub service: Option<Name>,
    /// Endpoints. Slices of address type FQDN have none.
    pub endpoints: Vec<Endpoint>,
    /// Ports. A port without a number is left out by the reader.
    pub ports: Vec<SlicePort>,
}

/// An endpoint of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The first address; the others say nothing (Kubernetes' own rule).
    pub address: Address,
    /// `conditions.ready`, true where absent.
    pub ready: bool,
    /// `conditions.serving`; the value of ready where absent.
    pub serving: bool,
}

/// A port of a slice: where traffic to the Service port of this name and protocol ends up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// Name, empty where there is only one.
    pub name: Name,
    /// Protocol.
    pub transport: Transport,
    /// Target port.
    pub port: u16,
}

#[cfg(test)]
mod tests {
    use crate::scenario::{Line, Scenario};
    use crate::world::Document;

    #[test]
    fn a_pods_application_is_its_label_app_even_an_empty_one_else_the_longer_label() {
        for (labels, app) in [
            ("", None),
            ("label:name=web", None),
            ("label:app=web label:app.kubernetes.io/name=db", Some("web")),
            ("label:app= label:app.kubernetes.io/name=db", Some("")),
            ("label:app.kubernetes.io/name=db", Some("db")),
        ] {
            let scenario = Scenario::read(&format!("scenario s\npod shop/web {labels}"))
                .unwrap()
                .remove(0);
            let [Line::Document(Document::Pod(pod))] = scenario.lines.as_slice() else {
                panic!("{scenario}")
            };
            assert_eq!(pod.app(), app, "{labels}");
        }
    }
}
