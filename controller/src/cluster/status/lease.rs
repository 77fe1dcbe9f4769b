//! Who leads: whoever holds the Lease. The holder renews it; the others look at it now and then, at random times, and
//! take it when it was not renewed for long. The more nodes there are, the less often each looks: together they look
//! about as often in a large cluster as in a small one.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};

/// Name of the Lease.
pub(super) const NAME: &str = "cellwall-leader";
/// Namespace where neither the environment nor the client names one.
const NAMESPACE: &str = "cellwall-system";
/// A Lease that was not renewed for this long is free.
const LENGTH: Duration = Duration::from_secs(15);
/// How often the holder renews.
const RENEWED: Duration = Duration::from_secs(5);
/// How often a small cluster's others look.
const LOOKED: Duration = Duration::from_secs(3);

/// The Lease of a node's agent.
pub(super) struct Leadership {
    api: Api<Lease>,
    node: String,
    /// What was seen last and when: another's clock is not believed, only that the Lease changes.
    seen: Option<(Option<String>, std::time::Instant)>,
    held: Option<std::time::Instant>,
}

/// What is to be done about a Lease.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is another's, who is alive as far as can be seen.
    Wait,
    /// It is ours or free.
    Take,
}

impl Leadership {
    pub(super) fn new(client: &Client, node: &str) -> Self {
        let namespace = std::env::var("POD_NAMESPACE").ok().filter(|name| !name.is_empty());
        let given = Some(client.default_namespace().to_owned()).filter(|name| name != "default");
        let namespace = namespace.or(given).unwrap_or_else(|| NAMESPACE.to_owned());
        Self {
            api: Api::namespaced(client.clone(), &namespace),
            node: node.to_owned(),
            seen: None,
            held: None,
        }
    }

    /// Looks at the Lease once. Answers whether this node leads now.
    pub(super) async fn look(&mut self) -> bool {
        match self.try_look().await {
            Ok(leads) => self.held = leads.then(std::time::Instant::now),
            Err(error) => tracing::debug!(%error, "the Lease cannot be looked at"),
        }
        // One that cannot be renewed is led on for as long as nobody else may take it.
        self.leads()
    }

    /// Whether this node may write as the leader now.
    pub(super) fn leads(&self) -> bool {
        self.held.is_some_and(|at| at.elapsed() + RENEWED < LENGTH)
    }

    /// When to look again.
    pub(super) fn rest(&self, nodes: usize) -> Duration {
        if self.leads() {
            return RENEWED;
        }
        let most = LOOKED.max(super::pace(nodes));
        most.mul_f64(0.5 + fraction())
    }

    async fn try_look(&mut self) -> kube::Result<bool> {
        let Some(lease) = self.api.get_opt(NAME).await? else {
            return self.settle(self.api.create(&PostParams::default(), &self.mine(None)).await);
        };
        let version = lease.metadata.resource_version.clone();
        match self.step(&lease, version) {
            Step::Wait => Ok(false),
            // The version that was read goes along: of two that take it at once, one is refused.
            Step::Take => {
                let mine = self.mine(Some(lease));
                self.settle(self.api.replace(NAME, &PostParams::default(), &mine).await)
            }
        }
    }

    fn settle(&mut self, written: kube::Result<Lease>) -> kube::Result<bool> {
        match written {
            Ok(lease) => {
                self.seen = Some((lease.metadata.resource_version, std::time::Instant::now()));
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn step(&mut self, lease: &Lease, version: Option<String>) -> Step {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        let changed = self.seen.as_ref().is_none_or(|(seen, _)| *seen != version);
        if changed {
            self.seen = Some((version, std::time::Instant::now()));
        }
        let still = self.seen.as_ref().is_some_and(|(_, at)| at.elapsed() >= LENGTH);
        match holder {
            None | Some("") => Step::Take,
            Some(holder) if holder == self.node => Step::Take,
            Some(_) if still => Step::Take,
            Some(_) => Step::Wait,
        }
    }

    fn mine(&self, before: Option<Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let (metadata, spec) = before.map(|lease| (lease.metadata, lease.spec)).unwrap_or_default();
        let spec = spec.unwrap_or_default();
        let ours = spec.holder_identity.as_deref() == Some(&self.node);
        Lease {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                resource_version: metadata.resource_version,
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.node.clone()),
                lease_duration_seconds: i32::try_from(LENGTH.as_secs()).ok(),
                acquire_time: if ours { spec.acquire_time } else { Some(now.clone()) },
                lease_transitions: Some(spec.lease_transitions.unwrap_or_default() + i32::from(!ours)),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// A number from 0 to 1 that differs between nodes and times: when they look is not to be the same moment.
fn fraction() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    // Each is keyed at random.
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_look_differ() {
        let all: Vec<f64> = (0..8).map(|_| fraction()).collect();
        assert!(all.iter().all(|one| (0.0..=1.0).contains(one)), "{all:?}");
        assert!(all.iter().any(|one| (one - all[0]).abs() > 1e-9), "{all:?}");
    }
}
