//! Random frames by the hundred million: the packet path, built for the host or loaded into the kernel, against what the
//! rules and the standards say. Goes on where an earlier run stopped; every line of the progress file is a range of seeds
//! that was judged whole.

mod page;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use cellwall_datapath::memory::MemoryKernel;
use cellwall_tests::judges::{Live, Lodging, bulk};
use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};

/// Which build of the packet path judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Judge {
    /// Built for the host.
    Host,
    /// Built for the host, and loaded into the kernel and run there by BPF_PROG_TEST_RUN (root).
    Kernel,
}

#[derive(Debug, Parser)]
struct Args {
    /// Which build of the packet path judges
    judge: Judge,
    /// How many frames, those of earlier runs included
    #[arg(long, default_value_t = 1_000_000)]
    packets: u64,
    /// Frames in each of the four states of a world
    #[arg(long, default_value_t = 25_000)]
    per_state: u64,
    /// Worlds that one process judges before the next one starts
    #[arg(long, default_value_t = 50)]
    worlds: u64,
    /// First seed, where no earlier run says
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Processes at once
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Where what was judged is noted
    #[arg(long, default_value = "target/judge-frames.jsonl")]
    progress: PathBuf,
    /// Where to write a page of what was judged so far, by either build
    #[arg(long)]
    page: Option<PathBuf>,
    /// Judges seeds from --seed on, and says what came of it on standard output
    #[arg(long, hide = true)]
    worker: bool,
}

/// A range of seeds that was judged.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Done {
    judge: Judge,
    first: u64,
    last: u64,
    per_state: u64,
    packets: u64,
    followed: u64,
    questions: u64,
    seconds: f64,
    reasons: BTreeMap<String, u64>,
    left_out: BTreeMap<String, u64>,
    disagreements: Vec<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if args.worker {
        let done = judge(&args)?;
        println!("{}", serde_json::to_string(&done)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut done = read(&args.progress, |one| {
        one.judge == args.judge && one.per_state == args.per_state
    })?;
    if !done.is_empty() {
        println!("{} ranges of seeds were judged before", done.len());
    }
    let began = Instant::now();
    let before: u64 = done.iter().map(|one| one.packets).sum();
    run(&args, &mut done)?;
    let now: u64 = done.iter().map(|one| one.packets).sum();
    report(&done);
    let seconds = began.elapsed().as_secs_f64();
    if now > before {
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = (now - before) as f64 / seconds;
        println!(
            "this run: {} frames in {seconds:.0} s, {rate:.0} a second",
            now - before
        );
    }
    if let Some(path) = &args.page {
        page::write(path, &read(&args.progress, |_| true)?)?;
    }
    let wrong = done.iter().any(|one| !one.disagreements.is_empty());
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What earlier runs judged, as far as it is meant.
fn read(progress: &Path, is_meant: impl Fn(&Done) -> bool) -> anyhow::Result<Vec<Done>> {
    let Ok(file) = File::open(progress) else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for line in BufReader::new(file).lines() {
        // A line that a killed process did not end is judged again.
        let Ok(done) = serde_json::from_str::<Done>(&line?) else {
            continue;
        };
        if is_meant(&done) {
            all.push(done);
        }
    }
    Ok(all)
}

/// Judges ranges until there are enough frames.
fn run(args: &Args, done: &mut Vec<Done>) -> anyhow::Result<()> {
    if let Some(parent) = args.progress.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let file = OpenOptions::new().create(true).append(true).open(&args.progress)?;
    let next = done.iter().map(|one| one.last + 1).max().unwrap_or(args.seed);
    let shared = Mutex::new((next, done, file));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..args.jobs.max(1))
            .map(|_| scope.spawn(|| work(args, &shared)))
            .collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))??;
        }
        Ok(())
    })
}

fn work(args: &Args, shared: &Mutex<(u64, &mut Vec<Done>, File)>) -> anyhow::Result<()> {
    let poisoned = || anyhow::anyhow!("another worker panicked");
    loop {
        let first = {
            let mut shared = shared.lock().map_err(|_| poisoned())?;
            let (next, done, _) = &mut *shared;
            let wrong = done.iter().any(|one| !one.disagreements.is_empty());
            if wrong || done.iter().map(|one| one.packets).sum::<u64>() >= args.packets {
                return Ok(());
            }
            let first = *next;
            *next += args.worlds;
            first
        };
        let one = worker(args, first).with_context(|| format!("seeds from {first}"))?;
        let mut shared = shared.lock().map_err(|_| poisoned())?;
        let (_, done, file) = &mut *shared;
        writeln!(file, "{}", serde_json::to_string(&one)?)?;
        done.push(one);
        let packets: u64 = done.iter().map(|one| one.packets).sum();
        let bad: usize = done.iter().map(|one| one.disagreements.len()).sum();
        println!("{packets} frames, {bad} disagreements");
    }
}

/// One process for some worlds: what the packet path borrows for ever goes with it.
fn worker(args: &Args, first: u64) -> anyhow::Result<Done> {
    let judge = args.judge.to_possible_value().context("a judge has a name")?;
    let output = Command::new(std::env::current_exe()?)
        .arg(judge.get_name())
        .args(["--worker", "--seed", &first.to_string()])
        .args([
            "--worlds",
            &args.worlds.to_string(),
            "--per-state",
            &args.per_state.to_string(),
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the process ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn judge(args: &Args) -> anyhow::Result<Done> {
    let began = Instant::now();
    let mut tally = bulk::Tally::default();
    let seeds = args.seed..args.seed + args.worlds;
    match args.judge {
        Judge::Host => {
            for seed in seeds {
                let mut memory = MemoryKernel::new();
                bulk::world(&mut tally, seed, args.per_state, &mut memory, None)?;
            }
        }
        Judge::Kernel => {
            if !nix::unistd::geteuid().is_root() {
                bail!("the programs are loaded into the kernel: run this as root");
            }
            let lodging = Lodging::new()?;
            let judged = lodging.namespace.inside(|| -> anyhow::Result<()> {
                let mut live = Live::load(&lodging.place)?;
                let mut memory = MemoryKernel::new();
                seeds
                    .into_iter()
                    .try_for_each(|seed| bulk::world(&mut tally, seed, args.per_state, &mut memory, Some(&mut live)))
            });
            judged??;
        }
    }
    let named = |counts: BTreeMap<&'static str, u64>| counts.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    Ok(Done {
        judge: args.judge,
        first: args.seed,
        last: args.seed + args.worlds - 1,
        per_state: args.per_state,
        packets: tally.packets,
        followed: tally.followed,
        questions: tally.questions,
        seconds: began.elapsed().as_secs_f64(),
        reasons: named(tally.reasons),
        left_out: named(tally.left_out),
        disagreements: tally.disagreements,
    })
}

/// What ranges come to together.
fn sum(done: &[Done], of: fn(&Done) -> u64) -> u64 {
    done.iter().map(of).sum()
}

fn merged(done: &[Done], of: fn(&Done) -> &BTreeMap<String, u64>) -> BTreeMap<&str, u64> {
    let mut all = BTreeMap::<&str, u64>::new();
    for (name, count) in done.iter().flat_map(of) {
        *all.entry(name).or_default() += count;
    }
    all
}

fn report(done: &[Done]) {
    let first = done.iter().map(|one| one.first).min().unwrap_or(0);
    let last = done.iter().map(|one| one.last).max().unwrap_or(0);
    println!(
        "seeds {first}..={last}, {} worlds",
        sum(done, |one| one.last + 1 - one.first)
    );
    println!(
        "{} frames judged, {} of them going on with a flow; {} questions to the evaluator",
        sum(done, |one| one.packets),
        sum(done, |one| one.followed),
        sum(done, |one| one.questions)
    );
    println!("by reason: {:?}", merged(done, |one| &one.reasons));
    println!("left out: {:?}", merged(done, |one| &one.left_out));
    let wrong: Vec<&String> = done.iter().flat_map(|one| &one.disagreements).collect();
    for one in &wrong {
        println!("{one}");
    }
    println!("{} disagreements", wrong.len());
}
