//! The state of a node over time, report by report.

use super::*;
use crate::status::Condition;

fn report(generation: u32, bad: Option<&str>) -> Report {
    let condition = match bad {
        Some(reason) => Condition::new("ProgramsAttached", false, reason, "something"),
        None => Condition::new("ProgramsAttached", true, "AllAttached", "2 of 2"),
    };
    Report {
        generation_realised: generation,
        conditions: vec![condition],
        ..Report::default()
    }
}

fn defense(recovery: How, confirmed: Option<i64>) -> Defense {
    Defense {
        recovery,
        confirmed,
        ..Defense::default()
    }
}

/// A node, and what it is told.
struct Node {
    recovery: Recovery,
    directory: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            recovery: Recovery::open(directory.path()),
            directory,
        }
    }

    fn sees(&mut self, generation: u32, bad: Option<&str>, defense: &Defense) -> State {
        let grave = bad.is_some_and(|reason| reason != "RecordsLost");
        let report = report(generation, bad);
        self.recovery.conclude(report, defense, grave, false).state
    }

    fn restarts(&mut self) {
        self.recovery = Recovery::open(self.directory.path());
    }
}

#[test]
fn an_automatic_node_goes_back_to_normal_by_itself_and_tells_both_turns() {
    let (mut node, defense) = (Node::new(), defense(How::Automatic, None));
    assert_eq!(node.sees(1, None, &defense), State::Normal);
    assert_eq!(node.sees(1, Some("Repaired"), &defense), State::Abnormal);
    assert_eq!(node.sees(1, None, &defense), State::Normal);
    assert!(!node.recovery.is_waiting());
    let told = node
        .recovery
        .conclude(report(1, None), &defense, false, false)
        .transitions;
    let turns: Vec<_> = told.iter().map(|one| (one.from, one.to, one.by.as_str())).collect();
    assert_eq!(
        turns,
        [
            (State::Normal, State::Abnormal, AGENT),
            (State::Abnormal, State::Normal, AGENT)
        ]
    );
}

#[test]
fn a_manual_node_waits_until_its_generation_is_confirmed_over_restarts_and_further_faults() {
    let (mut node, defense) = (Node::new(), defense(How::Manual, None));
    node.sees(4, Some("Repaired"), &defense);
    assert!(!node.recovery.is_waiting(), "it enforces as long as it is Abnormal");
    assert_eq!(node.sees(4, None, &defense), State::NormalToBeConfirmed);
    node.restarts();
    assert!(node.recovery.is_waiting());
    assert_eq!(node.sees(5, None, &defense), State::NormalToBeConfirmed);
    assert_eq!(node.sees(5, Some("Repaired"), &defense), State::Abnormal);
    assert_eq!(node.recovery.confirm(None, 5, "somebody"), Err(ConfirmError::Abnormal));
    assert_eq!(node.sees(5, None, &defense), State::NormalToBeConfirmed);
    let other = ConfirmError::OtherGeneration { current: 5, asked: 4 };
    assert_eq!(node.recovery.confirm(Some(4), 5, "somebody"), Err(other));
    node.recovery.confirm(Some(5), 5, "somebody").unwrap();
    assert_eq!(node.sees(6, None, &defense), State::Normal);
    let again = node.recovery.confirm(None, 6, "somebody");
    assert_eq!(again, Err(ConfirmError::NotWaiting { state: State::Normal }));
    node.restarts();
    let told = node
        .recovery
        .conclude(report(6, None), &defense, false, false)
        .transitions;
    let last = told.last().unwrap();
    assert_eq!(
        (last.from, last.to, last.by.as_str()),
        (State::NormalToBeConfirmed, State::Normal, "somebody")
    );
}

#[test]
fn cluster_defense_confirms_the_generation_that_decides_and_only_from_then_on() {
    let mut node = Node::new();
    node.sees(7, Some("Repaired"), &defense(How::Manual, Some(7)));
    assert_eq!(
        node.sees(7, None, &defense(How::Manual, Some(7))),
        State::NormalToBeConfirmed
    );
    assert_eq!(
        node.sees(7, None, &defense(How::Manual, Some(7))),
        State::NormalToBeConfirmed,
        "that was confirmed before there was anything to confirm"
    );
    assert_eq!(
        node.sees(8, None, &defense(How::Manual, Some(9))),
        State::NormalToBeConfirmed
    );
    node.sees(8, None, &defense(How::Manual, Some(8)));
    assert!(!node.recovery.is_waiting());
}

#[test]
fn what_pods_can_bring_about_by_sending_needs_no_confirmation() {
    let (mut node, defense) = (Node::new(), defense(How::Manual, None));
    assert_eq!(node.sees(1, Some("RecordsLost"), &defense), State::Abnormal);
    assert_eq!(node.sees(1, None, &defense), State::Normal);
}

#[test]
fn a_start_is_no_turn() {
    let (mut node, defense) = (Node::new(), defense(How::Manual, None));
    let told = node
        .recovery
        .conclude(report(0, Some("AttachFailed")), &defense, false, true);
    assert_eq!((told.state, told.transitions.len()), (State::Abnormal, 0));
    assert_eq!(node.sees(1, None, &defense), State::Normal);
}

#[test]
fn automatic_recovery_ends_a_wait() {
    let mut node = Node::new();
    node.sees(1, Some("Repaired"), &defense(How::Manual, None));
    node.sees(1, None, &defense(How::Manual, None));
    assert!(node.recovery.is_waiting());
    assert_eq!(node.sees(2, None, &defense(How::Automatic, None)), State::Normal);
    assert!(!node.recovery.is_waiting());
}
