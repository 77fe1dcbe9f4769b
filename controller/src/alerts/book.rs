//! Alerts that are not on disk yet, and the thread that puts them there once a second.
//!
//! While the disk takes nothing they are kept here, up to a bound beyond which their attempts are counted as lost; when it
//! takes again, all of it is written. Verdicts and records know nothing of that.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::alert::{Alert, Key, day_of};
use super::index::Term;
use super::store::{Counts, Store, StoreError};
use crate::records::FlowRecord;

/// How long alerts wait for the next transaction at most.
const PERIOD: Duration = Duration::from_secs(1);
/// Alerts that wait at most; what is new beyond them is counted as lost.
const MOST_WAITING: usize = 65_536;
/// Alerts of one pod and day that are told apart. Further ones are one per protocol and rule, so that a pod that scans
/// everything does not push out what is known of others.
const MOST_OF_A_POD: usize = 4_096;

/// Which alerts are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Last seen since then; none: all that are kept.
    pub since: Option<Timestamp>,
    /// From or to this `namespace/pod`.
    pub pod: Option<String>,
    /// By this rule.
    pub rule: Option<String>,
    /// With this verdict.
    pub verdict: Option<String>,
}

impl Query {
    /// What the index finds them by; none: all are read.
    fn found_by(&self) -> Option<Term> {
        let rule = || self.rule.as_deref().map(Term::rule);
        self.pod.as_deref().map(Term::pod).or_else(rule)
    }

    fn fits(&self, alert: &Alert) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|w| found == Some(w));
        self.pod.as_deref().is_none_or(|pod| alert.is_about(pod))
            && is(&self.rule, alert.rule.as_ref().map(|rule| rule.name.as_str()))
            && is(&self.verdict, Some(&alert.verdict))
    }
}

/// What waits, and which alerts of today there are.
#[derive(Debug, Default)]
struct Waiting {
    alerts: HashMap<Key, Alert>,
    day: u32,
    /// By pod: its alerts of the day, as far as this process has seen them.
    known: HashMap<String, HashSet<u64>>,
}

/// The alerts of a node.
#[derive(Debug)]
pub struct Alerts {
    directory: PathBuf,
    most: u64,
    waiting: Mutex<Waiting>,
    /// None while it cannot be opened. Held by whoever writes; readers take the store and let go.
    store: Mutex<Option<Arc<Store>>>,
    lost: AtomicU64,
    /// Why the last transaction failed; none: it did not.
    failed: Mutex<Option<String>>,
}

impl Alerts {
    /// The alerts kept in a directory, in at most so many bytes. Nothing is opened yet.
    pub fn new(directory: PathBuf, most: u64) -> Self {
        Self {
            directory,
            most,
            waiting: Mutex::default(),
            store: Mutex::default(),
            lost: AtomicU64::new(0),
            failed: Mutex::default(),
        }
    }

    /// Takes in a record.
    pub fn add(&self, record: &FlowRecord) {
        let Some(mut alert) = Alert::of(record) else { return };
        // Worked out while nobody waits for it.
        let mut key = alert.key();
        let from_pod = record.hook == "FROM_POD";
        let one_too_many = lock(&self.waiting).is_one_too_many(&alert, &key, from_pod);
        if one_too_many {
            alert = alert.of_many(from_pod);
            key = alert.key();
        }
        if !lock(&self.waiting).take(&key, &alert) {
            self.lost.fetch_add(alert.attempts, Ordering::Relaxed);
        }
    }

    /// Writes what waits. What is not written waits on.
    pub fn flush(&self) {
        let mut store = lock(&self.store);
        let batch = std::mem::take(&mut lock(&self.waiting).alerts);
        if let Err(error) = self.write(&mut store, &batch) {
            // After a failure the store says no to everything until it is opened again.
            *store = None;
            let mut waiting = lock(&self.waiting);
            for (key, alert) in &batch {
                if !waiting.take(key, alert) {
                    self.lost.fetch_add(alert.attempts, Ordering::Relaxed);
                }
            }
            drop(waiting);
            self.told(Some(words(error)));
        } else {
            self.told(None);
        }
    }

    fn write(&self, store: &mut Option<Arc<Store>>, batch: &HashMap<Key, Alert>) -> Result<(), StoreError> {
        let open = match store {
            Some(open) => open,
            none => none.insert(Arc::new(Store::open(&self.directory, self.most)?)),
        };
        if batch.is_empty() {
            return Ok(());
        }
        open.commit(batch, Timestamp::now())
    }

    /// Says that it fails, or that it works again, once.
    fn told(&self, now: Option<String>) {
        let mut failed = lock(&self.failed);
        match (&*failed, &now) {
            (None, Some(why)) => tracing::error!("alerts are not written, they wait: {why}"),
            (Some(_), None) => tracing::info!("alerts are written again"),
            _ => {}
        }
        *failed = now;
    }

    /// Why alerts are not written now.
    pub fn failure(&self) -> Option<String> {
        lock(&self.failed).clone()
    }

    /// Attempts that are in no alert, because too many alerts waited for the disk.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Alerts that wait for the disk.
    pub fn waiting(&self) -> usize {
        lock(&self.waiting).alerts.len()
    }

    fn store(&self) -> Result<Arc<Store>, String> {
        self.flush();
        let store = lock(&self.store).clone();
        store.ok_or_else(|| self.failure().unwrap_or_else(|| "the alerts are not open".to_owned()))
    }

    /// How many there were of late, what waits included.
    pub fn counts(&self) -> Result<Counts, String> {
        self.store()?.counts(Timestamp::now()).map_err(words)
    }

    /// Hands over the alerts that are asked for, by the time of their last attempt, until `each` answers false.
    pub fn list(&self, query: &Query, each: impl FnMut(Alert) -> bool) -> Result<(), String> {
        let since = query.since.unwrap_or(Timestamp::UNIX_EPOCH);
        let store = self.store()?;
        store
            .list(since, query.found_by(), |alert| query.fits(alert), each)
            .map_err(words)
    }

    /// A thread that writes once a second, and a last time at the end.
    pub fn write_in_thread(self: &Arc<Self>, stop: Arc<AtomicBool>) -> std::io::Result<JoinHandle<()>> {
        let alerts = self.clone();
        std::thread::Builder::new().name("alerts".to_owned()).spawn(move || {
            let mut next = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                if Instant::now() >= next {
                    alerts.flush();
                    next = Instant::now() + PERIOD;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        })
    }
}

impl Waiting {
    /// Adds to what waits; false where there is no room for one more.
    fn take(&mut self, key: &Key, alert: &Alert) -> bool {
        let full = self.alerts.len() >= MOST_WAITING;
        match self.alerts.get_mut(key) {
            Some(known) => known.merge(alert),
            None if full => return false,
            None => drop(self.alerts.insert(*key, alert.clone())),
        }
        true
    }

    /// Whether the pod at whose interface it was seen has as many alerts today as are told apart.
    fn is_one_too_many(&mut self, alert: &Alert, key: &Key, from_pod: bool) -> bool {
        let day = day_of(alert.last_seen);
        // A record of yesterday may come after midnight; a day further back is a clock that was set back.
        if day > self.day || day + 1 < self.day {
            self.day = day;
            self.known.clear();
        }
        let own = if from_pod { &alert.source } else { &alert.destination };
        let own = own.uid.as_deref().unwrap_or_default();
        // Eight bytes of the digest; two alerts that share them by chance are told apart all the same
        let short = key.last_chunk().copied().map_or(0, u64::from_be_bytes);
        match self.known.get_mut(own) {
            Some(known) if known.len() >= MOST_OF_A_POD => !known.contains(&short),
            Some(known) => {
                known.insert(short);
                false
            }
            None => {
                self.known.insert(own.to_owned(), HashSet::from([short]));
                false
            }
        }
    }
}

/// An error with its causes.
fn words(error: StoreError) -> String {
    format!("{:#}", anyhow::Error::new(error))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
