//! What the loop knows and the writers need, as values.

use std::collections::BTreeMap;
use std::sync::Arc;

use cellwall_crds::Violation;
use cellwall_datapath::image::Digest;
use cellwall_policy::model::Name;
use cellwall_policy::world::World;
use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::Kind;
use crate::cluster::feed::{About, NodeState};
use crate::cluster::mirror::Mirror;
use crate::status::Report;

/// Name and kind of an object of ours to its uid and generation.
pub type Policy = BTreeMap<(Kind, Name), (String, i64)>;

/// What this node has to say.
#[derive(Debug, Clone)]
pub struct Outlook {
    /// This node.
    pub node: Name,
    /// Its state.
    pub report: Arc<Report>,
    /// Whether its pods are guarded.
    pub enforcing: bool,
    /// Every address of its interfaces.
    pub addresses: Vec<String>,
    /// Digest of the policy that it has realised.
    pub digest: Option<String>,
    /// When that was last known to be the current one.
    pub current: Timestamp,
    /// Nodes of the cluster.
    pub nodes: usize,
    /// Whether everything was listed once.
    pub whole: bool,
    /// This node's InterceptStatus as the API server has it; none: it has none.
    pub own: Option<Arc<Value>>,
    /// What is known of the whole cluster; only where this node leads.
    pub view: Option<Arc<View>>,
}

/// What the leader knows of the cluster.
#[derive(Debug, Clone)]
pub struct View {
    /// The world.
    pub world: World,
    /// Objects of the kinds that policy is written in.
    pub objects: BTreeMap<(Kind, Name), Standing>,
    /// What each node says of itself, by node, with the uid of the report.
    pub reports: BTreeMap<Name, (String, NodeState)>,
}

/// How an object stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    /// Uid, generation, finalizer.
    pub about: About,
    /// Whether some version of it is in force.
    pub in_force: bool,
    /// What is wrong with the present version; empty: it is in force.
    pub faults: Vec<Violation>,
}

impl View {
    /// What the mirror holds.
    pub fn of(mirror: &Mirror, world: &World) -> Self {
        let mut objects = BTreeMap::new();
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_policy()) {
            for ((_, name), entry) in mirror.entries(kind) {
                let standing = Standing {
                    about: entry.about.clone(),
                    in_force: entry.in_force.is_some(),
                    faults: entry.faults.clone(),
                };
                objects.insert((kind, name.clone()), standing);
            }
        }
        let reports = mirror.entries(Kind::InterceptStatus).filter_map(|((_, name), entry)| {
            let state = entry.about.report.clone()?;
            Some((name.clone(), (entry.about.uid.clone(), state)))
        });
        Self {
            world: world.clone(),
            reports: reports.collect(),
            objects,
        }
    }

    /// What is written of policy, as it is in force.
    pub fn policy(&self) -> Policy {
        let all = self.objects.iter();
        all.map(|(key, standing)| (key.clone(), (standing.about.uid.clone(), in_force(standing))))
            .collect()
    }
}

/// The generation that is in force; of an object whose present version is refused another number than any.
fn in_force(standing: &Standing) -> i64 {
    if standing.faults.is_empty() {
        standing.about.generation
    } else {
        -1 - standing.about.generation
    }
}

/// The policy that a mirror holds.
pub fn policy(mirror: &Mirror) -> Policy {
    let mut policy = Policy::new();
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_policy()) {
        for ((_, name), entry) in mirror.entries(kind) {
            let standing = Standing {
                about: entry.about.clone(),
                in_force: entry.in_force.is_some(),
                faults: entry.faults.clone(),
            };
            policy.insert((kind, name.clone()), (entry.about.uid.clone(), in_force(&standing)));
        }
    }
    policy
}

/// Sixteen hexadecimal digits that tell policies apart.
pub fn digest(policy: &Policy) -> String {
    let mut digest = Digest::default();
    let mut feed = |bytes: &[u8]| {
        digest.feed(bytes);
        // A part ends where the next begins.
        digest.feed(&[0xff]);
    };
    for ((kind, name), (uid, generation)) in policy {
        feed(kind.name().as_bytes());
        feed(name.as_bytes());
        feed(uid.as_bytes());
        feed(&generation.to_be_bytes());
    }
    digest.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy_of(parts: &[(&str, &str, i64)]) -> Policy {
        let one = |(name, uid, generation): &(&str, &str, i64)| {
            ((Kind::DefenseRule, Name::from(*name)), ((*uid).to_owned(), *generation))
        };
        parts.iter().map(one).collect()
    }

    #[test]
    fn a_digest_tells_names_uids_and_generations_apart() {
        let all = [
            policy_of(&[]),
            policy_of(&[("a", "1", 1)]),
            policy_of(&[("a", "1", 2)]),
            policy_of(&[("a", "2", 1)]),
            policy_of(&[("b", "1", 1)]),
            policy_of(&[("a", "1", 1), ("b", "1", 1)]),
            policy_of(&[("a1", "", 1)]),
        ];
        let digests: std::collections::BTreeSet<String> = all.iter().map(digest).collect();
        assert_eq!(digests.len(), all.len());
    }
}
