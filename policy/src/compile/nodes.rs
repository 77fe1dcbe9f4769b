//! Nodes and their addresses: of the status, of the agent's report, and of the host-network pods on them.

use rustc_hash::{FxHashMap, FxHashSet};

use super::addresses::{Addresses, Serial, is_routable};
use super::ranges::Ranges;
use crate::model::{Address, Cidr, Name};
use crate::world::World;

#[derive(Debug)]
struct Node {
    name: Name,
    serial: Serial,
    local: bool,
    /// None: nobody was judged by it yet.
    enforces: Option<bool>,
    addresses: Vec<Address>,
    pod_cidrs: Vec<Cidr>,
    host_pods: FxHashSet<Name>,
}

/// All nodes that a document, a report or a pod speaks of.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    by_name: FxHashMap<Name, u32>,
    slots: Vec<Node>,
    dirty: FxHashSet<u32>,
}

/// What looking at the changed nodes again showed.
#[derive(Debug, Default)]
pub(super) struct Refreshed {
    /// Nodes that began or ceased to enforce.
    pub(super) enforcement: FxHashSet<Name>,
    /// Nodes whose addresses changed.
    pub(super) addresses: Vec<Name>,
}

impl Nodes {
    /// The number of the node; nodes are few and keep theirs.
    fn entry(&mut self, name: &Name, world: &World, serial: &mut Serial) -> u32 {
        if let Some(at) = self.by_name.get(name) {
            return *at;
        }
        let at = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        *serial += 1;
        self.by_name.insert(name.clone(), at);
        self.slots.push(Node {
            name: name.clone(),
            serial: *serial,
            local: name == world.node(),
            enforces: None,
            addresses: Vec::new(),
            pod_cidrs: Vec::new(),
            host_pods: FxHashSet::default(),
        });
        at
    }

    /// The node's document or report changed.
    pub(super) fn touch(&mut self, name: &Name, world: &World, serial: &mut Serial) {
        let at = self.entry(name, world, serial);
        self.dirty.insert(at);
    }

    /// A host-network pod (by UID) is, or is no longer, on the node.
    pub(super) fn host_pod(&mut self, node: &Name, uid: &Name, present: bool, world: &World, serial: &mut Serial) {
        let at = self.entry(node, world, serial);
        self.dirty.insert(at);
        let pods = &mut self.slots[at as usize].host_pods;
        if present {
            pods.insert(uid.clone());
        } else {
            pods.remove(uid);
        }
    }

    /// Looks at the changed nodes again.
    pub(super) fn refresh(&mut self, world: &World, addresses: &mut Addresses, ranges: &mut Ranges) -> Refreshed {
        let mut refreshed = Refreshed::default();
        for at in std::mem::take(&mut self.dirty) {
            let node = &mut self.slots[at as usize];
            let now = addresses_of(node, world);
            if now != node.addresses {
                refreshed.addresses.push(node.name.clone());
            }
            for gone in node
                .addresses
                .iter()
                .filter(|address| now.binary_search(address).is_err())
            {
                addresses.unclaim_node(*gone, at);
            }
            for new in now
                .iter()
                .filter(|address| node.addresses.binary_search(address).is_err())
            {
                addresses.claim_node(*new, at);
            }
            node.addresses = now;
            let document = world.node_document(&node.name);
            let cidrs = document.map(|node| node.pod_cidrs.clone()).unwrap_or_default();
            ranges.replace_pod_ranges(&node.pod_cidrs, &cidrs);
            node.pod_cidrs = cidrs;
            let enforces = Some(world.enforces(&node.name));
            if node.enforces != enforces {
                node.enforces = enforces;
                refreshed.enforcement.insert(node.name.clone());
            }
        }
        refreshed
    }

    /// The addresses of a node, sorted.
    pub(super) fn addresses(&self, name: &str) -> &[Address] {
        self.by_name
            .get(name)
            .map_or(&[], |at| &self.slots[*at as usize].addresses)
    }

    /// Of several nodes that have one address: whether the local one is among them, and the first one's serial.
    pub(super) fn owner(&self, nodes: &[u32]) -> (bool, Serial) {
        let all = || nodes.iter().map(|at| &self.slots[*at as usize]);
        let local = all().find(|node| node.local);
        let serial = local
            .map(|node| node.serial)
            .or_else(|| all().map(|node| node.serial).min());
        (local.is_some(), serial.unwrap_or(0))
    }
}

/// A node's addresses, sorted.
fn addresses_of(node: &Node, world: &World) -> Vec<Address> {
    let document = world.node_document(&node.name);
    let status = document.iter().flat_map(|node| node.addresses.iter());
    let pods = node.host_pods.iter().filter_map(|uid| world.pod(uid));
    let pods: Vec<Address> = pods.flat_map(|pod| pod.addresses.iter().copied()).collect();
    let report = world.report(&node.name);
    let reported = report.iter().flat_map(|report| report.addresses.iter());
    let all = status.chain(&pods).chain(reported).copied();
    let mut addresses: Vec<Address> = all.filter(|address| is_routable(*address)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
