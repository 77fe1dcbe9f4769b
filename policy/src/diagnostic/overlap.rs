//! Whether two sides of rules can contain one endpoint: for entities by what they are, for objects by the pods and
//! ranges that they share now.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::compile::Reach;
use crate::model::{CidrEntry, Entity, Name, Selector, Side};
use crate::world::World;

/// What meets what.
#[derive(Debug)]
pub(super) struct Meeting<'a> {
    /// Pairs of objects that some pod is in, the smaller name first.
    pods: FxHashSet<(&'a str, &'a str)>,
    cidrs: FxHashMap<&'a str, &'a [CidrEntry]>,
    workloads: FxHashSet<&'a str>,
}

impl<'a> Meeting<'a> {
    pub(super) fn new(world: &'a World, reach: &'a Reach) -> Self {
        let mut meeting = Self {
            pods: FxHashSet::default(),
            cidrs: FxHashMap::default(),
            workloads: FxHashSet::default(),
        };
        for object in world.objects() {
            match &object.selector {
                Selector::Cidrs(entries) => {
                    meeting.cidrs.insert(&object.name, entries);
                }
                Selector::Workloads(_) => {
                    meeting.workloads.insert(&object.name);
                }
            }
        }
        for names in reach.together() {
            for one in names {
                let larger = names.iter().filter(|other| *other > one);
                meeting.pods.extend(larger.map(|other| (&**one, &**other)));
            }
        }
        meeting
    }

    /// Whether the sides can contain one endpoint. A name that no object has contains nothing.
    pub(super) fn meet(&self, one: &Side, other: &Side) -> bool {
        match (one, other) {
            (Side::Entity(one), Side::Entity(other)) => entities_meet(*one, *other),
            (Side::Entity(entity), Side::Object(name)) | (Side::Object(name), Side::Entity(entity)) => {
                self.meets_entity(name, *entity)
            }
            (Side::Object(one), Side::Object(other)) => self.objects_meet(one, other),
        }
    }

    fn meets_entity(&self, name: &Name, entity: Entity) -> bool {
        match entity {
            Entity::Any => self.workloads.contains(&**name) || self.cidrs.contains_key(&**name),
            Entity::Cluster => self.workloads.contains(&**name),
            Entity::World | Entity::Node | Entity::LocalNode => self.cidrs.contains_key(&**name),
        }
    }

    fn objects_meet(&self, one: &Name, other: &Name) -> bool {
        if one == other {
            return self.meets_entity(one, Entity::Any);
        }
        let (smaller, larger) = if one < other { (one, other) } else { (other, one) };
        if self.pods.contains(&(&**smaller, &**larger)) {
            return true;
        }
        let ranges = |name: &Name| self.cidrs.get(&**name).copied().unwrap_or_default();
        let outside = |narrow: &CidrEntry, wide: &CidrEntry| wide.except.iter().any(|hole| hole.covers(narrow.cidr));
        ranges(one).iter().any(|own| {
            ranges(other).iter().any(|its| {
                (own.cidr.covers(its.cidr) && !outside(its, own)) || (its.cidr.covers(own.cidr) && !outside(own, its))
            })
        })
    }
}

fn entities_meet(one: Entity, other: Entity) -> bool {
    use Entity::{Any, LocalNode, Node};
    one == other
        || matches!(
            (one, other),
            (Any, _) | (_, Any) | (Node, LocalNode) | (LocalNode, Node)
        )
}
