//! Random compiled states and the changes between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cellwall_datapath_common::policy::endpoint_flags;
use cellwall_datapath_common::{Active, EndpointRecord};
use cellwall_policy::compiled::{
    AddressEntry, Change, Interface, PeerClass, PeerId, PolicyId, RuleCard, RuleSlot, ServiceKey, ServiceScope, Table,
    TableId,
};
use cellwall_policy::model::{Action, Address, Cidr};

use super::dice::{Dice, INTERFACES, RANGES};
use crate::image::{Image, InterfaceEntry, TableEntry};

/// Elements of the index in these tests: interfaces 3, 19 and 35 share one.
pub(super) const INDEX: u32 = 16;

/// A compiled state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct State {
    pub(super) interfaces: BTreeMap<u32, Interface>,
    pub(super) addresses: BTreeMap<Address, AddressEntry>,
    pub(super) prefixes: BTreeMap<Cidr, PeerId>,
    pub(super) services: BTreeMap<ServiceKey, PeerId>,
    pub(super) policies: BTreeMap<(PolicyId, PeerId), TableId>,
    pub(super) tables: BTreeMap<TableId, Table>,
    pub(super) rules: BTreeMap<RuleSlot, RuleCard>,
}

impl State {
    /// A state in which every policy has an answer for every class.
    pub(super) fn furnished(dice: &mut Dice) -> Self {
        let mut state = Self::default();
        let tables: Vec<_> = (0..4)
            .map(|_| dice.table())
            .map(|table| state.intern(&Self::default(), table))
            .collect();
        for policy in (0..3).map(PolicyId) {
            for class in PeerClass::ALL {
                state
                    .policies
                    .insert((policy, PeerId::plain(class)), dice.one_of(&tables));
            }
        }
        for ifindex in INTERFACES {
            state.interfaces.insert(ifindex, dice.interface(ifindex));
        }
        for _ in 0..4 {
            state = state.changed(dice);
        }
        state
    }

    /// The state after some random changes; ids of tables that went are not used again at once.
    pub(super) fn changed(&self, dice: &mut Dice) -> Self {
        let mut next = self.clone();
        for _ in 0..=dice.below(8) {
            let stays = dice.below(3) > 0;
            match dice.below(6) {
                0 => {
                    let ifindex = dice.one_of(&INTERFACES);
                    let interface = dice.interface(ifindex);
                    put(&mut next.interfaces, ifindex, stays.then_some(interface));
                }
                1 => {
                    let entry = AddressEntry {
                        peer: dice.peer(),
                        since: 0,
                        ifindex: dice.below(3),
                    };
                    put(&mut next.addresses, dice.address(), stays.then_some(entry));
                }
                2 => put(
                    &mut next.prefixes,
                    dice.one_of(&RANGES).parse().unwrap(),
                    stays.then_some(dice.peer()),
                ),
                3 => put(&mut next.services, dice.service(), stays.then_some(dice.peer())),
                4 => {
                    let slot = RuleSlot(dice.below(5));
                    let name = format!("rule-{}", dice.below(3)).into();
                    let card = RuleCard {
                        name,
                        uid: "uid".into(),
                        priority: 7,
                        action: Action::Drop,
                    };
                    put(&mut next.rules, slot, stays.then_some(card));
                }
                _ => {
                    let key = (PolicyId(dice.below(3)), dice.peer());
                    let table = next.intern(self, dice.table());
                    // A class always has its answer.
                    let stays = stays || key.1.number() == PeerId::PLAIN;
                    put(&mut next.policies, key, stays.then_some(table));
                }
            }
        }
        let named: BTreeSet<_> = next.policies.values().copied().collect();
        next.tables.retain(|id, _| named.contains(id));
        next
    }

    fn intern(&mut self, before: &Self, table: Table) -> TableId {
        if let Some((id, _)) = self.tables.iter().find(|(_, known)| **known == table) {
            return *id;
        }
        let mut free = (0..)
            .map(TableId)
            .filter(|id| !self.tables.contains_key(id) && !before.tables.contains_key(id));
        let id = free.next().unwrap();
        self.tables.insert(id, table);
        id
    }

    /// The same with other numbers, as a compiler that started anew gives them.
    pub(super) fn renumbered(&self) -> Self {
        let peer = |peer: PeerId| match peer.number() {
            PeerId::PLAIN => peer,
            number => PeerId::new(peer.class(), number ^ 1),
        };
        let policy = |policy: PolicyId| PolicyId((policy.0 + 1) % 3);
        let mut next = self.clone();
        for interface in next.interfaces.values_mut() {
            (interface.egress, interface.ingress) = (policy(interface.egress), policy(interface.ingress));
        }
        next.addresses
            .values_mut()
            .for_each(|entry| entry.peer = peer(entry.peer));
        next.prefixes.values_mut().for_each(|found| *found = peer(*found));
        let services = self.services.iter().map(|(key, backends)| {
            let scope = match key.scope {
                ServiceScope::Peer(node) => ServiceScope::Peer(peer(node)),
                ServiceScope::Address(address) => ServiceScope::Address(address),
            };
            (ServiceKey { scope, ..*key }, peer(*backends))
        });
        next.services = services.collect();
        let table = |id: TableId| TableId(id.0 + 1000);
        next.policies = self
            .policies
            .iter()
            .map(|((owner, other), id)| ((policy(*owner), peer(*other)), table(*id)))
            .collect();
        next.tables = self
            .tables
            .iter()
            .map(|(id, content)| (table(*id), content.clone()))
            .collect();
        next
    }

    /// The changes from this state to `next`.
    pub(super) fn changes_to(&self, next: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        changes.extend(each(&self.interfaces, &next.interfaces, |ifindex, interface| {
            Change::Interface(ifindex, interface.map(Box::new))
        }));
        changes.extend(each(&self.addresses, &next.addresses, Change::Address));
        changes.extend(each(&self.prefixes, &next.prefixes, Change::Prefix));
        changes.extend(each(&self.services, &next.services, Change::ServicePort));
        changes.extend(each(&self.policies, &next.policies, |key, table| {
            Change::Policy(key.0, key.1, table)
        }));
        changes.extend(each(&self.tables, &next.tables, |id, table| {
            Change::Table(id, table.map(Arc::new))
        }));
        changes.extend(each(&self.rules, &next.rules, Change::Rule));
        changes
    }

    /// What the maps must say, without any of the encoder's code.
    pub(super) fn image(&self) -> Image {
        let interfaces = self.interfaces.iter().map(|(ifindex, interface)| {
            let record = EndpointRecord {
                attached: 0,
                ifindex: *ifindex,
                master: interface.master,
                egress: interface.egress.0,
                ingress: interface.ingress.0,
                flags: endpoint_flags::MORE_ADDRESSES,
                v4: 0,
                v6: [0; 16],
                v6_link: [0; 16],
                mac: interface.mac,
                pad: [0; 2],
            };
            (
                *ifindex,
                InterfaceEntry {
                    slot: 0,
                    record,
                    extra: false,
                },
            )
        });
        let own = self
            .interfaces
            .iter()
            .flat_map(|(key, interface)| interface.addresses.iter().map(|own| (*key, *own)));
        let entry = |table: &Table| TableEntry {
            table: Arc::new(table.clone()),
            refs: [0; 6],
        };
        Image {
            active: Active {
                generation: 1,
                ..Active::default()
            },
            rules: self.rules.clone(),
            interfaces: interfaces.collect(),
            own_addresses: own.collect(),
            addresses: self.addresses.clone(),
            prefixes: self.prefixes.clone(),
            service_ports: self.services.clone(),
            policies: self.policies.iter().map(|(key, table)| (*key, table.0)).collect(),
            tables: self.tables.iter().map(|(id, table)| (id.0, entry(table))).collect(),
            leftovers: BTreeMap::new(),
        }
    }
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}

fn each<K: Ord + Copy, V: Clone + PartialEq>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
    change: impl Fn(K, Option<V>) -> Change,
) -> Vec<Change> {
    let gone = before.keys().filter(|key| !after.contains_key(key));
    let new = after.iter().filter(|(key, value)| before.get(key) != Some(value));
    let gone = gone.map(|key| change(*key, None));
    gone.chain(new.map(|(key, value)| change(*key, Some(value.clone()))))
        .collect()
}
