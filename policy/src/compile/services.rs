//! Ports at which an address stands for backends: of Services, node ports, and host ports.

mod claims;
mod content;

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::addresses::{Addresses, Listed, Serial, is_routable};
use super::backends::{Backend, Slices};
use super::ids::Interned;
use super::nodes::Nodes;
use super::pods::Pods;
use super::ranges::Ranges;
use crate::compiled::{Change, PeerClass, PeerId, ServiceKey, ServiceScope};
use crate::model::{Address, EndpointSlice, Name, Service, Transport};
use crate::world::World;

/// One of those that a Service port stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Part {
    pub(super) peer: PeerId,
    pub(super) port: u16,
    /// No pod hook will see the packet again.
    pub(super) unseen: bool,
}

/// What a Service port stands for; equal ones are one peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Content {
    pub(super) transport: Transport,
    pub(super) parts: Vec<Part>,
}

/// Who makes an address stand for backends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Claimant {
    Service(Name, Name),
    /// A pod with host ports, by number.
    Pod(u32),
}

/// One port of a claimant: where it is found, and what is behind it in either family.
#[derive(Debug, Default)]
struct Port {
    backends: [Vec<Backend>; 2],
}

#[derive(Debug, Default)]
struct Claim {
    serial: Serial,
    listed: Vec<(Address, Listed)>,
    ports: Vec<Port>,
    keys: Vec<(ServiceKey, usize)>,
    backends: Vec<Address>,
}

#[derive(Debug, Default)]
struct Key {
    claims: Vec<(Claimant, usize)>,
    told: Option<PeerId>,
}

/// What Services, slices, nodes and pods are needed to look at a claimant.
pub(super) struct View<'a> {
    pub(super) world: &'a World,
    pub(super) pods: &'a Pods,
    pub(super) nodes: &'a Nodes,
    pub(super) addresses: &'a Addresses,
    pub(super) ranges: &'a Ranges,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Services {
    slices: Slices,
    claims: FxHashMap<Claimant, Claim>,
    keys: FxHashMap<ServiceKey, Key>,
    at_address: FxHashMap<Address, FxHashSet<ServiceKey>>,
    /// Keys at addresses that host ports claim, by what they share with a node port.
    host_keys: FxHashMap<(Transport, u16), FxHashSet<ServiceKey>>,
    by_backend: FxHashMap<Address, Vec<Claimant>>,
    /// Claimants found at node addresses.
    at_nodes: FxHashSet<Claimant>,
    /// Peers that addresses and ranges of nodes have, by family, with their number.
    node_peers: FxHashMap<(PeerId, bool), u32>,
    pub(super) contents: Interned<Content>,
    dirty: FxHashSet<Claimant>,
    dirty_keys: FxHashSet<ServiceKey>,
}

impl Services {
    pub(super) fn settle(&mut self) {
        self.contents.settle();
    }

    /// The Service's document changed. Its addresses are claimed or given up at once.
    pub(super) fn replace(
        &mut self,
        key: &(Name, Name),
        new: Option<&Arc<Service>>,
        addresses: &mut Addresses,
        serial: &mut Serial,
    ) {
        let claimant = Claimant::Service(key.0.clone(), key.1.clone());
        self.dirty.insert(claimant.clone());
        let claim = self.claims.entry(claimant).or_insert_with(|| {
            *serial += 1;
            Claim {
                serial: *serial,
                ..Claim::default()
            }
        });
        for (address, listed) in std::mem::take(&mut claim.listed) {
            addresses.unclaim_service(address, listed, claim.serial);
        }
        let Some(service) = new else { return };
        let cluster = service.cluster_ips.iter().map(|address| (*address, Listed::ClusterIp));
        let external = service.external_ips.iter().map(|address| (*address, Listed::External));
        claim.listed = cluster
            .chain(external)
            .filter(|(address, _)| is_routable(*address))
            .collect();
        claim
            .listed
            .sort_unstable_by_key(|(address, listed)| (*address, *listed as u8));
        claim.listed.dedup();
        for (address, listed) in &claim.listed {
            addresses.claim_service(*address, *listed, claim.serial);
        }
    }

    /// The slice's document changed.
    pub(super) fn replace_slice(&mut self, key: &(Name, Name), new: Option<&Arc<EndpointSlice>>) {
        for (namespace, name) in self.slices.replace(key, new) {
            self.dirty.insert(Claimant::Service(namespace, name));
        }
    }

    /// The pod's host ports or addresses changed.
    pub(super) fn touch_host_ports(&mut self, pod: u32) {
        self.dirty.insert(Claimant::Pod(pod));
    }

    /// An address has another peer now.
    pub(super) fn address_changed(&mut self, address: Address, before: Option<PeerId>, after: Option<PeerId>) {
        self.dirty
            .extend(self.by_backend.get(&address).into_iter().flatten().cloned());
        // Whose ports count here may have changed, and a node is itself part of what its host ports stand for.
        self.dirty_keys
            .extend(self.at_address.get(&address).into_iter().flatten().copied());
        self.count_node_peer(before, after, address.is_v4());
    }

    /// Counts the peers of nodes; when one comes or goes, all node ports are looked at again.
    pub(super) fn count_node_peer(&mut self, before: Option<PeerId>, after: Option<PeerId>, v4: bool) {
        let is_node = |peer: &PeerId| matches!(peer.class(), PeerClass::Node | PeerClass::LocalNode);
        if let Some(peer) = after.filter(is_node) {
            let count = self.node_peers.entry((peer, v4)).or_default();
            *count += 1;
            if *count == 1 {
                self.dirty.extend(self.at_nodes.iter().cloned());
            }
        }
        if let Some(peer) = before.filter(is_node)
            && let Some(count) = self.node_peers.get_mut(&(peer, v4))
        {
            *count -= 1;
            if *count == 0 {
                self.node_peers.remove(&(peer, v4));
                self.dirty.extend(self.at_nodes.iter().cloned());
            }
        }
    }

    /// Ranges changed: backends and host ports at addresses that only ranges speak of are looked at again.
    pub(super) fn ranges_changed(&mut self, addresses: &Addresses) {
        let is_inexact = |address: &Address| addresses.entry(*address).is_none();
        let inexact = self.by_backend.iter().filter(|(address, _)| is_inexact(address));
        let claimants = inexact.flat_map(|(_, claimants)| claimants.iter().cloned());
        self.dirty.extend(claimants);
        let inexact = self.at_address.iter().filter(|(address, _)| is_inexact(address));
        self.dirty_keys
            .extend(inexact.flat_map(|(_, keys)| keys.iter().copied()));
    }

    /// Looks at what changed and tells the new entries.
    pub(super) fn refresh(&mut self, view: &View<'_>, changes: &mut Vec<Change>) {
        let mut dirty: Vec<Claimant> = self.dirty.drain().collect();
        dirty.sort_unstable();
        for claimant in dirty {
            self.look_at(&claimant, view);
        }
        // A host port at one address stands for what is behind the node port of the same number too.
        let node_ports = self
            .dirty_keys
            .iter()
            .filter(|key| matches!(key.scope, ServiceScope::Peer(_)));
        let alike = node_ports.filter_map(|key| self.host_keys.get(&(key.transport, key.port)));
        let alike: Vec<ServiceKey> = alike.flatten().copied().collect();
        self.dirty_keys.extend(alike);
        let mut keys: Vec<ServiceKey> = self.dirty_keys.drain().collect();
        keys.sort_unstable();
        for key in keys {
            self.tell(key, view, changes);
        }
    }

    fn look_at(&mut self, claimant: &Claimant, view: &View<'_>) {
        let old = self.claims.remove(claimant).unwrap_or_default();
        let new = match claimant {
            Claimant::Service(namespace, name) => self.of_service(&(namespace.clone(), name.clone()), &old, view),
            Claimant::Pod(pod) => self.of_pod(*pod, view),
        };
        for (key, _) in &old.keys {
            if let Some(entry) = self.keys.get_mut(key) {
                entry.claims.retain(|(other, _)| other != claimant);
            }
            self.dirty_keys.insert(*key);
        }
        for address in &old.backends {
            if let Some(list) = self.by_backend.get_mut(address) {
                list.retain(|other| other != claimant);
                if list.is_empty() {
                    self.by_backend.remove(address);
                }
            }
        }
        let Some(new) = new else {
            self.at_nodes.remove(claimant);
            return;
        };
        for (key, port) in &new.keys {
            self.keys
                .entry(*key)
                .or_default()
                .claims
                .push((claimant.clone(), *port));
            if let ServiceScope::Address(address) = key.scope {
                self.at_address.entry(address).or_default().insert(*key);
                if matches!(claimant, Claimant::Pod(_)) {
                    let alike = self.host_keys.entry((key.transport, key.port)).or_default();
                    alike.insert(*key);
                }
            }
            self.dirty_keys.insert(*key);
        }
        for address in &new.backends {
            self.by_backend.entry(*address).or_default().push(claimant.clone());
        }
        self.claims.insert(claimant.clone(), new);
    }

    /// All entries, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ServiceKey, PeerId)> {
        self.keys.iter().filter_map(|(key, entry)| Some((*key, entry.told?)))
    }
}
