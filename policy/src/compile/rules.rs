//! Rules by their two sides, and the slots of their counters.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::ids::{Ids, put};
use super::objects::Objects;
use super::selector::{Direction, Sel};
use crate::compiled::{Change, RuleCard, RuleSlot};
use crate::model::{DefenseRule, Name, RuleOrder, Side};

/// A rule in its slot.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) doc: Arc<DefenseRule>,
    pub(super) order: RuleOrder,
    sides: (Sel, Sel),
    /// Whether it is in the index: enabled, and with ports that it could match.
    active: bool,
}

/// All rules. A rule keeps its slot as long as its document has the same UID, enabled or not, so that its counters
/// go on; only enabled ones are in the index.
#[derive(Debug, Default)]
pub(super) struct Rules {
    ids: Ids,
    slots: Vec<Option<Rule>>,
    by_name: FxHashMap<Name, u32>,
    /// (source, destination) to slots in order.
    pairs: FxHashMap<(Sel, Sel), Vec<u32>>,
    /// By direction: own side to the other sides that rules pair it with, with their number.
    opposite: [FxHashMap<Sel, FxHashMap<Sel, u32>>; 2],
    /// Slots that an earlier process gave out.
    adopted: FxHashMap<(Name, Name), u32>,
    touched: FxHashSet<u32>,
    /// Pairs whose rules changed since they were last asked for, with the slots of these.
    changed: FxHashMap<(Sel, Sel), Vec<u32>>,
}

impl Rule {
    /// Whether it is in force, from and to these sides.
    pub(super) fn is_between(&self, sides: (Sel, Sel)) -> bool {
        self.active && self.sides == sides
    }
}

impl Rules {
    pub(super) fn settle(&mut self) {
        self.ids.settle();
    }

    pub(super) fn adopt(&mut self, slot: u32, name: Name, uid: Name) {
        self.ids.reserve(slot);
        if let Some(twin) = self.adopted.insert((name, uid), slot) {
            self.touched.insert(twin);
            self.ids.give(twin);
        }
    }

    /// Adopted slots that nobody claimed go.
    pub(super) fn forget_adopted(&mut self) {
        for (_, slot) in self.adopted.drain() {
            self.touched.insert(slot);
            self.ids.give(slot);
        }
    }

    /// Puts the rule named `name` in force as `new`, or takes it away.
    pub(super) fn replace(&mut self, name: &Name, new: Option<&Arc<DefenseRule>>, objects: &mut Objects) {
        let old = self.by_name.get(name).copied();
        if old.and_then(|slot| self.get(slot)).map(|rule| &rule.doc) == new && new.is_some() {
            return;
        }
        if let Some(slot) = old {
            self.withdraw(slot, objects);
        }
        match (old, new) {
            (Some(slot), Some(doc)) if self.uid_of(slot) == Some(&doc.uid) => self.enter(slot, doc, objects),
            (_, Some(doc)) => {
                if let Some(slot) = old {
                    self.free(slot);
                }
                let adopted = self.adopted.remove(&(doc.name.clone(), doc.uid.clone()));
                let slot = adopted.unwrap_or_else(|| self.ids.take());
                self.by_name.insert(name.clone(), slot);
                self.enter(slot, doc, objects);
            }
            (Some(slot), None) => {
                self.by_name.remove(name);
                self.free(slot);
            }
            (None, None) => {}
        }
    }

    fn uid_of(&self, slot: u32) -> Option<&Name> {
        Some(&self.slots.get(slot as usize)?.as_ref()?.doc.uid)
    }

    fn free(&mut self, slot: u32) {
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = None;
        }
        self.touched.insert(slot);
        self.ids.give(slot);
    }

    fn enter(&mut self, slot: u32, doc: &Arc<DefenseRule>, objects: &mut Objects) {
        let active = doc.enabled && doc.ports.as_ref().is_none_or(|ports| !ports.is_empty());
        let mut side = |side: &Side| match side {
            Side::Entity(entity) => Sel::entity(*entity),
            Side::Object(name) => Sel::object(objects.name(name, active)),
        };
        let rule = Rule {
            sides: (side(&doc.source), side(&doc.destination)),
            doc: doc.clone(),
            order: doc.order(),
            active,
        };
        let (source, destination) = rule.sides;
        let before = self.card(slot);
        put(&mut self.slots, slot, rule);
        if before != self.card(slot) {
            self.touched.insert(slot);
        }
        if !active {
            return;
        }
        self.pairs.entry((source, destination)).or_default().push(slot);
        self.changed.entry((source, destination)).or_default().push(slot);
        for direction in Direction::BOTH {
            let (own, other) = direction.sides(source, destination);
            *self.opposite[direction as usize]
                .entry(own)
                .or_default()
                .entry(other)
                .or_default() += 1;
        }
    }

    fn withdraw(&mut self, slot: u32, objects: &mut Objects) {
        let Some(rule) = self.slots.get(slot as usize).and_then(Option::as_ref) else {
            return;
        };
        let (source, destination) = rule.sides;
        let active = rule.active;
        for sel in [source, destination] {
            if let Some(id) = sel.as_object() {
                objects.unname(id, active);
            }
        }
        if !active {
            return;
        }
        self.changed.entry((source, destination)).or_default().push(slot);
        if let Some(list) = self.pairs.get_mut(&(source, destination)) {
            list.retain(|other| *other != slot);
            if list.is_empty() {
                self.pairs.remove(&(source, destination));
            }
        }
        for direction in Direction::BOTH {
            let (own, other) = direction.sides(source, destination);
            let index = &mut self.opposite[direction as usize];
            let Some(others) = index.get_mut(&own) else { continue };
            if let Some(count) = others.get_mut(&other) {
                *count -= 1;
                if *count == 0 {
                    others.remove(&other);
                }
            }
            if others.is_empty() {
                index.remove(&own);
            }
        }
    }

    /// Brings the rules of the pairs that changed in order: once for all that came in one update.
    pub(super) fn put_in_order(&mut self) {
        for pair in self.changed.keys() {
            let Some(list) = self.pairs.get_mut(pair) else { continue };
            let order = |slot: &u32| self.slots.get(*slot as usize)?.as_ref().map(|rule| &rule.order);
            list.sort_by(|one, other| order(one).cmp(&order(other)));
        }
    }

    /// The rule in `slot`.
    pub(super) fn get(&self, slot: u32) -> Option<&Rule> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// Slots of the rules from `source` to `destination`, in order.
    pub(super) fn between(&self, source: Sel, destination: Sel) -> &[u32] {
        self.pairs.get(&(source, destination)).map_or(&[], Vec::as_slice)
    }

    /// Whether any rule has `own` as the pod's side in `direction`.
    pub(super) fn speaks_of(&self, own: Sel, direction: Direction) -> bool {
        self.opposite[direction as usize].contains_key(&own)
    }

    /// How many other sides rules pair `own` with, the pod's side in `direction`.
    pub(super) fn breadth(&self, own: Sel, direction: Direction) -> usize {
        self.opposite[direction as usize].get(&own).map_or(0, FxHashMap::len)
    }

    /// The other sides of rules that have `own` as the pod's side in `direction`.
    pub(super) fn opposite(&self, own: Sel, direction: Direction) -> impl Iterator<Item = Sel> + '_ {
        self.opposite[direction as usize]
            .get(&own)
            .into_iter()
            .flat_map(|others| others.keys().copied())
    }

    /// The pairs whose rules changed since the last call, with the slots of these.
    pub(super) fn take_changed(&mut self) -> Vec<((Sel, Sel), Vec<u32>)> {
        self.changed.drain().collect()
    }

    /// The cards that changed since the last call.
    pub(super) fn take_cards(&mut self) -> Vec<Change> {
        let mut touched: Vec<u32> = self.touched.drain().collect();
        touched.sort_unstable();
        touched
            .into_iter()
            .map(|slot| Change::Rule(RuleSlot(slot), self.card(slot)))
            .collect()
    }

    /// All cards, in order of their slots.
    pub(super) fn cards(&self) -> impl Iterator<Item = (RuleSlot, RuleCard)> + '_ {
        let slots = (0u32..).take(self.slots.len());
        slots.filter_map(|slot| Some((RuleSlot(slot), self.card(slot)?)))
    }

    fn card(&self, slot: u32) -> Option<RuleCard> {
        let doc = &self.get(slot)?.doc;
        Some(RuleCard {
            name: doc.name.clone(),
            uid: doc.uid.clone(),
            priority: doc.priority,
            action: doc.action,
        })
    }
}
