//! Which network namespace is which pod's, where nobody names it.
//!
//! The API server says which addresses a pod has; the kernel says which addresses lie in a namespace. The one finds
//! the other, but a pod's root may put any address into its own namespace. So:
//!
//! - What counts is what a namespace was *born* with: its global addresses when any was seen first. The network plugin
//!   puts them there before a container runs.
//! - The first binding stays for as long as the pod is there. A pod has one namespace and a namespace one pod. A pod
//!   moves only when the API server gives it other addresses and another namespace was born with one of those (its
//!   sandbox was made anew).
//! - Where a network plugin tells of a pod that it has just made a network for ([`Claim`]), that binds: nothing of the
//!   pod has run yet. The pod has then the addresses that it was given, until the API server tells of any.
//! - A pod's own address that came into its namespace later than another (a router told it one first) counts where
//!   nothing else can be meant: the pod and the namespace have been without each other for [`GRACE`], no other pod of
//!   the node waits for either, every pod's address is known, so that the namespace is no newer pod's, and it never was
//!   another's.
//! - Where the births of two namespaces would make both the same pod's, a pod that could be in one namespace only takes
//!   that one first; what is left undecided is nobody's, and `startup` decides there.
//! - A namespace that no pod wants is still treated as a pod's that is not known yet, until it is [`FOREIGN`] old and
//!   every pod of the node is accounted for: then it is none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use cellwall_datapath::links::NamespaceId;
use cellwall_policy::model::{Address, Name};

/// Age from which a namespace that no pod of the node can be in is taken for none of a pod.
pub(super) const FOREIGN: Duration = Duration::from_secs(30);
/// How long a pod with addresses may be without an interface before that is told.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// A namespace as it looks now.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) id: NamespaceId,
    /// The interfaces of ours that lead into it.
    pub(super) ends: BTreeSet<u32>,
    /// Global addresses inside; none: they could not be listed.
    pub(super) addresses: Option<BTreeSet<Address>>,
}

/// A live pod of this node that has a network of its own.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) uid: Name,
    /// `namespace/name`, for messages.
    pub(super) shown: String,
    /// Its addresses by the API server.
    pub(super) addresses: BTreeSet<Address>,
}

/// What is remembered of a namespace.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    pub(super) ends: BTreeSet<u32>,
    /// Its addresses when any was seen first.
    pub(super) birth: BTreeSet<Address>,
    /// Whose it is.
    pub(super) pod: Option<Name>,
    /// A network plugin said so.
    pub(super) claimed: bool,
    since: Instant,
    /// It was found to be no pod's.
    foreign: bool,
    /// It was a pod's that is gone: what lies in it may still be that pod's.
    left: bool,
}

impl Memory {
    /// Whether it was found to be no pod's.
    pub(super) fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// What an earlier process knew.
    pub(super) fn restored(ends: BTreeSet<u32>, birth: BTreeSet<Address>, pod: Name, claimed: bool) -> Self {
        Self {
            ends,
            birth,
            pod: Some(pod),
            claimed,
            since: Instant::now(),
            foreign: false,
            left: false,
        }
    }
}

/// What a network plugin says of the network that it has made for a pod.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) pod: Name,
    /// Interfaces of ours that lead into it.
    pub(super) ends: BTreeSet<u32>,
    /// Addresses that it put there.
    pub(super) addresses: BTreeSet<Address>,
}

/// What is remembered of all namespaces, and what is wrong now.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    pub(super) memory: BTreeMap<NamespaceId, Memory>,
    /// What is to be looked at next; it is told again if it could not be.
    claims: Vec<Claim>,
    /// Pods with addresses and without a namespace, since when.
    lost: BTreeMap<Name, Instant>,
    /// Pods that should be guarded and are not, each with the remedy.
    pub(super) missing: Vec<String>,
    /// Addresses that lie where they do not belong.
    pub(super) conflicts: Vec<String>,
}

/// Whose a namespace is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whose {
    /// This pod's.
    Pod(Name),
    /// A pod's that is not known yet.
    Unknown,
    /// No pod's.
    Foreign,
}

impl Bindings {
    /// Brings what is remembered to what is seen. `exists` tells whether the API server still has a pod.
    pub(super) fn look(&mut self, seen: &[Seen], wanted: &[Wanted], exists: impl Fn(&Name) -> bool, now: Instant) {
        self.remember(seen, now);
        self.take_claims(seen, wanted);
        self.release(wanted, exists);
        let undecided = self.decide(wanted);
        self.decide_late(seen, wanted, now);
        self.find_missing(wanted, &undecided, now);
        self.find_conflicts(seen, wanted);
        self.find_foreign(wanted, now);
    }

    /// Takes note of what a network plugin says; [`Bindings::look`] acts on it.
    pub(super) fn claim(&mut self, claim: Claim) {
        self.claims.push(claim);
    }

    /// Addresses that a pod was given by a network plugin.
    pub(super) fn given(&self, pod: &Name) -> Option<&BTreeSet<Address>> {
        let mut claimed = self.memory.values().filter(|memory| memory.claimed);
        claimed
            .find(|memory| memory.pod.as_ref() == Some(pod))
            .map(|memory| &memory.birth)
    }

    /// The namespace that all of these interfaces lead into.
    pub(super) fn behind(&self, ends: &BTreeSet<u32>) -> Option<NamespaceId> {
        let leads = |memory: &Memory| !ends.is_empty() && ends.is_subset(&memory.ends);
        self.memory.iter().find(|(_, memory)| leads(memory)).map(|(id, _)| *id)
    }

    /// Whose the namespace is.
    pub(super) fn whose(&self, id: NamespaceId) -> Whose {
        match self.memory.get(&id) {
            Some(Memory { pod: Some(pod), .. }) => Whose::Pod(pod.clone()),
            Some(Memory { foreign: true, .. }) => Whose::Foreign,
            _ => Whose::Unknown,
        }
    }

    /// Whether time alone may change what is known.
    pub(super) fn await_time(&self) -> bool {
        let ages = |memory: &Memory| memory.pod.is_none() && !memory.foreign;
        !self.lost.is_empty() || self.memory.values().any(ages)
    }

    /// Namespaces come, go, and show their first addresses. A number that leads to other interfaces than before was
    /// given to another namespace.
    fn remember(&mut self, seen: &[Seen], now: Instant) {
        let mut next = BTreeMap::new();
        for one in seen {
            let same = |memory: &Memory| memory.ends.intersection(&one.ends).next().is_some();
            let mut memory = self.memory.remove(&one.id).filter(same).unwrap_or_else(|| Memory {
                ends: BTreeSet::new(),
                birth: BTreeSet::new(),
                pod: None,
                claimed: false,
                since: now,
                foreign: false,
                left: false,
            });
            memory.ends.clone_from(&one.ends);
            if memory.birth.is_empty() {
                memory.birth.extend(one.addresses.iter().flatten());
            }
            next.insert(one.id, memory);
        }
        self.memory = next;
    }

    /// Gives namespaces to the pods that they were made for. A namespace is made for one pod; a pod that a namespace is
    /// made for has lost the one before. Addresses count that are really there.
    fn take_claims(&mut self, seen: &[Seen], wanted: &[Wanted]) {
        for claim in std::mem::take(&mut self.claims) {
            let Some(id) = self.behind(&claim.ends) else { continue };
            let inside = seen.iter().find(|seen| seen.id == id);
            let Some(inside) = inside.and_then(|seen| seen.addresses.as_ref()) else {
                continue;
            };
            let of_another =
                |memory: &Memory| memory.claimed && memory.pod.as_ref().is_some_and(|pod| *pod != claim.pod);
            let taken = self.memory.get(&id).is_some_and(of_another);
            if taken || !wanted.iter().any(|pod| pod.uid == claim.pod) {
                continue;
            }
            for memory in self.memory.values_mut() {
                if memory.pod.as_ref() == Some(&claim.pod) {
                    (memory.pod, memory.claimed) = (None, false);
                }
            }
            if let Some(memory) = self.memory.get_mut(&id) {
                memory.birth = inside.intersection(&claim.addresses).copied().collect();
                (memory.pod, memory.claimed, memory.foreign) = (Some(claim.pod), true, false);
            }
        }
    }

    /// A namespace loses a pod that is gone, and one whose addresses another namespace was born with.
    fn release(&mut self, wanted: &[Wanted], exists: impl Fn(&Name) -> bool) {
        let moved: BTreeSet<Name> = wanted
            .iter()
            .filter(|pod| !pod.addresses.is_empty())
            .filter(|pod| {
                let born = |memory: &Memory| memory.birth.intersection(&pod.addresses).next().is_some();
                let own = self
                    .memory
                    .values()
                    .find(|memory| memory.pod.as_ref() == Some(&pod.uid));
                let others = self.memory.values().filter(|memory| memory.pod.is_none());
                own.is_some_and(|own| !own.claimed && !born(own)) && others.filter(|memory| born(memory)).count() == 1
            })
            .map(|pod| pod.uid.clone())
            .collect();
        for memory in self.memory.values_mut() {
            if memory
                .pod
                .as_ref()
                .is_some_and(|pod| !exists(pod) || moved.contains(pod))
            {
                (memory.pod, memory.claimed, memory.left) = (None, false, true);
            }
        }
    }

    /// Binds what can only be meant one way; answers what is left of each pod that could be in several namespaces.
    fn decide(&mut self, wanted: &[Wanted]) -> BTreeSet<Name> {
        loop {
            let bound: BTreeSet<Name> = self.memory.values().filter_map(|memory| memory.pod.clone()).collect();
            let mut places: BTreeMap<Name, Vec<NamespaceId>> = BTreeMap::new();
            for pod in wanted.iter().filter(|pod| !bound.contains(&pod.uid)) {
                let free = self.memory.iter().filter(|(_, memory)| memory.pod.is_none());
                let born = free.filter(|(_, memory)| memory.birth.intersection(&pod.addresses).next().is_some());
                let found: Vec<NamespaceId> = born.map(|(id, _)| *id).collect();
                if !found.is_empty() {
                    places.insert(pod.uid.clone(), found);
                }
            }
            let only = |pod: &Name| match places.get(pod).map(Vec::as_slice) {
                Some([one]) => Some(*one),
                _ => None,
            };
            let sure: Vec<(Name, NamespaceId)> = places
                .keys()
                .filter_map(|pod| Some((pod.clone(), only(pod)?)))
                .collect();
            let mut moved = false;
            for (pod, id) in &sure {
                let alone = sure.iter().filter(|(_, other)| other == id).count() == 1;
                if let Some(memory) = self.memory.get_mut(id).filter(|_| alone) {
                    memory.pod = Some(pod.clone());
                    memory.foreign = false;
                    moved = true;
                }
            }
            if !moved {
                return places.into_keys().collect();
            }
        }
    }

    /// Binds a namespace that was born without its pod's address and has it now, where nothing else can be meant.
    fn decide_late(&mut self, seen: &[Seen], wanted: &[Wanted], now: Instant) {
        if wanted.iter().any(|pod| pod.addresses.is_empty()) {
            return;
        }
        let bound: BTreeSet<Name> = self.memory.values().filter_map(|memory| memory.pod.clone()).collect();
        let old = |since: Instant| now.saturating_duration_since(since) >= GRACE;
        let mut places: BTreeMap<NamespaceId, Vec<&Wanted>> = BTreeMap::new();
        for pod in wanted.iter().filter(|pod| !bound.contains(&pod.uid)) {
            let has = |one: &&Seen| {
                one.addresses
                    .iter()
                    .flatten()
                    .any(|address| pod.addresses.contains(address))
            };
            let free = |one: &&Seen| {
                self.memory
                    .get(&one.id)
                    .is_some_and(|memory| memory.pod.is_none() && !memory.left)
            };
            let all: Vec<&Seen> = seen.iter().filter(free).filter(has).collect();
            if let [one] = all.as_slice() {
                places.entry(one.id).or_default().push(pod);
            }
        }
        for (id, pods) in places {
            let [pod] = pods.as_slice() else { continue };
            let lost = self.lost.get(&pod.uid).is_some_and(|since| old(*since));
            if let Some(memory) = self.memory.get_mut(&id).filter(|memory| lost && old(memory.since)) {
                memory.pod = Some(pod.uid.clone());
                memory.birth.extend(&pod.addresses);
                memory.foreign = false;
            }
        }
    }

    fn find_missing(&mut self, wanted: &[Wanted], undecided: &BTreeSet<Name>, now: Instant) {
        self.missing.clear();
        let bound: BTreeSet<&Name> = self.memory.values().filter_map(|memory| memory.pod.as_ref()).collect();
        let without = wanted
            .iter()
            .filter(|pod| !pod.addresses.is_empty() && !bound.contains(&pod.uid));
        let mut lost = BTreeMap::new();
        for pod in without {
            let since = self.lost.get(&pod.uid).copied().unwrap_or(now);
            lost.insert(pod.uid.clone(), since);
            let shown = &pod.shown;
            if undecided.contains(&pod.uid) {
                self.missing.push(format!(
                    "pod {shown}: several network namespaces have its address, or its namespace has another pod's too; \
                     `startup` decides there; delete the pod that is not meant"
                ));
            } else if now.saturating_duration_since(since) >= GRACE {
                self.missing.push(format!(
                    "pod {shown}: no veth of this node leads to a network namespace that was made with its address; it \
                     is not guarded as this pod; delete it, so that it is made anew"
                ));
            }
        }
        self.lost = lost;
    }

    fn find_conflicts(&mut self, seen: &[Seen], wanted: &[Wanted]) {
        self.conflicts.clear();
        let owners: BTreeMap<Address, &Wanted> = wanted
            .iter()
            .flat_map(|pod| pod.addresses.iter().map(move |address| (*address, pod)))
            .collect();
        for one in seen {
            let Whose::Pod(own) = self.whose(one.id) else { continue };
            let shown = wanted
                .iter()
                .find(|pod| pod.uid == own)
                .map_or(&*own, |pod| pod.shown.as_str());
            for address in one.addresses.iter().flatten() {
                if let Some(owner) = owners.get(address).filter(|owner| owner.uid != own) {
                    self.conflicts.push(format!(
                        "pod {shown} has put {address} on an interface of its own, which is pod {}'s; it is not taken for \
                         that pod; look into it",
                        owner.shown
                    ));
                }
            }
        }
    }

    fn find_foreign(&mut self, wanted: &[Wanted], now: Instant) {
        let bound: BTreeSet<&Name> = self.memory.values().filter_map(|memory| memory.pod.as_ref()).collect();
        if !wanted.iter().all(|pod| bound.contains(&pod.uid)) {
            return;
        }
        for memory in self.memory.values_mut().filter(|memory| memory.pod.is_none()) {
            let old = now.saturating_duration_since(memory.since) >= FOREIGN;
            memory.foreign |= old && !memory.birth.is_empty();
        }
    }
}

#[cfg(test)]
mod tests;
