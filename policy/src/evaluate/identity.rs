//! Who has an address, and which objects and entities that puts it in.

use std::sync::Arc;

use super::objects;
use crate::model::{Address, Entity, Name, Node, Pod};
use crate::world::World;

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The address.
    pub address: Address,
    /// What it is.
    pub what: What,
    /// Names of the objects that contain it, in order. For a Service address none, whatever ranges it lies in.
    pub objects: Vec<Name>,
}

/// What an address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A pod's.
    Pod(Arc<Pod>),
    /// Link-local and no pod's: the node that the pod at the other end is on.
    LinkLocal,
    /// That of the nodes of these names: nearly always one.
    Node(Vec<Name>),
    /// A cluster IP of a Service.
    ClusterIp,
    /// An external or load-balancer IP of a Service.
    ExternalIp,
    /// Of the pod ranges, and nobody is known to have it.
    Unresolved,
    /// Multicast or broadcast.
    Multicast,
    /// Loopback: never on a wire.
    Loopback,
    /// None of all these.
    Outside,
}

impl Identity {
    /// The pod that has the address.
    pub fn pod(&self) -> Option<&Arc<Pod>> {
        match &self.what {
            What::Pod(pod) => Some(pod),
            _ => None,
        }
    }

    /// The narrowest entity that contains the address, seen from a pod on `node`.
    pub fn entity(&self, node: &str) -> Entity {
        match &self.what {
            What::Pod(_) => Entity::Cluster,
            What::LinkLocal => Entity::LocalNode,
            What::Node(names) if names.iter().any(|name| **name == *node) => Entity::LocalNode,
            What::Node(_) => Entity::Node,
            What::Outside => Entity::World,
            What::ClusterIp | What::ExternalIp | What::Unresolved | What::Multicast | What::Loopback => Entity::Any,
        }
    }

    /// The word that records have for it: the name of [`Identity::entity`].
    pub fn entity_name(&self, node: &str) -> &'static str {
        self.entity(node).name()
    }
}

/// Says who has `address` in `world`.
pub fn identify(world: &World, address: Address) -> Identity {
    with_objects(world, address, what(world, address))
}

/// The identity of `address`, which is `what`.
pub(super) fn with_objects(world: &World, address: Address, what: What) -> Identity {
    let objects = match &what {
        What::Pod(pod) => objects_of_pod(world, pod),
        // Ranges speak of nodes, outside and multicast addresses, and of nothing else.
        What::LinkLocal | What::Node(_) | What::Outside | What::Multicast => objects::containing(world, address),
        What::ClusterIp | What::ExternalIp | What::Unresolved | What::Loopback => Vec::new(),
    };
    Identity { address, what, objects }
}

/// The objects that `pod` is in, in order of their names; a host-network pod is in none.
pub fn objects_of_pod(world: &World, pod: &Pod) -> Vec<Name> {
    objects::selecting(world, pod)
}

fn what(world: &World, address: Address) -> What {
    if address.is_loopback() {
        return What::Loopback;
    }
    if address.is_multicast_or_broadcast() {
        return What::Multicast;
    }
    if let Some(pod) = owner(world, address) {
        return What::Pod(pod);
    }
    if address.is_link_local() {
        return What::LinkLocal;
    }
    let nodes = nodes_with(world, address);
    if !nodes.is_empty() {
        return What::Node(nodes);
    }
    if world.services().any(|service| service.cluster_ips.contains(&address)) {
        return What::ClusterIp;
    }
    if world.services().any(|service| service.external_ips.contains(&address)) {
        return What::ExternalIp;
    }
    if of_pod_range(world, address) {
        return What::Unresolved;
    }
    What::Outside
}

/// The pod that has `address`: of several live ones the one created later, then the one with the larger UID.
fn owner(world: &World, address: Address) -> Option<Arc<Pod>> {
    let claims = |pod: &Pod| {
        let on_link = world.is_local(pod) && pod.link_local.contains(&address);
        is_guardable(pod) && (pod.addresses.contains(&address) || on_link)
    };
    world
        .pods()
        .filter(|pod| claims(pod))
        .max_by_key(|pod| (pod.created, pod.uid.clone()))
        .cloned()
}

/// Whether `pod` can have an address of its own now.
pub(super) fn is_guardable(pod: &Pod) -> bool {
    pod.phase.is_live() && !pod.host_network
}

/// Pods that an address or interface without identity could belong to: live, and without any address yet.
pub(super) fn without_address(world: &World) -> impl Iterator<Item = &Arc<Pod>> {
    world.pods().filter(|pod| is_guardable(pod) && pod.addresses.is_empty())
}

/// Names of the nodes that have `address`, in order.
fn nodes_with(world: &World, address: Address) -> Vec<Name> {
    let status = world.nodes().filter(|node| node.addresses.contains(&address));
    let reported = world.reports().filter(|report| report.addresses.contains(&address));
    let hosted = world
        .pods()
        .filter(|pod| pod.host_network && pod.phase.is_live() && pod.addresses.contains(&address));
    let mut names: Vec<Name> = status.map(|node| node.name.clone()).collect();
    names.extend(reported.map(|report| report.node.clone()));
    names.extend(hosted.map(|pod| world.node_of(pod).clone()));
    names.sort();
    names.dedup();
    names
}

/// Every address that the node of this name is known to have: those of its status first.
pub(super) fn addresses_of_node(world: &World, name: &str) -> Vec<Address> {
    let status = world
        .node_document(name)
        .into_iter()
        .flat_map(|node: &Arc<Node>| node.addresses.iter());
    let reported = world
        .report(name)
        .into_iter()
        .flat_map(|report| report.addresses.iter());
    status.chain(reported).copied().collect()
}

/// Whether `address` lies in a pod range: of those that the Nodes tell and those that the switches tell.
pub(super) fn of_pod_range(world: &World, address: Address) -> bool {
    let told = world.nodes().flat_map(|node| node.pod_cidrs.iter().copied());
    told.chain(world.defense().pod_cidrs)
        .any(|range| range.contains(address))
}
