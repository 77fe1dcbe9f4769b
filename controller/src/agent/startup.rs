//! How long interfaces were guarded before it was known whose they are.

use std::collections::BTreeMap;
use std::time::Instant;

use cellwall_policy::compile::Link;
use cellwall_policy::world::World;

/// Interfaces that are guarded as nobody's yet, and since when.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    since: BTreeMap<u32, Instant>,
}

impl Waiting {
    /// These interfaces are guarded now, each as the pod's that it names: the kernel decides by it already.
    pub(super) fn look(&mut self, links: &[Link], world: &World, now: Instant) {
        self.since
            .retain(|ifindex, _| links.iter().any(|link| link.ifindex == *ifindex));
        for link in links {
            let Some(uid) = &link.pod else {
                self.since.entry(link.ifindex).or_insert(now);
                continue;
            };
            let Some(since) = self.since.remove(&link.ifindex) else {
                continue;
            };
            let took = now.saturating_duration_since(since);
            let pod = world
                .pod(uid)
                .map_or_else(|| uid.to_string(), |pod| format!("{}/{}", pod.namespace, pod.name));
            tracing::info!(pod, interface = link.ifindex, startup = ?took, "identity in force");
        }
    }
}
