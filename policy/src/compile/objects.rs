//! Objects by name: whether they exist, and whether an enabled rule names them. Only those of which both holds are
//! matched at all, so that an object nobody uses makes nobody distinct.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::ids::{Ids, put};
use super::selector::ObjectId;
use crate::model::{Name, NetworkObject, Selector, WorkloadSelector};

#[derive(Debug)]
struct Object {
    name: Name,
    doc: Option<Arc<NetworkObject>>,
    /// Sides of rules that name it, disabled ones included.
    named: u32,
    /// Sides of enabled rules among them.
    used: u32,
    /// What is being matched now.
    live: Option<Arc<NetworkObject>>,
}

/// A change of what an object matches.
#[derive(Debug)]
pub(super) struct Rematch {
    pub(super) id: ObjectId,
    pub(super) old: Option<Arc<NetworkObject>>,
    pub(super) new: Option<Arc<NetworkObject>>,
}

/// All objects that exist or are named.
#[derive(Debug, Default)]
pub(super) struct Objects {
    ids: Ids,
    by_name: FxHashMap<Name, ObjectId>,
    slots: Vec<Option<Object>>,
    touched: FxHashSet<ObjectId>,
}

impl Objects {
    pub(super) fn settle(&mut self) {
        self.ids.settle();
    }

    fn entry(&mut self, name: &Name) -> ObjectId {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        let id = self.ids.take();
        self.by_name.insert(name.clone(), id);
        let object = Object {
            name: name.clone(),
            doc: None,
            named: 0,
            used: 0,
            live: None,
        };
        put(&mut self.slots, id, object);
        id
    }

    fn get_mut(&mut self, id: ObjectId) -> Option<&mut Object> {
        self.slots.get_mut(id as usize)?.as_mut()
    }

    /// A rule names the object; `enabled` ones use it.
    pub(super) fn name(&mut self, name: &Name, enabled: bool) -> ObjectId {
        let id = self.entry(name);
        if let Some(object) = self.get_mut(id) {
            object.named += 1;
            object.used += u32::from(enabled);
        }
        self.touched.insert(id);
        id
    }

    /// A rule no longer names the object.
    pub(super) fn unname(&mut self, id: ObjectId, enabled: bool) {
        if let Some(object) = self.get_mut(id) {
            object.named -= 1;
            object.used -= u32::from(enabled);
        }
        self.touched.insert(id);
    }

    /// Puts the object's document in force, or takes it away.
    pub(super) fn replace(&mut self, name: &Name, doc: Option<&Arc<NetworkObject>>) {
        if doc.is_none() && !self.by_name.contains_key(name) {
            return;
        }
        let id = self.entry(name);
        if let Some(object) = self.get_mut(id) {
            object.doc = doc.cloned();
        }
        self.touched.insert(id);
    }

    /// What has to be matched anew since the last call.
    pub(super) fn take_rematches(&mut self) -> Vec<Rematch> {
        let mut touched: Vec<ObjectId> = self.touched.drain().collect();
        touched.sort_unstable();
        touched.into_iter().filter_map(|id| self.rematch(id)).collect()
    }

    fn rematch(&mut self, id: ObjectId) -> Option<Rematch> {
        let object = self.slots.get_mut(id as usize)?.as_mut()?;
        let new = if object.used > 0 { object.doc.clone() } else { None };
        let old = std::mem::replace(&mut object.live, new.clone());
        if object.doc.is_none() && object.named == 0 {
            self.by_name.remove(&object.name);
            self.slots[id as usize] = None;
            self.ids.give(id);
        }
        let same = match (&old, &new) {
            (Some(old), Some(new)) => old.selector == new.selector,
            (None, None) => true,
            _ => false,
        };
        (!same).then_some(Rematch { id, old, new })
    }

    /// The workload objects that are being matched.
    pub(super) fn live_workloads(&self) -> impl Iterator<Item = (ObjectId, &WorkloadSelector)> {
        let numbered = (0u32..).zip(&self.slots);
        numbered.filter_map(|(id, slot)| match &slot.as_ref()?.live.as_ref()?.selector {
            Selector::Workloads(selector) => Some((id, selector)),
            Selector::Cidrs(_) => None,
        })
    }
}
