//! Signatures: what selectors can see of a pod, once for all pods of which it is the same, with the objects it is in.

use rustc_hash::{FxHashMap, FxHashSet};

use super::candidates::Candidates;
use super::ids::{Ids, put};
use super::matching::{Subject, fits_namespace, fits_pod};
use super::objects::Objects;
use super::selector::ObjectId;
use super::sets::{NOBODY, SetId, Sets};
use crate::model::{Labels, Name, NetworkObject, Pod, Selector, WorkloadSelector};
use crate::world::World;

pub(super) type SignatureId = u32;

#[derive(Debug)]
struct Signature {
    namespace: Name,
    labels: Labels,
    images: Box<[Name]>,
    pods: Vec<u32>,
    /// Objects it is in, sorted.
    objects: Vec<ObjectId>,
    set: SetId,
}

#[derive(Debug)]
struct Namespace {
    labels: Labels,
    signatures: FxHashSet<SignatureId>,
    /// Objects that may select pods here; none: to be built.
    candidates: Option<Candidates>,
}

/// All signatures of pods that can be in objects.
#[derive(Debug, Default)]
pub(super) struct Signatures {
    ids: Ids,
    slots: Vec<Option<Signature>>,
    by_content: FxHashMap<(Name, Labels), Vec<SignatureId>>,
    namespaces: FxHashMap<Name, Namespace>,
    /// Signatures whose objects changed or that are new.
    dirty: FxHashSet<SignatureId>,
    /// Signatures that may have lost their last pod.
    idle: Vec<SignatureId>,
}

/// What settling the sets changed.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Pods whose set has another number now.
    pub(super) moved: Vec<u32>,
    /// Whether any set's number or content changed at all.
    pub(super) any: bool,
}

fn workloads(object: Option<&NetworkObject>) -> Option<&WorkloadSelector> {
    match &object?.selector {
        Selector::Workloads(selector) => Some(selector),
        Selector::Cidrs(_) => None,
    }
}

impl Signatures {
    pub(super) fn settle(&mut self) {
        self.ids.settle();
    }

    fn get(&self, id: SignatureId) -> Option<&Signature> {
        self.slots.get(id as usize)?.as_ref()
    }

    fn get_mut(&mut self, id: SignatureId) -> Option<&mut Signature> {
        self.slots.get_mut(id as usize)?.as_mut()
    }

    /// The set of objects of a signature.
    pub(super) fn set_of(&self, id: SignatureId) -> SetId {
        self.get(id).map_or(NOBODY, |signature| signature.set)
    }

    /// The objects of a signature, sorted.
    pub(super) fn objects_of(&self, id: SignatureId) -> &[ObjectId] {
        self.get(id).map_or(&[], |signature| &signature.objects)
    }

    /// Counts the pod numbered `at` under its signature.
    pub(super) fn add(&mut self, at: u32, pod: &Pod, world: &World, objects: &Objects) -> SignatureId {
        let key = (pod.namespace.clone(), pod.labels.clone());
        let same = |id: &&SignatureId| self.get(**id).is_some_and(|s| *s.images == *pod.images);
        let known = self.by_content.get(&key).and_then(|ids| ids.iter().find(same)).copied();
        let id = known.unwrap_or_else(|| self.create(pod, world, objects));
        if let Some(signature) = self.get_mut(id) {
            signature.pods.push(at);
        }
        id
    }

    fn create(&mut self, pod: &Pod, world: &World, objects: &Objects) -> SignatureId {
        let name = &pod.namespace;
        let namespace = self.namespaces.entry(name.clone()).or_insert_with(|| Namespace {
            labels: world.namespace_labels(name),
            signatures: FxHashSet::default(),
            candidates: None,
        });
        let labels = &namespace.labels;
        let candidates = namespace.candidates.get_or_insert_with(|| {
            let here = objects
                .live_workloads()
                .filter(|(_, selector)| fits_namespace(selector, name, labels));
            Candidates::new(here)
        });
        let id = self.ids.take();
        namespace.signatures.insert(id);
        let signature = Signature {
            objects: candidates.matching(&Subject::new(&pod.labels, &pod.images)),
            namespace: name.clone(),
            labels: pod.labels.clone(),
            images: pod.images.as_slice().into(),
            pods: Vec::new(),
            set: NOBODY,
        };
        put(&mut self.slots, id, signature);
        self.by_content
            .entry((name.clone(), pod.labels.clone()))
            .or_default()
            .push(id);
        self.dirty.insert(id);
        id
    }

    /// The pod numbered `at` no longer counts.
    pub(super) fn remove(&mut self, at: u32, id: SignatureId) {
        if let Some(signature) = self.get_mut(id) {
            // Once only: a pod that changed and kept its signature stands here twice.
            if let Some(place) = signature.pods.iter().position(|pod| *pod == at) {
                signature.pods.swap_remove(place);
            }
            if signature.pods.is_empty() {
                self.idle.push(id);
            }
        }
    }

    /// Matches one object anew.
    pub(super) fn rematch(&mut self, id: ObjectId, old: Option<&NetworkObject>, new: Option<&NetworkObject>) {
        let (old, new) = (workloads(old), workloads(new));
        for (name, namespace) in &mut self.namespaces {
            let fits = |selector: Option<&WorkloadSelector>| {
                selector.is_some_and(|selector| fits_namespace(selector, name, &namespace.labels))
            };
            let (was_here, is_here) = (fits(old), fits(new));
            if !was_here && !is_here {
                continue;
            }
            namespace.candidates = None;
            for signature_id in &namespace.signatures {
                let Some(Some(signature)) = self.slots.get_mut(*signature_id as usize) else {
                    continue;
                };
                let subject = Subject::new(&signature.labels, &signature.images);
                let is_in = is_here && new.is_some_and(|selector| fits_pod(selector, &subject));
                match (signature.objects.binary_search(&id), is_in) {
                    (Ok(at), false) => {
                        signature.objects.remove(at);
                        self.dirty.insert(*signature_id);
                    }
                    (Err(at), true) => {
                        signature.objects.insert(at, id);
                        self.dirty.insert(*signature_id);
                    }
                    _ => {}
                }
            }
        }
    }

    /// A namespace's document changed: its pods are matched anew.
    pub(super) fn namespace_changed(&mut self, name: &Name, world: &World, objects: &Objects) {
        let Some(namespace) = self.namespaces.get_mut(name) else {
            return;
        };
        namespace.labels = world.namespace_labels(name);
        let labels = &namespace.labels;
        let here = objects
            .live_workloads()
            .filter(|(_, selector)| fits_namespace(selector, name, labels));
        let candidates = Candidates::new(here);
        for id in &namespace.signatures {
            let Some(Some(signature)) = self.slots.get_mut(*id as usize) else {
                continue;
            };
            let matching = candidates.matching(&Subject::new(&signature.labels, &signature.images));
            if matching != signature.objects {
                signature.objects = matching;
                self.dirty.insert(*id);
            }
        }
        namespace.candidates = Some(candidates);
    }

    /// Gives every changed signature its set. Where all signatures of a set go the same way, the set itself changes.
    pub(super) fn settle_sets(&mut self, sets: &mut Sets) -> Settled {
        self.forget_idle(sets);
        let mut settled = Settled::default();
        let mut leaving: FxHashMap<SetId, Vec<SignatureId>> = FxHashMap::default();
        let mut dirty: Vec<SignatureId> = self.dirty.drain().collect();
        dirty.sort_unstable();
        for id in dirty {
            if let Some(Some(signature)) = self.slots.get(id as usize) {
                leaving.entry(signature.set).or_default().push(id);
            }
        }
        let mut groups: Vec<_> = leaving.into_iter().collect();
        groups.sort_unstable();
        for (old, members) in groups {
            settled.any = true;
            self.move_group(old, &members, sets, &mut settled);
        }
        settled
    }

    fn move_group(&mut self, old: SetId, members: &[SignatureId], sets: &mut Sets, settled: &mut Settled) {
        let first = members
            .first()
            .and_then(|id| self.get(*id))
            .map(|s| s.objects.clone())
            .unwrap_or_default();
        let together = members
            .iter()
            .all(|id| self.get(*id).is_some_and(|s| s.objects == first));
        let count = u32::try_from(members.len()).unwrap_or(u32::MAX);
        if old != NOBODY && together && sets.rename(old, count, &first) {
            return;
        }
        for id in members {
            let Some(Some(signature)) = self.slots.get_mut(*id as usize) else {
                continue;
            };
            let set = sets.intern(&signature.objects);
            if set != old {
                sets.hold(set);
                sets.release(old);
                signature.set = set;
                settled.moved.extend_from_slice(&signature.pods);
            }
        }
    }

    fn forget_idle(&mut self, sets: &mut Sets) {
        for id in std::mem::take(&mut self.idle) {
            let Some(slot) = self.slots.get_mut(id as usize) else {
                continue;
            };
            let Some(signature) = slot.take_if(|signature| signature.pods.is_empty()) else {
                continue;
            };
            sets.release(signature.set);
            self.dirty.remove(&id);
            self.ids.give(id);
            let key = (signature.namespace, signature.labels);
            if let Some(ids) = self.by_content.get_mut(&key) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.by_content.remove(&key);
                }
            }
            if let Some(namespace) = self.namespaces.get_mut(&key.0) {
                namespace.signatures.remove(&id);
                if namespace.signatures.is_empty() {
                    self.namespaces.remove(&key.0);
                }
            }
        }
    }
}
