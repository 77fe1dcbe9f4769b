//! Addresses that stand for others: Service addresses at their ports, nodes at node ports and host ports.

use super::Packet;
use super::ends::{Kind, Peer};
use super::identity::is_guardable;
use crate::model::{Address, Name, Pod, Protocol, Service, ServicePort, Transport};
use crate::world::World;

/// What an address stands for at a port.
#[derive(Debug, Clone)]
pub(super) struct StandsFor {
    /// Where packets end up: address and target port, in order, without repeats.
    pub(super) backends: Vec<(Address, u16)>,
    /// A node at a node port or host port: the node itself is judged too, and no hook sees any backend again, because
    /// the source is rewritten on the way.
    pub(super) node_itself: bool,
}

/// What the packet's destination stands for, if for anything. `own_node`: the node of the pod that sends.
pub(super) fn stands_for(world: &World, peer: &Peer, own_node: &Name, packet: Packet) -> Option<StandsFor> {
    let port = packet.port?;
    let transport = transport(packet)?;
    let fits = |wanted: &ServicePort, number: Option<u16>| wanted.transport == transport && number == Some(port);
    let (mut found, node_itself) = match (&peer.kind, peer.address) {
        (Kind::Service { .. }, Some(address)) => {
            let lists =
                |service: &Service| service.cluster_ips.contains(&address) || service.external_ips.contains(&address);
            let hit = |service: &Service, at: &ServicePort| lists(service) && fits(at, Some(at.port));
            (of_services(world, packet.v4, hit), false)
        }
        (Kind::Node(_) | Kind::OwnNode, _) => {
            let at_node_port = of_services(world, packet.v4, |_, at| fits(at, at.node_port));
            let at_host_port = of_host_ports(world, peer, own_node, packet.v4, (transport, port));
            (both(at_node_port, at_host_port), true)
        }
        _ => (None, false),
    };
    if let Some(backends) = &mut found {
        backends.sort();
        backends.dedup();
    }
    found.map(|backends| StandsFor { backends, node_itself })
}

fn transport(packet: Packet) -> Option<Transport> {
    match packet.protocol? {
        Protocol::Tcp => Some(Transport::Tcp),
        Protocol::Udp => Some(Transport::Udp),
        Protocol::Sctp => Some(Transport::Sctp),
        Protocol::Icmp | Protocol::Icmpv6 | Protocol::Other(_) => None,
    }
}

type Found = Option<Vec<(Address, u16)>>;

fn both(one: Found, other: Found) -> Found {
    match (one, other) {
        (Some(one), Some(other)) => Some([one, other].concat()),
        (one, other) => one.or(other),
    }
}

/// The backends of every Service port that `hit` takes; none where it takes none.
fn of_services(world: &World, v4: bool, hit: impl Fn(&Service, &ServicePort) -> bool) -> Found {
    let mut found = None;
    for service in world.services() {
        for port in service.ports.iter().filter(|port| hit(service, port)) {
            found
                .get_or_insert_with(Vec::new)
                .extend(backends(world, service, port, v4));
        }
    }
    found
}

/// The ready endpoints of a Service port in one family, or where none is ready the serving ones.
fn backends(world: &World, service: &Service, port: &ServicePort, v4: bool) -> Vec<(Address, u16)> {
    let mut all = Vec::new();
    for slice in world.slices() {
        if slice.namespace != service.namespace || slice.service.as_ref() != Some(&service.name) {
            continue;
        }
        let targets = slice.ports.iter();
        for target in targets.filter(|target| target.name == port.name && target.transport == port.transport) {
            let endpoints = slice.endpoints.iter().filter(|endpoint| endpoint.address.is_v4() == v4);
            all.extend(endpoints.map(|endpoint| (endpoint, target.port)));
        }
    }
    let any_ready = all.iter().any(|(endpoint, _)| endpoint.ready);
    let counts = all
        .into_iter()
        .filter(|(endpoint, _)| if any_ready { endpoint.ready } else { endpoint.serving });
    counts.map(|(endpoint, port)| (endpoint.address, port)).collect()
}

/// The pods with this host port on the node addressed.
fn of_host_ports(world: &World, peer: &Peer, own_node: &Name, v4: bool, at: (Transport, u16)) -> Found {
    let on_that_node = |pod: &Pod| match &peer.kind {
        Kind::OwnNode => world.node_of(pod) == own_node,
        // An address that several nodes have leads to the sender's own.
        Kind::Node(names) if names.contains(own_node) => world.node_of(pod) == own_node,
        Kind::Node(names) => names.contains(world.node_of(pod)),
        _ => false,
    };
    let mut found = None;
    for pod in world.pods().filter(|pod| is_guardable(pod) && on_that_node(pod)) {
        for host_port in pod.host_ports.iter().filter(|hp| (hp.transport, hp.port) == at) {
            let bound = host_port.address.filter(|address| !address.ip().is_unspecified());
            if bound.is_some() && bound != peer.address {
                continue;
            }
            let address = pod.addresses.iter().find(|address| address.is_v4() == v4);
            let backend = address.map(|address| (*address, host_port.container_port));
            found.get_or_insert_with(Vec::new).extend(backend);
        }
    }
    found
}
