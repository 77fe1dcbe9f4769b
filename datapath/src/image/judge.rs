//! A lookup over the image: which cell answers a first packet. Written apart from the kernel side's code, from the
//! meaning of the maps alone, so that the two can be held against each other.

use cellwall_datapath_common::switches;
use cellwall_policy::compiled::{Cell, PeerClass, PeerId, PolicyId, ServiceKey, ServiceScope};
use cellwall_policy::model::{Action, Address, Cidr, Hook, Protocol, Reason, Transport};

use super::{Image, Leftover};
use crate::keys::Key;

/// The first packet of a flow, as a hook sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Probe {
    /// Interface of the hook.
    pub ifindex: u32,
    /// Hook: at from-pod the pod opens, at to-pod the peer.
    pub hook: Hook,
    /// The other end; its family is the packet's.
    pub peer: Address,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port or ICMP type; 0 for protocols without.
    pub port: u16,
}

const fn without_rule(action: Action, reason: Reason) -> Cell {
    Cell {
        action,
        reason,
        ..Cell::NO_RULE
    }
}

impl Image {
    /// The cell that answers `probe`. Headers, forged sources and flows are not its business.
    pub fn judge(&self, probe: &Probe) -> Cell {
        if self.active.switches & switches::OFF != 0 {
            return without_rule(Action::Pass, Reason::Off);
        }
        let Some(interface) = self.interfaces.get(&probe.ifindex) else {
            let open = self.active.switches & switches::STARTUP_OPEN != 0;
            return without_rule(if open { Action::Pass } else { Action::Drop }, Reason::Startup);
        };
        // What a pod sends to itself is decided where it is sent.
        if probe.hook == Hook::FromPod && self.is_own(probe.ifindex, probe.peer) {
            return without_rule(Action::Pass, Reason::SelfTraffic);
        }
        let (policy, peer) = match probe.hook {
            Hook::FromPod => (interface.record.egress, self.destination(probe)),
            Hook::ToPod => (interface.record.ingress, self.peer(probe.peer)),
        };
        let cell = peer.and_then(|peer| self.cell(PolicyId(policy), peer, probe));
        cell.unwrap_or(without_rule(Action::Drop, Reason::Internal))
    }

    /// Whether the address is the pod's, and was not taken by a later one.
    fn is_own(&self, ifindex: u32, address: Address) -> bool {
        let owner = self.addresses.get(&address).map_or(0, |entry| entry.ifindex);
        (owner == 0 || owner == ifindex) && self.own(ifindex).any(|own| own == address)
    }

    /// Who has an address; where that cannot be read, nobody known.
    pub fn identity(&self, address: Address) -> PeerId {
        self.peer(address).unwrap_or(PeerId::plain(PeerClass::World))
    }

    /// Who has an address; none where the kernel could not tell.
    fn peer(&self, address: Address) -> Option<PeerId> {
        let nobody = PeerId::plain(PeerClass::World);
        if let Some(entry) = self.addresses.get(&address) {
            return Some(entry.peer);
        }
        if self.is_broken(Key::Address(address)) {
            return None;
        }
        let range = self.matching(address);
        // An entry that says nothing still ends the search of a trie.
        match self
            .silent_range(address)
            .filter(|silent| range.is_none_or(|(cidr, _)| cidr.prefix() < silent.prefix()))
        {
            Some(silent) if self.is_broken(Key::Prefix(silent)) => None,
            Some(_) => Some(nobody),
            None => Some(range.map_or(nobody, |(_, peer)| peer)),
        }
    }

    fn silent_range(&self, address: Address) -> Option<Cidr> {
        let silent = self.leftovers.keys().filter_map(|raw| match Key::of(raw)? {
            Key::Prefix(cidr) if cidr.contains(address) && !self.prefixes.contains_key(&cidr) => Some(cidr),
            _ => None,
        });
        silent.max_by_key(|cidr| cidr.prefix())
    }

    fn is_broken(&self, key: Key) -> bool {
        !self.leftovers.is_empty() && self.leftovers.get(&key.raw()) == Some(&Leftover::Broken)
    }

    /// Who stands behind a destination: the backends of a Service port, where it is one.
    fn destination(&self, probe: &Probe) -> Option<PeerId> {
        let peer = self.peer(probe.peer)?;
        let transport = match probe.protocol {
            6 => Transport::Tcp,
            17 => Transport::Udp,
            132 => Transport::Sctp,
            _ => return Some(peer),
        };
        let scopes: &[ServiceScope] = match peer.class() {
            PeerClass::ClusterIp | PeerClass::ExternalIp => &[ServiceScope::Address(probe.peer)],
            // A host port at one address says more than a node port at all of them.
            PeerClass::Node | PeerClass::LocalNode => &[ServiceScope::Address(probe.peer), ServiceScope::Peer(peer)],
            _ => &[],
        };
        for scope in scopes {
            let key = ServiceKey {
                scope: *scope,
                transport,
                port: probe.port,
                v4: probe.peer.is_v4(),
            };
            if self.is_broken(Key::ServicePort(key)) {
                return None;
            }
            if let Some(service) = self.service_ports.get(&key) {
                return Some(*service);
            }
        }
        Some(peer)
    }

    fn cell(&self, policy: PolicyId, peer: PeerId, probe: &Probe) -> Option<Cell> {
        if self.is_broken(Key::Policy(policy, peer)) {
            return None;
        }
        let named = self.policies.get(&(policy, peer));
        let slot = named.or_else(|| self.policies.get(&(policy, PeerId::plain(peer.class()))))?;
        let table = &self.tables.get(slot)?.table;
        Some(match Protocol::of(probe.protocol, probe.peer.is_v4()) {
            Protocol::Tcp => table.tcp.at(probe.port),
            Protocol::Udp => table.udp.at(probe.port),
            Protocol::Sctp => table.sctp.at(probe.port),
            Protocol::Icmp => table.icmp.at(probe.port),
            Protocol::Icmpv6 => table.icmpv6.at(probe.port),
            Protocol::Other(number) => table.other.at(number.into()),
        })
    }
}
