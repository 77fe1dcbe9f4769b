//! Every committed scenario, answered by the reference. The answers were reasoned by hand from the rules.

use std::fs;
use std::path::{Path, PathBuf};

use cellwall_policy::scenario::Scenario;

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    files
}

fn read(path: &Path) -> Vec<Scenario> {
    let text = fs::read_to_string(path).unwrap();
    Scenario::read(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_reference_answers_every_committed_scenario_as_the_rules_do() {
    let mut wrong = Vec::new();
    let mut cases = 0;
    for path in files() {
        for scenario in read(&path) {
            cases += scenario.cases().count();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            wrong.extend(
                scenario
                    .disagreements()
                    .into_iter()
                    .map(|told| format!("{name}: {told}")),
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {cases} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(cases > 300, "only {cases} cases were found");
}

#[test]
fn committed_scenarios_are_the_same_after_being_written_and_read_again() {
    for path in files() {
        let scenarios = read(&path);
        let written: String = scenarios.iter().map(ToString::to_string).collect();
        assert_eq!(Scenario::read(&written).unwrap(), scenarios, "{}", path.display());
    }
}

#[test]
fn every_scenario_asks_something_and_has_a_title_of_its_own() {
    let mut titles = std::collections::BTreeSet::new();
    for path in files() {
        for scenario in read(&path) {
            assert!(scenario.cases().next().is_some(), "{} asks nothing", scenario.title);
            assert!(
                titles.insert(scenario.title.clone()),
                "{} is there twice",
                scenario.title
            );
        }
    }
}
