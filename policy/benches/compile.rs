//! How long compiling takes: a cluster from nothing, and single changes in clusters of three sizes; and how much
//! memory world and compiled state take together.
//!
//! The cluster: workloads of 5 to 20 replicas in 100 namespaces, dual stack, 110 pods a node; 10,000 rules over 1,000
//! objects (half of them one application, some a namespace, a label, an image or a range), one rule in 33 about an
//! entity; a Service for every fourth workload where it says so.

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use cellwall_policy::compile::{Compiler, Link};
use cellwall_policy::model::{
    Action, Address, CidrEntry, DefenseRule, Endpoint, EndpointSlice, Entity, Glob, LabelSelector, Labels, Name,
    NetworkObject, Node, Operator, Phase, Pod, PortEntry, PortMatch, ProtocolMatch, Requirement, Selector, Service,
    ServicePort, Side, SlicePort, Transport, WorkloadSelector,
};
use cellwall_policy::world::{Document, DocumentKey, World};
use criterion::{Criterion, criterion_group, criterion_main};

const PODS_PER_NODE: usize = 110;
const OBJECTS: usize = 1_000;
const RULES: usize = 10_000;

/// A small random source: every run measures the same cluster.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap_or(0)
    }
}

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
        namespace: name(format!("ns-{}", number % 100)),
        images: vec![
            name(format!("registry.example/{app}:{}", number % 5)),
            name("registry.example/proxy:1"),
        ],
        labels: Labels::new(labels),
        app,
    }
}

fn pod(number: usize, workload: &Workload) -> Pod {
    let low = u32::try_from(number).unwrap_or(0);
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
    let one = &workloads[dice.below(workloads.len())];
    let globs = |text: &str| Some(vec![Glob::new(text).unwrap()]);
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
                    values: vec![name(one.labels.get("tier").unwrap())],
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
    let entry = CidrEntry {
        cidr: format!("198.18.{}.0/24", number % 256).parse().unwrap(),
        except: vec![format!("198.18.{}.128/25", number % 256).parse().unwrap()],
    };
    NetworkObject {
        name: name(format!("object-{number}")),
        uid: name(format!("object-uid-{number}")),
        selector: Selector::Cidrs(vec![entry]),
    }
}

fn rule(number: usize, dice: &mut Dice) -> DefenseRule {
    let mut side = || match dice.below(66) {
        0 => Side::Entity(Entity::ALL[dice.below(5)]),
        _ => Side::Object(name(format!("object-{}", dice.below(OBJECTS)))),
    };
    let (source, destination) = (side(), side());
    let first = u16::try_from(1 + dice.below(60_000)).unwrap_or(1);
    let entry = PortEntry {
        protocol: [ProtocolMatch::Tcp, ProtocolMatch::Udp, ProtocolMatch::Any][dice.below(3)],
        ports: PortMatch::Range(first, first + u16::try_from(dice.below(100)).unwrap_or(0)),
    };
    DefenseRule {
        name: name(format!("rule-{number:05}")),
        uid: name(format!("rule-uid-{number:05}")),
        source,
        destination,
        ports: (dice.below(10) > 1).then(|| vec![entry]),
        action: [Action::Pass, Action::Alert, Action::Drop][dice.below(3)],
        priority: u16::try_from(1 + dice.below(1000)).unwrap_or(1),
        enabled: true,
    }
}

struct Cluster {
    world: World,
    links: Vec<Link>,
    workloads: Vec<Workload>,
    pods: usize,
}

fn cluster(pods: usize, services: bool) -> Cluster {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut world = World::new("node-0", true);
    let mut workloads = Vec::new();
    let mut members: Vec<Vec<Address>> = Vec::new();
    let mut made = 0;
    while made < pods {
        workloads.push(workload(workloads.len()));
        members.push(Vec::new());
        made += 5 + dice.below(16);
    }
    for number in 0..pods {
        // Scattered over the nodes, as a scheduler does it.
        let owner = number % workloads.len();
        let pod = pod(number, &workloads[owner]);
        members[owner].extend_from_slice(&pod.addresses);
        world.apply(Document::Pod(pod));
    }
    for node in 0..pods.div_ceil(PODS_PER_NODE) {
        let low = u32::try_from(node).unwrap_or(0);
        world.apply(Document::Node(Node {
            name: name(format!("node-{node}")),
            addresses: vec![Ipv4Addr::from(0xc000_0200 + low).into()],
            pod_cidrs: Vec::new(),
        }));
    }
    for number in 0..OBJECTS {
        world.apply(Document::NetworkObject(object(number, &workloads, &mut dice)));
    }
    for number in 0..RULES {
        world.apply(Document::DefenseRule(rule(number, &mut dice)));
    }
    if services {
        for (number, addresses) in members.iter().enumerate().step_by(4) {
            service(number, &workloads[number], addresses, &mut world);
        }
    }
    let local = world.pods().filter(|pod| world.is_local(pod));
    let link = |(ifindex, uid): (u32, Name)| Link {
        ifindex,
        master: 0,
        pod: Some(uid),
        mac: [0; 6],
    };
    let links = (10u32..).zip(local.map(|pod| pod.uid.clone())).map(link).collect();
    Cluster {
        world,
        links,
        workloads,
        pods,
    }
}

fn service(number: usize, workload: &Workload, addresses: &[Address], world: &mut World) {
    let low = u32::try_from(number).unwrap_or(0);
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
            node_port: number
                .is_multiple_of(40)
                .then(|| u16::try_from(30_000 + number / 40).unwrap_or(30_000)),
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

/// Resident memory of this process in MiB.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    (pages * 4096) >> 20
}

/// Processor time of this process so far: on a busy machine wall time says little.
fn processor() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit(") ").next().unwrap_or_default();
    let ticks = after_name
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

fn compiled(cluster: &Cluster) -> Compiler {
    let mut compiler = Compiler::new("node-0");
    black_box(compiler.update(&cluster.world, &[], &cluster.links, 1));
    compiler
}

fn from_nothing(criterion: &mut Criterion) {
    let empty = resident();
    let cluster = cluster(100_000, false);
    let world = resident();
    let (start, used) = (Instant::now(), processor());
    let mut compiler = Compiler::new("node-0");
    let update = compiler.update(&cluster.world, &[], &cluster.links, 1);
    let (took, used, changes) = (
        start.elapsed(),
        processor().checked_sub(used).unwrap(),
        update.changes.len(),
    );
    let peak = resident();
    drop(update);
    println!("100,000 pods x {RULES} rules x {OBJECTS} objects: {took:?}, {used:?} of processor, {changes} changes");
    println!("resident: {empty} MiB empty, {world} MiB with the world, {peak} MiB compiled with all changes at hand");
    let image = compiler.image();
    println!(
        "{} interfaces, {} addresses, {} ranges, {} policy entries, {} tables",
        image.interfaces.len(),
        image.addresses.len(),
        image.prefixes.len(),
        image.policies.len(),
        image.tables.len()
    );
    drop((image, compiler));
    let mut group = criterion.benchmark_group("from nothing");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.bench_function("100,000 pods", |bencher| bencher.iter(|| compiled(&cluster)));
    drop(cluster);
    let cluster = self::cluster(100_000, true);
    println!("with {} Services", cluster.world.services().len());
    group.bench_function("100,000 pods and Services", |bencher| {
        bencher.iter(|| compiled(&cluster));
    });
    group.finish();
}

/// Measures the updates of alternating changes.
fn alternate(
    criterion: &mut Criterion,
    what: &str,
    pods: usize,
    mut change: impl FnMut(&mut World, &[Workload], bool) -> DocumentKey,
) {
    let mut cluster = cluster(pods, true);
    let mut compiler = compiled(&cluster);
    let mut generation = 1;
    let mut times: Vec<Duration> = Vec::new();
    criterion.bench_function(&format!("{what}, {pods} pods"), |bencher| {
        bencher.iter_custom(|rounds| {
            let mut total = Duration::ZERO;
            for round in 0..rounds {
                let key = change(&mut cluster.world, &cluster.workloads, round % 2 == 0);
                generation += 1;
                let start = Instant::now();
                black_box(compiler.update(&cluster.world, &[key], &cluster.links, generation));
                let took = start.elapsed();
                times.push(took);
                total += took;
            }
            total
        });
    });
    times.sort_unstable();
    if let Some(slow) = times.get(times.len() * 99 / 100) {
        println!("{what}, {pods} pods: p99 {slow:?}, worst {:?}", times.last().unwrap());
    }
    black_box(cluster.pods);
}

fn changes(criterion: &mut Criterion) {
    for pods in [1_000, 10_000, 100_000] {
        let mut dice = Dice(42);
        let mut next = pods;
        alternate(criterion, "a pod comes or goes", pods, |world, workloads, comes| {
            if comes {
                next += 1;
            }
            let pod = pod(next, &workloads[dice.below(workloads.len())]);
            let key = DocumentKey::Pod(pod.uid.clone());
            if comes {
                world.apply(Document::Pod(pod));
            } else {
                world.delete(&key);
            }
            key
        });
        alternate(
            criterion,
            "a pod gets labels nobody has",
            pods,
            |world, workloads, odd| {
                let number = dice.below(pods);
                let mut pod = pod(number, &workloads[number % workloads.len()]);
                let own = if odd {
                    workloads[0].app.clone()
                } else {
                    format!("app-{}", dice.below(50))
                };
                pod.labels = Labels::new([
                    ("app", own.as_str()),
                    ("tier", "tier-3"),
                    ("run", if odd { "a" } else { "b" }),
                ]);
                let key = DocumentKey::Pod(pod.uid.clone());
                world.apply(Document::Pod(pod));
                key
            },
        );
        alternate(criterion, "a rule changes its action", pods, |world, _, odd| {
            let number = dice.below(RULES);
            let old = world.rule(&format!("rule-{number:05}")).cloned().unwrap();
            let mut rule = (*old).clone();
            rule.action = if odd { Action::Drop } else { Action::Alert };
            rule.priority = rule.priority % 1000 + 1;
            let key = DocumentKey::DefenseRule(rule.name.clone());
            world.apply(Document::DefenseRule(rule));
            key
        });
        alternate(criterion, "an object changes", pods, |world, workloads, _| {
            let number = 10 + 20 * dice.below(OBJECTS / 20);
            let object = object(number, workloads, &mut dice);
            let key = DocumentKey::NetworkObject(object.name.clone());
            world.apply(Document::NetworkObject(object));
            key
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));
    targets = from_nothing, changes
}
criterion_main!(benches);
