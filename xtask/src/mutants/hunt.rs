//! Runs the tests that a change could touch, the quickest first, until one tells.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::alter::Mutant;
use super::build::{Built, Subject};

/// How long a test may take that took no time before.
const LEAST: Duration = Duration::from_secs(20);

/// A test, and how long it took.
struct Test {
    program: PathBuf,
    name: String,
    took: Duration,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Not meant this time.
    LeftAlone,
    DoesNotBuild,
    /// A test failed.
    Killed,
    /// A test took much longer than without it.
    KilledByTime,
    /// All tests that come to it pass.
    Lived,
    /// No test comes to it.
    Unseen,
}

/// Answers the fate of every change, in their order.
pub(super) fn hunt(
    built: &Built,
    work: &Path,
    subject: &Subject,
    only: &[String],
    jobs: usize,
) -> anyhow::Result<Vec<Fate>> {
    let (tests, touched) = observe(built, work, subject)?;
    let next = AtomicUsize::new(0);
    let is_meant = |one: &Mutant| only.is_empty() || only.iter().any(|part| one.file.contains(part.as_str()));
    let at_first = |one: &Mutant| {
        if is_meant(one) {
            Fate::DoesNotBuild
        } else {
            Fate::LeftAlone
        }
    };
    let fates = Mutex::new(built.mutants.iter().map(at_first).collect::<Vec<_>>());
    let builds = |one: &&Mutant| is_meant(one) && !built.left_out.contains(&one.number);
    let left: Vec<&Mutant> = built.mutants.iter().filter(builds).collect();
    std::thread::scope(|scope| {
        let hunters: Vec<_> = (0..jobs.max(1))
            .map(|_| {
                scope.spawn(|| -> anyhow::Result<()> {
                    while let Some(mutant) = left.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let touching = touched.get(&mutant.number).map_or(&[][..], Vec::as_slice);
                        let fate = fate(mutant, &built.directory, touching.iter().map(|at| &tests[*at]))?;
                        if matches!(fate, Fate::Lived | Fate::Unseen) {
                            println!(
                                "{fate:?}: {}:{}:{}: {}",
                                mutant.file, mutant.at.0, mutant.at.1, mutant.text
                            );
                        }
                        let mut fates = fates.lock().map_err(|_| anyhow::anyhow!("another hunter panicked"))?;
                        fates[mutant.number as usize] = fate;
                    }
                    Ok(())
                })
            })
            .collect();
        for hunter in hunters {
            hunter.join().map_err(|_| anyhow::anyhow!("a hunter panicked"))??;
        }
        anyhow::Ok(())
    })?;
    fates.into_inner().map_err(|_| anyhow::anyhow!("a hunter panicked"))
}

/// Which tests come to a change, by the change's number: places in the list of tests.
type Touched = BTreeMap<u32, Vec<usize>>;

/// Runs each test by itself, without a change: how long it takes, and which switches it asks.
fn observe(built: &Built, work: &Path, subject: &Subject) -> anyhow::Result<(Vec<Test>, Touched)> {
    let mut tests = Vec::new();
    let asked = work.join("asked");
    let mut found = Vec::new();
    for program in &built.programs {
        let listed = Command::new(program).args(["--list", "--format", "terse"]).output()?;
        ensure!(listed.status.success(), "{}: {}", program.display(), listed.status);
        for name in String::from_utf8(listed.stdout)?
            .lines()
            .filter_map(|line| line.strip_suffix(": test"))
            .filter(|name| !subject.not_put.contains(name))
        {
            let began = Instant::now();
            let status = run(
                &built.directory,
                program,
                name,
                ("MUTANTS_ASKED", &asked.display().to_string()),
            )?
            .wait()?;
            ensure!(status.success(), "{name} fails without any change");
            let numbers = fs::read_to_string(&asked).unwrap_or_default();
            let _gone = fs::remove_file(&asked);
            let numbers: Vec<u32> = numbers.lines().filter_map(|line| line.parse().ok()).collect();
            found.push((
                Test {
                    program: program.clone(),
                    name: name.to_owned(),
                    took: began.elapsed(),
                },
                numbers,
            ));
        }
    }
    found.sort_by_key(|(test, _)| test.took);
    let mut touched = Touched::new();
    for (at, (test, numbers)) in found.into_iter().enumerate() {
        for number in numbers {
            touched.entry(number).or_default().push(at);
        }
        tests.push(test);
    }
    let longest = tests.last().map_or(Duration::ZERO, |test| test.took);
    println!(
        "{} tests, the longest takes {:.1} s; {} changes are come to",
        tests.len(),
        longest.as_secs_f64(),
        touched.len()
    );
    Ok((tests, touched))
}

fn run(directory: &Path, program: &Path, test: &str, (name, value): (&str, &str)) -> anyhow::Result<Child> {
    Command::new(program)
        .args(["--exact", test, "--test-threads", "1"])
        .env(name, value)
        .env("PROPTEST_MAX_SHRINK_ITERS", "0")
        // The same random worlds each time: else a change is killed today and lives tomorrow.
        .env("PROPTEST_RNG_SEED", "1")
        .env("RUST_BACKTRACE", "0")
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| program.display().to_string())
}

fn fate<'a>(mutant: &Mutant, directory: &Path, tests: impl Iterator<Item = &'a Test>) -> anyhow::Result<Fate> {
    let mut fate = Fate::Unseen;
    for test in tests {
        let mut child = run(
            directory,
            &test.program,
            &test.name,
            ("MUTANT", &mutant.number.to_string()),
        )?;
        let latest = Instant::now() + LEAST + 10 * test.took;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if Instant::now() > latest {
                child.kill()?;
                child.wait()?;
                break None;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        match status {
            None => return Ok(Fate::KilledByTime),
            Some(status) if !status.success() => return Ok(Fate::Killed),
            Some(_) => fate = Fate::Lived,
        }
    }
    Ok(fate)
}
