//! What Services and pods with host ports claim: where each of their ports is found, and what is behind it.

use super::{Claim, Claimant, Port, Services, View};
use crate::compile::backends::of_host_port;
use crate::compiled::{PeerClass, ServiceKey, ServiceScope};
use crate::model::{Address, Name};

impl Services {
    /// What a Service claims; none where there is no such Service. Its addresses are claimed already.
    pub(super) fn of_service(&mut self, service: &(Name, Name), old: &Claim, view: &View<'_>) -> Option<Claim> {
        let claimant = Claimant::Service(service.0.clone(), service.1.clone());
        self.at_nodes.remove(&claimant);
        let document = view.world.service(service)?;
        let mut claim = Claim {
            serial: old.serial,
            listed: old.listed.clone(),
            ..Claim::default()
        };
        for (index, port) in document.ports.iter().enumerate() {
            let backends = [true, false].map(|v4| self.slices.of(service, port, v4));
            claim.ports.push(Port { backends });
            let mut add = |scope: ServiceScope, number: u16, v4: bool| {
                let key = ServiceKey {
                    scope,
                    transport: port.transport,
                    port: number,
                    v4,
                };
                claim.keys.push((key, index));
            };
            for (address, _) in &claim.listed {
                add(ServiceScope::Address(*address), port.port, address.is_v4());
            }
            let Some(node_port) = port.node_port else { continue };
            self.at_nodes.insert(claimant.clone());
            for (peer, v4) in self.node_peers.keys() {
                add(ServiceScope::Peer(*peer), node_port, *v4);
            }
        }
        claim.finish();
        Some(claim)
    }

    /// What a pod's host ports claim; none where it has none.
    pub(super) fn of_pod(&mut self, at: u32, view: &View<'_>) -> Option<Claim> {
        self.at_nodes.remove(&Claimant::Pod(at));
        let node = view.pods.with_host_ports.get(&at)?;
        let pod = &view.pods.get(at)?.doc;
        let local = view.world.is_local(pod);
        let mut claim = Claim::default();
        for (index, port) in pod.host_ports.iter().enumerate() {
            let backends = [true, false].map(|v4| of_host_port(pod, port.container_port, v4));
            claim.ports.push(Port { backends });
            let mut add = |scope: ServiceScope, v4: bool| {
                let key = ServiceKey {
                    scope,
                    transport: port.transport,
                    port: port.port,
                    v4,
                };
                claim.keys.push((key, index));
            };
            let own = view.nodes.addresses(node);
            match port.address.filter(|address| !address.ip().is_unspecified()) {
                Some(address) if own.contains(&address) || (local && address.is_link_local()) => {
                    add(ServiceScope::Address(address), address.is_v4());
                }
                Some(_) => {}
                // The local node's peers are this node's alone, and some of its addresses have no entry.
                None if local => {
                    self.at_nodes.insert(Claimant::Pod(at));
                    let peers = self.node_peers.keys();
                    let peers = peers.filter(|(peer, _)| peer.class() == PeerClass::LocalNode);
                    peers.for_each(|(peer, v4)| add(ServiceScope::Peer(*peer), *v4));
                }
                None => own
                    .iter()
                    .for_each(|address| add(ServiceScope::Address(*address), address.is_v4())),
            }
        }
        claim.finish();
        Some(claim)
    }
}

impl Claim {
    /// Keys and backends in order, without repeats.
    fn finish(&mut self) {
        self.keys.sort_unstable();
        self.keys.dedup();
        let all = self.ports.iter().flat_map(|port| port.backends.iter().flatten());
        let mut backends: Vec<Address> = all.map(|(address, _)| *address).collect();
        backends.sort_unstable();
        backends.dedup();
        self.backends = backends;
    }
}
