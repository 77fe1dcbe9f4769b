//! Compiles a world and looks answers up as the kernel does, beside the reference's.

use std::fmt::Write;

use cellwall_policy::compile::{Compiler, Image, Link};
use cellwall_policy::compiled::PeerClass;
use cellwall_policy::evaluate::{Answer, HookQuestion, at_hook};
use cellwall_policy::model::{Action, Address, Hook, Name, Protocol, Reason};
use cellwall_policy::world::World;

/// The interfaces of all live local pods and one that nobody knows.
pub(crate) fn links(world: &World) -> Vec<Link> {
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
    matches!(image.peer_of(address).class(), PeerClass::Node | PeerClass::LocalNode)
}

/// The disagreements about `questions`, in words.
pub(crate) fn disagreements(world: &World, questions: impl IntoIterator<Item = HookQuestion>) -> String {
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
