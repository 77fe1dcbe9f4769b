//! The state machine, step by step and against its rules for random histories.

use proptest::prelude::*;

use super::*;

/// What the test's directory holds: file name to text.
type Files = BTreeMap<String, String>;

fn files(pairs: &[(&str, &str)]) -> Files {
    pairs
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
}

/// A rule `name` in its version `version`; `bad` is not valid.
fn rule(name: &str, version: &str) -> String {
    format!(
        "---\napiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata:\n  name: {name}\nspec:\n  version: {version}\n"
    )
}

const BROKEN: &str = "a: [\n";
const NAMELESS: &str = "---\napiVersion: v1\nkind: Pod\n";

fn scan(files: &Files) -> Scan {
    let mut scan = Scan::default();
    for (name, text) in files {
        let path: Arc<Path> = Path::new(name).into();
        let content = FileContent::read(&path, text.as_bytes(), None);
        scan.files.insert(path, FileState::Read(Arc::new(content)));
    }
    scan
}

fn validate(document: &Document) -> Vec<Problem> {
    let version = document.to_json()["spec"]["version"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    if version == "bad" {
        vec![document.problem_at("spec.version", "is bad", "write a good one")]
    } else {
        Vec::new()
    }
}

/// A run of the machine.
#[derive(Default)]
struct Run {
    retained: Retained,
    outcome: Outcome,
}

impl Run {
    fn see(&mut self, pairs: &[(&str, &str)]) -> String {
        self.see_scan(&scan(&files(pairs)))
    }

    /// Lets the machine see a scan; answers what is in force, as `name=version` in order.
    fn see_scan(&mut self, scan: &Scan) -> String {
        self.outcome = self.retained.update(scan, &validate);
        in_force(&self.retained)
    }

    fn restart(&mut self) {
        let saved = serde_json::to_string(&self.retained).expect("saved");
        self.retained = serde_json::from_str(&saved).expect("loaded");
    }

    fn problems(&self) -> Vec<String> {
        self.outcome.problems.iter().map(ToString::to_string).collect()
    }
}

fn in_force(retained: &Retained) -> String {
    let shown = |document: &Document| {
        let version = document.to_json()["spec"]["version"].clone();
        format!("{}={}", document.id().name, version.as_str().unwrap_or("?"))
    };
    retained.documents().map(shown).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_file_that_does_not_parse_keeps_its_last_valid_content() {
    let mut run = Run::default();
    assert_eq!(
        run.see(&[("a.yaml", &(rule("p", "v1") + &rule("q", "v1")))]),
        "p=v1 q=v1"
    );
    assert_eq!(run.see(&[("a.yaml", BROKEN)]), "p=v1 q=v1");
    assert!(!run.outcome.changed);
    assert_eq!(
        run.problems(),
        [
            "a.yaml: note: until it is put right, what it had before stays in force: DefenseRule p, DefenseRule q",
            "a.yaml:1: not valid YAML: while parsing a node, did not find expected node content",
        ]
    );
    run.restart();
    assert_eq!(run.see(&[("a.yaml", BROKEN)]), "p=v1 q=v1");
    assert!(!run.outcome.changed);
    assert_eq!(run.see(&[("a.yaml", &rule("p", "v2"))]), "p=v2");
    assert!(run.outcome.changed && run.problems().is_empty());
}

#[test]
fn a_file_that_never_parsed_has_no_effect() {
    let mut run = Run::default();
    assert_eq!(run.see(&[("a.yaml", BROKEN), ("b.yaml", &rule("q", "v1"))]), "q=v1");
    assert_eq!(run.problems().len(), 1);
}

#[test]
fn a_wrong_document_keeps_its_last_valid_version_and_the_others_take_effect() {
    let mut run = Run::default();
    run.see(&[("a.yaml", &(rule("p", "v1") + &rule("q", "v1")))]);
    assert_eq!(
        run.see(&[("a.yaml", &(rule("p", "bad") + &rule("q", "v2") + &rule("r", "bad")))]),
        "p=v1 q=v2"
    );
    assert_eq!(
        run.problems(),
        [
            "a.yaml:2: note: DefenseRule p: its last valid version stays in force",
            "a.yaml:7: DefenseRule p: spec.version: is bad; write a good one",
            "a.yaml:16: note: DefenseRule r: it never was valid and has no effect",
            "a.yaml:21: DefenseRule r: spec.version: is bad; write a good one",
        ]
    );
    run.restart();
    assert_eq!(
        run.see(&[("a.yaml", &(rule("p", "bad") + &rule("q", "bad")))]),
        "p=v1 q=v2"
    );
}

#[test]
fn a_key_given_twice_in_a_document_makes_that_document_wrong() {
    let mut run = Run::default();
    run.see(&[("a.yaml", &(rule("p", "v1") + &rule("q", "v1")))]);
    let twice = rule("p", "v2") + "  version: v3\n" + &rule("q", "v2");
    assert_eq!(run.see(&[("a.yaml", &twice)]), "p=v1 q=v2");
    assert_eq!(
        run.problems()[1],
        "a.yaml:8: DefenseRule p: the key \"version\" is given twice, first in line 7; remove one of them"
    );
}

#[test]
fn a_file_with_a_nameless_document_keeps_what_that_may_be() {
    let mut run = Run::default();
    run.see(&[("a.yaml", &(rule("p", "v1") + &rule("q", "v1")))]);
    assert_eq!(run.see(&[("a.yaml", &(rule("p", "v2") + NAMELESS))]), "p=v2 q=v1");
    assert_eq!(run.see(&[("a.yaml", &rule("p", "v2"))]), "p=v2");
}

#[test]
fn a_name_defined_twice_is_an_error_in_both_files_and_what_is_in_force_stays() {
    let mut run = Run::default();
    run.see(&[("a.yaml", &rule("p", "v1"))]);
    assert_eq!(
        run.see(&[
            ("a.yaml", &rule("p", "v1")),
            ("b.yaml", &("# \n".to_owned() + &rule("p", "w1")))
        ]),
        "p=v1"
    );
    assert_eq!(
        run.problems(),
        [
            "a.yaml:2: DefenseRule p is defined twice, also in b.yaml:3; remove all but one; what is in force, as read from a.yaml:2, stays",
            "b.yaml:3: DefenseRule p is defined twice, also in a.yaml:2; remove all but one; what is in force, as read from a.yaml:2, stays",
        ]
    );
    run.restart();
    let both = [("a.yaml", rule("p", "v2")), ("b.yaml", rule("p", "w1"))];
    let both: Vec<_> = both.iter().map(|(name, text)| (*name, text.as_str())).collect();
    assert_eq!(run.see(&both), "p=v1", "an error changes nothing, in neither file");
    assert_eq!(run.see(&both[1..]), "p=w1", "the one that is left takes force");
}

#[test]
fn of_two_definitions_neither_counts_where_none_was_in_force() {
    let mut run = Run::default();
    let both = [
        ("a.yaml", rule("p", "v1") + &rule("q", "v1")),
        ("b.yaml", rule("p", "w1")),
    ];
    let both: Vec<_> = both.iter().map(|(name, text)| (*name, text.as_str())).collect();
    assert_eq!(run.see(&both), "q=v1");
    assert!(run.problems()[0].ends_with("remove all but one; none was in force, so none takes effect"));
    run.restart();
    assert_eq!(run.see(&both), "q=v1");
    assert_eq!(run.see(&both[..1]), "p=v1 q=v1");
}

#[test]
fn a_name_defined_twice_in_one_file_names_both_lines() {
    let mut run = Run::default();
    assert_eq!(run.see(&[("a.yaml", &(rule("p", "v1") + &rule("p", "v2")))]), "");
    assert_eq!(
        run.problems()[0],
        "a.yaml:2: DefenseRule p is defined twice, also in a.yaml:9; remove all but one; none was in force, so none takes effect"
    );
    assert_eq!(run.see(&[("a.yaml", &rule("p", "v2"))]), "p=v2");
    assert_eq!(run.see(&[("a.yaml", &(rule("p", "v1") + &rule("p", "v3")))]), "p=v2");
    assert_eq!(run.see(&[("a.yaml", BROKEN)]), "p=v2");
    assert_eq!(run.see(&[]), "");
}

#[test]
fn a_renamed_file_does_not_blink_even_if_broken() {
    let mut run = Run::default();
    run.see(&[("a.yaml", &rule("p", "v1"))]);
    assert_eq!(run.see(&[("b.yaml", &rule("p", "v1"))]), "p=v1");
    assert!(!run.outcome.changed && run.problems().is_empty());
    assert_eq!(run.see(&[("b.yaml", BROKEN)]), "p=v1");
    run.restart();
    assert_eq!(run.see(&[("c.yaml", BROKEN)]), "p=v1");
    assert_eq!(run.see(&[("c.yaml", "# nothing\n")]), "");
}

#[test]
fn a_document_moved_to_another_file_in_one_save_does_not_blink() {
    let mut run = Run::default();
    run.see(&[("a.yaml", &(rule("p", "v1") + &rule("q", "v1"))), ("b.yaml", "")]);
    assert_eq!(
        run.see(&[("a.yaml", &rule("q", "v1")), ("b.yaml", &rule("p", "v2"))]),
        "p=v2 q=v1"
    );
    assert_eq!(
        run.see(&[("a.yaml", &(rule("q", "v1") + &rule("p", "bad"))), ("b.yaml", "")]),
        "p=v2 q=v1"
    );
    assert_eq!(run.see(&[("a.yaml", BROKEN), ("b.yaml", "")]), "p=v2 q=v1");
    run.restart();
    assert_eq!(run.see(&[("a.yaml", BROKEN), ("b.yaml", "")]), "p=v2 q=v1");
}

#[test]
fn what_a_broken_file_had_clashes_with_a_new_definition_until_that_is_settled() {
    let mut run = Run::default();
    run.see(&[("a.yaml", &rule("p", "v1"))]);
    assert_eq!(run.see(&[("a.yaml", BROKEN), ("b.yaml", &rule("p", "w1"))]), "p=v1");
    assert_eq!(run.see(&[("a.yaml", ""), ("b.yaml", &rule("p", "w1"))]), "p=w1");
}

#[test]
fn what_cannot_be_seen_is_not_gone() {
    let mut run = Run::default();
    run.see(&[("d/a.yaml", &rule("p", "v1")), ("d/b.yaml", &rule("q", "v1"))]);
    let blind = Scan {
        blind: vec!["d".into()],
        ..Scan::default()
    };
    assert_eq!(run.see_scan(&blind), "p=v1 q=v1");
    run.restart();
    assert_eq!(run.see_scan(&blind), "p=v1 q=v1");
    let mut unreadable = scan(&files(&[("d/b.yaml", &rule("q", "v2"))]));
    let problem = Problem::error(Path::new("d/a.yaml"), Fault::whole("cannot be read", ""));
    unreadable
        .files
        .insert(Path::new("d/a.yaml").into(), FileState::Unreadable(problem));
    assert_eq!(run.see_scan(&unreadable), "p=v1 q=v2");
    let mut unsettled = scan(&files(&[]));
    unsettled
        .files
        .insert(Path::new("d/c.yaml").into(), FileState::Unsettled);
    assert_eq!(
        run.see_scan(&unsettled),
        "p=v1 q=v2",
        "the other end of a move may be on its way"
    );
    assert_eq!(run.see(&[("d/c.yaml", &rule("q", "v2"))]), "q=v2");
}

#[test]
fn a_file_that_is_being_saved_still_takes_part_in_a_clash() {
    let mut run = Run::default();
    let both = [("a.yaml", rule("p", "v1")), ("b.yaml", rule("p", "bad"))];
    let both: Vec<_> = both.iter().map(|(name, text)| (*name, text.as_str())).collect();
    assert_eq!(run.see(&both), "");
    let told = run.problems();
    let mut saving = scan(&files(&both));
    saving.files.insert(Path::new("b.yaml").into(), FileState::Unsettled);
    assert_eq!(run.see_scan(&saving), "");
    assert_eq!(run.problems(), told);
}

#[test]
fn a_document_is_judged_once_for_each_version() {
    let count = std::cell::Cell::new(0);
    let counting = |document: &Document| {
        count.set(count.get() + 1);
        validate(document)
    };
    let mut retained = Retained::default();
    let seen = scan(&files(&[("a.yaml", &(rule("p", "v1") + &rule("q", "bad")))]));
    assert_eq!(
        retained.update(&seen, &counting).problems,
        retained.update(&seen, &counting).problems
    );
    assert_eq!(count.get(), 2);
}

#[test]
fn the_saved_state_keeps_places_numbers_and_odd_paths() {
    use std::os::unix::ffi::OsStrExt;
    let path: Arc<Path> = Path::new(std::ffi::OsStr::from_bytes(b"a\xff.yaml")).into();
    let text = rule("p", "v1") + "  list: [1, 2.5, {deep: [true, ~]}, 18446744073709551615]\n  z: 010\n";
    let content = FileContent::read(&path, ("\n\n".to_owned() + &text).as_bytes(), None);
    let mut seen = Scan::default();
    seen.files.insert(path, FileState::Read(Arc::new(content)));
    let mut run = Run::default();
    run.see_scan(&seen);
    let before = run.retained.documents().next().expect("one").clone();
    run.restart();
    let after = run.retained.documents().next().expect("one").clone();
    assert_eq!(
        (after.to_json(), &after.file, after.line()),
        (before.to_json(), &before.file, before.line())
    );
    for path in ["metadata.name", "spec.list", "spec.list[2].deep[1]", "spec.z"] {
        assert_eq!(after.line_of(path), before.line_of(path));
        assert_eq!(after.node().nearest_to(path), before.node().nearest_to(path));
    }
    assert!(!run.retained.update(&seen, &validate).changed);
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    /// A file gets these documents: name, version; version 3 is bad, 4 nameless.
    Write(usize, Vec<(usize, usize)>),
    Break(usize),
    Remove(usize),
    Rename(usize, usize),
    Restart,
}

const NAMES: [&str; 4] = ["p", "q", "r", "s"];
const VERSIONS: [&str; 4] = ["v0", "v1", "v2", "bad"];

fn text_of(documents: &[(usize, usize)]) -> String {
    let text = |&(name, version): &(usize, usize)| match VERSIONS.get(version) {
        Some(version) => rule(NAMES[name], version),
        None => NAMELESS.to_owned(),
    };
    documents.iter().map(text).collect()
}

fn file_name(file: usize) -> String {
    format!("{file}.yaml")
}

fn step() -> impl Strategy<Value = Step> {
    let documents = proptest::collection::vec((0..4_usize, 0..5_usize), 0..4);
    prop_oneof![
        6 => (0..4_usize, documents).prop_map(|(file, documents)| Step::Write(file, documents)),
        2 => (0..4_usize).prop_map(Step::Break),
        2 => (0..4_usize).prop_map(Step::Remove),
        2 => (0..4_usize, 0..4_usize).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => Just(Step::Restart),
    ]
}

fn apply(step: &Step, files: &mut Files) {
    match step {
        Step::Write(file, documents) => drop(files.insert(file_name(*file), text_of(documents))),
        Step::Break(file) => drop(files.insert(file_name(*file), BROKEN.to_owned() + &file_name(*file))),
        Step::Remove(file) => drop(files.remove(&file_name(*file))),
        Step::Rename(from, to) => {
            if let Some(text) = files.remove(&file_name(*from)) {
                files.insert(file_name(*to), text);
            }
        }
        Step::Restart => {}
    }
}

/// How often each name is defined in files that parse, and the only version where that is once and valid.
fn definitions(files: &Files) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for state in scan(files).files.values() {
        let FileState::Read(content) = state else { continue };
        for document in content.documents() {
            let version = document.to_json()["spec"]["version"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            found.entry(document.id().name.to_string()).or_default().push(version);
        }
    }
    found
}

fn versions(retained: &Retained) -> BTreeMap<String, String> {
    let shown = in_force(retained);
    let pair = |pair: &str| {
        pair.split_once('=')
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
    };
    shown.split(' ').filter_map(pair).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_history_breaks_the_rules(steps in proptest::collection::vec(step(), 1..14)) {
        let (mut run, mut files) = (Run::default(), Files::new());
        for step in &steps {
            let before = versions(&run.retained);
            apply(step, &mut files);
            if matches!(step, Step::Restart) {
                run.restart();
            }
            run.see_scan(&scan(&files));
            let after = versions(&run.retained);
            let whole = files.values().all(|text| !text.starts_with(BROKEN) && !text.contains(NAMELESS));
            let defined = definitions(&files);
            prop_assert!(!after.values().any(|version| version == "bad"));
            for name in NAMES {
                let (was, is) = (before.get(name), after.get(name));
                let found = defined.get(name).map(Vec::as_slice).unwrap_or_default();
                match found {
                    [] if whole => prop_assert_eq!(is, None, "{} is gone", name),
                    [] => {}
                    [version] if whole && version != "bad" => prop_assert_eq!(is, Some(version), "{} is defined once", name),
                    [_] => prop_assert!(was.is_none() || is.is_some(), "{} must not blink", name),
                    _ => prop_assert_eq!(is, was, "{} is defined twice and stays", name),
                }
            }
            prop_assert_eq!(run.outcome.changed, before != after);
        }
    }

    #[test]
    fn the_order_of_saves_does_not_matter_for_what_is_defined_once(
        history in proptest::collection::vec(step(), 0..8),
        last in proptest::collection::vec((0..4_usize, 0..3_usize), 4),
        order in Just([0_usize, 1, 2, 3]).prop_shuffle(),
        together in any::<bool>(),
    ) {
        // Each name ends up in one file, valid; the saves that lead there come in any order, or as one.
        let (mut run, mut files) = (Run::default(), Files::new());
        for step in &history {
            apply(step, &mut files);
            run.see_scan(&scan(&files));
        }
        let mut goal = Files::new();
        for (name, (file, version)) in last.iter().enumerate() {
            goal.entry(file_name(*file)).or_default().push_str(&text_of(&[(name, *version)]));
        }
        for file in order {
            let name = file_name(file);
            match goal.get(&name) {
                Some(text) => drop(files.insert(name, text.clone())),
                None => drop(files.remove(&name)),
            }
            if !together {
                run.see_scan(&scan(&files));
            }
        }
        run.see_scan(&scan(&files));
        let expected: BTreeMap<_, _> = NAMES.iter().zip(&last).map(|(name, (_, version))| ((*name).to_owned(), VERSIONS[*version].to_owned())).collect();
        prop_assert_eq!(versions(&run.retained), expected);
        prop_assert!(!run.outcome.problems.iter().any(Problem::is_error));
    }

    #[test]
    fn a_restart_changes_nothing(steps in proptest::collection::vec(step(), 1..12)) {
        let (mut one, mut other, mut files) = (Run::default(), Run::default(), Files::new());
        for step in &steps {
            apply(step, &mut files);
            other.restart();
            prop_assert_eq!(one.see_scan(&scan(&files)), other.see_scan(&scan(&files)));
            prop_assert_eq!(one.problems(), other.problems());
        }
    }
}
