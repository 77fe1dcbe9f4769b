//! Changes the packet path and the policy core in one place at a time, as cargo-mutants does and words it, and looks
//! whether a test tells. All changes are built into one copy of a crate, each behind a switch, and a change is put to
//! the tests that come to it and to no other: minutes, where one build for each change takes days on two cores.

mod alter;
mod build;
mod hunt;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use self::alter::Mutant;
use self::build::{Subject, build};
use self::hunt::{Fate, hunt};

/// Why each change that lives may: list items ``- (COUNT) `CHANGE in FUNCTION`: WHY`` below `## FILE`.
const EXPLAINED: &str = "docs/mutants.md";

const SUBJECTS: [Subject; 2] = [
    Subject {
        package: "cellwall-datapath-ebpf",
        directory: "datapath-ebpf",
        tests: &["--lib"],
        not_put: &[],
        // It stands in for the kernel's maps in tests: a mistake there is a test's, not the packet path's.
        left_alone: &["datapath-ebpf/src/memory.rs"],
    },
    Subject {
        package: "cellwall-policy",
        directory: "policy",
        tests: &["--lib", "--tests"],
        // Counts the instructions of the code as it is written, without switches in it.
        not_put: &["compiling_costs_as_many_instructions_as_written_here"],
        // Makes random worlds for tests: another world is as good.
        left_alone: &["policy/src/generate"],
    },
];

/// What to change.
#[derive(Debug, Args)]
pub(crate) struct MutantsArgs {
    /// Only this crate
    #[arg(long)]
    package: Option<String>,
    /// Only files whose path contains one of these
    #[arg(long)]
    file: Vec<String>,
    /// Tests at once
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

/// Changes, hunts, reports; fails where something lives that is not explained. What is explained and does not live is
/// told.
pub(crate) fn run(root: &Path, args: &MutantsArgs) -> anyhow::Result<ExitCode> {
    let mut open = Vec::new();
    let may = explained(&fs::read_to_string(root.join(EXPLAINED)).context(EXPLAINED)?);
    for subject in SUBJECTS
        .iter()
        .filter(|one| args.package.as_ref().is_none_or(|name| name == one.package))
    {
        let work = root.join("target/mutants").join(subject.package);
        fs::create_dir_all(&work)?;
        let built = build(root, &work, subject)?;
        let fates = hunt(&built, &work, subject, &args.file, args.jobs)?;
        let count = |fate: Fate| fates.iter().filter(|one| **one == fate).count();
        let fates_of = || built.mutants.iter().zip(&fates);
        let survivors = || {
            let lived = fates_of().filter(|(_, fate)| matches!(fate, Fate::Lived | Fate::Unseen));
            lived.map(|(mutant, _)| mutant)
        };
        let unexplained = unexplained(survivors(), &may);
        let lived = count(Fate::Lived) + count(Fate::Unseen);
        println!(
            "make mutants: {}: {} changes, {} do not build, {} killed, {} killed by time, {lived} lived: {} explained, {} not",
            subject.package,
            built.mutants.len() - count(Fate::LeftAlone),
            count(Fate::DoesNotBuild),
            count(Fate::Killed),
            count(Fate::KilledByTime),
            lived - unexplained.len(),
            unexplained.len(),
        );
        open.extend(unexplained);
        let looked_at = fates_of().filter(|(_, fate)| **fate != Fate::LeftAlone);
        let files: BTreeSet<&str> = looked_at.map(|(mutant, _)| mutant.file.as_str()).collect();
        for name in outdated(survivors(), &may, &files) {
            println!("make mutants: {EXPLAINED} explains what does not live: {name}");
        }
    }
    for name in &open {
        println!("make mutants: no test tells of, and {EXPLAINED} does not explain: {name}");
    }
    Ok(if open.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// How often a change may live, by `FILE: CHANGE`.
fn explained(page: &str) -> BTreeMap<String, usize> {
    let mut file = "";
    let mut may = BTreeMap::new();
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            file = name;
        }
        let item = line.strip_prefix("- (").and_then(|rest| rest.split_once(") `"));
        let Some((count, rest)) = item else { continue };
        if let (Ok(count), Some((change, why))) = (count.parse::<usize>(), rest.split_once("`:"))
            && !why.trim().is_empty()
        {
            *may.entry(format!("{file}: {change}")).or_default() += count;
        }
    }
    may
}

/// Those that live oftener than the page says.
fn unexplained<'a>(survivors: impl Iterator<Item = &'a Mutant>, may: &BTreeMap<String, usize>) -> Vec<String> {
    let mut times = BTreeMap::<String, usize>::new();
    let mut open = Vec::new();
    for mutant in survivors {
        let name = format!("{}: {}", mutant.file, mutant.text);
        let seen = times.entry(name.clone()).or_default();
        *seen += 1;
        if *seen > may.get(&name).copied().unwrap_or(0) {
            open.push(format!(
                "{}:{}:{}: {}",
                mutant.file, mutant.at.0, mutant.at.1, mutant.text
            ));
        }
    }
    open
}

/// Those that the page says live oftener than they do, in the files looked at.
fn outdated<'a>(
    survivors: impl Iterator<Item = &'a Mutant>,
    may: &BTreeMap<String, usize>,
    files: &BTreeSet<&str>,
) -> Vec<String> {
    let mut times = BTreeMap::<String, usize>::new();
    for mutant in survivors {
        *times.entry(format!("{}: {}", mutant.file, mutant.text)).or_default() += 1;
    }
    let is_looked_at = |name: &str| files.iter().any(|file| name.starts_with(&format!("{file}: ")));
    let lives = |name: &str| times.get(name).copied().unwrap_or(0);
    let rare = may
        .iter()
        .filter(|(name, may)| is_looked_at(name) && lives(name) < **may);
    rare.map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::alter::{Alter, LeftOut, Mutant};
    use super::{explained, outdated, unexplained};
    use quote::ToTokens as _;
    use syn::visit_mut::VisitMut as _;

    const SOURCE: &str = "
        const SIZE: usize = 1 + 2;
        impl Door { pub const fn is_open(&self, a: u32) -> bool { !self.locked && a & 3 == 0 } }
        #[cfg(test)] mod tests { fn one() -> bool { 1 == 2 } }
        fn of(a: Option<u32>) -> u32 { if let Some(a) = a && a > 1 { return a; } match a { Some(7) if !a.held() => 1, _ => 2 } }
        fn all() -> impl Iterator<Item = bool> { [true].into_iter() }
    ";

    fn altered(left_out: &LeftOut) -> (Vec<Mutant>, String) {
        let (mut mutants, mut source) = (Vec::new(), syn::parse_file(SOURCE).unwrap());
        Alter::new("lib.rs", left_out, &mut mutants).visit_file_mut(&mut source);
        (mutants, source.to_token_stream().to_string())
    }

    #[test]
    fn what_runs_is_changed_in_every_place_and_what_is_constant_or_a_test_is_not() {
        let (mutants, text) = altered(&LeftOut::default());
        let names: Vec<&str> = mutants.iter().map(|mutant| mutant.text.as_str()).collect();
        let expected = [
            "delete ! in Door::is_open",
            "replace & with | in Door::is_open",
            "replace & with ^ in Door::is_open",
            "replace == with != in Door::is_open",
            "replace && with || in Door::is_open",
            "replace Door::is_open -> bool with true",
            "replace Door::is_open -> bool with false",
            "replace > with == in of",
            "replace > with < in of",
            "replace > with >= in of",
            "delete ! in of",
            "replace match guard !a.held() with true in of",
            "replace match guard !a.held() with false in of",
            "delete match arm Some(7) in of",
            "replace of -> u32 with 0",
            "replace of -> u32 with 1",
        ];
        for name in expected {
            assert!(names.contains(&name), "{name} is not among {names:#?}");
        }
        assert_eq!(names.len(), expected.len(), "{names:#?}");
        assert!(text.contains("const SIZE : usize = 1 + 2") && text.contains("1 == 2") && !text.contains("const fn"));
        assert!(syn::parse_file(&text).is_ok(), "{text}");
    }

    #[test]
    fn what_does_not_build_stays_as_it_was_and_numbers_stay() {
        let all = altered(&LeftOut::default()).0;
        let left_out = LeftOut {
            mutants: [0].into(),
            ..LeftOut::default()
        };
        let (mutants, text) = altered(&left_out);
        assert_eq!(mutants.len(), all.len());
        assert!(!text.contains("on (0u32)") && text.contains("on (1u32)"), "{text}");
    }

    #[test]
    fn what_lives_oftener_than_the_page_explains_is_open_and_what_lives_less_often_is_outdated() {
        let may = explained("## lib.rs\n- (1) `replace > with < in of`: order.\n- (9) `no reason`:\n");
        let one = |number| Mutant {
            number,
            file: "lib.rs".to_owned(),
            at: (1, 2),
            text: "replace > with < in of".to_owned(),
        };
        let none: Vec<String> = Vec::new();
        assert_eq!(unexplained([one(0)].iter(), &may), none);
        assert_eq!(
            unexplained([one(0), one(1)].iter(), &may),
            ["lib.rs:1:2: replace > with < in of"]
        );
        assert_eq!(may.len(), 1);
        let files = |name| [name].into();
        assert_eq!(outdated([one(0)].iter(), &may, &files("lib.rs")), none);
        assert_eq!(outdated([].iter(), &may, &files("main.rs")), none, "not looked at");
        assert_eq!(
            outdated([].iter(), &may, &files("lib.rs")),
            ["lib.rs: replace > with < in of"]
        );
    }
}
