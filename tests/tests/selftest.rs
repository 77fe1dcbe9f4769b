//! The agent's self-test: packets through a double of the programs are judged as the policy says, leave no trace in what
//! is counted, recorded or remembered, and tell of a map that says something else.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use cellwall_controller::lab::Wiring;
use cellwall_datapath::counters;
use cellwall_datapath::image::Image;
use cellwall_datapath::inspect;
use cellwall_datapath::memory::MemoryKernel;
use cellwall_datapath::port::{Entries, Kernel as _, MapName, Reads as _};
use cellwall_datapath::selftest::{Opening, Said, SelfTest};
use cellwall_policy::evaluate::{Answer, HookQuestion, at_hook};
use cellwall_policy::generate;
use cellwall_policy::model::{Action, Hook};
use cellwall_policy::world::World;
use cellwall_tests::judges::node::ifindex;
use cellwall_tests::judges::{Live, Lodging, Node};
use cellwall_tests::{Cluster, wait_for};

const WORLDS: u64 = 6;
const QUESTIONS: usize = 80;

/// What the answer is in the words of the programs.
fn said(answer: &Answer, image: &Image) -> Said {
    let slot = answer.rule.as_ref().map(|rule| {
        let card = image.rules.iter().find(|(_, card)| card.name == rule.name);
        card.expect("a rule in force has a card").0.0
    });
    Said {
        dropped: answer.applied == Action::Drop,
        action: match answer.verdict {
            Action::Pass => 0,
            Action::Alert => 1,
            Action::Drop => 2,
        },
        reason: answer.reason as u8,
        slot,
    }
}

/// The packet of a question about a pod that is known; none where it has no address of the family that nobody else has, or
/// where the hook of the sender tells.
fn packet(world: &World, image: &Image, question: &HookQuestion, fresh: u16) -> Option<(u32, Opening)> {
    let pod = world.pod(question.pod.as_deref()?).filter(|pod| pod.phase.is_live())?;
    let from_neighbour = world
        .pods()
        .any(|one| world.is_local(one) && one.addresses.contains(&question.peer));
    if question.hook == Hook::ToPod && from_neighbour || question.protocol.number() == 0 {
        return None;
    }
    let ifindex = ifindex(&pod.uid);
    let own = image
        .own(ifindex)
        .find(|own| own.is_v4() == question.peer.is_v4())?
        .ip();
    let peer: IpAddr = question.peer.ip();
    let (source, destination) = match question.hook {
        Hook::FromPod => (own, peer),
        Hook::ToPod => (peer, own),
    };
    let opening = Opening {
        source,
        destination,
        protocol: question.protocol.number(),
        port: question.port.unwrap_or(0),
        fresh,
    };
    Some((ifindex, opening))
}

/// Everything that a packet could leave behind in the maps of the instance.
fn trace(live: &Live) -> (String, BTreeMap<MapName, usize>) {
    let maps = live.instance.maps();
    let counted = format!(
        "{:?} {:?}",
        counters::reasons(maps).unwrap(),
        counters::events(maps).unwrap()
    );
    let kept = [
        MapName::Flows4,
        MapName::Flows6,
        MapName::Opening4,
        MapName::Opening6,
        MapName::Entered,
        MapName::Gone,
        MapName::Fragments,
        MapName::Refused,
        MapName::RefusedNext,
    ];
    let entries = kept.map(|map| {
        let mut entries = 0;
        maps.visit(map, &mut |_, _| entries += 1).unwrap();
        (map, entries)
    });
    (counted, entries.into_iter().collect())
}

/// Runs the questions; answers how many packets were judged, and which of them otherwise than the policy says.
fn ask(double: &mut SelfTest, world: &World, image: &Image, seed: u64) -> (usize, Vec<String>) {
    let (mut packets, mut differing) = (0, Vec::new());
    for (number, question) in generate::questions(seed, world, QUESTIONS).iter().enumerate() {
        let Some((ifindex, opening)) = packet(world, image, question, 20_000 + u16::try_from(number).unwrap()) else {
            continue;
        };
        let expected = said(&at_hook(world, question), image);
        if !matches!(opening.protocol, 6 | 17 | 132) {
            double.forget().unwrap();
        }
        let found = double.run(question.hook, ifindex, &opening, expected).unwrap();
        packets += 1;
        differing
            .extend(found.map(|found| format!("seed {seed}: {question:?}: expected {expected:?}, found {found:?}")));
    }
    double.forget().unwrap();
    (packets, differing)
}

#[test]
fn packets_of_the_self_test_are_judged_as_the_policy_says_and_leave_no_trace() {
    let lodging = Lodging::new().unwrap();
    let judged = lodging.namespace.inside(|| {
        let mut live = Live::load(&lodging.place).unwrap();
        let mut double = SelfTest::load(&lodging.place, live.instance.options()).unwrap();
        let (mut memory, mut judged) = (MemoryKernel::new(), 0);
        for seed in 0..WORLDS {
            let mut node = Node::begin(generate::world(seed, 14), &mut memory, Some(&mut live)).unwrap();
            let world = node.world.clone();
            let live = node.live().unwrap();
            let image = inspect(live.instance.maps()).unwrap();
            let before = trace(live);
            let (packets, differing) = ask(&mut double, &world, &image, seed);
            assert_eq!(differing, Vec::<String>::new());
            assert_eq!(trace(live), before, "seed {seed}");
            judged += packets;
        }
        judged
    });
    let judged = judged.unwrap();
    println!("{judged} packets in {WORLDS} worlds");
    assert!(judged > 100, "only {judged} packets could be asked about");
}

#[test]
fn a_table_that_says_something_else_is_told_by_a_packet() {
    let lodging = Lodging::new().unwrap();
    let told = lodging.namespace.inside(|| {
        let mut live = Live::load(&lodging.place).unwrap();
        let mut double = SelfTest::load(&lodging.place, live.instance.options()).unwrap();
        let mut memory = MemoryKernel::new();
        let mut node = Node::begin(generate::world(1, 20), &mut memory, Some(&mut live)).unwrap();
        let world = node.world.clone();
        let live = node.live().unwrap();
        let image = inspect(live.instance.maps()).unwrap();
        // Each table says what the next one says.
        let refs: Vec<[u32; 6]> = image.tables.values().map(|table| table.refs).collect();
        assert!(refs.len() > 1, "one table has nobody to change with");
        let mut entries = Entries::new(MapName::Tables);
        for (number, slot) in image.tables.keys().enumerate() {
            let next = refs[(number + 1) % refs.len()];
            entries.push(&slot.to_ne_bytes(), &next.map(u32::to_ne_bytes).concat());
        }
        live.instance.maps_mut().update(&entries).unwrap();
        (0..4).flat_map(|seed| ask(&mut double, &world, &image, seed).1).count()
    });
    assert!(told.unwrap() > 0, "no packet of some hundreds was judged otherwise");
}

#[test]
fn a_running_agent_probes_and_no_counter_of_a_rule_moves() {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
    cluster.save_pods();
    cluster.save(
        "rules.yaml",
        "apiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {name: tcp}\nspec: {source: {entity: Any}, \
         destination: {entity: Any}, ports: [{port: 7, endPort: 9}], action: Drop, priority: 10}\n",
    );
    cluster.start();
    let probed = wait_for(Duration::from_secs(40), || {
        cluster.status()?["probed"].as_u64().filter(|probed| *probed >= 100)
    });
    let status = cluster.status().unwrap_or_default();
    assert!(probed.is_some(), "{status}\n{}", cluster.log());
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let passed = conditions
        .iter()
        .find(|one| one["type"] == "ProbePassed")
        .cloned()
        .unwrap_or_default();
    assert_eq!(
        (&passed["status"], &passed["reason"]),
        (&"True".into(), &"VerdictsAgree".into()),
        "{passed}"
    );
    assert!(
        status["policy_hash"].as_str().is_some_and(|hash| hash.len() == 16),
        "{status}"
    );
    let rule = cluster.rule("tcp");
    assert_eq!((&rule["packets"], &rule["flows"]), (&0.into(), &0.into()), "{rule}");
    // Port 7 to 9 of nobody else's making: nothing of it was recorded, or kept as refused.
    assert!(cluster.records().iter().all(|record| record["rule"]["name"] != "tcp"));
    assert!(cluster.refused("a").is_empty() && cluster.refused("b").is_empty());
    assert!(cluster.metric("cellwall_probe_packets_total", "") >= 100);
    assert_eq!(cluster.metric("cellwall_condition", "ProbePassed"), 1);
}
