//! What comes and goes leaves nothing behind in the compiler: an agent runs for months.

mod stage;

use cellwall_policy::compile::{Compiler, Link};
use cellwall_policy::world::{Document, DocumentKey, World};
use stage::{documents, link};

const STAYS: &str = "node node-a at=192.0.2.1
pod shop/web at=198.51.100.2 label:app=web image=web:1
service shop/kept cluster=203.0.113.11 port=:80/TCP
slice shop/kept-1 for=kept target=:8080/TCP ready=198.51.100.2 ready=203.0.113.200
object web apps=web
rule kept 9 Alert Any -> @web
";

/// `N` is another number each time.
const COMES: &str =
    "pod shop/comes at=198.51.100.3 label:app=comes-N label:n=N image=comes:N hostport=8080/TCP>80 probe=N
pod shop/waits label:app=waits-N image=comes:N
pod shop/agent host at=192.0.2.9 label:app=agent-N
service shop/comes cluster=203.0.113.12 external=203.0.113.13 port=:N/TCP@30N
slice shop/comes-1 for=comes target=:N/TCP ready=198.51.100.3 ready=198.51.100.2 ready=203.0.113.201
object comes-N apps=comes-N
object range-N cidr=203.0.113.0/24-203.0.113.64/26
object idle-N apps=web
rule in 1 Drop @range-N -> @comes-N on TCP/N
rule out 2 Drop @comes-N -> @range-N
rule off 3 Drop @idle-N -> Any disabled
";

/// All that the compiler holds, without the addresses remembered as given up: those are to stay, and have their bound.
/// A number is a number.
fn held(compiler: &Compiler) -> usize {
    let text = format!("{compiler:?}");
    let (before, rest) = text.split_once("order: [").unwrap();
    let (_, after) = rest.split_once(']').unwrap();
    let mut length = 0;
    let mut in_number = false;
    for one in before.chars().chain(after.chars()) {
        let is_digit = one.is_ascii_digit();
        length += usize::from(!(is_digit && in_number));
        in_number = is_digit;
    }
    length
}

#[test]
fn what_comes_and_goes_a_hundred_times_leaves_no_more_behind_than_what_did_twice() {
    let mut world = World::new("node-a", true);
    let mut compiler = Compiler::new("node-a");
    for document in documents(STAYS) {
        world.apply(document);
    }
    let stays = [link(10, "shop/web")];
    let comes_link = Link {
        mac: [2, 0, 0, 0, 0, 4],
        ..link(20, "shop/comes")
    };
    let unknown = Link {
        pod: None,
        mac: [2, 0, 0, 0, 0, 5],
        ..link(30, "")
    };
    compiler.update(&world, &[], &stays, 1);
    let mut held_after = Vec::new();
    let mut generation = 1;
    for round in 100..200 {
        let comes = documents(&COMES.replace('N', &round.to_string()));
        let keys: Vec<DocumentKey> = comes.iter().map(Document::key).collect();
        for document in comes {
            world.apply(document);
        }
        let links = [link(10, "shop/web"), comes_link.clone(), unknown.clone()];
        compiler.update(&world, &keys, &links, generation + 1);
        for key in &keys {
            world.delete(key);
        }
        compiler.update(&world, &keys, &stays, generation + 2);
        // Numbers rest for an update.
        compiler.update(&world, &[], &stays, generation + 3);
        generation += 3;
        held_after.push(held(&compiler));
    }
    assert_eq!(held_after[1], held_after[99], "{held_after:?}");
}
