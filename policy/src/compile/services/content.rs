//! What a key stands for, from those who claim it.

use super::{Claimant, Content, Part, Services, View};
use crate::compiled::{Change, PeerClass, PeerId, ServiceKey, ServiceScope};
use crate::model::{Address, Transport};

/// A claimant and the index of its port.
type Claimed = (Claimant, usize);

impl Services {
    /// Tells what the key stands for now, where that changed.
    pub(super) fn tell(&mut self, key: ServiceKey, view: &View<'_>, changes: &mut Vec<Change>) {
        let content = self.content(key, view);
        let Some(entry) = self.keys.get_mut(&key) else { return };
        let idle = entry.claims.is_empty();
        let before = entry.told;
        // Held before the old one is let go, so that the same content keeps its number.
        let after = content.map(|content| PeerId::new(PeerClass::ServicePort, self.contents.hold(content)));
        entry.told = after;
        if let Some(before) = before {
            self.contents.drop_one(before.number());
        }
        if before != after {
            changes.push(Change::ServicePort(key, after));
        }
        if idle {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: ServiceKey) {
        self.keys.remove(&key);
        let ServiceScope::Address(address) = key.scope else {
            return;
        };
        if let Some(keys) = self.at_address.get_mut(&address) {
            keys.remove(&key);
            if keys.is_empty() {
                self.at_address.remove(&address);
            }
        }
        if let Some(keys) = self.host_keys.get_mut(&(key.transport, key.port)) {
            keys.remove(&key);
            if keys.is_empty() {
                self.host_keys.remove(&(key.transport, key.port));
            }
        }
    }

    /// What the key stands for; none where nobody claims it or the address is another's.
    fn content(&self, key: ServiceKey, view: &View<'_>) -> Option<Content> {
        let node = match key.scope {
            ServiceScope::Peer(peer) => Some(peer),
            ServiceScope::Address(address) => {
                let peer = view.peer_of(address);
                match peer.class() {
                    PeerClass::Node | PeerClass::LocalNode => Some(peer),
                    PeerClass::ClusterIp | PeerClass::ExternalIp => None,
                    _ => return None,
                }
            }
        };
        let claims = self.claims_of(key, node, view)?;
        let mut parts: Vec<Part> = claims
            .into_iter()
            .flat_map(|claimed| self.behind(claimed, key.v4))
            .map(|(address, port)| {
                let peer = view.peer_of(*address);
                Part {
                    peer,
                    port: *port,
                    unseen: node.is_some() || is_unseen(peer.class()),
                }
            })
            .collect();
        parts.extend(node.map(|peer| Part {
            peer,
            port: key.port,
            unseen: true,
        }));
        parts.sort_unstable();
        parts.dedup();
        let transport = if parts.is_empty() {
            Transport::Tcp
        } else {
            key.transport
        };
        Some(Content { transport, parts })
    }

    /// The claims that count at the key: a Service's own ports at its addresses, host ports at those of their pod's
    /// node, and with them the node ports of the same number. None where no own claim counts.
    fn claims_of(&self, key: ServiceKey, node: Option<PeerId>, view: &View<'_>) -> Option<Vec<&Claimed>> {
        let is_local_node = node.is_some_and(|peer| peer.class() == PeerClass::LocalNode);
        let counts = |(claimant, _): &&Claimed| match (key.scope, claimant) {
            (ServiceScope::Peer(_), _) => true,
            (ServiceScope::Address(_), Claimant::Service(..)) => node.is_none(),
            // An address that several nodes have leads from here to this node.
            (ServiceScope::Address(_), Claimant::Pod(at)) => {
                let pod = view.pods.get(*at);
                node.is_some() && pod.is_some_and(|seen| view.world.is_local(&seen.doc) == is_local_node)
            }
        };
        let mut claims: Vec<&Claimed> = self.keys.get(&key)?.claims.iter().filter(counts).collect();
        if claims.is_empty() {
            return None;
        }
        if let (ServiceScope::Address(_), Some(peer)) = (key.scope, node) {
            let scope = ServiceScope::Peer(peer);
            let alike = self.keys.get(&ServiceKey { scope, ..key });
            claims.extend(alike.into_iter().flat_map(|alike| &alike.claims));
        }
        Some(claims)
    }

    fn behind(&self, (claimant, port): &Claimed, v4: bool) -> &[(Address, u16)] {
        let port = self.claims.get(claimant).and_then(|claim| claim.ports.get(*port));
        port.map_or(&[], |port| &port.backends[usize::from(!v4)])
    }
}

impl View<'_> {
    /// Who has the address.
    fn peer_of(&self, address: Address) -> PeerId {
        match self.addresses.entry(address) {
            Some(entry) => entry.peer,
            None => self.ranges.peer_of(address),
        }
    }
}

/// Whether no pod hook sees what goes to a peer of this class. Of an unresolved address nobody knows on which node it
/// is: it may be one that does not enforce.
fn is_unseen(class: PeerClass) -> bool {
    !matches!(class, PeerClass::LocalPod | PeerClass::RemotePod)
}
