//! Worlds crowded with Services, and questions that aim at what few random ones hit: Service addresses at their ports,
//! node ports, host ports (some on the number of a node port), probes, tunnels.

use super::dice::Dice;
use super::{numbered, pools};
use crate::evaluate::HookQuestion;
use crate::model::{
    Address, Endpoint, EndpointSlice, Hook, HostPort, Pod, Protocol, Service, ServicePort, SlicePort, Transport,
};
use crate::world::{Document, DocumentKey, World};

/// Puts Services into `world` whose backends are its pods, and host ports on the numbers of their node ports. Answers the
/// keys touched. Another seed changes the same Services.
pub fn crowd(seed: u64, world: &mut World) -> Vec<DocumentKey> {
    crowd_by(&mut Dice::new(seed), world)
}

/// [`crowd`] as these dice give it.
pub fn crowd_by(dice: &mut Dice, world: &mut World) -> Vec<DocumentKey> {
    let held: Vec<Address> = world.pods().flat_map(|pod| pod.addresses.iter().copied()).collect();
    let mut documents = Vec::new();
    for number in 0..pools::FRONTS.len() {
        let service = service(dice, number);
        for v4 in [true, false] {
            let family: Vec<Address> = held.iter().copied().filter(|address| address.is_v4() == v4).collect();
            documents.push(Document::EndpointSlice(slice(dice, &service, v4, &family)));
        }
        documents.push(Document::Service(service));
    }
    let pods: Vec<Pod> = world.pods().map(|pod| Pod::clone(pod)).collect();
    for mut pod in pods {
        if dice.chance(1, 2) {
            pod.host_ports = vec![host_port(dice)];
            documents.push(Document::Pod(pod));
        }
    }
    let mut touched = Vec::new();
    for document in documents {
        let key = document.key();
        if world.apply(document) {
            touched.push(key);
        }
    }
    touched.sort();
    touched.dedup();
    touched
}

fn service(dice: &mut Dice, number: usize) -> Service {
    let port = |name: &str, transport, port, node_port| ServicePort {
        name: name.into(),
        transport,
        port,
        node_port,
    };
    let node_port = dice.chance(3, 4).then_some(pools::FRONT_NODE_PORTS[number]);
    let addresses = pools::FRONTS[number].iter().filter_map(|one| one.parse().ok());
    Service {
        namespace: pools::NAMESPACES[0].into(),
        name: numbered("front", number),
        cluster_ips: addresses.collect(),
        external_ips: Vec::new(),
        ports: vec![
            port("web", Transport::Tcp, 443, node_port),
            port("dns", Transport::Udp, 53, None),
        ],
    }
}

/// One to three backends of a family, mostly pods.
fn slice(dice: &mut Dice, service: &Service, v4: bool, held: &[Address]) -> EndpointSlice {
    let strays = super::cluster::addresses(if v4 {
        &["192.0.2.1", "192.0.2.2", "203.0.113.200", "198.51.100.40"]
    } else {
        &["2001:db8::2", "2001:db8:ffff::1"]
    });
    let endpoint = |dice: &mut Dice| Endpoint {
        address: if held.is_empty() || dice.chance(1, 6) {
            *dice.pick(&strays)
        } else {
            *dice.pick(held)
        },
        ready: dice.chance(5, 6),
        serving: true,
    };
    let target = |dice: &mut Dice, name: &str, transport| SlicePort {
        name: name.into(),
        transport,
        port: *dice.pick(pools::PORTS),
    };
    EndpointSlice {
        namespace: service.namespace.clone(),
        name: format!("{}-{}", service.name, if v4 { 4 } else { 6 }).into(),
        service: Some(service.name.clone()),
        endpoints: (0..dice.between(1, 3)).map(|_| endpoint(dice)).collect(),
        ports: vec![target(dice, "web", Transport::Tcp), target(dice, "dns", Transport::Udp)],
    }
}

/// On the number of a node port, or one that its pod's Service has too.
fn host_port(dice: &mut Dice) -> HostPort {
    let bound = *dice.pick(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    HostPort {
        address: if dice.chance(1, 3) { bound.parse().ok() } else { None },
        transport: Transport::Tcp,
        port: *dice.pick(pools::FRONT_NODE_PORTS),
        container_port: *dice.pick(pools::PORTS),
    }
}

/// `count` questions to hooks of local pods that aim; fewer where the world has no local pod.
pub fn aimed_questions(seed: u64, world: &World, count: usize) -> Vec<HookQuestion> {
    aimed_questions_by(&mut Dice::new(seed), world, count)
}

/// The [`aimed_questions`] that these dice give.
pub fn aimed_questions_by(dice: &mut Dice, world: &World, count: usize) -> Vec<HookQuestion> {
    let local = world.pods().filter(|pod| world.is_local(pod) && !pod.host_network);
    let local: Vec<&Pod> = local.map(AsRef::as_ref).collect();
    let targets = Targets::of(world);
    let questions = (0..count).filter_map(|_| {
        let pod = *dice.choose(&local)?;
        let (hook, (peer, protocol, port)) = match dice.between(0, 15) {
            0..=7 => (Hook::FromPod, *dice.choose(&targets.services)?),
            8..=12 => (Hook::FromPod, *dice.choose(&targets.nodes)?),
            13 => (Hook::FromPod, tunnel(dice, &targets.of_nodes)?),
            14 => (Hook::FromPod, *dice.choose(&targets.backends)?),
            _ => (Hook::ToPod, probe(dice, pod, &targets.own_node)?),
        };
        Some(HookQuestion {
            hook,
            pod: Some(pod.uid.clone()),
            peer,
            protocol,
            port,
        })
    });
    questions.collect()
}

type Target = (Address, Protocol, Option<u16>);

/// What can be aimed at.
struct Targets {
    /// Service addresses at their ports.
    services: Vec<Target>,
    /// Nodes' addresses at node ports and host ports.
    nodes: Vec<Target>,
    /// Endpoints at their target ports.
    backends: Vec<Target>,
    of_nodes: Vec<Address>,
    own_node: Vec<Address>,
}

impl Targets {
    fn of(world: &World) -> Self {
        let status = world.nodes().flat_map(|node| node.addresses.iter().copied());
        let of_nodes: Vec<Address> = status.collect();
        let own = world.node_document(world.node()).into_iter();
        let mut found = Self {
            services: Vec::new(),
            nodes: Vec::new(),
            backends: Vec::new(),
            own_node: own.flat_map(|node| node.addresses.iter().copied()).collect(),
            of_nodes,
        };
        let at = |address: &Address, transport, port| (*address, protocol(transport), Some(port));
        for service in world.services() {
            for port in &service.ports {
                let addresses = service.cluster_ips.iter().chain(&service.external_ips);
                found
                    .services
                    .extend(addresses.map(|one| at(one, port.transport, port.port)));
                let node_port = port.node_port.into_iter();
                found.nodes.extend(node_port.flat_map(|number| {
                    let nodes = found.of_nodes.iter();
                    nodes.map(move |one| at(one, port.transport, number))
                }));
            }
        }
        for host_port in world.pods().flat_map(|pod| &pod.host_ports) {
            let nodes = found.of_nodes.iter();
            found
                .nodes
                .extend(nodes.map(|one| at(one, host_port.transport, host_port.port)));
        }
        for slice in world.slices() {
            for port in &slice.ports {
                let endpoints = slice.endpoints.iter();
                found
                    .backends
                    .extend(endpoints.map(|one| at(&one.address, port.transport, port.port)));
            }
        }
        found
    }
}

fn protocol(transport: Transport) -> Protocol {
    match transport {
        Transport::Tcp => Protocol::Tcp,
        Transport::Udp => Protocol::Udp,
        Transport::Sctp => Protocol::Sctp,
    }
}

fn tunnel(dice: &mut Dice, nodes: &[Address]) -> Option<Target> {
    let node = *dice.choose(nodes)?;
    Some(match dice.between(0, 2) {
        0 => (node, Protocol::Udp, Some(*dice.pick(&[4789, 8472, 6081]))),
        1 => (node, Protocol::of(47, node.is_v4()), None),
        _ => (node, Protocol::of(4, node.is_v4()), None),
    })
}

/// The node at one of the ports that the pod's probes name.
fn probe(dice: &mut Dice, pod: &Pod, node: &[Address]) -> Option<Target> {
    let port = dice.choose(&pod.probe_ports).copied().unwrap_or(80);
    Some((*dice.choose(node)?, Protocol::Tcp, Some(port)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{aimed_questions, crowd};
    use crate::evaluate::at_hook;
    use crate::generate::world;
    use crate::model::Reason;
    use crate::scenario::Scenario;

    #[test]
    fn a_quarter_of_the_aimed_questions_is_decided_by_a_services_backends() {
        let mut seen: BTreeMap<Reason, usize> = BTreeMap::new();
        let mut asked = 0;
        for seed in 0..40 {
            let mut world = world(seed, 14);
            crowd(seed, &mut world);
            for question in aimed_questions(seed, &world, 30) {
                *seen.entry(at_hook(&world, &question).reason).or_default() += 1;
                asked += 1;
            }
        }
        let of = |reason| seen.get(&reason).copied().unwrap_or(0);
        assert!(of(Reason::Service) * 4 > asked, "{seen:?} of {asked}");
        assert!(
            of(Reason::Tunnel) > 0 && of(Reason::NodeProbe) > 0,
            "{seen:?} of {asked}"
        );
    }

    #[test]
    fn some_host_port_has_the_number_of_a_node_port() {
        let mut world = world(3, 20);
        let touched = crowd(3, &mut world);
        assert!(!touched.is_empty());
        let ports = world.services().flat_map(|service| &service.ports);
        let numbers: Vec<u16> = ports.filter_map(|port| port.node_port).collect();
        let shared = |port: u16| numbers.contains(&port);
        assert!(world.pods().any(|pod| pod.host_ports.iter().any(|hp| shared(hp.port))));
    }

    #[test]
    fn a_crowded_world_is_the_same_one_when_read_from_its_scenario() {
        for seed in 0..30 {
            let mut world = world(seed, 19);
            crowd(seed, &mut world);
            let text = Scenario::of("crowded", &world, []).to_string();
            let read = Scenario::read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(read[0].world(), world, "{text}");
        }
    }
}
