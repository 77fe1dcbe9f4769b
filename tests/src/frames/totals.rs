//! What the agent counted, from its metrics.

use std::collections::BTreeMap;

use crate::Cluster;

/// Packets counted, by hook, reason, and whether they were dropped.
#[derive(Debug, Clone, Default)]
pub(super) struct Counted(BTreeMap<(String, String, bool), u64>);

impl Counted {
    /// As the agent tells it now.
    pub(super) fn read(cluster: &Cluster) -> Self {
        let text = cluster.metrics();
        let mut counted = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("cellwall_packets_total{")) {
            let number: Option<u64> = line.rsplit(' ').next().and_then(|number| number.parse().ok());
            let key = (
                label(line, "hook").to_owned(),
                label(line, "reason").to_owned(),
                label(line, "applied") == "Drop",
            );
            *counted.entry(key).or_default() += number.unwrap_or_else(|| panic!("no number: {line}"));
        }
        Self(counted)
    }

    /// What was counted since `earlier`.
    #[must_use]
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let new = |(key, now): (&(String, String, bool), &u64)| {
            let before = earlier.0.get(key).copied().unwrap_or(0);
            (now > &before).then(|| (key.clone(), now - before))
        };
        Self(self.0.iter().filter_map(new).collect())
    }

    /// Packets dropped, by reason.
    pub(super) fn dropped(&self) -> BTreeMap<&str, u64> {
        let mut dropped = BTreeMap::new();
        for ((_, reason, _), packets) in self.0.iter().filter(|((_, _, dropped), _)| *dropped) {
            *dropped.entry(reason.as_str()).or_default() += packets;
        }
        dropped
    }

    /// Packets passed at this hook.
    pub(super) fn passed(&self, hook: &str) -> u64 {
        let here = |((at, _, dropped), _): &(&(String, String, bool), &u64)| at == hook && !dropped;
        self.0.iter().filter(here).map(|(_, packets)| packets).sum()
    }
}

fn label<'a>(line: &'a str, name: &str) -> &'a str {
    let value = line.split_once(&format!("{name}=\"")).map(|(_, rest)| rest);
    value.and_then(|rest| rest.split('"').next()).unwrap_or_default()
}
