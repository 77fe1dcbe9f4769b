//! What the integration tests stand on: a lab of network namespaces, a real agent on its node, real traffic.
//!
//! What stands on the lab needs root and fails without it: a test that did not run is never a pass.

pub mod agent;
pub mod bench;
pub mod blast;
pub mod cluster;
pub mod cni;
pub mod first_packets;
pub mod frames;
pub mod fuzz;
pub mod idle;
pub mod judges;
pub mod kill_points;
pub mod memory;
pub mod numbered;
pub mod ping;
pub mod raw;
pub mod scrape;
pub mod soak;
pub mod steady;
pub mod stranger;

pub use agent::{Cluster, patience, pod, wait_for};
pub use scrape::scrape;

/// Says that a test could not be run here, past the runner's capture: `make test` lists it, and fails on it in CI.
pub fn not_run(what: &str) {
    use std::io::Write as _;
    // A runner that cannot even write has worse to tell.
    let _told = writeln!(std::io::stderr(), "\nnot run: {what}");
}
