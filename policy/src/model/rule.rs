//! DefenseRule: what happens to connections from a source to a destination.

use std::fmt;

use super::{Name, PortEntry};

/// What a rule does. The order is the strictness: `Pass < Alert < Drop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Allow, silently.
    Pass,
    /// Allow, and log.
    Alert,
    /// Refuse, and log.
    Drop,
}

impl Action {
    /// The verdict's name in records: PASS, ALERT, DROP.
    pub fn verdict(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Alert => "ALERT",
            Self::Drop => "DROP",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "Pass",
            Self::Alert => "Alert",
            Self::Drop => "Drop",
        })
    }
}

/// The objects that need no definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    /// Everything.
    Any,
    /// Every pod that has an address of its own.
    Cluster,
    /// Every address that is no pod, node, Service or pod-range address.
    World,
    /// Any node of the cluster.
    Node,
    /// The node of the pod at the other end of the flow.
    LocalNode,
}

impl Entity {
    /// All five, in the order of this list.
    pub const ALL: [Self; 5] = [Self::Any, Self::Cluster, Self::World, Self::Node, Self::LocalNode];

    /// The name as written in rules.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "Any",
            Self::Cluster => "Cluster",
            Self::World => "World",
            Self::Node => "Node",
            Self::LocalNode => "LocalNode",
        }
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A rule's source or destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// A NetworkObject by name. A name that no object has matches nothing, and the rule then enforces nothing.
    Object(Name),
    /// An entity.
    Entity(Entity),
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefenseRule {
    /// Name.
    pub name: Name,
    /// `metadata.uid`.
    pub uid: Name,
    /// Initiators it speaks of.
    pub source: Side,
    /// Responders it speaks of.
    pub destination: Side,
    /// 1..=8 entries; none: every protocol and port. A list that is given but empty matches nothing.
    pub ports: Option<Vec<PortEntry>>,
    /// What it does.
    pub action: Action,
    /// 1..=1000, the smallest wins.
    pub priority: u16,
    /// Disabled rules apply to nothing.
    pub enabled: bool,
}

impl DefenseRule {
    /// Its place in the total order: the smallest order among the rules that apply decides.
    pub fn order(&self) -> RuleOrder {
        RuleOrder {
            priority: self.priority,
            strictness: std::cmp::Reverse(self.action),
            name: self.name.clone(),
        }
    }
}

/// Smallest priority first; at equal priority Drop before Alert before Pass; then the smaller name, byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleOrder {
    priority: u16,
    strictness: std::cmp::Reverse<Action>,
    name: Name,
}
