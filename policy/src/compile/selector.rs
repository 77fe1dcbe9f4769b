//! Sides of rules as numbers, and what a peer's class says about them.

use crate::compiled::PeerClass;
use crate::model::Entity;

/// Number of an object within the compiler.
pub(super) type ObjectId = u32;

/// A rule's side: an entity or an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Sel(u32);

impl Sel {
    pub(super) const ANY: Self = Self::entity(Entity::Any);
    pub(super) const CLUSTER: Self = Self::entity(Entity::Cluster);
    pub(super) const WORLD: Self = Self::entity(Entity::World);
    pub(super) const NODE: Self = Self::entity(Entity::Node);
    pub(super) const LOCAL_NODE: Self = Self::entity(Entity::LocalNode);

    pub(super) const fn entity(entity: Entity) -> Self {
        Self(entity as u32)
    }

    pub(super) fn object(id: ObjectId) -> Self {
        Self(id + 5)
    }

    /// The object, where it is one.
    pub(super) fn as_object(self) -> Option<ObjectId> {
        self.0.checked_sub(5)
    }
}

/// A direction as a pod sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Direction {
    /// The pod opens the flow.
    Egress,
    /// The flow is opened to the pod.
    Ingress,
}

impl Direction {
    pub(super) const BOTH: [Self; 2] = [Self::Egress, Self::Ingress];

    /// (own side, other side) of a rule from `source` to `destination`.
    pub(super) fn sides(self, source: Sel, destination: Sel) -> (Sel, Sel) {
        match self {
            Self::Egress => (source, destination),
            Self::Ingress => (destination, source),
        }
    }

    /// (source, destination) of a pod's side and another one.
    pub(super) fn pair(self, own: Sel, other: Sel) -> (Sel, Sel) {
        match self {
            Self::Egress => (own, other),
            Self::Ingress => (other, own),
        }
    }
}

/// The entities that a pod is in, besides its objects.
pub(super) const POD: [Sel; 2] = [Sel::ANY, Sel::CLUSTER];

/// The entities that contain a peer of `class` at the other end. A Service address that does not stand for backends
/// is in `Any` alone as initiator, and as responder too if it is a cluster IP.
pub(super) fn entities_of(class: PeerClass, direction: Direction) -> &'static [Sel] {
    match class {
        PeerClass::World => &[Sel::ANY, Sel::WORLD],
        PeerClass::ExternalIp => match direction {
            Direction::Egress => &[Sel::ANY, Sel::WORLD],
            Direction::Ingress => &[Sel::ANY],
        },
        PeerClass::LocalPod | PeerClass::RemotePod | PeerClass::UnguardedPod | PeerClass::Unresolved => &POD,
        PeerClass::Node => &[Sel::ANY, Sel::NODE],
        PeerClass::LocalNode => &[Sel::ANY, Sel::NODE, Sel::LOCAL_NODE],
        PeerClass::ClusterIp | PeerClass::Multicast | PeerClass::ServicePort => &[Sel::ANY],
    }
}

/// Whether the objects of a peer of `class` count in `direction`.
pub(super) fn objects_count(class: PeerClass, direction: Direction) -> bool {
    !matches!((class, direction), (PeerClass::ExternalIp, Direction::Ingress))
}
