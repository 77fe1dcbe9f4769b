//! The pods of this node: which interfaces are theirs, and which addresses they have.

use std::collections::BTreeMap;

use cellwall_datapath::links::{Links, NamespaceId, PodLinks};
use cellwall_policy::compile::Link;
use cellwall_policy::model::{Address, Name, Pod};
use cellwall_policy::world::{Document, World};

use crate::convert::Converted;

/// What looking for local pods found.
#[derive(Debug, Default)]
pub struct Locals {
    /// Guarded interfaces, by index.
    pub links: Vec<Link>,
    /// Names of those interfaces, for messages.
    pub names: BTreeMap<u32, String>,
    /// Addresses found inside each pod's namespace, by UID: global ones, link-local ones.
    pub found: BTreeMap<Name, (Vec<Address>, Vec<Address>)>,
    /// Pods that should be guarded and cannot be, each with the reason and the remedy.
    pub missing: Vec<String>,
    /// Addresses of the node's own interfaces.
    pub node: Vec<Address>,
}

impl Locals {
    /// Looks at the kernel for the local pods among `documents`.
    pub fn look(links: &mut Links, world: &World, documents: &[Converted]) -> Self {
        let mut found = Self::default();
        match links.addresses() {
            Ok(all) => found.node = all.iter().map(|a| Address::new(a.ip)).filter(|a| !a.is_loopback()).collect(),
            Err(error) => found.missing.push(format!("the node's own addresses cannot be listed: {error}")),
        }
        found.node.sort_unstable();
        found.node.dedup();
        let local = local_pods(world, documents);
        if local.is_empty() {
            return found;
        }
        let mut owners: BTreeMap<NamespaceId, Name> = BTreeMap::new();
        let mut ids = Vec::new();
        for (pod, place) in local {
            let shown = format!("pod {}/{}", pod.namespace, pod.name);
            match links.namespace(place) {
                Ok(id) => match owners.get(&id) {
                    None => {
                        owners.insert(id, pod.uid.clone());
                        ids.push((pod, id));
                    }
                    Some(owner) => found.missing.push(format!(
                        "{shown}: network namespace {} belongs to pod {owner} already; give each pod its own",
                        cellwall_crds::escaped(place)
                    )),
                },
                Err(error) => found.missing.push(format!("{shown}: {error}")),
            }
        }
        // Asking for a namespace's number is what makes the kernel show it on our side: list afterwards.
        match links.list() {
            Ok(host) => {
                for (pod, id) in ids {
                    match links.pod(&host, id) {
                        Ok(seen) => found.take(pod, &seen),
                        Err(error) => found.missing.push(format!("pod {}/{}: {error}", pod.namespace, pod.name)),
                    }
                }
            }
            Err(error) => found.missing.push(format!("interfaces cannot be listed: {error}")),
        }
        found.links.sort_unstable();
        found
    }

    fn take(&mut self, pod: &Pod, seen: &PodLinks) {
        let shown = format!("pod {}/{}", pod.namespace, pod.name);
        if seen.ends.is_empty() {
            self.missing.push(format!("{shown}: its network namespace has no veth on this side; connect it"));
        }
        for link in &seen.unguarded {
            self.missing.push(format!(
                "{shown}: interface {} has no end on this side and cannot be guarded; use a veth",
                cellwall_crds::escaped(&link.name)
            ));
        }
        for end in &seen.ends {
            self.names.insert(end.link.ifindex, end.link.name.clone());
            self.links.push(Link {
                ifindex: end.link.ifindex,
                master: end.link.master.unwrap_or(0),
                pod: Some(pod.uid.clone()),
                mac: end.inside.as_ref().and_then(|inside| inside.mac).unwrap_or_default(),
            });
        }
        let all = seen.addresses.iter().map(|a| Address::new(a.ip));
        let (link_local, global) = all.partition(|a| a.is_link_local());
        self.found.insert(pod.uid.clone(), (global, link_local));
    }

    /// The documents with what was found inside the namespaces put in: addresses where the status names none, and
    /// link-local ones always.
    pub fn complete(&self, documents: &[Converted], node: &Name) -> Vec<Document> {
        let mut all: Vec<Document> = documents.iter().map(|d| d.document.clone()).collect();
        for document in &mut all {
            let Document::Pod(pod) = document else { continue };
            if let Some((global, link_local)) = self.found.get(&pod.uid) {
                pod.link_local.clone_from(link_local);
                if pod.addresses.is_empty() {
                    pod.addresses.clone_from(global);
                }
            }
        }
        let report = cellwall_policy::model::NodeReport {
            node: node.clone(),
            enforcing: true,
            addresses: self.node.iter().copied().filter(|a| !a.is_link_local()).collect(),
        };
        // What the local node has is what its interfaces say, whatever a file claims of it.
        all.retain(|d| !matches!(d, Document::NodeReport(r) if r.node == *node));
        all.push(Document::NodeReport(report));
        all
    }
}

/// Live pods of this node that name a network namespace, in the order of their UIDs.
fn local_pods<'a>(world: &World, documents: &'a [Converted]) -> Vec<(&'a Pod, &'a str)> {
    let mut local: Vec<(&Pod, &str)> = documents
        .iter()
        .filter_map(|converted| match (&converted.document, &converted.netns) {
            (Document::Pod(pod), Some(place)) => Some((pod, place.as_str())),
            _ => None,
        })
        .filter(|(pod, _)| pod.phase.is_live() && !pod.host_network && world.is_local(pod))
        .collect();
    local.sort_unstable_by(|a, b| a.0.uid.cmp(&b.0.uid));
    local
}
