//! The compiled state as one value: all changes folded, with the lookup that the kernel makes and a stable text.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::verdicts::at;
use crate::compiled::{
    AddressEntry, Cell, Change, Interface, PeerClass, PeerId, PolicyId, RuleCard, RuleSlot, ServiceKey, ServiceScope,
    Table, TableId,
};
use crate::model::{Address, Cidr, Hook, Protocol, Transport};

/// Everything that the changes so far add up to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "key and value types say it")]
pub struct Image {
    pub interfaces: BTreeMap<u32, Interface>,
    pub addresses: BTreeMap<Address, AddressEntry>,
    pub prefixes: BTreeMap<Cidr, PeerId>,
    pub service_ports: BTreeMap<ServiceKey, PeerId>,
    pub policies: BTreeMap<(PolicyId, PeerId), TableId>,
    pub tables: BTreeMap<TableId, Arc<Table>>,
    pub rules: BTreeMap<RuleSlot, RuleCard>,
}

fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => {
            map.insert(key, value);
        }
        None => {
            map.remove(&key);
        }
    }
}

impl Image {
    /// Makes the changes.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            match change {
                Change::Interface(key, value) => set(&mut self.interfaces, key, value.map(|interface| *interface)),
                Change::Address(key, value) => set(&mut self.addresses, key, value),
                Change::Prefix(key, value) => set(&mut self.prefixes, key, value),
                Change::ServicePort(key, value) => set(&mut self.service_ports, key, value),
                Change::Policy(policy, peer, value) => set(&mut self.policies, (policy, peer), value),
                Change::Table(key, value) => set(&mut self.tables, key, value),
                Change::Rule(key, value) => set(&mut self.rules, key, value),
            }
        }
    }

    /// Who has `address`: its own entry, else that of the longest range around it, else the world.
    pub fn peer_of(&self, address: Address) -> PeerId {
        if let Some(entry) = self.addresses.get(&address) {
            return entry.peer;
        }
        let longest = if address.is_v4() { 32 } else { 128 };
        let mut around = (0..=longest).rev().map(|length| Cidr::around(address, length));
        let found = around.find_map(|cidr| self.prefixes.get(&cidr));
        found.copied().unwrap_or(PeerId::plain(PeerClass::World))
    }

    /// Whom a packet to `address` is judged against: for a Service port all that is behind it.
    pub fn destination(&self, address: Address, protocol: Protocol, port: u16) -> PeerId {
        let peer = self.peer_of(address);
        let transport = match protocol {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
            Protocol::Sctp => Transport::Sctp,
            _ => return peer,
        };
        let find = |scope| {
            let key = ServiceKey {
                scope,
                transport,
                port,
                v4: address.is_v4(),
            };
            self.service_ports.get(&key).copied()
        };
        let stands_for = match peer.class() {
            PeerClass::ClusterIp | PeerClass::ExternalIp => find(ServiceScope::Address(address)),
            // Host ports at one address before node ports at all of them.
            PeerClass::Node | PeerClass::LocalNode => {
                find(ServiceScope::Address(address)).or_else(|| find(ServiceScope::Peer(peer)))
            }
            _ => None,
        };
        stands_for.unwrap_or(peer)
    }

    /// The verdict at the interface `ifindex` for a new flow whose other end is `other`. `port` is the destination
    /// port, the type of ICMP, and nothing for protocols without. None: the state has no answer, which the kernel
    /// takes as an error of its own and drops.
    pub fn verdict(&self, ifindex: u32, hook: Hook, other: Address, protocol: Protocol, port: u16) -> Option<Cell> {
        let interface = self.interfaces.get(&ifindex)?;
        let (policy, peer) = match hook {
            Hook::FromPod => (interface.egress, self.destination(other, protocol, port)),
            Hook::ToPod => (interface.ingress, self.peer_of(other)),
        };
        self.cell(policy, peer, protocol, port)
    }

    /// What `policy` says of `peer` at a protocol and port (or ICMP type).
    pub fn cell(&self, policy: PolicyId, peer: PeerId, protocol: Protocol, port: u16) -> Option<Cell> {
        Some(at(self.table(policy, peer)?, protocol, port))
    }

    /// The table of `policy` against `peer`, or against its class where there is none of its own.
    pub fn table(&self, policy: PolicyId, peer: PeerId) -> Option<&Table> {
        let own = self.policies.get(&(policy, peer));
        let id = own.or_else(|| self.policies.get(&(policy, PeerId::plain(peer.class()))))?;
        self.tables.get(id).map(AsRef::as_ref)
    }
}
