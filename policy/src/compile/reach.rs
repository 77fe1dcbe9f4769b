//! What objects select and rules reach now: for people, computed from the world when asked.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::objects::Objects;
use super::signatures::Signatures;
use crate::model::{CidrEntry, Entity, Name, Pod, Selector, Side};
use crate::world::World;

/// What one object selects now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selected {
    /// Pods with an address of their own, in order of namespace and name.
    pub pods: Vec<Arc<Pod>>,
    /// Pods that it fits and that do not count: those that have no address yet.
    pub waiting: Vec<Arc<Pod>>,
    /// Pods that it fits and that do not count: those on the host's network.
    pub host_network: Vec<Arc<Pod>>,
    /// Ranges, as written.
    pub cidrs: Vec<CidrEntry>,
}

impl Selected {
    /// Whether it selects nothing that is there.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.cidrs.is_empty()
    }
}

/// What all objects and rules reach.
#[derive(Debug)]
pub struct Reach {
    objects: FxHashMap<Name, Selected>,
    sides: FxHashMap<Name, (usize, usize)>,
    /// Objects of each distinct pod, for those that may meet in one pod.
    together: Vec<Vec<Name>>,
}

impl Reach {
    /// Looks at all of `world`.
    pub fn of(world: &World) -> Self {
        let mut objects = Objects::default();
        let mut names: FxHashMap<u32, Name> = FxHashMap::default();
        let mut selected: FxHashMap<Name, Selected> = FxHashMap::default();
        for object in world.objects() {
            names.insert(objects.name(&object.name, true), object.name.clone());
            objects.replace(&object.name, Some(object));
            let own = selected.entry(object.name.clone()).or_default();
            if let Selector::Cidrs(entries) = &object.selector {
                own.cidrs.clone_from(entries);
            }
        }
        objects.take_rematches();
        let mut signatures = Signatures::default();
        let mut together: FxHashMap<u32, Vec<Name>> = FxHashMap::default();
        let live = || world.pods().filter(|pod| pod.phase.is_live());
        for (at, pod) in (0u32..).zip(live()) {
            let id = signatures.add(at, pod, world, &objects);
            for object in signatures.objects_of(id) {
                let Some(own) = names.get(object).and_then(|name| selected.get_mut(name)) else {
                    continue;
                };
                let list = match (pod.host_network, pod.addresses.is_empty()) {
                    (true, _) => &mut own.host_network,
                    (false, true) => &mut own.waiting,
                    (false, false) => &mut own.pods,
                };
                list.push(pod.clone());
            }
            if !pod.host_network {
                let all = signatures
                    .objects_of(id)
                    .iter()
                    .filter_map(|object| names.get(object).cloned());
                together.entry(id).or_insert_with(|| all.collect());
            }
        }
        for own in selected.values_mut() {
            for list in [&mut own.pods, &mut own.waiting, &mut own.host_network] {
                list.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
            }
        }
        let cluster = live()
            .filter(|pod| !pod.host_network && !pod.addresses.is_empty())
            .count();
        let count = |side: &Side| match side {
            Side::Entity(Entity::Any | Entity::Cluster) => cluster,
            Side::Entity(_) => 0,
            Side::Object(name) => selected.get(name).map_or(0, |own| own.pods.len()),
        };
        let sides = world
            .rules()
            .map(|rule| (rule.name.clone(), (count(&rule.source), count(&rule.destination))));
        Self {
            sides: sides.collect(),
            objects: selected,
            together: together.into_values().collect(),
        }
    }

    /// What the object of this name selects; none where there is none.
    pub fn object(&self, name: &str) -> Option<&Selected> {
        self.objects.get(name)
    }

    /// How many pods the rule of this name has as source and as destination; none where there is no such rule.
    pub fn rule(&self, name: &str) -> Option<(usize, usize)> {
        self.sides.get(name).copied()
    }

    /// The objects of each distinct pod.
    pub(crate) fn together(&self) -> &[Vec<Name>] {
        &self.together
    }
}
