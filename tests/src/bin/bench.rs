//! `make bench`: everything in one run, one table, one page. Needs root, `nft` and `ip`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use cellwall_policy::generate::Dice;
use cellwall_tests::bench::{
    Column, Figure, Filter, Measured, Page, Place, Row, Sizes, Stand, in_traffic, nft_replaced, policy, replaced, runs,
};
use clap::{Parser, Subcommand};

/// The agent's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// Rounds of all traffic
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds of each measurement
    #[arg(long, default_value_t = 200)]
    slice: u64,
    /// Rows whose name has one of these in it; none: all
    #[arg(long, value_delimiter = ';')]
    rows: Vec<String>,
    /// Filters whose name has one of these in it; none: all. "no filter" is always among them
    #[arg(long, value_delimiter = ';')]
    filters: Vec<String>,
    /// Parts to leave out: traffic, runs, policy
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Leave the agents stopped while traffic is measured: what is in the kernel decides alone
    #[arg(long)]
    asleep: bool,
    /// Changes of each kind, in the part about policy
    #[arg(long, default_value_t = 200)]
    changes: usize,
    /// File to write the page to
    #[arg(long)]
    page: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// The figures about changes of policy for one size, as JSON: called by itself
    #[command(hide = true)]
    Policy(Sizes),
}

impl Args {
    fn wants(&self, part: &str) -> bool {
        !self.without.iter().any(|one| one == part)
    }

    fn filters(&self) -> Vec<Filter> {
        let wanted = |filter: &Filter| *filter == Filter::Nothing || is_among(&filter.name(), &self.filters);
        Filter::ALL.into_iter().filter(wanted).collect()
    }
}

fn is_among(name: &str, wanted: &[String]) -> bool {
    wanted.is_empty() || wanted.iter().any(|one| name.contains(one.as_str()))
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(Part::Policy(sizes)) = args.part {
        serde_json::to_writer(std::io::stdout(), &sizes.measure()?)?;
        return Ok(());
    }
    let mut page = Page {
        rounds: args.rounds,
        ..Page::default()
    };
    if args.wants("traffic") || args.wants("runs") {
        packets(&args, &mut page)?;
    }
    let mut failed = None;
    if args.wants("policy") {
        eprintln!("changes of policy");
        match changes(&args) {
            Ok(figures) => page.figures.push(("Changes of policy".to_owned(), figures)),
            // What was measured before is told all the same.
            Err(error) => failed = Some(error),
        }
    }
    let text = page.markdown(&Place::here()?);
    print!("{text}");
    if let Some(path) = &args.page {
        std::fs::write(path, text)?;
    }
    failed.map_or(Ok(()), Err)
}

fn changes(args: &Args) -> anyhow::Result<Vec<Figure>> {
    let mut figures = replaced(args.rounds)?;
    figures.extend(nft_replaced(10_000, args.rounds)?);
    figures.extend(policy(&[1_000, 10_000, 100_000], args.changes)?);
    Ok(figures)
}

/// Traffic under every filter, then single runs on the agents that are there.
fn packets(args: &Args, page: &mut Page) -> anyhow::Result<()> {
    let filters = args.filters();
    let mut stands = Vec::new();
    for (number, filter) in filters.iter().enumerate() {
        eprintln!("putting up: {}", filter.name());
        stands.push(Stand::new(*filter, number)?);
    }
    if args.wants("traffic") {
        traffic(args, &stands, page)?;
        let agents = stands.iter().filter_map(|stand| stand.memory().transpose());
        let figures = agents.collect::<anyhow::Result<Vec<_>>>()?;
        page.figures
            .push(("Memory after the traffic".to_owned(), figures.concat()));
    }
    if args.wants("runs") {
        eprintln!("single runs");
        page.figures.push((
            "Runs in the traffic, as the kernel counts their time, above those of the empty program".to_owned(),
            in_traffic(&stands)?,
        ));
        page.figures.push((
            "Single runs in the kernel (BPF_PROG_TEST_RUN), above the empty program".to_owned(),
            runs(&stands)?,
        ));
    }
    Ok(())
}

/// Every row under every filter, in another order each round. An agent is awake for all rows of its turn, and has done
/// by then what fell due while it was stopped; the machine has other speeds at other times, so that each turn begins with
/// all rows without a filter.
fn traffic(args: &Args, stands: &[Stand], page: &mut Page) -> anyhow::Result<()> {
    let slice = Duration::from_millis(args.slice);
    let mut dice = Dice::new(u64::from(std::process::id()));
    let rows: Vec<Row> = Row::all().filter(|row| is_among(&row.name(), &args.rows)).collect();
    let columns: Vec<Column> = stands.iter().map(|stand| (stand.filter, Vec::new())).collect();
    let mut cells: Vec<(Row, Vec<Column>)> = rows.iter().map(|row| (*row, columns.clone())).collect();
    let bare = stands.iter().find(|stand| stand.filter == Filter::Nothing);
    let bare = bare.context("what no filter gives is always measured")?;
    for round in 1..=args.rounds {
        eprintln!("traffic, round {round} of {}", args.rounds);
        for at in shuffled(stands.len(), &mut dice)? {
            let order = shuffled(rows.len(), &mut dice)?;
            let before = order.iter().map(|row| rows[*row].measure(bare, slice));
            let before = before.collect::<anyhow::Result<Vec<_>>>()?;
            if !args.asleep {
                stands[at].wake()?;
            }
            for (row, bare) in order.into_iter().zip(before) {
                let value = rows[row].measure(&stands[at], slice)?;
                cells[row].1[at].1.push(Measured { value, bare });
            }
            stands[at].rest()?;
        }
    }
    page.cells = cells;
    Ok(())
}

/// The numbers below `count` in some order.
fn shuffled(count: usize, dice: &mut Dice) -> anyhow::Result<Vec<usize>> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        let other = usize::try_from(dice.between(0, last as u64))?;
        order.swap(last, other);
    }
    Ok(order)
}
