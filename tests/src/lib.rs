//! What the integration tests stand on: a lab of network namespaces, a real agent on its node, real traffic.
//!
//! Everything here needs root and fails without it: a test that did not run is never a pass.

pub mod agent;
pub mod frames;
pub mod judges;
pub mod ping;
pub mod raw;

pub use agent::{Cluster, pod, wait_for};
