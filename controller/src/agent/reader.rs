//! The thread that reads the kernel's records: every 10 ms, without being woken.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cellwall_datapath::abi::Cell;
use cellwall_datapath::abi::record::event;
use cellwall_datapath::counters;
use cellwall_datapath::events::{PERIOD, Records};
use cellwall_datapath::kernel::{Maps, Place};
use jiff::Timestamp;

use crate::alerts::Alerts;
use crate::alerts::alert::day_of;
use crate::clock::wall_at;
use crate::records::accounts::{Accounts, Ledger, Loss};
use crate::records::fold::{Fold, Told};
use crate::records::limit::Limit;
use crate::records::otlp::Collector;
use crate::records::recent::Recent;
use crate::records::sink::Sink;
use crate::records::{Directory, FlowRecord};

/// Records taken from the ring in one go.
const BATCH: u64 = 8_192;
/// How often what was given is held against what was taken.
const CHECK: Duration = Duration::from_secs(1);
/// What a record of unknown bytes is counted under.
const UNKNOWN: u32 = 63;

/// The running thread.
#[derive(Debug)]
pub(super) struct Reader {
    thread: JoinHandle<()>,
}

/// Where records go.
pub(super) struct Outputs {
    pub(super) recent: Arc<Recent>,
    pub(super) sink: Sink,
    pub(super) collector: Option<Collector>,
    pub(super) alerts: Arc<Alerts>,
    /// Lines a second of one pod; 0: no limit.
    pub(super) lines: u32,
}

impl Reader {
    pub(super) fn start(
        place: &Place,
        state: &Path,
        directory: Arc<Directory>,
        outputs: Outputs,
        accounts: Arc<Accounts>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self> {
        let records = Records::open(place).context("the ring of records cannot be opened")?;
        let ledger = Ledger::open(state, records.id(), &accounts);
        if let Err(error) = &ledger {
            tracing::error!(%error, "the sums of records cannot be kept; an agent that is killed takes them along");
        }
        let mut pipeline = Pipeline {
            records,
            maps: Maps::open(place).context("the pinned maps cannot be opened")?,
            directory,
            limit: Limit::new(outputs.lines),
            outputs,
            accounts,
            ledger: ledger.ok(),
            fold: Fold::default(),
            complained: false,
            check: Check::default(),
        };
        let thread = std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if !pipeline.turn(false) {
                        std::thread::sleep(PERIOD);
                    }
                }
                pipeline.turn(true);
            })
            .context("the reader of records cannot be started")?;
        Ok(Self { thread })
    }

    /// Waits a moment for the thread, which hands out what it still holds; a sink that blocks is left behind.
    pub(super) fn join(self) {
        for _ in 0..50 {
            if self.thread.is_finished() {
                // Its result is nothing.
                let _ = self.thread.join();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        tracing::warn!("the flow log does not take the last records");
    }
}

/// What the last look at the sums said.
#[derive(Default)]
struct Check {
    at: Option<Instant>,
    /// What was missing then; none: records came meanwhile, and it could not be said.
    gap: Option<[i64; 3]>,
    settled: bool,
}

struct Pipeline {
    records: Records,
    maps: Maps,
    directory: Arc<Directory>,
    outputs: Outputs,
    accounts: Arc<Accounts>,
    ledger: Option<Ledger>,
    fold: Fold,
    limit: Limit,
    complained: bool,
    check: Check,
}

impl Pipeline {
    /// One turn; answers whether there is more to read at once.
    fn turn(&mut self, last: bool) -> bool {
        let now = Timestamp::now();
        let monotonic = counters::monotonic();
        let wall = |nanos: u64| wall_at(nanos, now, monotonic);
        let given = self.is_check_due().then(|| counters::sent(&self.maps).ok()).flatten();
        let mut told: Vec<Told> = Vec::new();
        let (fold, accounts) = (&mut self.fold, &self.accounts);
        let malformed = self.records.malformed();
        let drained = self.records.drain(BATCH, |record| {
            let cell = Cell(record.cell);
            accounts.take(event::kind(cell.action(), record.dropped != 0), cell.reason());
            told.extend(fold.push(record, day_of(wall(record.time))));
        });
        for _ in malformed..self.records.malformed() {
            accounts.take(2, UNKNOWN);
            accounts.hand(1);
            accounts.lose(Loss::Malformed, 1);
        }
        if let Some(given) = given
            && !drained.more
        {
            self.check(given);
        }
        let nanos = u64::try_from(monotonic.as_nanos()).unwrap_or(u64::MAX);
        told.extend(if last { self.fold.drain() } else { self.fold.due(nanos) });
        let mut out: Vec<Arc<FlowRecord>> = Vec::with_capacity(told.len());
        for told in told {
            let record = self.directory.describe(&told, wall);
            self.outputs.alerts.add(&record);
            out.extend(self.limit.pass(told).map(|_| Arc::new(record)));
        }
        let beyond = if last {
            self.limit.drain()
        } else {
            self.limit.due(nanos)
        };
        for told in beyond {
            self.accounts.overflow(told.attempts);
            out.push(Arc::new(self.directory.describe(&told, wall)));
        }
        self.save(drained.records > 0 || !out.is_empty());
        self.hand_out(&out);
        self.save(!out.is_empty());
        drained.more
    }

    fn hand_out(&mut self, out: &[Arc<FlowRecord>]) {
        let attempts = out.iter().map(|record| record.attempts).sum();
        for record in out {
            self.outputs.recent.push(record.clone());
        }
        if let Some(collector) = &self.outputs.collector {
            collector.write(out);
        }
        match self.outputs.sink.write(out) {
            Ok(()) => self.complained = false,
            Err(error) => {
                self.accounts.lose(Loss::Sink, attempts);
                // Once until it works again.
                if !std::mem::replace(&mut self.complained, true) {
                    tracing::error!(%error, "the flow log does not take records; they are counted as lost");
                }
            }
        }
        self.accounts.hand(attempts);
    }

    fn save(&mut self, changed: bool) {
        if let Some(ledger) = self.ledger.as_ref().filter(|_| changed)
            && let Err(error) = ledger.save(&self.accounts)
        {
            tracing::error!(%error, "the sums of records cannot be kept; an agent that is killed takes them along");
            self.ledger = None;
        }
    }

    fn is_check_due(&mut self) -> bool {
        let due = self.check.at.is_none_or(|at| at.elapsed() >= CHECK);
        if due {
            self.check.at = Some(Instant::now());
        }
        due
    }

    /// Holds what the programs gave against what was taken. `before` was given when the ring was read to its end; where
    /// nothing came since, the sums have to agree. What two looks find missing is: a program counts a record just after it
    /// has sent it.
    fn check(&mut self, before: [u64; 3]) {
        let quiet = counters::sent(&self.maps).is_ok_and(|now| now == before);
        let gap = quiet.then(|| self.accounts.gap(before));
        if gap.is_some() && (gap == Some([0; 3]) || gap == self.check.gap) {
            let gap = gap.unwrap_or_default();
            if self.check.settled {
                self.accounts.set_missing(gap);
            } else {
                self.check.settled = true;
                self.accounts.settle(gap);
                self.save(true);
            }
        }
        self.check.gap = gap;
    }
}
