//! The pods of this node: which interfaces are theirs, and which addresses they have.

mod by_address;

pub(super) use by_address::{NodeSide, of_status};

use std::collections::BTreeMap;

use cellwall_datapath::links::{self, Links, NamespaceId, PodLinks};
use cellwall_policy::compile::Link;
use cellwall_policy::model::{Address, Name, Pod};
use cellwall_policy::world::{Document, World};

use crate::convert::Converted;

/// What looking for local pods found.
#[derive(Debug, Clone, Default)]
pub(super) struct Locals {
    /// Guarded interfaces, by index.
    pub(super) links: Vec<Link>,
    /// Those interfaces as the kernel lists them, by index.
    pub(super) hosts: BTreeMap<u32, links::Link>,
    /// Every interface of this node.
    pub(super) all: Vec<links::Link>,
    /// Addresses found inside each pod's namespace, by UID: global ones, link-local ones.
    pub(super) found: BTreeMap<Name, (Vec<Address>, Vec<Address>)>,
    /// Pods that should be guarded and cannot be, each with the reason and the remedy.
    pub(super) missing: Vec<String>,
    /// Addresses of the node's own interfaces.
    pub(super) node: Vec<Address>,
}

impl Locals {
    /// Looks at the kernel for the local pods among `documents`.
    pub(super) fn look(links: &mut Links, world: &World, documents: &[Converted]) -> Self {
        let mut found = Self::default();
        let addresses = links.addresses().unwrap_or_else(|error| {
            found
                .missing
                .push(format!("the node's own addresses cannot be listed: {error}"));
            Vec::new()
        });
        let local = local_pods(world, documents);
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
                        Err(error) => found
                            .missing
                            .push(format!("pod {}/{}: {error}", pod.namespace, pod.name)),
                    }
                }
                found.node = of_node(&addresses, &host);
                found.all = host;
            }
            Err(error) => found.missing.push(format!("interfaces cannot be listed: {error}")),
        }
        found.links.sort_unstable();
        found
    }

    fn take(&mut self, pod: &Pod, seen: &PodLinks) {
        let shown = format!("pod {}/{}", pod.namespace, pod.name);
        if seen.ends.is_empty() {
            self.missing.push(format!(
                "{shown}: its network namespace has no veth on this side; connect it"
            ));
        }
        for link in &seen.unguarded {
            self.missing.push(format!(
                "{shown}: interface {} has no end on this side and cannot be guarded; use a veth",
                cellwall_crds::escaped(&link.name)
            ));
        }
        for end in &seen.ends {
            self.hosts.insert(end.link.ifindex, end.link.clone());
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

    /// Interfaces of pods that are still documents and could not be looked at this time stay theirs while they are
    /// there: a failure to look never opens.
    pub(super) fn keep_from(&mut self, former: &Self, documents: &[Converted], world: &World) {
        let wanted: std::collections::BTreeSet<&Name> = local_pods(world, documents)
            .into_iter()
            .map(|(pod, _)| &pod.uid)
            .collect();
        if self.all.is_empty() {
            self.all.clone_from(&former.all);
        }
        if self.node.is_empty() {
            self.node.clone_from(&former.node);
        }
        for link in &former.links {
            let Some(uid) = &link.pod else { continue };
            let there = self.all.iter().any(|l| l.ifindex == link.ifindex);
            let taken = self.hosts.contains_key(&link.ifindex) || self.found.contains_key(uid);
            if let Some(host) = former
                .hosts
                .get(&link.ifindex)
                .filter(|_| there && !taken && wanted.contains(uid))
            {
                self.hosts.insert(link.ifindex, host.clone());
                self.links.push(link.clone());
            }
        }
        for (uid, addresses) in &former.found {
            if wanted.contains(uid)
                && !self.found.contains_key(uid)
                && self.links.iter().any(|l| l.pod.as_ref() == Some(uid))
            {
                self.found.insert(uid.clone(), addresses.clone());
            }
        }
        self.links.sort_unstable();
    }

    /// Whether some pod could not be found, so that it is worth looking again.
    pub(super) fn unsettled(&self) -> bool {
        !self.missing.is_empty()
    }

    /// The documents with what was found inside the namespaces put in: addresses where the status names none, and
    /// link-local ones always.
    pub(super) fn complete(&self, documents: &[Converted], node: &Name) -> Vec<Document> {
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

/// Where kube-proxy in its IPVS mode keeps the addresses of all Services, so that the kernel takes packets to them in:
/// the node answers at none of them, and they are the Services', not the node's.
const IPVS: &str = "kube-ipvs0";

/// The addresses of the node itself, of those on its interfaces.
pub(super) fn of_node(addresses: &[links::Address], interfaces: &[links::Link]) -> Vec<Address> {
    let is_ipvs = |ifindex: u32| {
        let mut there = interfaces.iter().filter(|link| link.ifindex == ifindex);
        there.any(|link| link.name == IPVS && link.kind == "dummy")
    };
    let own = addresses.iter().filter(|address| !is_ipvs(address.ifindex));
    let mut own: Vec<Address> = own.map(|address| Address::new(address.ip)).collect();
    own.retain(|address| !address.is_loopback());
    own.sort_unstable();
    own.dedup();
    own
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

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(ifindex: u32, name: &str, kind: &str) -> links::Link {
        links::Link {
            ifindex,
            name: name.to_owned(),
            kind: kind.to_owned(),
            mac: None,
            master: None,
            peer: None,
            up: true,
            loopback: false,
        }
    }

    fn at(ifindex: u32, ip: &str) -> links::Address {
        links::Address {
            ifindex,
            ip: ip.parse().unwrap(),
            prefix: 32,
        }
    }

    #[test]
    fn service_addresses_that_kube_proxy_keeps_on_its_dummy_are_not_the_nodes() {
        let interfaces = [
            interface(1, "lo", ""),
            interface(2, "eth0", ""),
            interface(3, "kube-ipvs0", "dummy"),
            interface(4, "nodelocaldns", "dummy"),
        ];
        let addresses = [
            at(1, "127.0.0.1"),
            at(2, "198.51.100.1"),
            at(2, "2001:db8:2::1"),
            at(3, "203.0.113.10"),
            at(4, "169.254.20.10"),
        ];
        let expected = ["169.254.20.10", "198.51.100.1", "2001:db8:2::1"].map(|one| one.parse().unwrap());
        assert_eq!(of_node(&addresses, &interfaces), expected);
    }

    #[test]
    fn a_veth_that_takes_the_dummys_name_hides_no_address() {
        let addresses = [at(3, "203.0.113.10")];
        assert_eq!(of_node(&addresses, &[interface(3, "kube-ipvs0", "veth")]).len(), 1);
        assert_eq!(of_node(&addresses, &[]).len(), 1);
    }
}
