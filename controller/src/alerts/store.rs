//! Alerts on disk: a transactional store (redb) in one file of the state directory.
//!
//! What is counted ([`super::sums`]) and what alerts are found by ([`super::index`]) change in the same transaction as the
//! alerts. A transaction is on disk when it is answered.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::KEPT_DAYS;
use super::alert::{Alert, Key, day_of, day_of_key, first_key};
use super::index::{self, Found, Term};
use super::sums::{self, Count, DAYS, Sums};

/// Name of the file.
pub const FILE: &str = "alerts.redb";
/// What a file that is no store is set aside as.
const BROKEN: &str = "broken";

pub(super) const ALERTS: TableDefinition<&Key, &[u8]> = TableDefinition::new("alerts-1");
/// Alerts that were removed for want of room, all in all.
const REMOVED: TableDefinition<(), u64> = TableDefinition::new("removed-1");

/// The day by which alerts get old: see [`Store::today`].
const TODAY: TableDefinition<(), u32> = TableDefinition::new("today-1");

/// How long a process runs at least until that day goes on by one, where the clock is further ahead.
const A_DAY_TAKES: Duration = Duration::from_hours(1);
/// Memory for pages of the store.
const CACHE: usize = 16 << 20;

/// Why the store does not do it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message says it")]
pub enum StoreError {
    #[error("cannot make the directory {path}; check the disk and its permissions")]
    Directory { path: String, source: std::io::Error },
    #[error("the alerts in {path} cannot be opened; check the disk and its permissions")]
    Open {
        path: String,
        source: Box<redb::DatabaseError>,
    },
    #[error("the alerts in {path} are not readable or writable; is the disk full?")]
    Access { path: String, source: Box<redb::Error> },
    #[error("an alert in {path} is not one of this version's")]
    Alert { path: String, source: postcard::Error },
}

/// What there was of late: alerts whose last attempt, and attempts that, were in that time, to the minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub last_24_hours: Count,
    pub last_30_days: Count,
    pub last_180_days: Count,
    /// Alerts that were removed before their time, for want of room.
    pub removed: u64,
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    database: Database,
    path: PathBuf,
    /// Most bytes of alerts, and of what they are found by.
    most: u64,
    /// When the day by which alerts get old went on, or the store was opened.
    went_on: Mutex<Instant>,
}

impl Store {
    /// Opens the store in a directory, or makes it. What is there and is no store is set aside.
    pub fn open(directory: &Path, most: u64) -> Result<Self, StoreError> {
        use std::os::unix::fs::DirBuilderExt;
        let path = directory.join(FILE);
        let shown = path.display().to_string();
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| StoreError::Directory {
                path: shown.clone(),
                source,
            })?;
        let open = || open_file(&path);
        let database = match open() {
            Err(error) if is_no_store(&error) => {
                let broken = path.with_added_extension(BROKEN);
                tracing::error!(
                    "{shown} is not a whole store of alerts; it was set aside as {}",
                    broken.display()
                );
                std::fs::rename(&path, &broken).map_err(|source| StoreError::Directory {
                    path: shown.clone(),
                    source,
                })?;
                open()
            }
            opened => opened,
        };
        let database = database.map_err(|source| StoreError::Open {
            path: shown,
            source: Box::new(source),
        })?;
        let store = Self {
            database,
            path,
            most,
            went_on: Mutex::new(Instant::now()),
        };
        store.change(Timestamp::now(), Instant::now(), |write| {
            index::make_if_older(write).map_err(store.access())?;
            // The tables are there for who asks before the first alert.
            store.add(write, &[])
        })?;
        Ok(store)
    }

    fn access<E: Into<redb::Error>>(&self) -> impl Fn(E) -> StoreError {
        let path = self.path.display().to_string();
        move |source| StoreError::Access {
            path: path.clone(),
            source: Box::new(source.into()),
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<Alert, StoreError> {
        decoded(bytes).map_err(|source| self.strange(source))
    }

    fn strange(&self, source: postcard::Error) -> StoreError {
        StoreError::Alert {
            path: self.path.display().to_string(),
            source,
        }
    }

    /// Adds what is new to what is there, removes what is too old or too much. When this answers it is on disk.
    pub fn commit<'a>(
        &self,
        news: impl IntoIterator<Item = (&'a Key, &'a Alert)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.commit_at(news, now, Instant::now())
    }

    /// The same, where it is `now` by the clock and `running` by the time that never jumps.
    pub(super) fn commit_at<'a>(
        &self,
        news: impl IntoIterator<Item = (&'a Key, &'a Alert)>,
        now: Timestamp,
        running: Instant,
    ) -> Result<(), StoreError> {
        let mut news: Vec<_> = news.into_iter().collect();
        news.sort_unstable_by_key(|(key, _)| **key);
        self.change(now, running, |write| self.add(write, &news))
    }

    /// One transaction: what is to be changed, and then what is too old or too much goes.
    fn change(
        &self,
        now: Timestamp,
        running: Instant,
        what: impl FnOnce(&WriteTransaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut write = self.database.begin_write().map_err(self.access())?;
        // A store that was not closed opens at once: nothing has to be read through.
        write.set_quick_repair(true);
        // Before what is new, which a clock that has jumped dates.
        let today = self.today(&write, day_of(now), running)?;
        what(&write)?;
        self.remove_old(&write, today)?;
        self.remove_most(&write)?;
        index::made(&write).map_err(self.access())?;
        write.commit().map_err(self.access())
    }

    fn add(&self, write: &WriteTransaction, news: &[(&Key, &Alert)]) -> Result<(), StoreError> {
        let mut alerts = write.open_table(ALERTS).map_err(self.access())?;
        let mut sums = Sums::default();
        for (key, new) in news {
            let known = alerts.get(*key).map_err(self.access())?;
            let known = known
                .map(|bytes| Ok::<_, StoreError>((bytes.value().len(), self.decode(bytes.value())?)))
                .transpose()?;
            let mut now = (*new).clone();
            let (mut was, mut before, mut found_by) = (0, None, BTreeSet::new());
            if let Some((length, alert)) = known {
                before = Some(alert.last_seen);
                found_by = Term::all_of(&alert);
                was = weight(length, found_by.len());
                now = alert;
                now.merge(new);
            }
            let bytes = postcard::to_allocvec(&now).map_err(|source| self.strange(source))?;
            let terms = Term::all_of(&now);
            index::change(write, key, &found_by, &terms).map_err(self.access())?;
            sums.alert(before, Some(now.last_seen));
            let day = day_of_key(key);
            sums.attempts(day, new.last_seen, new.attempts);
            sums.day(
                day,
                i64::from(before.is_none()),
                signed(weight(bytes.len(), terms.len())) - signed(was),
            );
            alerts.insert(*key, bytes.as_slice()).map_err(self.access())?;
        }
        sums.apply(write).map_err(self.access())
    }

    /// The day by which alerts get old. It is never after that of the clock, `day`, and follows it by one day at once, and
    /// where it is further behind by one day in [`A_DAY_TAKES`]: a clock that was wrong for a while costs no alerts.
    fn today(&self, write: &WriteTransaction, day: u32, running: Instant) -> Result<u32, StoreError> {
        let mut table = write.open_table(TODAY).map_err(self.access())?;
        let known = table.get(()).map_err(self.access())?.map(|day| day.value());
        let mut today = if let Some(known) = known {
            known
        } else {
            // A store of an agent that kept no such day: its last alerts are of one.
            let days = sums::days(write).map_err(self.access())?;
            days.last().map_or(day, |(last, _)| (*last).min(day))
        };
        let mut went_on = self.went_on.lock().unwrap_or_else(PoisonError::into_inner);
        if day == today + 1 || day > today && running.saturating_duration_since(*went_on) >= A_DAY_TAKES {
            today += 1;
            *went_on = running;
        }
        if known != Some(today) {
            table.insert((), today).map_err(self.access())?;
        }
        Ok(today.min(day))
    }

    /// Days that are over for more than [`KEPT_DAYS`] go, the sums of them too.
    fn remove_old(&self, write: &WriteTransaction, today: u32) -> Result<(), StoreError> {
        let first = today.saturating_sub(KEPT_DAYS);
        let days = sums::days(write).map_err(self.access())?;
        let oldest = days.first().map(|(day, _)| *day);
        if oldest.is_some_and(|oldest| oldest < first) {
            self.remove_days(write, first)?;
        }
        Ok(())
    }

    /// Removes the days before this one.
    fn remove_days(&self, write: &WriteTransaction, first: u32) -> Result<(), StoreError> {
        let mut alerts = write.open_table(ALERTS).map_err(self.access())?;
        alerts
            .retain_in::<&Key, _>(..&first_key(first), |_, _| false)
            .map_err(self.access())?;
        index::remove_days(write, first).map_err(self.access())?;
        sums::remove_days(write, first).map_err(self.access())
    }

    /// Where there are more bytes than may be, the oldest alerts go until there is a twentieth of room.
    fn remove_most(&self, write: &WriteTransaction) -> Result<(), StoreError> {
        let all = sums::days(write).map_err(self.access())?;
        let total: u64 = all.iter().map(|(_, (.., bytes))| bytes).sum();
        if total <= self.most {
            return Ok(());
        }
        let mut excess = total - self.most / 20 * 19;
        let mut removed = 0;
        for (day, (count, _, bytes)) in all {
            if bytes > excess {
                removed += self.remove_of_day(write, day, excess)?;
                break;
            }
            self.remove_days(write, day + 1)?;
            removed += count;
            excess -= bytes;
        }
        let mut table = write.open_table(REMOVED).map_err(self.access())?;
        let before = table.get(()).map_err(self.access())?.map_or(0, |count| count.value());
        table.insert((), before + removed).map_err(self.access())?;
        tracing::warn!(
            removed,
            "the oldest alerts were removed: there is no room for more than {} bytes of them",
            self.most
        );
        Ok(())
    }

    /// Removes the alerts of a day that were last seen first, until so many bytes are free. Answers how many.
    fn remove_of_day(&self, write: &WriteTransaction, day: u32, excess: u64) -> Result<u64, StoreError> {
        let mut alerts = write.open_table(ALERTS).map_err(self.access())?;
        let mut oldest = Vec::new();
        for entry in alerts
            .range::<&Key>(&first_key(day)..&first_key(day + 1))
            .map_err(self.access())?
        {
            let (key, bytes) = entry.map_err(self.access())?;
            let alert = self.decode(bytes.value())?;
            let terms = Term::all_of(&alert);
            let weight = weight(bytes.value().len(), terms.len());
            oldest.push((alert.last_seen, *key.value(), weight, terms));
        }
        oldest.sort_unstable();
        let mut sums = Sums::default();
        let (mut freed, mut removed) = (0, 0);
        for (last_seen, key, weight, terms) in oldest {
            if freed >= excess {
                break;
            }
            alerts.remove(&key).map_err(self.access())?;
            index::change(write, &key, &terms, &BTreeSet::new()).map_err(self.access())?;
            sums.alert(Some(last_seen), None);
            sums.day(day, -1, -signed(weight));
            freed += weight;
            removed += 1;
        }
        sums.apply(write).map_err(self.access())?;
        Ok(removed)
    }

    /// How many there were of late.
    pub fn counts(&self, now: Timestamp) -> Result<Counts, StoreError> {
        let read = self.database.begin_read().map_err(self.access())?;
        let since = |hours: i64| {
            sums::since(&read, now - SignedDuration::from_hours(hours), day_of(now)).map_err(self.access())
        };
        let removed = read
            .open_table(REMOVED)
            .ok()
            .and_then(|table| table.get(()).ok().flatten());
        Ok(Counts {
            last_24_hours: since(24)?,
            last_30_days: since(30 * 24)?,
            last_180_days: since(i64::from(KEPT_DAYS) * 24)?,
            removed: removed.map_or(0, |count| count.value()),
        })
    }

    /// Hands over alerts last seen since then, in the order of when they were last seen, until `each` answers false: those
    /// that fit, and of all there are only those looked at that may be found by the term. It holds one day's of those that
    /// fit at a time.
    pub fn list(
        &self,
        since: Timestamp,
        found_by: Option<Term>,
        fits: impl Fn(&Alert) -> bool,
        mut each: impl FnMut(Alert) -> bool,
    ) -> Result<(), StoreError> {
        let read = self.database.begin_read().map_err(self.access())?;
        let alerts = read.open_table(ALERTS).map_err(self.access())?;
        let found = Found::open(&read).map_err(self.access())?;
        let days = read.open_table(DAYS).map_err(self.access())?;
        for day in days.range(day_of(since)..).map_err(self.access())? {
            let day = day.map_err(self.access())?.0.value();
            let mut of_day: Vec<Alert> = Vec::new();
            let mut look = |bytes: &[u8]| {
                let alert = self.decode(bytes)?;
                if alert.last_seen >= since && fits(&alert) {
                    of_day.push(alert);
                }
                Ok(())
            };
            if let Some(term) = found_by {
                for key in found.on(day, term).map_err(self.access())? {
                    let alert = alerts.get(&key.map_err(self.access())?).map_err(self.access())?;
                    alert.map_or(Ok(()), |bytes| look(bytes.value()))?;
                }
            } else {
                let range = &first_key(day)..&first_key(day + 1);
                for alert in alerts.range::<&Key>(range).map_err(self.access())? {
                    look(alert.map_err(self.access())?.1.value())?;
                }
            }
            of_day.sort_by_key(|alert| alert.last_seen);
            if !of_day.into_iter().all(&mut each) {
                break;
            }
        }
        Ok(())
    }
}

fn open_file(path: &Path) -> Result<Database, redb::DatabaseError> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| redb::DatabaseError::Storage(error.into()))?;
    redb::Builder::new()
        .set_cache_size(CACHE)
        .create_with_backend(redb::backends::FileBackend::new(file)?)
}

/// Whether what is in the file is not, or not any more, a store that this version reads.
fn is_no_store(error: &redb::DatabaseError) -> bool {
    use redb::{DatabaseError, StorageError};
    match error {
        DatabaseError::Storage(StorageError::Corrupted(_)) | DatabaseError::UpgradeRequired(_) => true,
        DatabaseError::Storage(StorageError::Io(error)) => {
            matches!(
                error.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            )
        }
        _ => false,
    }
}

/// An alert as it lies in the store.
pub(super) fn decoded(bytes: &[u8]) -> Result<Alert, postcard::Error> {
    postcard::from_bytes(bytes)
}

/// Bytes that an alert of so many counts for, with what it is found by.
pub(super) fn weight(value: usize, terms: usize) -> u64 {
    (value + size_of::<Key>() + index::bytes(terms)) as u64
}

fn signed(weight: u64) -> i64 {
    i64::try_from(weight).unwrap_or(i64::MAX)
}
