//! The reference evaluator against a lookup over what was encoded, written and read back, for random worlds and their
//! changes: the same action, reason and rule; and at every write of every plan nothing but the old or the new answer.

use cellwall_datapath::abi::switches;
use cellwall_datapath::apply::Realiser;
use cellwall_datapath::image::{Image, Probe};
use cellwall_datapath::inspect;
use cellwall_datapath::memory::{MemoryKernel, Write};
use cellwall_policy::compile::{Compiler, Image as Compiled, Link};
use cellwall_policy::compiled::Cell;
use cellwall_policy::evaluate::{HookQuestion, at_hook};
use cellwall_policy::generate;
use cellwall_policy::model::{Hook, Mode, Name, Reason, Startup};
use cellwall_policy::world::{DocumentKey, World};

/// Interface whose pod is not known.
const UNKNOWN: u32 = 900;

struct Node {
    world: World,
    compiler: Compiler,
    compiled: Compiled,
    kernel: MemoryKernel,
    realiser: Realiser,
}

impl Node {
    fn new(world: World) -> Self {
        let kernel = MemoryKernel::new();
        let realiser = Realiser::adopt(&kernel).unwrap();
        let mut node = Self {
            world,
            compiler: Compiler::new(generate::LOCAL_NODE),
            compiled: Compiled::default(),
            kernel,
            realiser,
        };
        node.update(&[]);
        node
    }

    fn update(&mut self, touched: &[DocumentKey]) {
        let links = links(&self.world);
        let next = self.realiser.next_generation();
        let update = self.compiler.update(&self.world, touched, &links, next);
        self.compiled.apply(update.changes.clone());
        self.realiser.want(update.changes);
        let defense = self.world.defense();
        let mode = match defense.mode {
            Mode::Enforce => 0,
            Mode::AlertOnly => switches::ALERT_ONLY,
            Mode::Off => switches::OFF,
        };
        let startup = if defense.startup == Startup::Open {
            switches::STARTUP_OPEN
        } else {
            0
        };
        self.realiser.want_switches(mode | startup, 0);
        self.realiser.realise(&mut self.kernel).unwrap();
    }

    fn image(&self) -> Image {
        inspect(&self.kernel).unwrap()
    }
}

/// One interface for each local pod that lives and has one of its own.
fn links(world: &World) -> Vec<Link> {
    let local = world
        .pods()
        .filter(|pod| world.is_local(pod) && !pod.host_network && pod.phase.is_live());
    let known = local.map(|pod| (ifindex(&pod.uid), Some(pod.uid.clone())));
    let mut links: Vec<_> = known
        .chain([(UNKNOWN, None)])
        .map(|(ifindex, pod)| Link {
            ifindex,
            master: 0,
            pod,
            mac: [0; 6],
        })
        .collect();
    links.sort();
    links
}

/// A number for a pod, the same wherever the pod is met.
fn ifindex(uid: &Name) -> u32 {
    let mixed = uid
        .bytes()
        .fold(7_u32, |mixed, byte| mixed.wrapping_mul(31).wrapping_add(byte.into()));
    1_000 + mixed % 1_000_000
}

fn probe(question: &HookQuestion) -> Probe {
    Probe {
        ifindex: question.pod.as_ref().map_or(UNKNOWN, ifindex),
        hook: question.hook,
        peer: question.peer,
        protocol: question.protocol.number(),
        port: question.port.unwrap_or(0),
    }
}

/// What the tables are not asked about.
fn is_beside_tables(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Loopback | Reason::Router | Reason::Neighbour | Reason::Tunnel
    )
}

fn words(image: &Image, cell: Cell) -> (String, Reason, Option<Name>) {
    let rule = cell
        .rule
        .and_then(|slot| image.rules.get(&slot))
        .map(|card| card.name.clone());
    (cell.action.to_string(), cell.reason, rule)
}

fn compare(seed: u64, node: &Node) -> usize {
    let image = node.image();
    let mut asked = 0;
    for question in generate::questions(seed, &node.world, 60) {
        let expected = at_hook(&node.world, &question);
        // A pod's packet to itself is decided where it is sent.
        let is_decided = expected.reason == Reason::SelfTraffic && question.hook == Hook::ToPod;
        let lives = |uid: &Name| node.world.pod(uid).is_some_and(|pod| pod.phase.is_live());
        if is_decided || is_beside_tables(expected.reason) || question.pod.as_ref().is_some_and(|uid| !lives(uid)) {
            continue;
        }
        asked += 1;
        let found = words(&image, image.judge(&probe(&question)));
        let expected = (
            expected.verdict.to_string(),
            expected.reason,
            expected.rule.map(|rule| rule.name),
        );
        assert_eq!(
            found,
            expected,
            "seed {seed}: {question:?}\n{}",
            image.explain(&probe(&question))
        );
    }
    asked
}

/// Every interface, both hooks, against what the compiler said.
fn compare_compiled(seed: u64, node: &Node) -> usize {
    let image = node.image();
    let mut asked = 0;
    for question in generate::questions(seed, &node.world, 60) {
        let one = probe(&question);
        let said = node
            .compiled
            .verdict(one.ifindex, one.hook, one.peer, question.protocol, one.port);
        let found = image.judge(&one);
        let is_guarded = node.compiled.interfaces.contains_key(&one.ifindex);
        if !is_guarded || matches!(found.reason, Reason::SelfTraffic | Reason::Off) {
            continue;
        }
        asked += 1;
        assert_eq!(Some(found), said, "seed {seed}: {question:?}\n{}", image.explain(&one));
    }
    asked
}

#[test]
fn what_was_encoded_and_read_back_answers_as_the_compiler_said() {
    let mut asked = 0;
    for seed in 0..40 {
        let mut node = Node::new(generate::world(seed, 10));
        asked += compare_compiled(seed, &node);
        for number in 0..6 {
            let touched = generate::edit(seed * 100 + number, &mut node.world);
            node.update(&touched);
            asked += compare_compiled(seed * 1000 + number, &node);
        }
    }
    assert!(asked > 10_000, "only {asked} questions were for the tables");
}

#[test]
fn what_was_encoded_and_read_back_answers_as_the_reference_does() {
    let mut asked = 0;
    for seed in 0..40 {
        let mut node = Node::new(generate::world(seed, 10));
        asked += compare(seed, &node);
        for number in 0..6 {
            let touched = generate::edit(seed * 100 + number, &mut node.world);
            node.update(&touched);
            asked += compare(seed * 1000 + number, &node);
        }
    }
    assert!(asked > 10_000, "only {asked} questions were for the tables");
}

#[test]
fn a_new_process_with_new_numbers_answers_as_the_one_before() {
    for seed in 0..15 {
        let mut node = Node::new(generate::world(seed, 10));
        for number in 0..4 {
            let touched = generate::edit(seed * 100 + number, &mut node.world);
            node.update(&touched);
        }
        let mut realiser = Realiser::adopt(&node.kernel).unwrap();
        let mut compiler = Compiler::new(generate::LOCAL_NODE);
        let adopted = realiser.image().adopted_rules();
        compiler.adopt_rules(
            adopted
                .map(|(slot, card)| (slot, card.name.clone(), card.uid.clone()))
                .collect::<Vec<_>>(),
        );
        realiser.settle(&mut node.kernel).unwrap();
        node.kernel.take_journal();
        node = Node {
            realiser,
            compiler,
            compiled: Compiled::default(),
            ..node
        };
        node.update(&[]);
        let zeroed = node
            .kernel
            .take_journal()
            .into_iter()
            .filter(|write| matches!(write, Write::Zero(..)))
            .count();
        assert_eq!(zeroed, 0, "seed {seed}: counters of adopted rules go on");
        compare_compiled(seed, &node);
        node.realiser.settle(&mut node.kernel).unwrap();
        assert_eq!(node.realiser.drift(&node.kernel).unwrap(), []);
    }
}

#[test]
fn every_write_of_a_compiled_change_shows_the_old_answer_or_the_new_one() {
    let mut changed = 0;
    for seed in 0..12 {
        let mut node = Node::new(generate::world(seed, 8));
        for number in 0..4 {
            let old_world = node.world.clone();
            let touched = generate::edit(seed * 100 + number, &mut node.world);
            let questions = generate::questions(seed + number, &old_world, 12);
            let probes: Vec<Probe> = questions.iter().map(probe).collect();
            node.realiser.settle(&mut node.kernel).unwrap();
            let answers = |image: &Image| {
                probes
                    .iter()
                    .map(|one| words(image, image.judge(one)))
                    .collect::<Vec<_>>()
            };
            let mut shadow = node.kernel.clone();
            let old = answers(&node.image());
            node.kernel.take_journal();
            node.update(&touched);
            let new = answers(&node.image());
            changed += usize::from(old != new);
            let mut flipped = false;
            let journal = node.kernel.take_journal();
            // Cards are for people: rule names are compared at the end alone.
            for write in journal.iter().filter(|write| !matches!(write, Write::Zero(..))) {
                shadow.replay(write).unwrap();
                flipped |= matches!(write, Write::Activate(_));
                let expected = if flipped { &new } else { &old };
                let found = answers(&inspect(&shadow).unwrap());
                for ((found, expected), one) in found.iter().zip(expected).zip(&probes) {
                    assert_eq!(
                        (&found.0, found.1),
                        (&expected.0, expected.1),
                        "seed {seed}, {write:?}: {one:?}"
                    );
                }
            }
        }
    }
    assert!(changed > 5, "only {changed} changes changed an answer");
}
