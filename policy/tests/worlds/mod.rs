//! Random worlds from small pools, so that everything collides with everything: addresses, names, ports, priorities.
// Long because: one generator, whose pools belong together.

#![allow(dead_code, reason = "each test uses its part")]

use cellwall_policy::compile::Link;
use cellwall_policy::model::{
    Action, Address, Cidr, CidrEntry, Defense, DefenseRule, Endpoint, EndpointSlice, Entity, Glob, HostPort,
    LabelSelector, Labels, LocalNodeMode, Mode, Name, Namespace, NetworkObject, Node, NodeReport, Operator, Phase, Pod,
    PortEntry, PortMatch, ProtocolMatch, Recovery, Requirement, Selector, Service, ServicePort, Side, SlicePort,
    Startup, Transport, WorkloadSelector,
};
use cellwall_policy::world::{Document, DocumentKey, World};

/// A small random source (splitmix64): a seed is a world.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// True in `percent` of a hundred cases.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    pub(crate) fn some<T: Clone>(&mut self, from: &[T], most: usize) -> Vec<T> {
        let count = self.below(most + 1);
        let mut picked: Vec<T> = Vec::new();
        for _ in 0..count {
            picked.push(self.pick(from));
        }
        picked
    }
}

pub(crate) const LOCAL: &str = "node-0";
const NODES: [&str; 3] = [LOCAL, "node-1", "node-2"];
const NAMESPACES: [&str; 3] = ["ns-0", "ns-1", "shop"];
const OBJECTS: [&str; 9] = [
    "obj-0", "obj-1", "obj-2", "obj-3", "obj-4", "net-0", "net-1", "net-2", "nobody",
];
const PORTS: [u16; 6] = [53, 80, 81, 443, 8080, 65535];
const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Udp, Transport::Sctp];

pub(crate) fn name(text: impl AsRef<str>) -> Name {
    text.as_ref().into()
}

/// Addresses that pods have, and some in the pod ranges that none may have.
pub(crate) fn pod_addresses() -> Vec<Address> {
    let v4 = (1..=9).map(|n| format!("10.0.{}.{n}", n % 2));
    let v6 = (1..=5).map(|n| format!("2001:db8:1::{n}"));
    v4.chain(v6).map(|text| text.parse().unwrap()).collect()
}

pub(crate) fn node_addresses() -> Vec<Address> {
    let texts = [
        "192.0.2.10",
        "192.0.2.11",
        "192.0.2.12",
        "2001:db8:2::10",
        "2001:db8:2::11",
        "10.0.0.254",
        "10.0.1.254",
    ];
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(crate) fn service_addresses() -> Vec<Address> {
    let texts = [
        "198.51.100.1",
        "198.51.100.2",
        "203.0.113.1",
        "203.0.113.2",
        "2001:db8:3::1",
        "2001:db8:3::2",
    ];
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(crate) fn outside_addresses() -> Vec<Address> {
    let texts = [
        "203.0.113.200",
        "203.0.113.129",
        "198.18.0.1",
        "2001:db8:9::1",
        "224.0.0.5",
        "255.255.255.255",
        "ff02::5",
        "169.254.1.1",
        "fe80::1",
        "10.0.0.200",
        "10.0.9.9",
        "2001:db8:1::99",
    ];
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(crate) fn every_address() -> Vec<Address> {
    [
        pod_addresses(),
        node_addresses(),
        service_addresses(),
        outside_addresses(),
    ]
    .concat()
}

fn globs(dice: &mut Dice, from: &[&str]) -> Vec<Glob> {
    dice.some(from, 3).iter().map(|text| Glob::new(text).unwrap()).collect()
}

fn label_selector(dice: &mut Dice, keys: &[&str], values: &[&str]) -> LabelSelector {
    let mut requirements = Vec::new();
    for _ in 0..dice.below(3) {
        requirements.push(Requirement {
            key: name(dice.pick(keys)),
            operator: dice.pick(&[Operator::In, Operator::NotIn, Operator::Exists, Operator::DoesNotExist]),
            values: dice.some(values, 2).into_iter().map(name).collect(),
        });
    }
    LabelSelector { requirements }
}

fn workloads(dice: &mut Dice) -> Selector {
    let mut selector = WorkloadSelector::default();
    if dice.chance(50) {
        selector.namespaces = Some(globs(dice, &["*", "ns-*", "ns-?", "shop", "ns-1", "pay*"]));
    }
    if dice.chance(30) {
        selector.apps = Some(globs(dice, &["*", "web", "db", "w?b", "?*"]));
    }
    if dice.chance(20) {
        let images = [
            "nginx",
            "*nginx*",
            "docker.io/library/nginx:latest",
            "*",
            "registry.example/*",
            "*:latest",
        ];
        selector.images = Some(globs(dice, &images));
    }
    if dice.chance(30) {
        selector.pod_selector = Some(label_selector(dice, &["app", "role", "tier"], &["web", "x", "y", "db"]));
    }
    if dice.chance(20) {
        let keys = ["tier", "kubernetes.io/metadata.name"];
        selector.namespace_selector = Some(label_selector(dice, &keys, &["a", "b", "ns-0", "shop"]));
    }
    Selector::Workloads(selector)
}

fn cidrs(dice: &mut Dice) -> Selector {
    let ranges = [
        ("0.0.0.0/0", "203.0.113.0/24"),
        ("203.0.113.0/24", "203.0.113.128/25"),
        ("203.0.113.128/25", "203.0.113.200/32"),
        ("10.0.0.0/8", "10.0.0.0/16"),
        ("192.0.2.0/24", "192.0.2.11/32"),
        ("::/0", "2001:db8::/32"),
        ("2001:db8::/32", "2001:db8:9::/48"),
        ("224.0.0.0/3", "224.0.0.0/4"),
        ("169.254.0.0/16", "169.254.1.1/32"),
        ("fe80::/10", "fe80::1/128"),
        ("198.51.100.0/24", "198.51.100.2/32"),
    ];
    let mut entries = Vec::new();
    for _ in 0..dice.below(4) {
        let (cidr, except) = dice.pick(&ranges);
        let except = if dice.chance(40) {
            vec![except.parse().unwrap()]
        } else {
            vec![]
        };
        entries.push(CidrEntry {
            cidr: cidr.parse().unwrap(),
            except,
        });
    }
    Selector::Cidrs(entries)
}

fn object(dice: &mut Dice) -> Document {
    let which = dice.pick(&OBJECTS[..8]);
    let mut selector = if which.starts_with("net") {
        cidrs(dice)
    } else {
        workloads(dice)
    };
    if dice.chance(5) {
        selector = if which.starts_with("net") {
            workloads(dice)
        } else {
            cidrs(dice)
        };
    }
    Document::NetworkObject(NetworkObject {
        name: name(which),
        uid: name(format!("uid-{which}")),
        selector,
    })
}

fn side(dice: &mut Dice) -> Side {
    if dice.chance(35) {
        Side::Entity(dice.pick(&Entity::ALL))
    } else {
        Side::Object(name(dice.pick(&OBJECTS)))
    }
}

fn port_entry(dice: &mut Dice) -> PortEntry {
    use ProtocolMatch::{Any, Icmp, Icmpv6, Number, Sctp, Tcp, Udp};
    let protocol = dice.pick(&[
        Tcp,
        Tcp,
        Udp,
        Sctp,
        Icmp,
        Icmpv6,
        Any,
        Number(47),
        Number(1),
        Number(58),
        Number(6),
    ]);
    let ports = match protocol {
        Icmp | Icmpv6 if dice.chance(60) => {
            let kind = dice.pick(&[0, 8, 128, 255]);
            PortMatch::Range(kind, kind)
        }
        Tcp | Udp | Sctp | Any if dice.chance(75) => {
            let first = dice.pick(&PORTS);
            let last = if dice.chance(60) {
                first
            } else {
                first.max(dice.pick(&PORTS))
            };
            PortMatch::Range(first, last)
        }
        _ => PortMatch::All,
    };
    PortEntry { protocol, ports }
}

fn rule(dice: &mut Dice) -> Document {
    let which = format!("rule-{}", dice.below(8));
    let ports = match dice.below(10) {
        0..4 => None,
        4 => Some(Vec::new()),
        _ => Some((0..=dice.below(3)).map(|_| port_entry(dice)).collect()),
    };
    Document::DefenseRule(DefenseRule {
        name: name(&which),
        uid: name(format!("uid-{which}-{}", dice.below(2))),
        source: side(dice),
        destination: side(dice),
        ports,
        action: dice.pick(&[Action::Pass, Action::Alert, Action::Drop]),
        priority: dice.pick(&[1, 10, 10, 10, 1000]),
        enabled: dice.chance(85),
    })
}

fn host_port(dice: &mut Dice) -> HostPort {
    HostPort {
        address: if dice.chance(30) {
            Some(dice.pick(&node_addresses()))
        } else {
            None
        },
        transport: dice.pick(&TRANSPORTS),
        port: dice.pick(&[8080, 30080, 443]),
        container_port: dice.pick(&PORTS),
    }
}

fn pod(dice: &mut Dice) -> Document {
    let uid = format!("pod-{}", dice.below(8));
    let mut labels: Vec<(String, String)> = Vec::new();
    for (key, values) in [
        ("app", ["web", "db", ""]),
        ("app.kubernetes.io/name", ["web", "db", "web"]),
        ("role", ["x", "y", "x"]),
    ] {
        if dice.chance(45) {
            labels.push((key.to_owned(), dice.pick(&values).to_owned()));
        }
    }
    let host_network = dice.chance(12);
    let node = if dice.chance(90) {
        Some(name(dice.pick(&NODES)))
    } else {
        None
    };
    let mut addresses = if host_network {
        dice.some(&node_addresses(), 2)
    } else {
        dice.some(&pod_addresses(), 3)
    };
    addresses.sort_unstable();
    addresses.dedup();
    let images = [
        "nginx",
        "docker.io/library/nginx:latest",
        "registry.example/api:1",
        "nginx@sha256:00",
    ];
    let mut images: Vec<Name> = dice.some(&images, 2).into_iter().map(name).collect();
    images.sort_unstable();
    images.dedup();
    let host_ports = if dice.chance(20) { vec![host_port(dice)] } else { vec![] };
    let mut probe_ports = dice.some(&PORTS, 2);
    probe_ports.sort_unstable();
    probe_ports.dedup();
    Document::Pod(Pod {
        uid: name(&uid),
        namespace: name(dice.pick(&NAMESPACES)),
        name: name(&uid),
        labels: Labels::new(labels),
        images,
        addresses,
        link_local: if dice.chance(10) {
            vec!["fe80::42".parse().unwrap()]
        } else {
            vec![]
        },
        node,
        host_network,
        phase: dice.pick(&[
            Phase::Running,
            Phase::Running,
            Phase::Running,
            Phase::Pending,
            Phase::Unknown,
            Phase::Succeeded,
            Phase::Failed,
        ]),
        created: i64::try_from(dice.below(3)).unwrap(),
        probe_ports,
        host_ports,
        owner: None,
    })
}

fn node(dice: &mut Dice) -> Document {
    let mut pod_cidrs: Vec<Cidr> = Vec::new();
    for cidr in ["10.0.0.0/24", "10.0.1.0/24", "2001:db8:1::/64"] {
        if dice.chance(40) {
            pod_cidrs.push(cidr.parse().unwrap());
        }
    }
    Document::Node(Node {
        name: name(dice.pick(&NODES)),
        addresses: dice.some(&node_addresses(), 3),
        pod_cidrs,
    })
}

fn report(dice: &mut Dice) -> Document {
    Document::NodeReport(NodeReport {
        node: name(dice.pick(&NODES)),
        enforcing: dice.chance(50),
        addresses: dice.some(&node_addresses(), 2),
    })
}

fn service(dice: &mut Dice) -> Document {
    let mut ports = Vec::new();
    for index in 0..=dice.below(2) {
        ports.push(ServicePort {
            name: name(["", "web"][index]),
            transport: dice.pick(&TRANSPORTS),
            port: dice.pick(&PORTS),
            node_port: if dice.chance(30) {
                Some(dice.pick(&[30080, 30081]))
            } else {
                None
            },
        });
    }
    let external = [service_addresses(), node_addresses(), pod_addresses()].concat();
    let which = dice.below(3);
    Document::Service(Service {
        namespace: name(dice.pick(&NAMESPACES[..2])),
        name: name(format!("svc-{which}")),
        cluster_ips: dice.some(&service_addresses(), 2),
        external_ips: dice.some(&external, 2),
        ports,
    })
}

fn slice(dice: &mut Dice) -> Document {
    let backends = [pod_addresses(), pod_addresses(), node_addresses(), outside_addresses()].concat();
    let endpoints = dice.some(&backends, 3).into_iter().map(|address| {
        let ready = dice.chance(60);
        Endpoint {
            address,
            ready,
            serving: ready || dice.chance(50),
        }
    });
    let endpoints = endpoints.collect();
    let mut ports = Vec::new();
    for index in 0..=dice.below(2) {
        ports.push(SlicePort {
            name: name(["", "web"][index]),
            transport: dice.pick(&TRANSPORTS),
            port: dice.pick(&PORTS),
        });
    }
    let which = dice.below(3);
    Document::EndpointSlice(EndpointSlice {
        namespace: name(dice.pick(&NAMESPACES[..2])),
        name: name(format!("slice-{}", dice.below(4))),
        service: if dice.chance(90) {
            Some(name(format!("svc-{which}")))
        } else {
            None
        },
        endpoints,
        ports,
    })
}

fn namespace(dice: &mut Dice) -> Document {
    let mut labels = Vec::new();
    if dice.chance(60) {
        labels.push(("tier", dice.pick(&["a", "b"])));
    }
    if dice.chance(10) {
        labels.push(("kubernetes.io/metadata.name", "shop"));
    }
    Document::Namespace(Namespace {
        name: name(dice.pick(&NAMESPACES)),
        labels: Labels::new(labels),
    })
}

fn defense(dice: &mut Dice) -> Document {
    let pod_cidrs = if dice.chance(50) {
        vec!["10.0.0.0/16".parse().unwrap()]
    } else {
        vec![]
    };
    Document::Defense(Defense {
        mode: Mode::Enforce,
        recovery: Recovery::Automatic,
        local_node: dice.pick(&[LocalNodeMode::Probes, LocalNodeMode::Pass, LocalNodeMode::Enforce]),
        startup: dice.pick(&[Startup::Open, Startup::Guarded, Startup::Guarded, Startup::Closed]),
        pod_cidrs,
        confirmed: None,
    })
}

/// Any document.
pub(crate) fn document(dice: &mut Dice) -> Document {
    match dice.below(100) {
        0..25 => pod(dice),
        25..45 => rule(dice),
        45..63 => object(dice),
        63..70 => service(dice),
        70..80 => slice(dice),
        80..86 => node(dice),
        86..90 => report(dice),
        90..96 => namespace(dice),
        _ => defense(dice),
    }
}

/// A world of about `size` documents.
pub(crate) fn world(dice: &mut Dice, size: usize) -> World {
    let mut world = World::new(LOCAL, dice.chance(50));
    for _ in 0..size {
        world.apply(document(dice));
    }
    world
}

/// One change of `world`: what it touched.
pub(crate) fn change(dice: &mut Dice, world: &mut World) -> Vec<DocumentKey> {
    if dice.chance(30) {
        let keys: Vec<DocumentKey> = world.keys().collect();
        if !keys.is_empty() {
            let key = dice.pick(&keys);
            world.delete(&key);
            return vec![key];
        }
    }
    let document = document(dice);
    let key = document.key();
    world.apply(document);
    vec![key]
}

/// Interfaces of most local pods, some with two, and perhaps one that nobody knows.
pub(crate) fn links(dice: &mut Dice, world: &World) -> Vec<Link> {
    let mut links = Vec::new();
    for (index, pod) in (1u32..).zip(world.pods()) {
        if !world.is_local(pod) || pod.host_network || dice.chance(10) {
            continue;
        }
        let link = |ifindex| Link {
            ifindex,
            master: 0,
            pod: Some(pod.uid.clone()),
            mac: [0; 6],
        };
        links.push(link(index * 10));
        if dice.chance(10) {
            links.push(link(index * 10 + 1));
        }
    }
    if dice.chance(40) {
        links.push(Link {
            ifindex: 5,
            master: 1,
            pod: if dice.chance(50) { None } else { Some(name("gone")) },
            mac: [2, 0, 0, 0, 0, 5],
        });
    }
    if let Some(first) = links.first_mut()
        && dice.chance(30)
    {
        first.mac = [2, 0, 0, 0, 0, 0x42];
    }
    links
}

/// The text of a world, for people who look at a failure.
pub(crate) fn describe(world: &World) -> String {
    let mut text = String::new();
    for line in [
        format!("{:#?}", world.pods().collect::<Vec<_>>()),
        format!("{:#?}", world.objects().collect::<Vec<_>>()),
        format!("{:#?}", world.rules().collect::<Vec<_>>()),
        format!("{:#?}", world.nodes().collect::<Vec<_>>()),
        format!("{:#?}", world.reports().collect::<Vec<_>>()),
        format!("{:#?}", world.services().collect::<Vec<_>>()),
        format!("{:#?}", world.slices().collect::<Vec<_>>()),
        format!("{:#?}", world.namespaces().collect::<Vec<_>>()),
        format!("{:#?}", world.defense()),
    ] {
        text.push_str(&line);
        text.push('\n');
    }
    text
}
