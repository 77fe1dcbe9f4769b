//! What a run of the programs takes in the traffic itself: the kernel counts runs and their time, where a single run over
//! and over finds everything in the nearest cache. Says how much of what traffic loses is spent in the programs.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use aya::programs::{ProgramInfo, SchedClassifier};
use aya::sys::{Stats, enable_stats};
use cellwall_datapath::attach::Hook;

use super::filters::{Filter, Log, Stand};
use super::traffic::{Row, Traffic};
use super::{Figure, Spread};

/// How long each row runs, and how often.
const SLICE: Duration = Duration::from_millis(400);
const ROUNDS: usize = 5;
const HOOKS: [Hook; 2] = [Hook::FromPod, Hook::ToPod];
const ROWS: [Traffic; 4] = [
    Traffic::Segments,
    Traffic::PingPong,
    Traffic::Datagrams,
    Traffic::NewFlows,
];

/// Runs of a program so far, and their time in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Ran {
    count: u64,
    time: Duration,
}

impl Ran {
    fn of(info: &ProgramInfo) -> Self {
        Self {
            count: info.run_count(),
            time: info.run_time(),
        }
    }

    /// Nanoseconds of a run since `before`.
    #[allow(clippy::cast_precision_loss, reason = "nanoseconds and runs of a second")]
    fn since(self, before: Self) -> anyhow::Result<f64> {
        let count = self.count - before.count;
        ensure!(count > 100, "{count} runs");
        Ok(self.time.saturating_sub(before.time).as_nanos() as f64 / count as f64)
    }
}

/// The figures: of each row, what a run takes at each hook above what the empty program takes there.
pub fn in_traffic(stands: &[Stand]) -> anyhow::Result<Vec<Figure>> {
    let find = |filter| stands.iter().find(|stand| stand.filter == filter);
    let (Some(empty), Some(cellwall)) = (find(Filter::Empty), find(Filter::Cellwall(10_000, Log::Usual))) else {
        return Ok(Vec::new());
    };
    // Two readings of a clock for each run: the same in both, and so in no difference.
    let _counting = enable_stats(Stats::RunTime).context("statistics of the kernel (Linux 5.8)")?;
    let mut figures = Vec::new();
    for row in Row::all().filter(|row| row.v4 && ROWS.contains(&row.traffic)) {
        let mut above: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            let without = one(empty, row)?;
            cellwall.wake()?;
            let with = one(cellwall, row);
            cellwall.rest()?;
            for (above, (with, without)) in above.iter_mut().zip(with?.into_iter().zip(without)) {
                above.push(with - without);
            }
        }
        for (hook, above) in HOOKS.into_iter().zip(above) {
            figures.push(Figure::new(format!("{}, {hook}", row.name()), Spread::of(above), "ns"));
        }
    }
    Ok(figures)
}

/// Nanoseconds of a run at each hook while the row's traffic runs once.
fn one(stand: &Stand, row: Row) -> anyhow::Result<[f64; 2]> {
    let before = ran(stand)?;
    row.measure(stand, SLICE)?;
    let after = ran(stand)?;
    Ok([after[0].since(before[0])?, after[1].since(before[1])?])
}

/// Runs at each hook; the empty program is one for both.
fn ran(stand: &Stand) -> anyhow::Result<[Ran; 2]> {
    if let Some(program) = stand.empty_program()? {
        return Ok([Ran::of(&program); 2]);
    }
    let place = stand.place()?;
    let of = |hook: Hook| -> anyhow::Result<Ran> {
        let program = SchedClassifier::from_pin(place.program(hook))?;
        Ok(Ran::of(&program.info()?))
    };
    Ok([of(HOOKS[0])?, of(HOOKS[1])?])
}
