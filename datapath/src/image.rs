//! What the kernel's maps say, as a value: what decides at the active generation, and what lies about besides.
//!
//! The encoder keeps one as its belief, [`crate::inspect()`] reads one back, tests and `dump` print it.

mod diff;
mod digest;
mod judge;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cellwall_datapath_common::policy::endpoint_flags;
use cellwall_datapath_common::{Active, EndpointRecord};
use cellwall_policy::compiled::{AddressEntry, PeerId, PolicyId, RuleCard, RuleSlot, ServiceKey, Table};
use cellwall_policy::model::{Address, Cidr};

pub use diff::Difference;
pub use digest::Digest;
pub use judge::Probe;

use crate::port::MapName;

/// The maps' content. Equal content is an equal value, and the text is the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// Generation and switches.
    pub active: Active,
    /// Name cards by rule slot.
    pub rules: BTreeMap<RuleSlot, RuleCard>,
    /// Guarded interfaces by index.
    pub interfaces: BTreeMap<u32, InterfaceEntry>,
    /// Addresses of pods beyond those in their records, by interface.
    pub own_addresses: BTreeSet<(u32, Address)>,
    /// Exact addresses.
    pub addresses: BTreeMap<Address, AddressEntry>,
    /// Ranges.
    pub prefixes: BTreeMap<Cidr, PeerId>,
    /// Service ports.
    pub service_ports: BTreeMap<ServiceKey, PeerId>,
    /// Slot of the table for policy and peer.
    pub policies: BTreeMap<(PolicyId, PeerId), u32>,
    /// Tables that an entry of `policies` names, by slot; those that cannot be read are missing here.
    pub tables: BTreeMap<u32, TableEntry>,
    /// Entries that are more, or less, than what decides.
    pub leftovers: BTreeMap<RawKey, Leftover>,
}

/// A guarded interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceEntry {
    /// Slot of its record.
    pub slot: u32,
    /// Its record.
    pub record: EndpointRecord,
    /// Found in `ENDPOINT_EXTRA`: another interface has its place in the index.
    pub extra: bool,
}

/// A table and where its parts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableEntry {
    /// The table.
    pub table: Arc<Table>,
    /// Its six references as the kernel has them.
    pub refs: [u32; 6],
}

/// A key as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawKey {
    /// Map.
    pub map: MapName,
    /// Bytes.
    pub key: Vec<u8>,
}

/// Why an entry is left over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leftover {
    /// It says nothing any more and is to be deleted.
    Dead,
    /// Written for a generation that was never activated: it must not count when that number is reached.
    Unrealised,
    /// It cannot be read: the kernel drops what depends on it.
    Broken,
}

impl InterfaceEntry {
    /// Whether the pod is not known yet.
    pub fn is_startup(&self) -> bool {
        self.record.flags & endpoint_flags::STARTUP != 0
    }

    /// The addresses in the record.
    pub fn addresses(&self) -> impl Iterator<Item = Address> {
        let EndpointRecord { v4, v6, v6_link, .. } = self.record;
        let v4 = (v4 != 0).then(|| Address::from(std::net::Ipv4Addr::from(v4.to_ne_bytes())));
        let v6 = [v6, v6_link].into_iter().filter(|octets| *octets != [0; 16]);
        v4.into_iter()
            .chain(v6.map(|octets| Address::from(std::net::Ipv6Addr::from(octets))))
    }
}

impl Image {
    /// Rules and the slots they have, so that a compiler that starts anew lets their counters go on.
    pub fn adopted_rules(&self) -> impl Iterator<Item = (RuleSlot, &RuleCard)> {
        self.rules.iter().map(|(slot, card)| (*slot, card))
    }

    /// When the hooks of each interface were attached, `CLOCK_MONOTONIC` nanoseconds.
    pub fn attached(&self) -> impl Iterator<Item = (u32, u64)> {
        self.interfaces
            .iter()
            .map(|(ifindex, entry)| (*ifindex, entry.record.attached))
    }

    /// The addresses that the pod at `ifindex` may use: those beyond its record count where the record says so.
    pub fn own(&self, ifindex: u32) -> impl Iterator<Item = Address> {
        let (first, last) = (Address::from(std::net::Ipv4Addr::UNSPECIFIED), ifindex.checked_add(1));
        let end = last.map_or(std::ops::Bound::Unbounded, |next| {
            std::ops::Bound::Excluded((next, first))
        });
        let extra = self
            .own_addresses
            .range((std::ops::Bound::Included((ifindex, first)), end));
        let entry = self.interfaces.get(&ifindex);
        let has_more = entry.is_some_and(|entry| entry.record.flags & endpoint_flags::MORE_ADDRESSES != 0);
        let extra = extra.filter(move |_| has_more).map(|(_, address)| *address);
        entry.map(InterfaceEntry::addresses).into_iter().flatten().chain(extra)
    }

    /// The range that covers `cidr` most closely, other than itself.
    pub fn covering(&self, cidr: Cidr) -> Option<(Cidr, PeerId)> {
        self.longest(cidr.network(), (0..cidr.prefix()).rev())
    }

    /// The longest range that `address` lies in.
    pub fn matching(&self, address: Address) -> Option<(Cidr, PeerId)> {
        self.longest(address, (0..=if address.is_v4() { 32 } else { 128 }).rev())
    }

    fn longest(&self, address: Address, lengths: impl Iterator<Item = u8>) -> Option<(Cidr, PeerId)> {
        if self.prefixes.is_empty() {
            return None;
        }
        let mut ranges = lengths.map(|length| Cidr::around(address, length));
        ranges.find_map(|range| Some((range, *self.prefixes.get(&range)?)))
    }
}
