//! Both ends of a flow as a hook sees them: the pod of the interface, and whoever is at the other end.

use std::sync::Arc;

use super::identity::{Identity, What, objects_of_pod};
use super::objects;
use super::rules::Party;
use crate::model::{Address, Entity, Name, Pod};
use crate::world::World;

/// The pod of the interface.
#[derive(Debug, Clone)]
pub(super) enum Own {
    Pod(Arc<Pod>),
    /// A pod of the local node of which nothing else is known.
    SomePod,
    /// Not known yet.
    Startup,
}

impl Own {
    /// The node that the interface is on.
    pub(super) fn node<'a>(&'a self, world: &'a World) -> &'a Name {
        match self {
            Self::Pod(pod) => world.node_of(pod),
            Self::SomePod | Self::Startup => world.node(),
        }
    }

    pub(super) fn party(&self, world: &World) -> Party {
        match self {
            Self::Pod(pod) => pod_party(world, pod),
            Self::SomePod | Self::Startup => some_pod(),
        }
    }
}

/// The other end.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) kind: Kind,
    pub(super) address: Option<Address>,
    /// Objects that contain it.
    pub(super) objects: Vec<Name>,
}

/// What the other end is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Pod(Arc<Pod>),
    /// A pod of which nothing else is known.
    SomePod,
    /// A node that has one of these names.
    Node(Vec<Name>),
    /// The node of the pod at this end.
    OwnNode,
    Service {
        cluster_ip: bool,
    },
    Unresolved,
    Outside,
    Loopback,
    /// In no entity but `Any`.
    InAnyAlone,
}

impl Peer {
    /// A member of `entity` of which nothing else is known.
    pub(super) fn member(entity: Entity) -> Self {
        let kind = match entity {
            Entity::Any => Kind::InAnyAlone,
            Entity::Cluster => Kind::SomePod,
            Entity::World => Kind::Outside,
            Entity::Node => Kind::Node(Vec::new()),
            Entity::LocalNode => Kind::OwnNode,
        };
        Self::unaddressed(kind, Vec::new())
    }

    /// An end without address.
    pub(super) fn unaddressed(kind: Kind, objects: Vec<Name>) -> Self {
        Self {
            kind,
            address: None,
            objects,
        }
    }

    /// As rules see it from a pod on `own_node`; `initiator`: whether it opens the flow.
    pub(super) fn party(&self, world: &World, own_node: &Name, initiator: bool) -> Party {
        use Entity::{Any, Cluster, LocalNode, Node, World as Outside};
        let entities = match &self.kind {
            Kind::Pod(_) | Kind::SomePod => vec![Any, Cluster],
            Kind::Node(names) if !names.contains(own_node) => vec![Any, Node],
            Kind::Node(_) | Kind::OwnNode => vec![Any, Node, LocalNode],
            Kind::Outside => vec![Any, Outside],
            // At a port that is not its Service's: external IPs are outside, cluster IPs nothing. As an initiator a
            // Service address is in `Any` alone.
            Kind::Service { cluster_ip: false } if !initiator => vec![Any, Outside],
            Kind::Service { .. } | Kind::Unresolved | Kind::Loopback | Kind::InAnyAlone => vec![Any],
        };
        let objects = match (&self.kind, self.address) {
            (Kind::Service { cluster_ip: false }, Some(address)) if !initiator => objects::containing(world, address),
            _ => self.objects.clone(),
        };
        Party { entities, objects }
    }

    /// Whether a to-pod hook sees a packet that has this destination.
    pub(super) fn is_seen_again(&self, world: &World) -> bool {
        match &self.kind {
            Kind::Pod(pod) => world.enforces(world.node_of(pod)),
            _ => false,
        }
    }

    pub(super) fn is_node(&self) -> bool {
        matches!(self.kind, Kind::Node(_) | Kind::OwnNode)
    }
}

impl From<Identity> for Peer {
    fn from(identity: Identity) -> Self {
        let kind = match identity.what {
            What::Pod(pod) => Kind::Pod(pod),
            What::LinkLocal => Kind::OwnNode,
            What::Node(names) => Kind::Node(names),
            What::ClusterIp => Kind::Service { cluster_ip: true },
            What::ExternalIp => Kind::Service { cluster_ip: false },
            What::Unresolved => Kind::Unresolved,
            What::Multicast => Kind::InAnyAlone,
            What::Loopback => Kind::Loopback,
            What::Outside => Kind::Outside,
        };
        Self {
            kind,
            address: Some(identity.address),
            objects: identity.objects,
        }
    }
}

pub(super) fn pod_party(world: &World, pod: &Pod) -> Party {
    Party {
        entities: vec![Entity::Any, Entity::Cluster],
        objects: objects_of_pod(world, pod),
    }
}

/// A pod that is in no object.
pub(super) fn some_pod() -> Party {
    Party {
        entities: vec![Entity::Any, Entity::Cluster],
        objects: Vec::new(),
    }
}
