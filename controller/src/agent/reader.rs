//! The thread that reads the kernel's records: every 10 ms, without being woken.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use cellwall_datapath::counters;
use cellwall_datapath::events::{PERIOD, Records};
use cellwall_datapath::kernel::Place;
use jiff::{SignedDuration, Timestamp};

use crate::records::fold::Fold;
use crate::records::recent::Recent;
use crate::records::sink::Sink;
use crate::records::{Directory, FlowRecord};

/// Records taken from the ring in one go.
const BATCH: u64 = 8_192;

/// What went through.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Records received from the kernel.
    pub(super) received: AtomicU64,
    /// Records that the sink could not take.
    pub(super) unwritten: AtomicU64,
    /// Records of a size that is not ours.
    pub(super) malformed: AtomicU64,
    /// Unanswered flows that made room for newer ones, as the sweep has reckoned.
    pub(super) evicted: AtomicU64,
}

/// The running thread.
#[derive(Debug)]
pub(super) struct Reader {
    thread: JoinHandle<()>,
}

impl Reader {
    pub(super) fn start(
        place: &Place,
        directory: Arc<Directory>,
        recent: Arc<Recent>,
        sink: Sink,
        tally: Arc<Tally>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self> {
        let records = Records::open(place).context("the ring of records cannot be opened")?;
        let mut pipeline = Pipeline {
            records,
            directory,
            recent,
            sink,
            tally,
            fold: Fold::default(),
            complained: false,
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

struct Pipeline {
    records: Records,
    directory: Arc<Directory>,
    recent: Arc<Recent>,
    sink: Sink,
    tally: Arc<Tally>,
    fold: Fold,
    complained: bool,
}

impl Pipeline {
    /// One turn; answers whether there is more to read at once.
    fn turn(&mut self, last: bool) -> bool {
        let now = Timestamp::now();
        let monotonic = counters::monotonic();
        let wall = |nanos: u64| {
            let ago = monotonic.saturating_sub(Duration::from_nanos(nanos));
            SignedDuration::try_from(ago)
                .ok()
                .and_then(|ago| now.checked_sub(ago).ok())
                .unwrap_or(now)
        };
        let mut out: Vec<Arc<FlowRecord>> = Vec::new();
        let (directory, fold) = (&self.directory, &mut self.fold);
        let drained = self.records.drain(BATCH, |record| {
            out.extend(fold.push(directory.describe(record, wall)).map(Arc::new));
        });
        self.tally.received.fetch_add(drained.records, Ordering::Relaxed);
        self.tally.malformed.store(self.records.malformed(), Ordering::Relaxed);
        let due = if last { self.fold.drain() } else { self.fold.due(now) };
        out.extend(due.into_iter().map(Arc::new));
        for record in &out {
            self.recent.push(record.clone());
        }
        if let Err(error) = self.sink.write(&out) {
            self.unwritten(&out, &error);
        } else {
            self.complained = false;
        }
        drained.more
    }

    /// Counts what the sink did not take, and says so once until it works again.
    fn unwritten(&mut self, out: &[Arc<FlowRecord>], error: &io::Error) {
        let attempts = out.iter().map(|record| record.attempts).sum();
        self.tally.unwritten.fetch_add(attempts, Ordering::Relaxed);
        if !self.complained {
            self.complained = true;
            tracing::error!(%error, "the flow log does not take records; they are counted as lost");
        }
    }
}
