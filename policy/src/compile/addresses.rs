//! Who has an address: pods before nodes before Services, of pods the one created later, then the larger UID.

use rustc_hash::FxHashMap;

use super::released::Released;
use super::sets::Sets;
use crate::compiled::{AddressEntry, Change, PeerClass, PeerId};
use crate::model::Address;

/// A number for each owner there ever was, so that a new owner is never taken for the old one.
pub(super) type Serial = u32;

const NO_POD: u32 = u32::MAX;
/// The peer of an entry that was never told.
const UNTOLD: PeerId = PeerId(u32::MAX);
const UNTOLD_ENTRY: AddressEntry = AddressEntry {
    peer: UNTOLD,
    since: 0,
    ifindex: 0,
};

#[derive(Debug, Clone, Copy)]
struct Slot {
    pod: u32,
    owner: Serial,
    entry: AddressEntry,
}

/// What a Service lists an address as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    ClusterIp,
    External,
}

#[derive(Debug, Default)]
struct Claims {
    /// Node numbers.
    nodes: Vec<u32>,
    /// Serials of Services.
    cluster: Vec<Serial>,
    external: Vec<Serial>,
}

/// An owner as it is now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) serial: Serial,
    pub(super) peer: PeerId,
    pub(super) ifindex: u32,
}

/// Who claims an address, the strongest claim first.
#[derive(Debug, Clone, Copy)]
pub(super) enum Claimed<'a> {
    Pod(u32),
    Nodes(&'a [u32]),
    Service(Listed, Serial),
    Nobody,
}

/// All exact addresses.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    slots: FxHashMap<Address, Slot>,
    /// Pods that claim one address, where there are several.
    contested: FxHashMap<Address, Vec<u32>>,
    others: FxHashMap<Address, Claims>,
    released: Released,
    /// Addresses to look at again, some of them more than once.
    dirty: Vec<Address>,
}

/// Whether an address can be a pod's.
pub(super) fn is_usable(address: Address) -> bool {
    !address.is_loopback() && !address.is_multicast_or_broadcast() && !address.ip().is_unspecified()
}

/// Whether an address can be a node's or a Service's: a link-local one never leaves its link, and on a pod's link it
/// is the pod's or its own node's, whoever lists it.
pub(super) fn is_routable(address: Address) -> bool {
    is_usable(address) && !address.is_link_local()
}

impl Addresses {
    /// Makes room for about so many more.
    pub(super) fn reserve(&mut self, more: usize) {
        self.slots.reserve(more);
        self.dirty.reserve(more);
    }

    /// The pod says it has the address.
    pub(super) fn claim(&mut self, address: Address, pod: u32) {
        self.dirty.push(address);
        let slot = self.slots.entry(address).or_insert(Slot {
            pod: NO_POD,
            owner: 0,
            entry: UNTOLD_ENTRY,
        });
        if slot.pod == NO_POD {
            slot.pod = pod;
        } else if slot.pod != pod {
            let first = slot.pod;
            let all = self.contested.entry(address).or_insert_with(|| vec![first]);
            if !all.contains(&pod) {
                all.push(pod);
            }
        }
    }

    /// The pod still says so, though another of its claims to the same address may have ended.
    pub(super) fn keep_claim(&mut self, address: Address, pod: u32) {
        let stands = match self.contested.get(&address) {
            Some(all) => all.contains(&pod),
            None => self.slots.get(&address).is_some_and(|slot| slot.pod == pod),
        };
        if !stands {
            self.claim(address, pod);
        }
    }

    /// The pod no longer says so.
    pub(super) fn unclaim(&mut self, address: Address, pod: u32) {
        self.dirty.push(address);
        let Some(slot) = self.slots.get_mut(&address) else {
            return;
        };
        let Some(all) = self.contested.get_mut(&address) else {
            if slot.pod == pod {
                slot.pod = NO_POD;
            }
            return;
        };
        all.retain(|other| *other != pod);
        if let [only] = all.as_slice() {
            slot.pod = *only;
            self.contested.remove(&address);
        } else if slot.pod == pod {
            slot.pod = all.first().copied().unwrap_or(NO_POD);
        }
    }

    /// A node has the address.
    pub(super) fn claim_node(&mut self, address: Address, node: u32) {
        self.dirty.push(address);
        self.others.entry(address).or_default().nodes.push(node);
    }

    /// It no longer does.
    pub(super) fn unclaim_node(&mut self, address: Address, node: u32) {
        self.dirty.push(address);
        if let Some(claims) = self.others.get_mut(&address) {
            claims.nodes.retain(|other| *other != node);
        }
    }

    /// A Service lists the address.
    pub(super) fn claim_service(&mut self, address: Address, listed: Listed, service: Serial) {
        self.dirty.push(address);
        let claims = self.others.entry(address).or_default();
        match listed {
            Listed::ClusterIp => claims.cluster.push(service),
            Listed::External => claims.external.push(service),
        }
    }

    /// It no longer does.
    pub(super) fn unclaim_service(&mut self, address: Address, listed: Listed, service: Serial) {
        self.dirty.push(address);
        let Some(claims) = self.others.get_mut(&address) else {
            return;
        };
        let list = match listed {
            Listed::ClusterIp => &mut claims.cluster,
            Listed::External => &mut claims.external,
        };
        if let Some(at) = list.iter().position(|other| *other == service) {
            list.swap_remove(at);
        }
    }

    /// What is said of the address is to be looked at again.
    pub(super) fn touch(&mut self, address: Address) {
        self.dirty.push(address);
    }

    /// Addresses of nodes and Services: ranges say which objects these are in.
    pub(super) fn of_nodes_and_services(&self) -> impl Iterator<Item = Address> + '_ {
        self.others.keys().copied()
    }

    /// Pods of each address that several claim.
    pub(super) fn contested(&self) -> impl Iterator<Item = (Address, &[u32])> {
        self.contested.iter().map(|(address, pods)| (*address, pods.as_slice()))
    }

    /// Which pod has the address; `better` says whether its first argument goes before its second.
    pub(super) fn pod_of(&self, address: Address, better: impl Fn(u32, u32) -> bool) -> Option<u32> {
        if !self.contested.is_empty()
            && let Some(all) = self.contested.get(&address)
        {
            return all
                .iter()
                .copied()
                .reduce(|one, other| if better(other, one) { other } else { one });
        }
        let slot = self.slots.get(&address)?;
        (slot.pod != NO_POD).then_some(slot.pod)
    }

    /// The strongest claim.
    pub(super) fn claimed(&self, address: Address, better: impl Fn(u32, u32) -> bool) -> Claimed<'_> {
        if let Some(pod) = self.pod_of(address, better) {
            return Claimed::Pod(pod);
        }
        let Some(claims) = self.others.get(&address) else {
            return Claimed::Nobody;
        };
        let first = |list: &[Serial]| list.iter().min().copied();
        match (claims.nodes.as_slice(), first(&claims.cluster), first(&claims.external)) {
            (nodes @ [_, ..], ..) => Claimed::Nodes(nodes),
            ([], Some(service), _) => Claimed::Service(Listed::ClusterIp, service),
            ([], None, Some(service)) => Claimed::Service(Listed::External, service),
            ([], None, None) => Claimed::Nobody,
        }
    }

    /// The addresses to look at again, in order.
    pub(super) fn take_dirty(&mut self) -> Vec<Address> {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        dirty
    }

    /// What was last told of the address.
    pub(super) fn entry(&self, address: Address) -> Option<AddressEntry> {
        self.slots
            .get(&address)
            .map(|slot| slot.entry)
            .filter(|entry| entry.peer != UNTOLD)
    }

    /// Tells that `address` is `owner`'s as of `generation`. Answers the peers before and after, where they differ
    /// or the entry does.
    pub(super) fn tell(
        &mut self,
        address: Address,
        owner: Option<Owner>,
        generation: u32,
        sets: &mut Sets,
        changes: &mut Vec<Change>,
    ) -> Option<(Option<PeerId>, Option<PeerId>)> {
        let slot = self.slots.get_mut(&address);
        let (last, told) = slot.as_ref().map_or((0, UNTOLD_ENTRY), |slot| (slot.owner, slot.entry));
        let before = (told.peer != UNTOLD).then_some(told);
        let after = owner.map(|owner| AddressEntry {
            peer: owner.peer,
            since: match before {
                Some(entry) if last == owner.serial => entry.since,
                Some(_) => generation,
                None => self.released.since(address, owner.serial),
            },
            ifindex: owner.ifindex,
        });
        match (owner, after, slot) {
            (Some(owner), Some(entry), Some(slot)) => {
                slot.owner = owner.serial;
                slot.entry = entry;
            }
            (Some(owner), Some(entry), None) => {
                let slot = Slot {
                    pod: NO_POD,
                    owner: owner.serial,
                    entry,
                };
                self.slots.insert(address, slot);
            }
            _ => self.forget(address, generation),
        }
        if before == after {
            return None;
        }
        if let Some(entry) = after {
            sets.hold_peer(entry.peer);
        }
        if let Some(entry) = before {
            sets.release_peer(entry.peer);
        }
        changes.push(Change::Address(address, after));
        Some((before.map(|entry| entry.peer), after.map(|entry| entry.peer)))
    }

    fn forget(&mut self, address: Address, generation: u32) {
        if let Some(slot) = self.slots.remove(&address)
            && slot.entry.peer != UNTOLD
        {
            self.released
                .remember(address, slot.owner, slot.entry.since, generation);
        }
        let empty =
            |claims: &Claims| claims.nodes.is_empty() && claims.cluster.is_empty() && claims.external.is_empty();
        if self.others.get(&address).is_some_and(empty) {
            self.others.remove(&address);
        }
    }

    /// All that was told, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Address, AddressEntry)> {
        let told = self.slots.iter().filter(|(_, slot)| slot.entry.peer != UNTOLD);
        told.map(|(address, slot)| (*address, slot.entry))
    }
}

/// The class of what a Service lists.
impl From<Listed> for PeerClass {
    fn from(listed: Listed) -> Self {
        match listed {
            Listed::ClusterIp => Self::ClusterIp,
            Listed::External => Self::ExternalIp,
        }
    }
}
