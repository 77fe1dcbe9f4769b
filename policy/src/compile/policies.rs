//! Policies: for each distinct own side and direction the entries that say more than a peer's class does.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::ids::{Ids, Interned, put};
use super::news::News;
use super::selector::{Direction, ObjectId, POD, Sel};
use super::services::{Content, Part};
use super::todo::{Dirt, Todo, todo};
use super::verdicts::{Filed, Judge, PolicyKey, at};
use crate::compiled::{Change, PeerClass, PeerId, PolicyId, Table, TableId};

const CLASSES: usize = PeerClass::ALL.len();

#[derive(Debug)]
pub(super) struct Policy {
    pub(super) key: PolicyKey,
    /// Tables of the classes; every one is there once the policy was computed.
    pub(super) fallbacks: [Option<u32>; CLASSES],
    pub(super) entries: FxHashMap<PeerId, u32>,
}

impl Policy {
    /// The table that decides about a peer; none where nothing was computed yet.
    pub(super) fn table(&self, peer: PeerId) -> Option<u32> {
        let own = self.entries.get(&peer).copied();
        own.or(self.fallbacks[peer.class() as usize])
    }
}

/// All policies.
#[derive(Debug, Default)]
pub(super) struct Policies {
    ids: Ids,
    by_key: FxHashMap<PolicyKey, u32>,
    slots: Vec<Option<Policy>>,
    pub(super) tables: Interned<Table>,
    /// Service ports by the peers they stand for.
    dependents: FxHashMap<PeerId, FxHashSet<u32>>,
}

impl Policies {
    pub(super) fn settle(&mut self) {
        self.ids.settle();
        self.tables.settle();
    }

    /// Makes the policies exactly those of `wanted`, each with the policy that its interface had before (if any): a
    /// policy that nobody wants any more becomes the one its interface wants now, and keeps its number.
    pub(super) fn want(&mut self, wanted: &BTreeMap<PolicyKey, Vec<PolicyId>>, changes: &mut Vec<Change>) -> Vec<u32> {
        let mut vacant: FxHashSet<u32> = self
            .by_key
            .iter()
            .filter(|(key, _)| !wanted.contains_key(key))
            .map(|(_, id)| *id)
            .collect();
        let mut fresh = Vec::new();
        for (key, before) in wanted {
            if self.by_key.contains_key(key) {
                continue;
            }
            let heir = before.iter().map(|id| id.0).find(|id| {
                let same = self
                    .get(*id)
                    .is_some_and(|policy| policy.key.direction == key.direction);
                same && vacant.contains(id)
            });
            let id = heir.unwrap_or_else(|| self.ids.take());
            fresh.push(id);
            if vacant.remove(&id) {
                if let Some(Some(policy)) = self.slots.get_mut(id as usize) {
                    self.by_key.remove(&policy.key);
                    policy.key = key.clone();
                }
            } else {
                let policy = Policy {
                    key: key.clone(),
                    fallbacks: [None; CLASSES],
                    entries: FxHashMap::default(),
                };
                put(&mut self.slots, id, policy);
            }
            self.by_key.insert(key.clone(), id);
        }
        let mut vacant: Vec<u32> = vacant.into_iter().collect();
        vacant.sort_unstable();
        for id in vacant {
            self.remove(id, changes);
        }
        fresh
    }

    fn remove(&mut self, id: u32, changes: &mut Vec<Change>) {
        let Some(policy) = self.slots.get_mut(id as usize).and_then(Option::take) else {
            return;
        };
        self.by_key.remove(&policy.key);
        self.ids.give(id);
        let classes = PeerClass::ALL.into_iter().map(PeerId::plain);
        let fallbacks = classes
            .zip(policy.fallbacks)
            .filter_map(|(peer, table)| Some((peer, table?)));
        let mut all: Vec<(PeerId, u32)> = fallbacks.chain(policy.entries).collect();
        all.sort_unstable();
        for (peer, table) in all {
            self.tables.drop_one(table);
            changes.push(Change::Policy(PolicyId(id), peer, None));
        }
    }

    fn get(&self, id: u32) -> Option<&Policy> {
        self.slots.get(id as usize)?.as_ref()
    }

    /// The policy of this key.
    pub(super) fn id(&self, key: &PolicyKey) -> Option<PolicyId> {
        self.by_key.get(key).map(|id| PolicyId(*id))
    }

    /// Computes what changed. `fresh` are policies to compute whole.
    pub(super) fn refresh(
        &mut self,
        judge: &Judge<'_>,
        contents: &Interned<Content>,
        dirt: &Dirt,
        fresh: &[u32],
        changes: &mut Vec<Change>,
    ) {
        self.index_contents(contents, dirt);
        let pairs = dirt.pairs.iter();
        let mut news: Vec<News<'_>> = pairs
            .map(|(sides, slots)| News::new(judge.rules, *sides, slots))
            .collect();
        let ids: Vec<u32> = if dirt.is_empty() {
            fresh.to_vec()
        } else {
            (0u32..)
                .zip(&self.slots)
                .filter(|(_, slot)| slot.is_some())
                .map(|(id, _)| id)
                .collect()
        };
        for id in ids {
            // Taken out while it is worked on, so that tables can be interned beside it.
            let Some(mut policy) = self.slots.get_mut(id as usize).and_then(Option::take) else {
                continue;
            };
            let todo = if fresh.contains(&id) {
                Todo {
                    whole: true,
                    ..Todo::default()
                }
            } else {
                todo(&policy, judge, &self.tables, &mut news, dirt)
            };
            let many = todo.whole || !todo.wide.is_empty() || judge.is_worth_filing(&policy.key, &todo.peers);
            let filed = many.then(|| judge.file(&policy.key));
            let mut work = Work {
                id: PolicyId(id),
                filed,
                known: FxHashMap::default(),
                policy: &mut policy,
                judge,
                contents,
                tables: &mut self.tables,
                dependents: &self.dependents,
                changes: &mut *changes,
            };
            work.run(&todo, dirt);
            self.slots[id as usize] = Some(policy);
        }
    }

    fn index_contents(&mut self, contents: &Interned<Content>, dirt: &Dirt) {
        for id in &dirt.contents {
            let Some(content) = contents.get(*id) else { continue };
            for part in &content.parts {
                self.dependents.entry(part.peer).or_default().insert(*id);
            }
        }
        // Those that went are sorted out lazily: a number that is not there any more is skipped and forgotten.
        let gone: FxHashSet<u32> = dirt
            .contents
            .iter()
            .copied()
            .filter(|id| contents.get(*id).is_none())
            .collect();
        if !gone.is_empty() {
            self.dependents.retain(|_, ids| {
                ids.retain(|id| !gone.contains(id));
                !ids.is_empty()
            });
        }
    }

    /// All entries, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PolicyId, PeerId, TableId)> {
        let policies = (0u32..)
            .zip(&self.slots)
            .filter_map(|(id, slot)| Some((id, slot.as_ref()?)));
        policies.flat_map(|(id, policy)| {
            let classes = PeerClass::ALL.into_iter().map(PeerId::plain).zip(policy.fallbacks);
            let fallbacks = classes.filter_map(|(peer, table)| Some((peer, table?)));
            let entries = policy.entries.iter().map(|(peer, table)| (*peer, *table));
            fallbacks
                .chain(entries)
                .map(move |(peer, table)| (PolicyId(id), peer, TableId(table)))
        })
    }
}

/// One policy being computed.
struct Work<'a, 'b> {
    id: PolicyId,
    filed: Option<Filed<'b>>,
    /// Tables by what tells their peers from the class; held here until the work is done.
    known: FxHashMap<Box<[u32]>, u32>,
    policy: &'a mut Policy,
    judge: &'a Judge<'b>,
    contents: &'a Interned<Content>,
    tables: &'a mut Interned<Table>,
    dependents: &'a FxHashMap<PeerId, FxHashSet<u32>>,
    changes: &'a mut Vec<Change>,
}

impl Work<'_, '_> {
    fn run(&mut self, todo: &Todo, dirt: &Dirt) {
        let mut classes: Vec<PeerClass> = todo.classes.iter().copied().collect();
        let mut peers: Vec<PeerId> = todo.peers.iter().copied().collect();
        if todo.whole {
            classes = PeerClass::ALL.to_vec();
            classes.retain(|class| *class != PeerClass::ServicePort);
            peers = self.peers_concerned();
        } else if !todo.wide.is_empty() {
            classes.extend(todo.wide.iter().copied());
            let concerned = self.peers_concerned().into_iter();
            peers.extend(concerned.filter(|peer| todo.wide.contains(&peer.class())));
        }
        classes.sort_unstable();
        peers.sort_unstable();
        peers.dedup();
        for class in classes.iter().copied() {
            self.fall_back(class);
        }
        if todo.whole {
            self.policy.entries.reserve(peers.len());
        }
        let mut key = Vec::new();
        for peer in &peers {
            self.enter(*peer, &mut key);
        }
        for table in self.known.drain().map(|(_, table)| table) {
            self.tables.drop_one(table);
        }
        // All that was looked at counts, changed or not: a rule's new place in the order may change what a Service port
        // credits though no table changed. And the merged tables of an unknown pod do not tell what became of each pod
        // that it could be.
        peers.extend(classes.iter().copied().map(PeerId::plain));
        if !todo.wide.is_empty() {
            // Peers without an entry of their own are judged by their class, too.
            let served = self.dependents.keys().copied();
            peers.extend(served.filter(|peer| todo.wide.contains(&peer.class())));
        }
        let whole = todo.whole || (self.policy.key.startup && !peers.is_empty());
        if self.policy.key.direction == Direction::Egress || whole {
            self.services(whole, &peers, dirt);
        }
    }

    /// The peers that rules tell from their class, and those that have entries now.
    fn peers_concerned(&self) -> Vec<PeerId> {
        let direction = self.policy.key.direction;
        let mut objects: FxHashSet<ObjectId> = FxHashSet::default();
        for side in &self.policy.key.sides {
            for own in POD.into_iter().chain(side.objects.iter().map(|id| Sel::object(*id))) {
                objects.extend(self.judge.rules.opposite(own, direction).filter_map(Sel::as_object));
            }
        }
        let mut sets: Vec<u32> = objects
            .into_iter()
            .flat_map(|object| self.judge.sets.with_object(object))
            .collect();
        sets.sort_unstable();
        sets.dedup();
        let mut peers: Vec<PeerId> = sets.into_iter().flat_map(|set| self.judge.sets.peers_of(set)).collect();
        peers.extend(
            self.policy
                .entries
                .keys()
                .filter(|peer| peer.class() != PeerClass::ServicePort),
        );
        peers
    }

    /// Computes the table of a class.
    fn fall_back(&mut self, class: PeerClass) {
        let table = self.judge.table(&self.policy.key, self.filed.as_ref(), class, &[]);
        self.set_fallback(class, table);
    }

    fn set_fallback(&mut self, class: PeerClass, table: Table) {
        let new = self.tables.hold(table);
        let old = self.policy.fallbacks[class as usize].replace(new);
        if let Some(old) = old {
            self.tables.drop_one(old);
        }
        if old != Some(new) {
            self.changes
                .push(Change::Policy(self.id, PeerId::plain(class), Some(TableId(new))));
        }
    }

    /// Computes the entry of a peer.
    fn enter(&mut self, peer: PeerId, key: &mut Vec<u32>) {
        let objects = self.judge.objects_of(peer);
        if objects.is_empty() || !self.judge.sets.is_alive(peer) {
            self.set_entry(peer, None);
            return;
        }
        let class = peer.class();
        if let Some(filed) = &self.filed {
            if !Judge::key(&self.policy.key, filed, class, objects, key) {
                self.set_entry(peer, None);
                return;
            }
            if let Some(table) = self.known.get(key.as_slice()).copied() {
                self.tables.hold_again(table);
                self.set_entry(peer, Some(table));
                return;
            }
        }
        let table = self.judge.table(&self.policy.key, self.filed.as_ref(), class, objects);
        let table = self.tables.hold(table);
        if self.filed.is_some() {
            self.tables.hold_again(table);
            self.known.insert(key.as_slice().into(), table);
        }
        self.set_entry(peer, Some(table));
    }

    /// Makes `table` (held for this) the entry of `peer`, unless its class says the same.
    fn set_entry(&mut self, peer: PeerId, table: Option<u32>) {
        let fallback = self.policy.fallbacks[peer.class() as usize];
        let mut new = table;
        if let Some(id) = new
            && new == fallback
        {
            self.tables.drop_one(id);
            new = None;
        }
        let old = match new {
            Some(id) => self.policy.entries.insert(peer, id),
            None => self.policy.entries.remove(&peer),
        };
        if let Some(old) = old {
            self.tables.drop_one(old);
        }
        if old != new {
            self.changes.push(Change::Policy(self.id, peer, new.map(TableId)));
        }
    }

    fn services(&mut self, whole: bool, changed: &[PeerId], dirt: &Dirt) {
        if whole {
            let cell = self.judge.service_fallback(&self.policy.key);
            self.set_fallback(PeerClass::ServicePort, Table::constant(cell));
        }
        let mut ids: Vec<u32> = dirt.contents.clone();
        if whole && self.policy.key.direction == Direction::Egress {
            ids.extend(self.contents.iter().map(|(id, _)| id));
            let entries = self.policy.entries.keys();
            ids.extend(
                entries
                    .filter(|peer| peer.class() == PeerClass::ServicePort)
                    .map(|peer| peer.number()),
            );
        } else {
            ids.extend(changed.iter().filter_map(|peer| self.dependents.get(peer)).flatten());
        }
        if self.policy.key.direction == Direction::Ingress {
            return;
        }
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            self.serve(id);
        }
    }

    fn serve(&mut self, id: u32) {
        let peer = PeerId::new(PeerClass::ServicePort, id);
        let Some(content) = self.contents.get(id) else {
            self.set_entry(peer, None);
            return;
        };
        let known = |part: &Part| {
            let table = self.policy.table(part.peer)?;
            Some(at(self.tables.get(table)?, content.transport.into(), part.port))
        };
        let cell = self.judge.service_cell(&self.policy.key, content, known);
        let table = self.tables.hold(Table::constant(cell));
        self.set_entry(peer, Some(table));
    }
}
