//! Scenarios are read as they are written.

use super::{Ask, Case, Expected, Line, Scenario, shrink};
use crate::generate;
use crate::model::{Action, Name, Reason};
use crate::world::Document;

fn case(world: &crate::world::World, ask: Ask) -> Case {
    let answer = ask.answer(world).ok();
    Case {
        expected: answer.as_ref().map(Expected::from),
        ask,
    }
}

fn random(seed: u64) -> Scenario {
    let world = generate::world(seed, 8);
    let hooks = generate::questions(seed, &world, 6).into_iter().map(Ask::Hook);
    let flows = generate::flow_questions(seed, &world, 6).into_iter().map(Ask::Flow);
    let cases: Vec<Case> = hooks.chain(flows).map(|ask| case(&world, ask)).collect();
    Scenario::of(format!("seed {seed}"), &world, cases)
}

#[test]
fn what_was_written_reads_the_same_and_is_the_same_world() {
    for seed in 0..100 {
        let scenario = random(seed);
        let text = scenario.to_string();
        let read = Scenario::read(&text).unwrap();
        assert_eq!(read, std::slice::from_ref(&scenario), "{text}");
        assert_eq!(read[0].world(), generate::world(seed, 8));
        assert_eq!(read[0].disagreements(), Vec::<String>::new());
    }
}

#[test]
fn names_of_any_bytes_survive_being_written() {
    for hostile in [
        "a b",
        "%",
        "=",
        "@x",
        "a|b",
        "()",
        "# no note",
        "?",
        "é",
        "\u{1b}[31m",
        "a/b:c",
        "",
        "->",
        "\n",
    ] {
        let mut scenario = random(1);
        let name: Name = hostile.into();
        for line in &mut scenario.lines {
            match line {
                Line::Document(Document::Pod(pod)) => {
                    pod.name = name.clone();
                    pod.images = vec![name.clone()];
                    pod.labels = crate::model::Labels::new([(name.clone(), name.clone())]);
                }
                Line::Document(Document::DefenseRule(rule)) => rule.source = crate::model::Side::Object(name.clone()),
                Line::Case(case) => {
                    if let Some(expected) = &mut case.expected {
                        expected.rule = (!hostile.is_empty()).then(|| name.clone());
                    }
                }
                _ => {}
            }
        }
        let text = scenario.to_string();
        assert_eq!(Scenario::read(&text).unwrap(), [scenario], "{text}");
    }
}

#[test]
fn a_line_that_makes_no_sense_is_named_by_its_number() {
    for (line, part) in [
        ("pod web", "NAMESPACE/NAME"),
        ("pod shop/web at=somewhere", "an address"),
        ("rule deny 1 Deny Any -> Any", "none of Pass"),
        ("rule deny 1 Drop Anybody -> Any", "none of Any"),
        ("object o cidr=192.0.2.1/24", "bits set"),
        ("ask Any Any 80", "needs ` = `"),
        ("ask Any Any 80 = MAYBE RULE", "none of PASS"),
        ("ask Any Any 80/XYZ = PASS NO_RULE", "not a protocol"),
        ("hook FROM_POD ? 192.0.2.1 80 = PASS NONE", "no reason"),
        ("what", "no line"),
        ("pod shop/web colour=red", "\"colour=red\" is no field here"),
        (
            "object o cidr=192.0.2.0/24 apps=web",
            "ranges exclude every other field",
        ),
        ("ask Any Any 80 81 = PASS NO_RULE", "write `ask FROM TO"),
    ] {
        let error = Scenario::read(&format!("scenario s\n{line}\n")).unwrap_err();
        assert_eq!(error.line, 2);
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(Scenario::read("pod shop/web\n").unwrap_err().line, 1);
}

#[test]
fn shrinking_keeps_what_is_shown_and_little_else() {
    let drops = |scenario: &Scenario| {
        let world = scenario.world();
        scenario.cases().any(|case| {
            let answer = case.ask.answer(&world);
            answer.is_ok_and(|answer| answer.verdict == Action::Drop && answer.reason == Reason::Rule)
        })
    };
    let mut shrunk = 0;
    for seed in 0..30 {
        let scenario = random(seed);
        if drops(&scenario) {
            let small = shrink(&scenario, drops);
            assert!(drops(&small));
            // One question, its rule, and what puts both ends into that rule's sides.
            assert!(small.lines.len() <= 8, "{small}");
            shrunk += 1;
        }
    }
    assert!(shrunk > 5);
}

/// Every kind of line, each as it is written.
const ALL: &str = "scenario all
local node-a silence=open
# a note
namespace shop label:tier=front
pod shop/web uid=u:1 on=node-b at=198.51.100.2 link=fe80::2 label:app=web image=nginx%401 phase=Failed host created=7 \
probe=80 hostport=192.0.2.1@8080/TCP>80 hostport=53/UDP>53 owner=ReplicaSet/web
pod shop/db
node node-a at=192.0.2.1 range=198.51.100.0/26
report node-b enforcing at=192.0.2.129
report node-c open
service shop/web cluster=203.0.113.10 external=203.0.113.129 port=http:80/TCP@30080 port=:53/UDP
slice shop/web-1 for=web target=http:8080/TCP ready=198.51.100.2 ready-not-serving=198.51.100.3 serving=198.51.100.4 \
down=198.51.100.5
object web uid=u2 namespaces=sh* apps=? apps=w?b apps=a%20b images=*nginx* pods:tier=front|back pods:tier!=x pods:tier \
pods:!tier nss:a=()
object none apps pods nss
object out cidr=203.0.113.0/24-203.0.113.64/26 cidr=192.0.2.0/24
object nowhere cidr
rule deny 1000 Drop Any -> @web uid=u3 disabled on TCP/80 TCP/443-445 UDP ICMP/8 Any/53 47
rule pass 1 Pass LocalNode -> World
rule nothing 2 Alert @out -> Node on
defense mode=AlertOnly recovery=Manual local-node=Pass startup=Open range=198.51.100.192/26 confirmed=7
ask shop/web 203.0.113.1 443/TCP = DROP RULE deny
ask shop/web World /47 = DROP RULE deny applied=PASS
ask Any World = error
hook TO_POD ? 203.0.113.1 443/TCP = PASS NO_RULE
hook FROM_POD %3f 203.0.113.1 /ICMP = ALERT RULE pass
";

#[test]
fn every_kind_of_line_is_written_as_it_was_read() {
    let read = Scenario::read(ALL).unwrap();
    assert_eq!(read[0].to_string(), ALL);
}

#[test]
fn a_case_that_the_reference_answers_otherwise_is_told() {
    let read = Scenario::read(
        "scenario s\npod shop/web at=198.51.100.2\nask shop/web World 80 = PASS NO_RULE\n\
         ask shop/web World 81 = DROP RULE deny\n",
    );
    assert_eq!(
        read.unwrap()[0].disagreements(),
        ["s: expected `ask shop/web World 81/TCP = DROP RULE deny`, got `ask shop/web World 81/TCP = PASS NO_RULE`"]
    );
}

/// Five documents, each with something that can be left out.
const LARGE: &str = "scenario large
local node-a
pod shop/web at=198.51.100.2 at=198.51.100.3 link=fe80::2 label:app=web image=nginx created=7 probe=80 \
hostport=8080/TCP>80
slice shop/web-1 for=web target=:8080/TCP ready=198.51.100.2 down=198.51.100.5
object out cidr=203.0.113.0/24 cidr=192.0.2.0/24 cidr=198.51.100.0/24
rule ports 1 Drop Any -> Any on TCP/80 UDP/53 SCTP/9
rule whole 2 Drop Any -> Any on TCP/80 UDP/53
";

#[test]
fn shrinking_leaves_out_parts_of_every_kind_of_document() {
    let large = Scenario::read(LARGE).unwrap().remove(0);
    // The lines stay, and the first rule keeps a list.
    let has_ports = |line: &Line| matches!(line, Line::Document(Document::DefenseRule(rule)) if rule.ports.is_some());
    let shows = |scenario: &Scenario| scenario.lines.len() == 5 && has_ports(&scenario.lines[3]);
    assert!(shows(&large));
    let small = shrink(&large, shows);
    assert_eq!(
        small.to_string(),
        "scenario large\nlocal node-a\npod shop/web\nslice shop/web-1 for=web target=:8080/TCP\n\
         object out cidr=198.51.100.0/24\nrule ports 1 Drop Any -> Any on SCTP/9\nrule whole 2 Drop Any -> Any\n"
    );
    assert_eq!(shrink(&small, shows), small);
}
