//! NetworkObject: a named set of workloads or addresses.

use super::{CidrEntry, Glob, LabelSelector, Name};

/// A named set of workloads or addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkObject {
    /// Name.
    pub name: Name,
    /// `metadata.uid`.
    pub uid: Name,
    /// What it selects.
    pub selector: Selector,
}

/// Either workloads or addresses, never both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// Pods by what Kubernetes says of them.
    Workloads(WorkloadSelector),
    /// Addresses that are not pods.
    Cidrs(Vec<CidrEntry>),
}

/// Fields given are ANDed, entries of a list are ORed. A list that is given but empty matches nothing, and so does
/// a selector of which no field is given: an emptied list can never widen an object (case 54).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WorkloadSelector {
    /// On the namespace's name.
    pub namespaces: Option<Vec<Glob>>,
    /// On the application name; a pod without one is matched by no entry, not even `*`.
    pub apps: Option<Vec<Glob>>,
    /// On the image of any container, as written or in normal form.
    pub images: Option<Vec<Glob>>,
    /// On the pod's labels.
    pub pod_selector: Option<LabelSelector>,
    /// On the namespace's labels.
    pub namespace_selector: Option<LabelSelector>,
}
