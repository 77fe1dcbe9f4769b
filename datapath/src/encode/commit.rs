//! What becomes of an update: committed, abandoned; and what a grace period frees.

use std::collections::BTreeSet;

use super::draft::{Draft, Fact};
use super::{Encoder, Update};
use crate::image::{Leftover, RawKey};
use crate::keys::Key;
use crate::plan::Step;
use crate::port::{MapKind, MapName};

impl Encoder {
    /// The update's flip succeeded, or its plan was empty.
    pub fn commit(&mut self, update: Update) {
        let Update { plan, draft } = update;
        let Draft {
            facts,
            dead,
            revived,
            inserted,
            tables,
            slots_left,
            ..
        } = draft;
        self.retired_slots.extend(slots_left);
        for (map, count) in inserted {
            *self.present.entry(map).or_default() += count;
        }
        self.bury(dead, &revived);
        let mut touched: BTreeSet<u32> = self.tables.commit(tables).into_iter().collect();
        if self.adopted {
            touched.extend(self.tables.in_use());
        }
        for fact in facts {
            self.believe(fact, &mut touched);
        }
        for slot in &touched {
            match self.tables.entry(*slot).filter(|_| self.tables.is_named(*slot)) {
                Some(entry) => drop(self.image.tables.insert(*slot, entry.clone())),
                None => drop(self.image.tables.remove(slot)),
            }
        }
        self.tables.sweep(touched);
        self.adopted = false;
        match plan.flip {
            Some(active) => {
                self.image.active = active;
                self.settled = false;
            }
            // Nothing that a packet might be reading was left: what was retired is free at once.
            None => self.settled(),
        }
    }

    /// The update was not made and everything it wrote was taken back, or will be.
    pub fn abandon(&mut self, update: Update) {
        self.give_back(&update.draft);
        drop(update);
    }

    pub(super) fn give_back(&mut self, draft: &Draft) {
        for slot in &draft.slots {
            self.slots.give(*slot, 1);
        }
        self.tables.abandon(&draft.tables);
    }

    fn bury(&mut self, dead: BTreeSet<Key>, revived: &BTreeSet<Key>) {
        for key in revived {
            self.dead.remove(key);
            if !self.image.leftovers.is_empty() {
                self.image.leftovers.remove(&key.raw());
            }
        }
        for key in dead {
            let is_seen = !matches!(key, Key::Prefix(_) | Key::Card(_));
            if is_seen {
                self.image.leftovers.entry(key.raw()).or_insert(Leftover::Dead);
            }
            self.dead.insert(key);
        }
    }

    fn believe(&mut self, fact: Fact, touched: &mut BTreeSet<u32>) {
        let image = &mut self.image;
        match fact {
            Fact::Rule(slot, card) => drop(image.rules.insert(slot, card)),
            Fact::Own(ifindex, address, true) => drop(image.own_addresses.insert((ifindex, address))),
            Fact::Own(ifindex, address, false) => {
                image.own_addresses.remove(&(ifindex, address));
                let present = self.present.entry(MapName::OwnAddresses).or_default();
                *present = present.saturating_sub(1);
            }
            Fact::Address(address, entry) => match entry {
                Some(entry) => drop(image.addresses.insert(address, entry)),
                None => drop(image.addresses.remove(&address)),
            },
            Fact::ServicePort(key, peer) => match peer {
                Some(peer) => drop(image.service_ports.insert(key, peer)),
                None => drop(image.service_ports.remove(&key)),
            },
            Fact::Prefix(cidr, peer) => {
                let raw = Key::Prefix(cidr).raw();
                if let Some(peer) = peer {
                    image.leftovers.remove(&raw);
                    image.prefixes.insert(cidr, peer);
                } else {
                    image.leftovers.insert(raw, Leftover::Dead);
                    image.prefixes.remove(&cidr);
                }
            }
            Fact::Policy(policy, peer, slot) => {
                let before = match slot {
                    Some(slot) => image.policies.insert((policy, peer), slot),
                    None => image.policies.remove(&(policy, peer)),
                };
                if let Some(before) = before {
                    self.tables.unname(before);
                }
                if let Some(slot) = slot {
                    self.tables.name(slot);
                }
                touched.extend(before.into_iter().chain(slot));
            }
            Fact::Interface(ifindex, entry) => {
                let element = ifindex & self.index_mask();
                if let Some(entry) = entry {
                    if !entry.extra {
                        self.elements.insert(element, ifindex);
                    }
                    self.image.interfaces.insert(ifindex, entry);
                } else if self.image.interfaces.remove(&ifindex).is_some_and(|entry| !entry.extra) {
                    self.elements.remove(&element);
                }
            }
        }
    }

    /// A grace period has passed since the last flip: what it left is free.
    pub fn settled(&mut self) {
        self.settled = true;
        self.tables.settled();
        for slot in std::mem::take(&mut self.retired_slots) {
            self.slots.give(slot, 1);
        }
    }

    /// Whether a grace period has passed since the last flip.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// A step of [`Self::cleaning`] was done.
    pub fn cleaned(&mut self, step: &Step) {
        let (Step::Update(entries) | Step::Delete(entries)) = step else {
            return;
        };
        let map = entries.map();
        for (bytes, _) in entries.iter() {
            let raw = RawKey {
                map,
                key: bytes.to_vec(),
            };
            let Some(key) = Key::of(&raw).filter(|key| self.dead.remove(key)) else {
                continue;
            };
            self.image.leftovers.remove(&raw);
            match key {
                Key::Prefix(cidr) => drop(self.image.prefixes.remove(&cidr)),
                Key::Card(slot) => drop(self.image.rules.remove(&slot)),
                Key::Address(_)
                | Key::ServicePort(_)
                | Key::Policy(..)
                | Key::Extra(_)
                | Key::Index(_)
                | Key::Own(..) => {}
            }
            if map.kind() != MapKind::Array {
                let present = self.present.entry(map).or_default();
                *present = present.saturating_sub(1);
            }
        }
    }

    /// Counts the entries that the kernel has, from the belief alone.
    pub(super) fn count_present(&mut self) {
        let image = &self.image;
        let keys = image.addresses.keys().map(|address| Key::Address(*address));
        let keys = keys.chain(image.prefixes.keys().map(|cidr| Key::Prefix(*cidr)));
        let mut present = std::collections::BTreeMap::new();
        for key in keys {
            *present.entry(key.raw().map).or_insert(0) += 1;
        }
        let extra = image.interfaces.values().filter(|entry| entry.extra).count();
        present.insert(MapName::ServicePorts, image.service_ports.len() as u64);
        present.insert(MapName::Policy, image.policies.len() as u64);
        present.insert(MapName::OwnAddresses, image.own_addresses.len() as u64);
        present.insert(MapName::EndpointExtra, extra as u64);
        let besides = image
            .leftovers
            .keys()
            .filter(|raw| !Key::of(raw).is_some_and(|key| self.is_live(key)));
        for raw in besides.filter(|raw| raw.map.kind() != MapKind::Array) {
            *present.entry(raw.map).or_insert(0) += 1;
        }
        self.present = present;
    }

    /// Whether the key gives something at the active generation.
    pub(super) fn is_live(&self, key: Key) -> bool {
        let image = &self.image;
        match key {
            Key::Address(address) => image.addresses.contains_key(&address),
            Key::Prefix(cidr) => image.prefixes.contains_key(&cidr),
            Key::ServicePort(key) => image.service_ports.contains_key(&key),
            Key::Policy(policy, peer) => image.policies.contains_key(&(policy, peer)),
            Key::Extra(ifindex) => image.interfaces.get(&ifindex).is_some_and(|entry| entry.extra),
            Key::Index(element) => self.elements.contains_key(&element),
            Key::Own(ifindex, address) => image.own_addresses.contains(&(ifindex, address)),
            Key::Card(slot) => image.rules.contains_key(&slot),
        }
    }
}
