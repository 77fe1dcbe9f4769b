//! What is written to the API server: each node's own report, and by one node, the leader, the state of the objects and
//! of the whole cluster. Nothing is written that did not change, and nothing often.
//!
//! - [`own`]: this node's InterceptStatus.
//! - [`lease`]: who leads.
//! - [`overview`]: from what the leader knows to the statuses, finalizers and events; pure.
//! - [`leader`]: writes them.
//! - [`events`]: Kubernetes Events, bounded.
//! - [`finalizer`]: holds an object while rules name it.

pub mod events;
pub mod finalizer;
pub mod leader;
pub mod lease;
pub mod outlook;
pub mod overview;
pub mod own;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

pub use outlook::Outlook;

/// Shortest time between two writes about one object.
const PACE: Duration = Duration::from_secs(1);
/// How an API server says that it does not know a field.
const NOT_IN_SCHEMA: &str = "field not declared in schema";

/// Starts what writes. `outlook` is what the loop knows; `leads` becomes true while this node leads.
pub fn start(client: &Client, outlook: &watch::Receiver<Option<Arc<Outlook>>>, leads: &watch::Sender<bool>) {
    tokio::spawn(own::follow(client.clone(), outlook.clone()));
    tokio::spawn(leader::follow(client.clone(), outlook.clone(), leads.clone()));
}

/// Writes a status by server-side apply. A CRD that is older than this agent does not know each field of it, and apply
/// refuses the whole status then: a merge leaves out what is not known.
async fn apply_status<K, P>(api: &Api<K>, name: &str, parameters: &PatchParams, object: &P) -> kube::Result<K>
where
    K: Clone + DeserializeOwned + Debug,
    P: Serialize + Debug,
{
    let refused = match api.patch_status(name, parameters, &Patch::Apply(object)).await {
        Err(kube::Error::Api(answer)) if answer.message.contains(NOT_IN_SCHEMA) => answer.message,
        other => return other,
    };
    tracing::warn!(
        "{name}: the CRDs are older than this agent, and what they do not know is left out of the status; apply those of \
         this version (`cellwall crds | kubectl apply --server-side -f -`): {refused}"
    );
    let parameters = PatchParams {
        field_manager: parameters.field_manager.clone(),
        ..PatchParams::default()
    };
    api.patch_status(name, &parameters, &Patch::Merge(object)).await
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
