//! What is written to the API server: each node's own report, and by one node, the leader, the state of the objects and
//! of the whole cluster. Nothing is written that did not change, and nothing often.
//!
//! - [`own`]: this node's InterceptStatus.
//! - [`lease`]: who leads.
//! - [`overview`]: from what the leader knows to the statuses, finalizers and events; pure.
//! - [`leader`]: writes them.
//! - [`events`]: Kubernetes Events, bounded.

pub mod events;
pub mod leader;
pub mod lease;
pub mod outlook;
pub mod overview;
pub mod own;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;

pub use outlook::Outlook;

/// Shortest time between two writes about one object.
const PACE: Duration = Duration::from_secs(1);

/// Starts what writes. `outlook` is what the loop knows; `leads` becomes true while this node leads.
pub fn start(client: &Client, outlook: &watch::Receiver<Option<Arc<Outlook>>>, leads: &watch::Sender<bool>) {
    tokio::spawn(own::follow(client.clone(), outlook.clone()));
    tokio::spawn(leader::follow(client.clone(), outlook.clone(), leads.clone()));
}

/// With thousands of nodes each writes less often, so that all of them together write about twenty times a second.
fn pace(nodes: usize) -> Duration {
    PACE.max(Duration::from_millis(50).saturating_mul(u32::try_from(nodes).unwrap_or(u32::MAX)))
}

/// The name that this node's writes carry; an API server takes 128 characters.
fn manager(node: &str) -> String {
    let whole = format!("cellwall-{node}");
    if whole.len() <= 128 {
        return whole;
    }
    format!("{}-{:08x}", &whole[..119], crc32fast::hash(node.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_cluster_writes_no_more_than_a_small_one() {
        assert_eq!(pace(3), PACE);
        assert_eq!(pace(1000), Duration::from_secs(50));
    }

    #[test]
    fn a_long_node_name_still_gives_a_name_of_its_own() {
        let (one, other) = ("a".repeat(252) + "1", "a".repeat(252) + "2");
        assert_eq!(manager("node-1"), "cellwall-node-1");
        assert!(manager(&one).len() <= 128);
        assert_ne!(manager(&one), manager(&other));
    }
}
