//! A lookup over the image: which cell answers a first packet. Written apart from the kernel side's code, from the
//! meaning of the maps alone, so that the two can be held against each other.

use cellwall_datapath_common::switches;
use cellwall_policy::compiled::{Cell, PeerClass, PeerId, PolicyId, ServiceKey, ServiceScope};
use cellwall_policy::model::{Action, Address, Hook, Protocol, Reason, Transport};

use super::Image;

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
        if self.own(probe.ifindex).any(|own| own == probe.peer) {
            return without_rule(Action::Pass, Reason::SelfTraffic);
        }
        let (policy, peer) = match probe.hook {
            Hook::FromPod => (interface.record.egress, self.destination(probe)),
            Hook::ToPod => (interface.record.ingress, self.identity(probe.peer)),
        };
        self.cell(PolicyId(policy), peer, probe)
            .unwrap_or(without_rule(Action::Drop, Reason::Internal))
    }

    /// Who has an address.
    pub fn identity(&self, address: Address) -> PeerId {
        let exact = self.addresses.get(&address).map(|entry| entry.peer);
        let range = || self.matching(address).map(|(_, peer)| peer);
        exact.or_else(range).unwrap_or(PeerId::plain(PeerClass::World))
    }

    /// Who stands behind a destination: the backends of a Service port, where it is one.
    fn destination(&self, probe: &Probe) -> PeerId {
        let peer = self.identity(probe.peer);
        let transport = match probe.protocol {
            6 => Transport::Tcp,
            17 => Transport::Udp,
            132 => Transport::Sctp,
            _ => return peer,
        };
        let at = |scope| {
            let key = ServiceKey {
                scope,
                transport,
                port: probe.port,
                v4: probe.peer.is_v4(),
            };
            self.service_ports.get(&key).copied()
        };
        let by_address = || at(ServiceScope::Address(probe.peer));
        let service = match peer.class() {
            PeerClass::ClusterIp | PeerClass::ExternalIp => by_address(),
            PeerClass::Node | PeerClass::LocalNode => at(ServiceScope::Peer(peer)).or_else(by_address),
            _ => None,
        };
        service.unwrap_or(peer)
    }

    fn cell(&self, policy: PolicyId, peer: PeerId, probe: &Probe) -> Option<Cell> {
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
