//! The nouns: documents as the world holds them, after reading and validation, and the words of a verdict.
//!
//! Everything here is a plain value with a stable order. Names compare byte by byte.

mod address;
mod defense;
mod glob;
mod labels;
mod object;
mod port;
mod rule;
mod verdict;
mod workload;

pub use address::{Address, Cidr, CidrEntry, CidrError};
pub use defense::{Defense, LocalNodeMode, Mode, Recovery, Startup};
pub use glob::{Glob, GlobError};
pub use labels::{LabelSelector, Labels, Operator, Requirement};
pub use object::{NetworkObject, Selector, WorkloadSelector};
pub use port::{PortEntry, PortMatch, Protocol, ProtocolMatch, Transport};
pub use rule::{Action, DefenseRule, Entity, RuleOrder, Side};
pub use verdict::{Hook, Reason};
pub use workload::{
    Endpoint, EndpointSlice, HostPort, Name, Namespace, Node, NodeReport, Phase, Pod, ProbePort, Service, ServicePort,
    SlicePort,
};
