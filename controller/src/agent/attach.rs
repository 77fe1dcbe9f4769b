//! What a network plugin tells of a pod that it has just wired, and when that pod's policy is in force.
//!
//! The plugin is root on this node, and reachable for nobody else; still it names nothing by itself. The pod must be
//! one that the API server has, live, on this node, with a network of its own, under the same name and UID. Its
//! addresses are those that the plugin put inside *and* that are seen there; one that another pod or a node has is not
//! taken. As soon as the API server tells of addresses, those are the pod's.

use std::collections::BTreeSet;

use cellwall_policy::model::{Address, Name, Pod};
use cellwall_policy::world::{Document, World};

use super::bind::{Bindings, Claim, Whose};
use super::core::{Core, Source};
use crate::api::{Attached, Attachment};

/// What a look at an attachment comes to: in force or not yet, or why it never will be.
type Standing = Result<Attached, String>;

impl Core {
    /// Takes the plugin's word as far as it goes, and says how things stand.
    pub(super) fn attach(&mut self, attachment: &Attachment) -> Standing {
        if self.is_staged() {
            return Ok(waits("the API server's objects are not known yet"));
        }
        let uid = match self.attached_pod(attachment)? {
            Ok(uid) => uid,
            Err(waits) => return Ok(waits),
        };
        if let Attached::InForce(generation) = self.attachment_stands(attachment, &uid) {
            return Ok(Attached::InForce(generation));
        }
        if let Source::Cluster(followed) = &mut self.source {
            followed.bindings.claim(Claim {
                pod: uid.clone(),
                ends: attachment.interfaces.clone(),
                addresses: attachment.addresses.iter().map(|ip| Address::new(*ip)).collect(),
            });
        }
        self.converge();
        Ok(self.attachment_stands(attachment, &uid))
    }

    /// The pod that is meant, if the sources confirm it; or what is waited for.
    fn attached_pod(&self, attachment: &Attachment) -> Result<Result<Name, Attached>, String> {
        let shown = shown(attachment);
        let Source::Cluster(_) = &self.source else {
            // Manifests name a pod by its name alone, and its UID is their own.
            let mut pods = self.world.pods();
            let named = pods.find(|pod| *pod.namespace == *attachment.namespace && *pod.name == *attachment.name);
            return Ok(match named {
                Some(pod) => Ok(pod.uid.clone()),
                None => Err(Attached::WaitsFor(format!("no manifest has pod {shown}"))),
            });
        };
        let Some(pod) = self.world.pod(&Name::from(attachment.uid.as_str())) else {
            return Ok(Err(Attached::WaitsFor(format!(
                "the API server has not told of pod {shown} with UID {}",
                cellwall_crds::escaped(&attachment.uid)
            ))));
        };
        match unfit(&self.world, pod, attachment) {
            Some(why) => Err(format!("pod {shown} {why}")),
            None => Ok(Ok(pod.uid.clone())),
        }
    }

    /// Whether the kernel judges the pod's interfaces as the pod's.
    fn attachment_stands(&self, attachment: &Attachment, uid: &Name) -> Attached {
        if let Source::Cluster(followed) = &self.source
            && let Some(id) = followed.bindings.behind(&attachment.interfaces)
            && let Whose::Pod(other) = followed.bindings.whose(id)
            && other != *uid
        {
            let other = self
                .world
                .pod(&other)
                .map_or_else(|| other.to_string(), |pod| format!("{}/{}", pod.namespace, pod.name));
            return waits(&format!("its network namespace is pod {other}'s"));
        }
        let guarded = |ifindex: &&u32| {
            let mut links = self.locals.links.iter();
            links.any(|link| link.ifindex == **ifindex && link.pod.as_ref() == Some(uid))
        };
        let ours = attachment.interfaces.iter().filter(guarded).count();
        if attachment.interfaces.is_empty() || ours < attachment.interfaces.len() {
            return waits("its interface is not known as the pod's");
        }
        if let Some(why) = &self.refused {
            return waits(&format!("the policy is not realised: {why}"));
        }
        if let Some(why) = attachment
            .interfaces
            .iter()
            .find_map(|ifindex| self.unguarded.get(ifindex))
        {
            return waits(why);
        }
        let pod = self.world.pod(uid);
        let has: BTreeSet<Address> = pod.iter().flat_map(|pod| pod.addresses.iter().copied()).collect();
        let given: BTreeSet<Address> = attachment.addresses.iter().map(|ip| Address::new(*ip)).collect();
        // Others than those that were given are the API server's.
        if has.is_empty() || (has.is_subset(&given) && has != given) {
            return waits("not all of its addresses are free: one is another pod's or a node's, or is not seen inside");
        }
        Attached::InForce(self.realiser.generation())
    }

    /// Addresses for a pod of which the API server tells none, where a network plugin has given it some.
    pub(super) fn given_addresses(bindings: &Bindings, world: &World, pod: &Pod) -> Vec<Address> {
        if !pod.addresses.is_empty() || !pod.phase.is_live() || pod.host_network {
            return Vec::new();
        }
        let Some(given) = bindings.given(&pod.uid) else {
            return Vec::new();
        };
        let of_pods = world
            .pods()
            .filter(|other| other.uid != pod.uid && other.phase.is_live());
        let of_nodes = world.nodes();
        let taken: BTreeSet<Address> = of_pods
            .flat_map(|other| other.addresses.iter().copied())
            .chain(of_nodes.flat_map(|node| node.addresses.iter().copied()))
            .collect();
        given.difference(&taken).copied().collect()
    }

    /// Pods that a plugin has wired and of which the API server tells no address yet, with those that they were given.
    pub(super) fn given_pods(bindings: &Bindings, world: &World) -> Vec<Document> {
        let claimed = bindings.memory.values().filter(|memory| memory.claimed);
        let pods = claimed.filter_map(|memory| world.pod(memory.pod.as_ref()?));
        pods.filter_map(|pod| {
            let addresses = Self::given_addresses(bindings, world, pod);
            (!addresses.is_empty()).then(|| {
                Document::Pod(Pod {
                    addresses,
                    ..(**pod).clone()
                })
            })
        })
        .collect()
    }
}

fn waits(what: &str) -> Attached {
    Attached::WaitsFor(what.to_owned())
}

fn shown(attachment: &Attachment) -> String {
    cellwall_crds::escaped(&format!("{}/{}", attachment.namespace, attachment.name))
}

/// Why this pod cannot be the one that was wired.
fn unfit(world: &World, pod: &Pod, attachment: &Attachment) -> Option<String> {
    if *pod.namespace != *attachment.namespace || *pod.name != *attachment.name {
        return Some(format!(
            "is not the one of that UID, which is {}/{}",
            pod.namespace, pod.name
        ));
    }
    if !world.is_local(pod) {
        return Some(format!("is on node {}", world.node_of(pod)));
    }
    if pod.host_network {
        return Some("is on the node's own network".to_owned());
    }
    (!pod.phase.is_live()).then(|| "is over".to_owned())
}
