//! The pods of this node where the API server names them: their interfaces are found by what lies behind them.
//!
//! Every veth whose other end is in another namespace may be a pod's, known or not yet, but for the node's own ways
//! out: an interface that has an address of the Node's status or a default route, and what lies below one (a port of
//! such a bridge, the parent of such a VLAN). That is told by facts of the node's side alone: nothing that a pod does
//! makes its interface a way out of the node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use cellwall_datapath::links::{self, Links, NamespaceId, PodLinks};
use cellwall_policy::compile::Link;
use cellwall_policy::model::{Address, Name};
use cellwall_policy::world::World;

use super::{Locals, of_node};
use crate::agent::bind::{Bindings, Seen, Wanted, Whose};

/// The node's side, as the kernel shows it.
pub(in crate::agent) struct NodeSide {
    /// Every interface.
    pub(in crate::agent) links: Vec<links::Link>,
    /// Their addresses.
    pub(in crate::agent) addresses: Vec<links::Address>,
    /// Those with a default route.
    defaults: BTreeSet<u32>,
}

impl NodeSide {
    pub(in crate::agent) fn take(links: &mut Links) -> Result<Self, cellwall_datapath::NetlinkError> {
        Ok(Self {
            addresses: links.addresses()?,
            defaults: links.default_routes()?,
            links: links.list()?,
        })
    }

    /// The node's own ways out, where these are the addresses of its status.
    fn ways_out(&self, status: &BTreeSet<Address>) -> BTreeSet<u32> {
        let of_status = self
            .addresses
            .iter()
            .filter(|address| status.contains(&Address::new(address.ip)));
        let own = of_status
            .map(|address| address.ifindex)
            .chain(self.defaults.iter().copied());
        below(own.collect(), &self.links)
    }

    /// The interfaces that may be pods', where these are the addresses of the Node's status.
    pub(in crate::agent) fn to_pods(&self, status: &BTreeSet<Address>) -> BTreeSet<u32> {
        spaces(&self.links, &self.ways_out(status))
            .into_values()
            .flatten()
            .collect()
    }
}

/// The addresses that the status of this node's Node lists.
pub(in crate::agent) fn of_status(world: &World) -> BTreeSet<Address> {
    let node = world.node_document(world.node());
    node.iter().flat_map(|node| node.addresses.iter().copied()).collect()
}

impl Locals {
    /// Looks at the kernel for the pods of this node. A failure to look changes nothing.
    pub(in crate::agent) fn look_by_address(
        links: &mut Links,
        world: &World,
        bindings: &mut Bindings,
        former: &Self,
    ) -> Self {
        match Self::try_by_address(links, world, bindings, former) {
            Ok(locals) => locals,
            Err(error) => Self {
                missing: vec![format!("interfaces cannot be listed: {error}")],
                ..former.clone()
            },
        }
    }

    fn try_by_address(
        links: &mut Links,
        world: &World,
        bindings: &mut Bindings,
        former: &Self,
    ) -> Result<Self, cellwall_datapath::NetlinkError> {
        let view = NodeSide::take(links)?;
        let spaces = spaces(&view.links, &view.ways_out(&of_status(world)));
        let NodeSide {
            links: host, addresses, ..
        } = view;
        let mut inside: BTreeMap<NamespaceId, PodLinks> = BTreeMap::new();
        for id in spaces.keys() {
            match links.pod(&host, *id) {
                Ok(seen) => {
                    inside.insert(*id, seen);
                }
                // It may have gone this moment; if not, what is known of it stays.
                Err(error) => tracing::debug!(%error, namespace = %id, "not looked into"),
            }
        }
        let seen: Vec<Seen> = spaces
            .iter()
            .map(|(id, ends)| Seen {
                id: *id,
                ends: ends.clone(),
                addresses: inside.get(id).map(global),
            })
            .collect();
        let exists = |uid: &Name| world.pod(uid).is_some();
        bindings.look(&seen, &wanted(world), exists, Instant::now());
        let mut found = Self {
            node: of_node(&addresses, &host),
            missing: bindings.missing.clone(),
            ..Self::default()
        };
        for (id, ends) in &spaces {
            let pod = match bindings.whose(*id) {
                Whose::Foreign => continue,
                Whose::Pod(pod) => Some(pod),
                Whose::Unknown => None,
            };
            found.enter(world, pod, ends, inside.get(id), &host, former);
        }
        found.all = host;
        found.links.sort_unstable();
        Ok(found)
    }

    /// The interfaces that lead into one namespace.
    fn enter(
        &mut self,
        world: &World,
        pod: Option<Name>,
        ends: &BTreeSet<u32>,
        inside: Option<&PodLinks>,
        host: &[links::Link],
        former: &Self,
    ) {
        for link in host.iter().filter(|link| ends.contains(&link.ifindex)) {
            let end = inside.and_then(|inside| inside.ends.iter().find(|end| end.link.ifindex == link.ifindex));
            let mac = match end.and_then(|end| end.inside.as_ref()) {
                Some(end) => end.mac,
                None => former.links.iter().find(|l| l.ifindex == link.ifindex).map(|l| l.mac),
            };
            self.hosts.insert(link.ifindex, link.clone());
            self.links.push(Link {
                ifindex: link.ifindex,
                master: link.master.unwrap_or(0),
                pod: pod.clone(),
                mac: mac.unwrap_or_default(),
            });
        }
        let Some(pod) = pod else { return };
        let Some(inside) = inside else {
            if let Some(found) = former.found.get(&pod) {
                self.found.insert(pod, found.clone());
            }
            return;
        };
        let shown = world
            .pod(&pod)
            .map_or_else(|| pod.to_string(), |pod| format!("{}/{}", pod.namespace, pod.name));
        for link in &inside.unguarded {
            self.missing.push(format!(
                "pod {shown}: interface {} has no end on this side and cannot be guarded; use a veth",
                cellwall_crds::escaped(&link.name)
            ));
        }
        let all = inside.addresses.iter().map(|address| Address::new(address.ip));
        let (link_local, global) = all.partition(|address| address.is_link_local());
        self.found.insert(pod, (global, link_local));
    }
}

/// Interfaces of ours that lead into other namespaces, by namespace.
fn spaces(host: &[links::Link], ways_out: &BTreeSet<u32>) -> BTreeMap<NamespaceId, BTreeSet<u32>> {
    let mut spaces: BTreeMap<NamespaceId, BTreeSet<u32>> = BTreeMap::new();
    for link in host.iter().filter(|link| link.kind == "veth") {
        let elsewhere = link.peer.and_then(|peer| peer.namespace);
        if let Some(id) = elsewhere.filter(|_| !ways_out.contains(&link.ifindex)) {
            spaces.entry(id).or_default().insert(link.ifindex);
        }
    }
    spaces
}

/// These interfaces, their ports and their parents, and so on.
fn below(mut all: BTreeSet<u32>, host: &[links::Link]) -> BTreeSet<u32> {
    loop {
        let ports = host
            .iter()
            .filter(|link| link.master.is_some_and(|master| all.contains(&master)))
            .map(|link| link.ifindex);
        let parents = host
            .iter()
            .filter(|link| all.contains(&link.ifindex))
            .filter_map(|link| link.peer.filter(|peer| peer.namespace.is_none() && link.kind != "veth"))
            .map(|peer| peer.ifindex);
        let more: BTreeSet<u32> = ports.chain(parents).filter(|ifindex| !all.contains(ifindex)).collect();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

/// Addresses inside that a pod may be known by.
fn global(inside: &PodLinks) -> BTreeSet<Address> {
    let all = inside.addresses.iter().map(|address| Address::new(address.ip));
    all.filter(|address| !address.is_link_local() && !address.is_loopback())
        .collect()
}

/// The pods of this node that have a network of their own.
fn wanted(world: &World) -> Vec<Wanted> {
    let local = world
        .pods()
        .filter(|pod| pod.phase.is_live() && !pod.host_network && world.is_local(pod));
    local
        .map(|pod| Wanted {
            uid: pod.uid.clone(),
            shown: format!("{}/{}", pod.namespace, pod.name),
            addresses: pod.addresses.iter().copied().collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(ifindex: u32, kind: &str, master: Option<u32>, peer: Option<(Option<i32>, u32)>) -> links::Link {
        links::Link {
            ifindex,
            name: format!("if{ifindex}"),
            kind: kind.to_owned(),
            mac: None,
            master,
            peer: peer.map(|(namespace, ifindex)| links::Peer {
                namespace: namespace.map(NamespaceId::new),
                ifindex,
            }),
            up: true,
            loopback: false,
        }
    }

    #[test]
    fn a_nodes_way_out_is_none_of_a_pods_though_it_is_a_veth() {
        let host = [
            link(2, "veth", None, Some((Some(0), 5))),
            link(3, "bridge", None, None),
            link(4, "veth", Some(3), Some((Some(1), 2))),
            link(5, "veth", None, Some((Some(2), 2))),
            link(6, "veth", None, Some((None, 7))),
        ];
        let ways_out = below(BTreeSet::from([2]), &host);
        let found = spaces(&host, &ways_out);
        let expected = [(1, 4), (2, 5)].map(|(id, ifindex)| (NamespaceId::new(id), BTreeSet::from([ifindex])));
        assert_eq!(found, BTreeMap::from(expected));
    }

    #[test]
    fn what_lies_below_a_way_out_is_one_too() {
        let host = [
            link(2, "veth", Some(3), Some((Some(0), 5))),
            link(3, "bridge", None, None),
            link(4, "vlan", None, Some((None, 3))),
            link(5, "veth", None, Some((Some(1), 2))),
        ];
        assert_eq!(below(BTreeSet::from([4]), &host), BTreeSet::from([2, 3, 4]));
    }
}
