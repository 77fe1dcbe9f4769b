//! A large cluster, the same in every run, and changes of it: what measurements of the compiler work on.
//!
//! Workloads of 5 to 20 replicas in 100 namespaces, dual stack, 110 pods a node; rules over 1,000 objects (half of them
//! one application, some a namespace, a label, an image or a range), one rule in 33 about an entity; a Service for every
//! fourth workload where it says so.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Dice;
use crate::compile::Link;
use crate::model::{
    Action, Address, CidrEntry, DefenseRule, Endpoint, EndpointSlice, Entity, Glob, LabelSelector, Labels, Name,
    NetworkObject, Node, Operator, Phase, Pod, PortEntry, PortMatch, ProtocolMatch, Requirement, Selector, Service,
    ServicePort, Side, SlicePort, Transport, WorkloadSelector,
};
use crate::world::{Document, DocumentKey, World};

const PODS_PER_NODE: usize = 110;
const OBJECTS: usize = 1_000;
const NAMESPACES: usize = 100;

/// A number below `end`.
fn below(dice: &mut Dice, end: usize) -> usize {
    usize::try_from(dice.between(0, end as u64 - 1)).unwrap_or(0)
}

#[derive(Debug, Clone)]
struct Workload {
    namespace: Name,
    app: String,
    labels: Labels,
    images: Vec<Name>,
}

fn name(text: impl AsRef<str>) -> Name {
    text.as_ref().into()
}

fn workload(number: usize) -> Workload {
    let app = format!("app-{}", number / 100);
    let labels = [
        ("app", app.clone()),
        ("pod-template-hash", format!("{:010x}", number * 7919)),
        ("tier", format!("tier-{}", number % 7)),
        ("version", format!("v{}", number % 3)),
    ];
    Workload {
        namespace: name(format!("ns-{}", number % NAMESPACES)),
        images: vec![
            name(format!("registry.example/{app}:{}", number % 5)),
            name("registry.example/proxy:1"),
        ],
        labels: Labels::new(labels),
        app,
    }
}

fn pod(number: usize, workload: &Workload) -> Pod {
    let low = number32(number);
    let node = number / PODS_PER_NODE;
    let mut segments = [0x2001, 0x0db8, 0, 0, 0, 0, 0, 0];
    [segments[6], segments[7]] = [(low >> 16) as u16, (low & 0xffff) as u16];
    Pod {
        uid: name(format!("00000000-0000-4000-8000-{number:012x}")),
        namespace: workload.namespace.clone(),
        name: name(format!("{}-{number:05x}", workload.app)),
        labels: workload.labels.clone(),
        images: workload.images.clone(),
        addresses: vec![
            Ipv4Addr::from(0x0a00_0000 + low + 256).into(),
            Ipv6Addr::from(segments).into(),
        ],
        link_local: Vec::new(),
        node: Some(name(format!("node-{node}"))),
        host_network: false,
        phase: Phase::Running,
        created: 0,
        probe_ports: vec![8080],
        host_ports: Vec::new(),
        owner: None,
    }
}

fn object(number: usize, workloads: &[Workload], dice: &mut Dice) -> NetworkObject {
    let one = &workloads[below(dice, workloads.len())];
    let globs = |text: &str| Glob::new(text).ok().map(|glob| vec![glob]);
    let mut selector = WorkloadSelector::default();
    match number % 20 {
        0 => return cidr_object(number),
        1..=3 => selector.namespaces = globs(&one.namespace),
        4..=6 => {
            selector.namespaces = globs(&one.namespace);
            selector.pod_selector = Some(LabelSelector {
                requirements: vec![Requirement {
                    key: "tier".into(),
                    operator: Operator::In,
                    values: one.labels.get("tier").map(name).into_iter().collect(),
                }],
            });
        }
        7 => selector.images = globs(&format!("*/{}:*", one.app)),
        8 | 9 => selector.apps = globs(&format!("{}*", one.app)),
        _ => {
            selector.namespaces = globs(&one.namespace);
            selector.apps = globs(&one.app);
        }
    }
    NetworkObject {
        name: name(format!("object-{number}")),
        uid: name(format!("object-uid-{number}")),
        selector: Selector::Workloads(selector),
    }
}

fn cidr_object(number: usize) -> NetworkObject {
    let third = number % 256;
    let range = |host: u8, length: usize| format!("198.18.{third}.{host}/{length}").parse();
    let entry = match (range(0, 24), range(128, 25)) {
        (Ok(cidr), Ok(except)) => vec![CidrEntry {
            cidr,
            except: vec![except],
        }],
        _ => Vec::new(),
    };
    NetworkObject {
        name: name(format!("object-{number}")),
        uid: name(format!("object-uid-{number}")),
        selector: Selector::Cidrs(entry),
    }
}

fn rule(number: usize, dice: &mut Dice) -> DefenseRule {
    let side = |dice: &mut Dice| match below(dice, 66) {
        0 => Side::Entity(Entity::ALL[below(dice, 5)]),
        _ => Side::Object(name(format!("object-{}", below(dice, OBJECTS)))),
    };
    let (source, destination) = (side(dice), side(dice));
    let first = number16(1 + below(dice, 60_000));
    let entry = PortEntry {
        protocol: [ProtocolMatch::Tcp, ProtocolMatch::Udp, ProtocolMatch::Any][below(dice, 3)],
        ports: PortMatch::Range(first, first + number16(below(dice, 100))),
    };
    DefenseRule {
        name: name(format!("rule-{number:05}")),
        uid: name(format!("rule-uid-{number:05}")),
        source,
        destination,
        ports: (below(dice, 10) > 1).then(|| vec![entry]),
        action: [Action::Pass, Action::Alert, Action::Drop][below(dice, 3)],
        priority: number16(1 + below(dice, 1000)),
        enabled: true,
    }
}

/// A large cluster.
#[derive(Debug)]
pub struct Scale {
    /// Its documents.
    pub world: World,
    /// An interface for each pod of the local node.
    pub links: Vec<Link>,
    workloads: Vec<Workload>,
    pods: usize,
    rules: usize,
    /// Number of the next pod to come.
    next: usize,
    dice: Dice,
}

impl Scale {
    /// A cluster of so many pods and rules; with Services where asked for.
    pub fn new(pods: usize, rules: usize, services: bool) -> Self {
        let mut dice = Dice::new(1);
        let mut workloads = Vec::new();
        let mut made = 0;
        while made < pods {
            workloads.push(workload(workloads.len()));
            made += 5 + below(&mut dice, 16);
        }
        let mut scale = Self {
            world: World::new("node-0", true),
            links: Vec::new(),
            workloads,
            pods,
            rules,
            next: pods,
            dice,
        };
        let members = scale.settle_pods();
        for number in 0..OBJECTS {
            let object = object(number, &scale.workloads, &mut scale.dice);
            scale.world.apply(Document::NetworkObject(object));
        }
        for number in 0..rules {
            scale.world.apply(Document::DefenseRule(rule(number, &mut scale.dice)));
        }
        if services {
            for (number, addresses) in members.iter().enumerate().step_by(4) {
                service(number, &scale.workloads[number], addresses, &mut scale.world);
            }
        }
        scale
    }

    /// A cluster in which each rule lets one pod of the local node reach one other pod, each of which is an object of its
    /// own: as many entries of one policy as rules.
    pub fn singles(rules: usize) -> Self {
        let mut scale = Self::new(rules + 1, 0, false);
        for number in 0..=rules {
            let mut one = pod(number, &workload(0));
            let app = format!("one-{number}");
            one.labels = Labels::new([("app", app.as_str())]);
            scale.put(Document::Pod(one));
            let selector = WorkloadSelector {
                apps: Glob::new(&app).ok().map(|glob| vec![glob]),
                ..WorkloadSelector::default()
            };
            scale.put(Document::NetworkObject(NetworkObject {
                name: name(&app),
                uid: name(format!("uid-{app}")),
                selector: Selector::Workloads(selector),
            }));
        }
        for number in 1..=rules {
            let mut rule = rule(number, &mut scale.dice);
            rule.source = Side::Object(name("one-0"));
            rule.destination = Side::Object(name(format!("one-{number}")));
            (rule.ports, rule.action, rule.priority) = (None, Action::Pass, 100);
            scale.put(Document::DefenseRule(rule));
        }
        scale
    }

    /// Pods and nodes. Answers the addresses of each workload.
    fn settle_pods(&mut self) -> Vec<Vec<Address>> {
        let mut members: Vec<Vec<Address>> = vec![Vec::new(); self.workloads.len()];
        for number in 0..self.pods {
            // Scattered over the nodes, as a scheduler does it.
            let owner = number % self.workloads.len();
            let pod = pod(number, &self.workloads[owner]);
            members[owner].extend_from_slice(&pod.addresses);
            self.world.apply(Document::Pod(pod));
        }
        for node in 0..self.pods.div_ceil(PODS_PER_NODE) {
            self.world.apply(Document::Node(Node {
                name: name(format!("node-{node}")),
                addresses: vec![Ipv4Addr::from(0xc000_0200 + number32(node)).into()],
                pod_cidrs: Vec::new(),
            }));
        }
        let local = self.world.pods().filter(|pod| self.world.is_local(pod));
        let link = |(ifindex, uid): (u32, Name)| Link {
            ifindex,
            master: 0,
            pod: Some(uid),
            mac: [0; 6],
        };
        self.links = (10_u32..).zip(local.map(|pod| pod.uid.clone())).map(link).collect();
        members
    }

    /// A pod comes.
    pub fn pod_comes(&mut self) -> DocumentKey {
        self.next += 1;
        let owner = below(&mut self.dice, self.workloads.len());
        self.put(Document::Pod(pod(self.next, &self.workloads[owner])))
    }

    /// The pod that came last goes.
    pub fn pod_goes(&mut self) -> DocumentKey {
        let key = DocumentKey::Pod(pod(self.next, &self.workloads[0]).uid);
        self.world.delete(&key);
        key
    }

    /// Some pod gets labels that nobody has.
    pub fn pod_changes(&mut self, odd: bool) -> DocumentKey {
        let number = below(&mut self.dice, self.pods);
        let mut pod = pod(number, &self.workloads[number % self.workloads.len()]);
        let own = if odd {
            self.workloads[0].app.clone()
        } else {
            format!("app-{}", below(&mut self.dice, 50))
        };
        let run = if odd { "a" } else { "b" };
        pod.labels = Labels::new([("app", own.as_str()), ("tier", "tier-3"), ("run", run)]);
        self.put(Document::Pod(pod))
    }

    /// Some rule changes its action and its priority.
    pub fn rule_changes(&mut self, odd: bool) -> DocumentKey {
        let number = below(&mut self.dice, self.rules);
        let mut rule = rule(number, &mut Dice::new(number as u64));
        if let Some(old) = self.world.rule(&rule.name) {
            rule = (**old).clone();
        }
        rule.action = if odd { Action::Drop } else { Action::Alert };
        rule.priority = rule.priority % 1000 + 1;
        self.put(Document::DefenseRule(rule))
    }

    /// Every rule changes its action: from Pass to Drop, and back.
    pub fn all_rules_turn(&mut self) -> Vec<DocumentKey> {
        let rules: Vec<_> = self.world.rules().cloned().collect();
        let turned = rules.into_iter().map(|rule| {
            let mut rule = (*rule).clone();
            rule.action = if rule.action == Action::Drop {
                Action::Pass
            } else {
                Action::Drop
            };
            self.put(Document::DefenseRule(rule))
        });
        turned.collect()
    }

    /// Some object selects another application.
    pub fn object_changes(&mut self) -> DocumentKey {
        let number = 10 + 20 * below(&mut self.dice, OBJECTS / 20);
        let object = object(number, &self.workloads, &mut self.dice);
        self.put(Document::NetworkObject(object))
    }

    fn put(&mut self, document: Document) -> DocumentKey {
        let key = document.key();
        self.world.apply(document);
        key
    }
}

fn service(number: usize, workload: &Workload, addresses: &[Address], world: &mut World) {
    let low = number32(number);
    let own = name(format!("service-{number}"));
    world.apply(Document::Service(Service {
        namespace: workload.namespace.clone(),
        name: own.clone(),
        cluster_ips: vec![Ipv4Addr::from(0x0b00_0000 + low).into()],
        external_ips: Vec::new(),
        ports: vec![ServicePort {
            name: name("web"),
            transport: Transport::Tcp,
            port: 80,
            node_port: number.is_multiple_of(40).then(|| number16(30_000 + number / 40)),
        }],
    }));
    let endpoint = |address: &Address| Endpoint {
        address: *address,
        ready: true,
        serving: true,
    };
    world.apply(Document::EndpointSlice(EndpointSlice {
        namespace: workload.namespace.clone(),
        name: name(format!("slice-{number}")),
        service: Some(own),
        endpoints: addresses
            .iter()
            .filter(|address| address.is_v4())
            .map(endpoint)
            .collect(),
        ports: vec![SlicePort {
            name: name("web"),
            transport: Transport::Tcp,
            port: 8080,
        }],
    }));
}

fn number32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn number16(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(1)
}
