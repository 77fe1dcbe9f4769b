//! Pods as the compiler last saw them.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::addresses::{Addresses, Serial, is_usable};
use super::ids::{Ids, put};
use super::nodes::Nodes;
use super::objects::Objects;
use super::signatures::{SignatureId, Signatures};
use crate::model::{Address, Name, Pod};
use crate::world::World;

#[derive(Debug)]
pub(super) struct Seen {
    pub(super) doc: Arc<Pod>,
    pub(super) serial: Serial,
    /// None for a pod that is matched by no object: finished, or on the host's network.
    pub(super) signature: Option<SignatureId>,
}

/// All pods.
#[derive(Debug, Default)]
pub(super) struct Pods {
    ids: Ids,
    by_uid: FxHashMap<Name, u32>,
    slots: Vec<Option<Seen>>,
    /// Live pods that have no address yet, by number.
    pub(super) waiting: rustc_hash::FxHashSet<u32>,
    /// Live pods of the node's own network that have host ports, by number.
    pub(super) with_host_ports: FxHashMap<u32, Name>,
    /// Pods whose host ports are to be looked at again.
    pub(super) host_ports_changed: Vec<u32>,
}

/// The rooms that a pod's arrival or departure is told to.
pub(super) struct Rooms<'a> {
    pub(super) world: &'a World,
    pub(super) objects: &'a Objects,
    pub(super) signatures: &'a mut Signatures,
    pub(super) addresses: &'a mut Addresses,
    pub(super) nodes: &'a mut Nodes,
    pub(super) serial: &'a mut Serial,
}

impl Pods {
    pub(super) fn settle(&mut self) {
        self.ids.settle();
    }

    pub(super) fn reserve(&mut self, more: usize) {
        self.by_uid.reserve(more);
        self.slots.reserve(more);
    }

    /// The pod numbered `at`.
    pub(super) fn get(&self, at: u32) -> Option<&Seen> {
        self.slots.get(at as usize)?.as_ref()
    }

    /// The pod of this UID.
    pub(super) fn by_uid(&self, uid: &str) -> Option<(u32, &Seen)> {
        let at = *self.by_uid.get(uid)?;
        Some((at, self.get(at)?))
    }

    /// All pods, by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Seen)> {
        let numbered = (0u32..).zip(&self.slots);
        numbered.filter_map(|(at, slot)| Some((at, slot.as_ref()?)))
    }

    /// Whether `one` has an address rather than `other`.
    pub(super) fn goes_before(&self, one: u32, other: u32) -> bool {
        let rank = |at: u32| self.get(at).map(|pod| (pod.doc.created, &pod.doc.uid));
        rank(one) > rank(other)
    }

    /// Puts the pod `uid` in force as `new`, or takes it away.
    pub(super) fn replace(&mut self, uid: &Name, new: Option<&Arc<Pod>>, rooms: &mut Rooms<'_>) {
        let at = self.by_uid.get(uid).copied();
        if at.and_then(|at| self.get(at)).map(|seen| &seen.doc) == new {
            return;
        }
        let old = at.and_then(|at| self.slots.get_mut(at as usize)?.take());
        let serial = old.as_ref().map_or_else(
            || {
                *rooms.serial += 1;
                *rooms.serial
            },
            |old| old.serial,
        );
        // The new one is entered before the old one leaves, so that what they share is kept.
        let at = at.unwrap_or_else(|| self.ids.take());
        let signature = new.and_then(|doc| self.enter(at, doc, rooms));
        if let Some(old) = old {
            self.leave(at, &old, new, rooms);
        }
        let Some(doc) = new else {
            self.by_uid.remove(uid);
            self.ids.give(at);
            return;
        };
        self.by_uid.insert(uid.clone(), at);
        let seen = Seen {
            doc: doc.clone(),
            serial,
            signature,
        };
        put(&mut self.slots, at, seen);
    }

    fn enter(&mut self, at: u32, doc: &Arc<Pod>, rooms: &mut Rooms<'_>) -> Option<SignatureId> {
        if !doc.phase.is_live() {
            return None;
        }
        if doc.host_network {
            rooms
                .nodes
                .host_pod(rooms.world.node_of(doc), &doc.uid, true, rooms.world, rooms.serial);
            return None;
        }
        addresses_of(doc, rooms.world).for_each(|address| rooms.addresses.claim(address, at));
        if doc.addresses.is_empty() {
            self.waiting.insert(at);
        }
        if !doc.host_ports.is_empty() {
            self.with_host_ports.insert(at, rooms.world.node_of(doc).clone());
            self.host_ports_changed.push(at);
        }
        Some(rooms.signatures.add(at, doc, rooms.world, rooms.objects))
    }

    fn leave(&mut self, at: u32, old: &Seen, new: Option<&Arc<Pod>>, rooms: &mut Rooms<'_>) {
        let still = new.filter(|doc| doc.phase.is_live());
        let still_own = still.filter(|doc| !doc.host_network);
        let still_host = still.filter(|doc| doc.host_network).map(|doc| rooms.world.node_of(doc));
        if old.doc.host_network {
            let node = rooms.world.node_of(&old.doc);
            if still_host != Some(node) {
                rooms
                    .nodes
                    .host_pod(node, &old.doc.uid, false, rooms.world, rooms.serial);
            }
        }
        let Some(signature) = old.signature else { return };
        let kept = |address| still_own.is_some_and(|doc| addresses_of(doc, rooms.world).any(|a| a == address));
        for address in addresses_of(&old.doc, rooms.world) {
            if !kept(address) {
                rooms.addresses.unclaim(address, at);
            }
        }
        if still_own.is_none_or(|doc| !doc.addresses.is_empty()) {
            self.waiting.remove(&at);
        }
        if !old.doc.host_ports.is_empty() {
            self.host_ports_changed.push(at);
            if still_own.is_none_or(|doc| doc.host_ports.is_empty()) {
                self.with_host_ports.remove(&at);
            }
        }
        rooms.signatures.remove(at, signature);
    }
}

/// The addresses a pod has: its own of both families, and for a pod of this node those on its link.
pub(super) fn addresses_of<'a>(doc: &'a Pod, world: &World) -> impl Iterator<Item = Address> + 'a {
    let link_local: &[Address] = if world.is_local(doc) { &doc.link_local } else { &[] };
    doc.addresses
        .iter()
        .chain(link_local)
        .copied()
        .filter(|address| is_usable(*address))
}
