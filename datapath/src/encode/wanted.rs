//! What is wanted of the kernel: changes gathered by key until an update has realised them.

use std::collections::BTreeMap;
use std::sync::Arc;

use cellwall_policy::compiled::{
    AddressEntry, Change, Interface, PeerId, PolicyId, RuleCard, RuleSlot, ServiceKey, Table, TableId,
};
use cellwall_policy::model::{Address, Cidr};

/// Changes by key, the latest of each; none where the entry goes. Several updates of the compiler may be gathered
/// before one is realised, and one that failed stays gathered until the next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Whether this is the whole state: entries that are not named here go.
    pub full: bool,
    /// `Active::switches`.
    pub switches: u32,
    /// `Active::pass_sample`.
    pub pass_sample: u32,
    /// When hooks were attached, by interface, where that is news; `CLOCK_MONOTONIC` nanoseconds.
    pub attached: BTreeMap<u32, u64>,
    pub(super) interfaces: BTreeMap<u32, Option<Box<Interface>>>,
    pub(super) addresses: BTreeMap<Address, Option<AddressEntry>>,
    pub(super) prefixes: BTreeMap<Cidr, Option<PeerId>>,
    pub(super) service_ports: BTreeMap<ServiceKey, Option<PeerId>>,
    pub(super) policies: BTreeMap<(PolicyId, PeerId), Option<TableId>>,
    pub(super) tables: BTreeMap<TableId, Option<Arc<Table>>>,
    pub(super) rules: BTreeMap<RuleSlot, Option<RuleCard>>,
}

impl Wanted {
    /// A whole state of which nothing was named yet.
    pub fn whole(switches: u32, pass_sample: u32) -> Self {
        Self {
            full: true,
            switches,
            pass_sample,
            ..Self::default()
        }
    }

    /// Adds changes; a later change of a key takes the place of an earlier one.
    pub fn extend(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            match change {
                Change::Interface(ifindex, value) => drop(self.interfaces.insert(ifindex, value)),
                Change::Address(address, value) => drop(self.addresses.insert(address, value)),
                Change::Prefix(cidr, value) => drop(self.prefixes.insert(cidr, value)),
                Change::ServicePort(key, value) => drop(self.service_ports.insert(key, value)),
                Change::Policy(policy, peer, value) => drop(self.policies.insert((policy, peer), value)),
                Change::Table(table, value) => drop(self.tables.insert(table, value)),
                Change::Rule(slot, value) => drop(self.rules.insert(slot, value)),
            }
        }
    }

    /// Takes the place of an earlier wish where both speak of a key.
    pub(crate) fn over(self, mut earlier: Self) -> Self {
        if self.full {
            return self;
        }
        earlier.switches = self.switches;
        earlier.pass_sample = self.pass_sample;
        earlier.attached.extend(self.attached);
        earlier.interfaces.extend(self.interfaces);
        earlier.addresses.extend(self.addresses);
        earlier.prefixes.extend(self.prefixes);
        earlier.service_ports.extend(self.service_ports);
        earlier.policies.extend(self.policies);
        earlier.tables.extend(self.tables);
        earlier.rules.extend(self.rules);
        earlier
    }

    /// Forgets what was realised; switches stay as they are.
    pub(crate) fn realised(&mut self) {
        *self = Self {
            switches: self.switches,
            pass_sample: self.pass_sample,
            ..Self::default()
        };
    }

    /// The keys of `known` that a full state does not name.
    pub(super) fn unnamed<K: Ord + Copy, V>(
        &self,
        wanted: &BTreeMap<K, V>,
        known: impl IntoIterator<Item = K>,
    ) -> Vec<K> {
        if !self.full {
            return Vec::new();
        }
        known.into_iter().filter(|key| !wanted.contains_key(key)).collect()
    }
}
