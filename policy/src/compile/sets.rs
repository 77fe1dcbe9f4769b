//! Identities: sets of objects, interned, and the peers (class and set) that addresses have.

use rustc_hash::{FxHashMap, FxHashSet};

use super::ids::{Ids, put};
use super::selector::ObjectId;
use crate::compiled::{PeerClass, PeerId};

/// Number of a set of objects; [`NOBODY`] is the empty set.
pub(super) type SetId = u32;

/// The empty set.
pub(super) const NOBODY: SetId = PeerId::PLAIN;

#[derive(Debug)]
struct Set {
    objects: Box<[ObjectId]>,
    /// Signatures that have it.
    signatures: u32,
    /// Addresses and ranges that have it, by class.
    holders: [u32; PeerClass::ALL.len()],
}

/// All sets in use.
#[derive(Debug, Default)]
pub(super) struct Sets {
    ids: Ids,
    slots: Vec<Option<Set>>,
    by_objects: FxHashMap<Box<[ObjectId]>, SetId>,
    by_object: FxHashMap<ObjectId, FxHashSet<SetId>>,
    /// Addresses and ranges of the empty set, by class.
    plain: [u32; PeerClass::ALL.len()],
    /// Peers that came, went, or mean something else now.
    changed: FxHashSet<PeerId>,
    /// Sets that may have lost their last holder.
    idle: Vec<SetId>,
}

impl Sets {
    pub(super) fn settle(&mut self) {
        self.ids.settle();
    }

    fn get(&self, id: SetId) -> Option<&Set> {
        self.slots.get(id as usize)?.as_ref()
    }

    fn get_mut(&mut self, id: SetId) -> Option<&mut Set> {
        self.slots.get_mut(id as usize)?.as_mut()
    }

    /// The objects of a set, sorted.
    pub(super) fn objects(&self, id: SetId) -> &[ObjectId] {
        self.get(id).map_or(&[], |set| &set.objects)
    }

    /// The set of exactly `objects` (sorted). Who wants to keep it holds it before [`Sets::sweep`].
    pub(super) fn intern(&mut self, objects: &[ObjectId]) -> SetId {
        if objects.is_empty() {
            return NOBODY;
        }
        if let Some(id) = self.by_objects.get(objects) {
            return *id;
        }
        let id = self.ids.take();
        let set = Set {
            objects: objects.into(),
            signatures: 0,
            holders: Default::default(),
        };
        put(&mut self.slots, id, set);
        self.index(id, objects);
        self.idle.push(id);
        id
    }

    fn index(&mut self, id: SetId, objects: &[ObjectId]) {
        self.by_objects.insert(objects.into(), id);
        for object in objects {
            self.by_object.entry(*object).or_default().insert(id);
        }
    }

    fn unindex(&mut self, id: SetId, objects: &[ObjectId]) {
        self.by_objects.remove(objects);
        for object in objects {
            if let Some(sets) = self.by_object.get_mut(object) {
                sets.remove(&id);
                if sets.is_empty() {
                    self.by_object.remove(object);
                }
            }
        }
    }

    /// A signature takes the set.
    pub(super) fn hold(&mut self, id: SetId) {
        if let Some(set) = self.get_mut(id) {
            set.signatures += 1;
        }
    }

    /// A signature leaves the set.
    pub(super) fn release(&mut self, id: SetId) {
        if let Some(set) = self.get_mut(id) {
            set.signatures -= 1;
            self.idle.push(id);
        }
    }

    /// Gives the set `id` another content, where all its holders are the `leaving` signatures and nobody has that
    /// content yet: then no address has to be touched. Answers whether it did.
    pub(super) fn rename(&mut self, id: SetId, leaving: u32, objects: &[ObjectId]) -> bool {
        if objects.is_empty() || self.by_objects.contains_key(objects) {
            return false;
        }
        let Some(set) = self.get(id) else { return false };
        let is_pod = |class: &PeerClass| {
            matches!(
                class,
                PeerClass::LocalPod | PeerClass::RemotePod | PeerClass::UnguardedPod
            )
        };
        let others = PeerClass::ALL
            .iter()
            .filter(|c| !is_pod(c))
            .any(|c| set.holders[*c as usize] > 0);
        if set.signatures != leaving || others {
            return false;
        }
        let old = set.objects.clone();
        self.unindex(id, &old);
        self.index(id, objects);
        if let Some(set) = self.get_mut(id) {
            set.objects = objects.into();
        }
        for peer in self.peers_of(id) {
            self.changed.insert(peer);
        }
        true
    }

    /// An address or range takes the peer.
    pub(super) fn hold_peer(&mut self, peer: PeerId) {
        let class = peer.class() as usize;
        let count = match self.slots.get_mut(peer.number() as usize) {
            Some(Some(set)) => &mut set.holders[class],
            _ => &mut self.plain[class],
        };
        *count += 1;
        if *count == 1 {
            self.changed.insert(peer);
        }
    }

    /// An address or range leaves the peer.
    pub(super) fn release_peer(&mut self, peer: PeerId) {
        let class = peer.class() as usize;
        let count = match self.slots.get_mut(peer.number() as usize) {
            Some(Some(set)) => &mut set.holders[class],
            _ => &mut self.plain[class],
        };
        *count -= 1;
        if *count == 0 {
            self.changed.insert(peer);
            self.idle.push(peer.number());
        }
    }

    /// Whether any address or range has the peer, which is in some object.
    pub(super) fn is_alive(&self, peer: PeerId) -> bool {
        self.get(peer.number())
            .is_some_and(|set| set.holders[peer.class() as usize] > 0)
    }

    /// The peers that have the set.
    pub(super) fn peers_of(&self, id: SetId) -> impl Iterator<Item = PeerId> + use<> {
        let holders = self.get(id).map(|set| set.holders).unwrap_or_default();
        let classes = PeerClass::ALL
            .into_iter()
            .filter(move |class| holders[*class as usize] > 0);
        classes.map(move |class| PeerId::new(class, id))
    }

    /// The sets that contain `object`.
    pub(super) fn with_object(&self, object: ObjectId) -> impl Iterator<Item = SetId> + '_ {
        self.by_object.get(&object).into_iter().flatten().copied()
    }

    /// Peers that came, went, or mean something else since the last call.
    pub(super) fn take_changed(&mut self) -> FxHashSet<PeerId> {
        std::mem::take(&mut self.changed)
    }

    /// Forgets the sets that nobody holds.
    pub(super) fn sweep(&mut self) {
        for id in std::mem::take(&mut self.idle) {
            let Some(set) = self.get(id) else { continue };
            if set.signatures > 0 || set.holders.iter().any(|count| *count > 0) {
                continue;
            }
            let objects = set.objects.clone();
            self.unindex(id, &objects);
            self.slots[id as usize] = None;
            self.ids.give(id);
        }
    }
}
