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
