//! Random compiled states and the changes between them, small enough that everything collides with everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cellwall_datapath_common::policy::endpoint_flags;
use cellwall_datapath_common::{Active, EndpointRecord};
use cellwall_policy::compiled::{
    AddressEntry, Cell, Change, Interface, PeerClass, PeerId, PolicyId, RuleCard, RuleSlot, ServiceKey, ServiceScope,
    Spans, Table, TableId,
};
use cellwall_policy::model::{Action, Address, Cidr, Hook, Reason, Transport};

use crate::image::{Image, InterfaceEntry, Probe, TableEntry};

/// Elements of the index in these tests: interfaces 3, 19 and 35 share one.
pub(super) const INDEX: u32 = 16;

const ADDRESSES: [&str; 7] = [
    "192.0.2.1",
    "192.0.2.2",
    "192.0.2.3",
    "198.51.100.9",
    "2001:db8::1",
    "2001:db8::2",
    "fe80::1",
];
const RANGES: [&str; 8] = [
    "0.0.0.0/0",
    "198.51.0.0/16",
    "198.51.100.0/24",
    "198.51.100.0/25",
    "198.51.100.8/29",
    "192.0.2.0/24",
    "::/0",
    "2001:db8::/64",
];
const INTERFACES: [u32; 4] = [3, 19, 35, 4];

/// A repeatable source of choices.
#[derive(Debug, Clone)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, limit: u32) -> u32 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ mixed >> 31) % u64::from(limit)).unwrap()
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(u32::try_from(items.len()).unwrap()) as usize]
    }

    fn address(&mut self) -> Address {
        self.one_of(&ADDRESSES).parse().unwrap()
    }

    fn peer(&mut self) -> PeerId {
        let class = self.one_of(&PeerClass::ALL);
        let number = self.below(3);
        if number == 2 {
            PeerId::plain(class)
        } else {
            PeerId::new(class, number)
        }
    }

    fn cell(&mut self) -> Cell {
        let action = self.one_of(&[Action::Pass, Action::Alert, Action::Drop]);
        let rule = RuleSlot(self.below(5));
        Cell {
            action,
            reason: Reason::Rule,
            rule: Some(rule),
            named: self.below(2) == 0,
            ..Cell::NO_RULE
        }
    }

    fn spans(&mut self) -> Spans {
        let starts: BTreeSet<u16> = [0, 80, 443].into_iter().take(1 + self.below(3) as usize).collect();
        Spans::from_sorted(starts.into_iter().map(|start| (start, self.cell())).collect::<Vec<_>>()).unwrap()
    }

    fn table(&mut self) -> Table {
        if self.below(3) == 0 {
            return Table::constant(self.cell());
        }
        let mut table = Table::constant(self.cell());
        table.tcp = self.spans();
        table.udp = if self.below(2) == 0 {
            table.tcp.clone()
        } else {
            self.spans()
        };
        table.other = self.spans();
        table
    }

    fn service(&mut self) -> ServiceKey {
        let scope = match self.below(2) {
            0 => ServiceScope::Address(self.address()),
            _ => ServiceScope::Peer(self.peer()),
        };
        ServiceKey {
            scope,
            transport: Transport::Tcp,
            port: self.one_of(&[80, 443]),
            v4: self.below(2) == 0,
        }
    }

    fn interface(&mut self, ifindex: u32) -> Interface {
        let addresses: BTreeSet<_> = (0..self.below(4)).map(|_| self.address()).collect();
        Interface {
            ifindex,
            master: self.below(2),
            pod: None,
            mac: [2, 0, 0, 0, 0, 1],
            addresses: addresses.into_iter().collect(),
            egress: PolicyId(self.below(3)),
            ingress: PolicyId(self.below(3)),
            startup: self.below(4) == 0,
        }
    }

    pub(super) fn probe(&mut self) -> Probe {
        Probe {
            ifindex: self.one_of(&INTERFACES),
            hook: self.one_of(&[Hook::FromPod, Hook::ToPod]),
            peer: self
                .one_of(&[
                    "198.51.100.10",
                    "198.51.1.1",
                    "203.0.113.1",
                    ADDRESSES[self.0 as usize % 7],
                ])
                .parse()
                .unwrap(),
            protocol: self.one_of(&[6, 6, 17, 1, 47]),
            port: self.one_of(&[0, 80, 81, 443]),
        }
    }
}

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
        each(&self.interfaces, &next.interfaces, |key, value| {
            changes.push(Change::Interface(*key, value))
        });
        each(&self.addresses, &next.addresses, |key, value| {
            changes.push(Change::Address(*key, value))
        });
        each(&self.prefixes, &next.prefixes, |key, value| {
            changes.push(Change::Prefix(*key, value))
        });
        each(&self.services, &next.services, |key, value| {
            changes.push(Change::ServicePort(*key, value))
        });
        each(&self.policies, &next.policies, |key, value| {
            changes.push(Change::Policy(key.0, key.1, value))
        });
        each(&self.tables, &next.tables, |key, value| {
            changes.push(Change::Table(*key, value))
        });
        each(&self.rules, &next.rules, |key, value| {
            changes.push(Change::Rule(*key, value))
        });
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

fn each<K: Ord, V: Clone + PartialEq>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
    mut changed: impl FnMut(&K, Option<V>),
) {
    for key in before.keys().filter(|key| !after.contains_key(key)) {
        changed(key, None);
    }
    for (key, value) in after.iter().filter(|(key, value)| before.get(key) != Some(value)) {
        changed(key, Some(value.clone()));
    }
}
