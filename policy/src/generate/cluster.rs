//! What Kubernetes tells: nodes and their reports, namespaces, pods, Services and their endpoints.

use super::dice::Dice;
use super::{numbered, pools};
use crate::model::{
    Address, Cidr, Endpoint, EndpointSlice, HostPort, Labels, Name, Namespace, Node, NodeReport, Phase, Pod, Service,
    ServicePort, SlicePort, Transport,
};
use crate::world::Document;

pub(super) fn addresses(texts: &[&str]) -> Vec<Address> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

pub(super) fn ranges(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// The nodes, and what some of them report.
pub(super) fn nodes(dice: &mut Dice) -> Vec<Document> {
    let mut documents = Vec::new();
    for (index, name) in pools::NODES.iter().enumerate() {
        if dice.chance(15, 16) {
            documents.push(Document::Node(Node {
                name: (*name).into(),
                addresses: addresses(pools::NODE_ADDRESSES[index]),
                pod_cidrs: if dice.chance(7, 8) {
                    ranges(pools::NODE_RANGES[index])
                } else {
                    Vec::new()
                },
            }));
        }
        if dice.chance(2, 3) {
            documents.push(Document::NodeReport(NodeReport {
                node: (*name).into(),
                enforcing: dice.chance(1, 2),
                addresses: addresses(&dice.some(pools::INTERFACE_ADDRESSES, 4)),
            }));
        }
    }
    documents
}

/// Documents of some namespaces; the others exist all the same.
pub(super) fn namespaces(dice: &mut Dice) -> Vec<Document> {
    let mut documents = Vec::new();
    for name in pools::NAMESPACES {
        if dice.chance(1, 2) {
            let mut labels = vec![("tier", *dice.pick(pools::TIERS))];
            if dice.chance(1, 4) {
                // A name label that lies.
                labels.push(("kubernetes.io/metadata.name", "shop"));
            }
            documents.push(Document::Namespace(Namespace {
                name: (*name).into(),
                labels: Labels::new(labels),
            }));
        }
    }
    documents
}

pub(super) fn pods(dice: &mut Dice, count: usize) -> Vec<Document> {
    (0..count).map(|number| Document::Pod(pod(dice, number))).collect()
}

fn pod(dice: &mut Dice, number: usize) -> Pod {
    let host_network = dice.chance(1, 8);
    let node_index = usize::try_from(dice.between(0, 4)).unwrap_or(0);
    // The local node is named, or the pod is on it because it names none.
    let node: Option<Name> = match node_index {
        0 | 1 => Some(pools::NODES[0].into()),
        2 => None,
        other => Some(pools::NODES[other - 2].into()),
    };
    let local = node_index <= 2;
    let addresses = match (host_network, local) {
        (true, true) => addresses(&["192.0.2.1"]),
        (true, false) => addresses(&["192.0.2.77"]),
        (false, _) => pod_addresses(dice),
    };
    let link_local = if local && !host_network {
        dice.some(pools::POD_LINK_LOCAL, 1)
    } else {
        Vec::new()
    };
    Pod {
        uid: numbered("uid", number),
        namespace: (*dice.pick(pools::NAMESPACES)).into(),
        name: numbered("pod", number),
        labels: pod_labels(dice),
        images: images(dice),
        addresses,
        link_local: self::addresses(&link_local),
        node,
        host_network,
        phase: phase(dice),
        created: i64::from(*dice.pick(&[0i32, 1, 1, 2])),
        probe_ports: dice.some(pools::PORTS, 2),
        host_ports: host_ports(dice),
        owner: None,
    }
}

/// None, one family, both, or two of one family.
fn pod_addresses(dice: &mut Dice) -> Vec<Address> {
    let v4 = *dice.pick(pools::POD_V4);
    let v6 = *dice.pick(pools::POD_V6);
    let another = *dice.pick(pools::POD_V4);
    let texts = match dice.between(0, 7) {
        0 => vec![],
        1..=3 => vec![v4],
        4 => vec![v6],
        5 => vec![v6, v4],
        6 if another != v4 => vec![v4, another],
        _ => vec![v4, v6],
    };
    addresses(&texts)
}

fn pod_labels(dice: &mut Dice) -> Labels {
    let mut labels = Vec::new();
    if dice.chance(2, 3) {
        labels.push(("app", *dice.pick(pools::APPS)));
    }
    if dice.chance(1, 3) {
        labels.push(("app.kubernetes.io/name", *dice.pick(pools::APPS)));
    }
    if dice.chance(1, 2) {
        labels.push(("tier", *dice.pick(pools::TIERS)));
    }
    Labels::new(labels)
}

fn images(dice: &mut Dice) -> Vec<Name> {
    let mut images: Vec<Name> = dice.some(pools::IMAGES, 2).into_iter().map(Name::from).collect();
    images.sort();
    images
}

fn phase(dice: &mut Dice) -> Phase {
    match dice.between(0, 15) {
        0 => Phase::Succeeded,
        1 => Phase::Failed,
        2 => Phase::Pending,
        3 => Phase::Unknown,
        _ => Phase::Running,
    }
}

fn host_ports(dice: &mut Dice) -> Vec<HostPort> {
    if !dice.chance(1, 6) {
        return Vec::new();
    }
    let bound = *dice.pick(&["192.0.2.1", "0.0.0.0", "192.0.2.2", "2001:db8::1"]);
    vec![HostPort {
        address: if dice.chance(1, 2) { bound.parse().ok() } else { None },
        transport: transport(dice),
        port: *dice.pick(&[80, 8080]),
        container_port: *dice.pick(pools::PORTS),
    }]
}

fn transport(dice: &mut Dice) -> Transport {
    *dice.pick(&[Transport::Tcp, Transport::Tcp, Transport::Udp, Transport::Sctp])
}

/// Services, each with up to two slices; some slices are nobody's.
pub(super) fn services(dice: &mut Dice, count: usize) -> Vec<Document> {
    let mut documents = Vec::new();
    for number in 0..count {
        let service = service(dice, number);
        for half in 0..dice.between(0, 2) {
            let slice = slice(
                dice,
                &service,
                numbered(&service.name, usize::try_from(half).unwrap_or(0)),
            );
            documents.push(Document::EndpointSlice(slice));
        }
        documents.push(Document::Service(service));
    }
    documents
}

/// Every address goes to one Service only; ports may differ in protocol alone.
fn service(dice: &mut Dice, number: usize) -> Service {
    let own = |pool: &[&str]| -> Vec<Address> {
        pool.get(number)
            .into_iter()
            .filter_map(|one| one.parse().ok())
            .collect()
    };
    let mut ports = Vec::new();
    for (index, name) in ["web", "dns"].iter().enumerate() {
        if index == 0 || dice.chance(1, 2) {
            ports.push(ServicePort {
                name: (*name).into(),
                transport: if index == 0 {
                    Transport::Tcp
                } else {
                    *dice.pick(&[Transport::Tcp, Transport::Udp])
                },
                port: pools::PORTS[index],
                // Node ports are unique in a cluster.
                node_port: (number == index && dice.chance(1, 2)).then_some(pools::NODE_PORTS[index]),
            });
        }
    }
    Service {
        // By number, so that a later version of the Service is the same one.
        namespace: pools::NAMESPACES[number % pools::NAMESPACES.len()].into(),
        name: numbered("service", number),
        cluster_ips: if dice.chance(7, 8) {
            own(pools::CLUSTER_IPS)
        } else {
            Vec::new()
        },
        external_ips: if dice.chance(2, 3) {
            own(pools::EXTERNAL_IPS)
        } else {
            Vec::new()
        },
        ports,
    }
}

fn slice(dice: &mut Dice, service: &Service, name: Name) -> EndpointSlice {
    let mut ports: Vec<SlicePort> = Vec::new();
    for port in &service.ports {
        if dice.chance(7, 8) {
            ports.push(SlicePort {
                name: port.name.clone(),
                transport: if dice.chance(15, 16) {
                    port.transport
                } else {
                    Transport::Sctp
                },
                port: *dice.pick(pools::PORTS),
            });
        }
    }
    let pool = [
        pools::POD_V4,
        pools::POD_V4,
        pools::POD_V6,
        &["192.0.2.1", "192.0.2.2", "203.0.113.200", "198.51.100.40"],
    ];
    let mut endpoints = Vec::new();
    for _ in 0..dice.between(0, 3) {
        let ready = dice.chance(2, 3);
        endpoints.extend(
            dice.pick(dice_list(&pool, endpoints.len()))
                .parse()
                .ok()
                .map(|address| Endpoint {
                    address,
                    ready,
                    serving: ready || dice.chance(1, 2),
                }),
        );
    }
    EndpointSlice {
        namespace: if dice.chance(15, 16) {
            service.namespace.clone()
        } else {
            "shop".into()
        },
        name,
        service: dice.chance(15, 16).then(|| service.name.clone()),
        endpoints,
        ports,
    }
}

fn dice_list<'a>(pool: &[&'a [&'a str]], index: usize) -> &'a [&'a str] {
    pool[index % pool.len()]
}
