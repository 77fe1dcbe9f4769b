//! ClusterDefense: the defence switch.

use super::Cidr;

/// What happens to a Drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Mode {
    /// It is refused.
    #[default]
    Enforce,
    /// It is let through and logged as the drop it would have been.
    AlertOnly,
    /// Nothing is evaluated; programs stay attached.
    Off,
}

/// How a node leaves `Abnormal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Recovery {
    /// By itself.
    #[default]
    Automatic,
    /// Through `NormalToBeConfirmed`.
    Manual,
}

/// What the node itself may do to its own pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum LocalNodeMode {
    /// Reach the ports that the pod's probes and lifecycle hooks name; the rest is judged.
    #[default]
    Probes,
    /// Reach everything.
    Pass,
    /// No exception.
    Enforce,
}

/// What holds for an interface or a pod-range address whose pod is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Startup {
    /// Pass.
    Open,
    /// The strictest verdict over every pod that it could be.
    #[default]
    Guarded,
    /// Drop.
    Closed,
}

/// The cluster's switches. [`Defense::default`] holds where there is no such document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Defense {
    /// Mode.
    pub mode: Mode,
    /// Recovery.
    pub recovery: Recovery,
    /// Exception for the local node.
    pub local_node: LocalNodeMode,
    /// Startup.
    pub startup: Startup,
    /// Pod ranges, where the Nodes do not tell them; both sources count.
    pub pod_cidrs: Vec<Cidr>,
    /// The generation that an administrator confirmed, for nodes that wait for that.
    pub confirmed: Option<i64>,
}
