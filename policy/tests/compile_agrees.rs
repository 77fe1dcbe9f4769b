//! The compiled state, looked up as the kernel looks it up, says what the reference says: for random worlds, every
//! interface, both hooks, addresses of every kind and ports around every edge.

mod worlds;

use std::fmt::Write;

use cellwall_policy::compile::{Compiler, Image, Link};
use cellwall_policy::evaluate::{Answer, HookQuestion, at_hook};
use cellwall_policy::generate;
use cellwall_policy::model::{Action, Address, Hook, Name, Protocol, Reason};
use cellwall_policy::world::{DocumentKey, World};
use proptest::prelude::*;
use worlds::{Dice, LOCAL};

/// The interfaces of all live local pods and one that nobody knows.
fn links(world: &World) -> Vec<Link> {
    let own = world
        .pods()
        .filter(|pod| world.is_local(pod) && !pod.host_network && pod.phase.is_live());
    let pods = own.map(|pod| Some(pod.uid.clone())).chain([None]);
    let link = |(ifindex, pod): (u32, Option<Name>)| Link {
        ifindex,
        master: 0,
        pod,
        mac: [0; 6],
    };
    (1u32..).zip(pods).map(link).collect()
}

/// Verdict, reason and rule in words; what is refused or passed before any table is looked at is none.
fn expected(answer: &Answer) -> Option<String> {
    if matches!(
        answer.reason,
        Reason::SelfTraffic | Reason::Neighbour | Reason::Router | Reason::Loopback | Reason::Off
    ) {
        return None;
    }
    let rule = answer
        .rule
        .as_ref()
        .map(|rule| format!("{} {} {} {}", rule.name, rule.uid, rule.priority, rule.action));
    Some(format!(
        "{} {} {}",
        answer.verdict.verdict(),
        answer.reason,
        rule.unwrap_or_default()
    ))
}

fn actual(image: &Image, ifindex: u32, question: &HookQuestion) -> String {
    let port = question.port.unwrap_or(0);
    let peer = question.peer;
    if question.hook == Hook::FromPod && is_tunnel(question.protocol, port) && is_node(image, peer) {
        // The programs ask about the node itself before anything else.
        let interface = &image.interfaces[&ifindex];
        let cell = image
            .cell(interface.egress, image.peer_of(peer), question.protocol, port)
            .unwrap();
        if cell.action == Action::Drop || !cell.named {
            return "DROP TUNNEL ".to_owned();
        }
    }
    let Some(cell) = image.verdict(ifindex, question.hook, peer, question.protocol, port) else {
        return "nothing".to_owned();
    };
    let rule = cell.rule.map(|slot| {
        let card = &image.rules[&slot];
        format!("{} {} {} {}", card.name, card.uid, card.priority, card.action)
    });
    format!("{} {} {}", cell.action.verdict(), cell.reason, rule.unwrap_or_default())
}

fn is_tunnel(protocol: Protocol, port: u16) -> bool {
    match protocol {
        Protocol::Udp => [4789, 8472, 6081].contains(&port),
        Protocol::Other(number) => [4, 41, 47].contains(&number),
        _ => false,
    }
}

fn is_node(image: &Image, address: Address) -> bool {
    use cellwall_policy::compiled::PeerClass;
    matches!(image.peer_of(address).class(), PeerClass::Node | PeerClass::LocalNode)
}

/// The disagreements about `questions`, in words.
fn disagreements(world: &World, questions: impl IntoIterator<Item = HookQuestion>) -> String {
    let links = links(world);
    let mut compiler = Compiler::new(world.node().clone());
    compiler.update(world, &[], &links, 1);
    let image = compiler.image();
    let mut text = String::new();
    for question in questions {
        let Some(link) = links.iter().find(|link| link.pod == question.pod) else {
            continue;
        };
        let answer = at_hook(world, &question);
        let Some(expected) = expected(&answer) else { continue };
        let actual = actual(&image, link.ifindex, &question);
        if expected != actual {
            writeln!(text, "{question:?}\n  reference: {expected}\n  compiled:  {actual}").unwrap();
        }
    }
    text
}

/// Leaves out of `world` what the disagreement does not need.
fn shrink(world: &World, questions: &[HookQuestion]) -> World {
    let mut small = world.clone();
    loop {
        let keys: Vec<DocumentKey> = small.keys().collect();
        let mut smaller = None;
        for key in keys {
            let mut without = small.clone();
            without.delete(&key);
            if !disagreements(&without, questions.iter().cloned()).is_empty() {
                smaller = Some(without);
                break;
            }
        }
        match smaller {
            Some(found) => small = found,
            None => return small,
        }
    }
}

fn check(world: &World, questions: &[HookQuestion]) -> Result<(), TestCaseError> {
    let found = disagreements(world, questions.iter().cloned());
    if found.is_empty() {
        return Ok(());
    }
    let small = shrink(world, questions);
    let found = disagreements(&small, questions.iter().cloned());
    Err(TestCaseError::fail(format!(
        "{}\n{}",
        worlds::describe(&small),
        found.lines().take(12).collect::<Vec<_>>().join("\n")
    )))
}

fn random_questions(dice: &mut Dice, world: &World, count: usize) -> Vec<HookQuestion> {
    let pods: Vec<Option<Name>> = links(world).into_iter().map(|link| link.pod).collect();
    let mut addresses = worlds::every_address();
    addresses.push("fe80::42".parse().unwrap());
    let ports = [
        0, 1, 52, 53, 54, 79, 80, 81, 82, 443, 4789, 8080, 30080, 30081, 65534, 65535,
    ];
    let mut questions = Vec::new();
    for _ in 0..count {
        let peer = dice.pick(&addresses);
        let (icmp, crossed) = if peer.is_v4() {
            (Protocol::Icmp, 58)
        } else {
            (Protocol::Icmpv6, 1)
        };
        let (protocol, port) = match dice.below(10) {
            0..=4 => (Protocol::Tcp, Some(dice.pick(&ports))),
            5 | 6 => (Protocol::Udp, Some(dice.pick(&ports))),
            7 => (Protocol::Sctp, Some(dice.pick(&ports))),
            8 => (icmp, Some(dice.pick(&[0, 8, 128, 255]))),
            _ => (Protocol::Other(dice.pick(&[47, 4, 41, crossed, 99])), None),
        };
        questions.push(HookQuestion {
            hook: dice.pick(&[Hook::FromPod, Hook::ToPod]),
            pod: dice.pick(&pods),
            peer,
            protocol,
            port,
        });
    }
    questions
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn the_compiled_state_says_what_the_reference_says(seed: u64, size in 0usize..70) {
        let mut dice = Dice::new(seed);
        let world = worlds::world(&mut dice, size);
        prop_assert_eq!(&**world.node(), LOCAL);
        let questions = random_questions(&mut dice, &world, 300);
        check(&world, &questions)?;
    }

    #[test]
    fn it_does_in_worlds_made_to_compare_judges(seed: u64, size in 1usize..40) {
        let world = generate::world(seed, size);
        let questions = generate::questions(seed, &world, 200);
        check(&world, &questions)?;
    }
}
