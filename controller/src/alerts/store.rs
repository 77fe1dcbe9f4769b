//! Alerts on disk: a transactional store (redb) in one file of the state directory.
//!
//! What is counted is kept as sums, by minute and by day, in the same transaction as the alerts: how many there were in
//! 24 hours, 30 or 180 days costs the same with ten alerts as with millions. A transaction is on disk when it is answered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use super::KEPT_DAYS;
use super::alert::{Alert, Key, day_of, day_of_key, first_key};

/// Name of the file.
pub const FILE: &str = "alerts.redb";
/// What a file that is no store is set aside as.
const BROKEN: &str = "broken";

const ALERTS: TableDefinition<&Key, &[u8]> = TableDefinition::new("alerts-1");
/// By minutes since 1970: alerts last seen in it, attempts made in it.
const MINUTES: TableDefinition<u32, (u64, u64)> = TableDefinition::new("minutes-1");
/// By days since 1970: alerts, attempts, bytes of alerts.
const DAYS: TableDefinition<u32, (u64, u64, u64)> = TableDefinition::new("days-1");
/// Alerts that were removed for want of room, all in all.
const REMOVED: TableDefinition<(), u64> = TableDefinition::new("removed-1");

const MINUTES_A_DAY: u32 = 1_440;
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

/// Alerts and attempts in a span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Count {
    pub alerts: u64,
    pub attempts: u64,
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
    /// Most bytes of alerts.
    most: u64,
}

/// Changes of sums, collected over a transaction.
#[derive(Default)]
struct Sums {
    minutes: BTreeMap<u32, (i64, u64)>,
    days: BTreeMap<u32, (i64, u64, i64)>,
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
        let store = Self { database, path, most };
        // The tables are there for who asks before the first alert.
        store.commit([], Timestamp::now())?;
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
        postcard::from_bytes(bytes).map_err(|source| self.strange(source))
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
        let mut news: Vec<_> = news.into_iter().collect();
        news.sort_unstable_by_key(|(key, _)| **key);
        let mut write = self.database.begin_write().map_err(self.access())?;
        // A store that was not closed opens at once: nothing has to be read through.
        write.set_quick_repair(true);
        self.add(&write, &news)?;
        self.remove_old(&write, now)?;
        self.remove_most(&write)?;
        write.commit().map_err(self.access())
    }

    fn add(&self, write: &redb::WriteTransaction, news: &[(&Key, &Alert)]) -> Result<(), StoreError> {
        let mut alerts = write.open_table(ALERTS).map_err(self.access())?;
        let mut sums = Sums::default();
        for (key, new) in news {
            let known = alerts.get(*key).map_err(self.access())?;
            let known = known
                .map(|bytes| Ok::<_, StoreError>((bytes.value().len(), self.decode(bytes.value())?)))
                .transpose()?;
            let mut now = known
                .as_ref()
                .map_or_else(|| (*new).clone(), |(_, alert)| alert.clone());
            if known.is_some() {
                now.merge(new);
            }
            let bytes = postcard::to_allocvec(&now).map_err(|source| self.strange(source))?;
            sums.alert(
                known.as_ref().map(|(_, alert)| minute_of(alert.last_seen)),
                Some(minute_of(now.last_seen)),
            );
            sums.minutes.entry(minute_of(new.last_seen)).or_default().1 += new.attempts;
            let day = sums.days.entry(day_of_key(key)).or_default();
            day.0 += i64::from(known.is_none());
            day.1 += new.attempts;
            day.2 += size(bytes.len()) - known.map_or(0, |(length, _)| size(length));
            alerts.insert(*key, bytes.as_slice()).map_err(self.access())?;
        }
        drop(alerts);
        self.apply(write, &sums)
    }

    fn apply(&self, write: &redb::WriteTransaction, sums: &Sums) -> Result<(), StoreError> {
        let mut minutes = write.open_table(MINUTES).map_err(self.access())?;
        for (minute, (alerts, attempts)) in &sums.minutes {
            let known = minutes
                .get(minute)
                .map_err(self.access())?
                .map_or((0, 0), |sum| sum.value());
            let sum = (
                known.0.saturating_add_signed(*alerts),
                known.1.saturating_add(*attempts),
            );
            minutes.insert(minute, sum).map_err(self.access())?;
        }
        let mut days = write.open_table(DAYS).map_err(self.access())?;
        for (day, (alerts, attempts, bytes)) in &sums.days {
            let known = days
                .get(day)
                .map_err(self.access())?
                .map_or((0, 0, 0), |sum| sum.value());
            let sum = (
                known.0.saturating_add_signed(*alerts),
                known.1.saturating_add(*attempts),
                known.2.saturating_add_signed(*bytes),
            );
            days.insert(day, sum).map_err(self.access())?;
        }
        Ok(())
    }

    /// Days that are over for more than [`KEPT_DAYS`] go, the sums of them too.
    fn remove_old(&self, write: &redb::WriteTransaction, now: Timestamp) -> Result<(), StoreError> {
        let first = day_of(now).saturating_sub(KEPT_DAYS);
        let days = write.open_table(DAYS).map_err(self.access())?;
        let oldest = days.first().map_err(self.access())?.map(|(day, _)| day.value());
        drop(days);
        if oldest.is_some_and(|oldest| oldest < first) {
            self.remove_days(write, first)?;
        }
        Ok(())
    }

    /// Removes the days before this one.
    fn remove_days(&self, write: &redb::WriteTransaction, first: u32) -> Result<(), StoreError> {
        let mut alerts = write.open_table(ALERTS).map_err(self.access())?;
        alerts
            .retain_in::<&Key, _>(..&first_key(first), |_, _| false)
            .map_err(self.access())?;
        let mut minutes = write.open_table(MINUTES).map_err(self.access())?;
        minutes
            .retain_in(..first.saturating_mul(MINUTES_A_DAY), |_, _| false)
            .map_err(self.access())?;
        let mut days = write.open_table(DAYS).map_err(self.access())?;
        days.retain_in(..first, |_, _| false).map_err(self.access())
    }

    /// Where there are more bytes than may be, the oldest alerts go until there is a twentieth of room.
    fn remove_most(&self, write: &redb::WriteTransaction) -> Result<(), StoreError> {
        let days = write.open_table(DAYS).map_err(self.access())?;
        let mut all = Vec::new();
        for day in days.iter().map_err(self.access())? {
            let (day, sum) = day.map_err(self.access())?;
            all.push((day.value(), sum.value()));
        }
        drop(days);
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
    fn remove_of_day(&self, write: &redb::WriteTransaction, day: u32, excess: u64) -> Result<u64, StoreError> {
        let mut alerts = write.open_table(ALERTS).map_err(self.access())?;
        let mut oldest = Vec::new();
        for entry in alerts
            .range::<&Key>(&first_key(day)..&first_key(day + 1))
            .map_err(self.access())?
        {
            let (key, bytes) = entry.map_err(self.access())?;
            oldest.push((self.decode(bytes.value())?.last_seen, *key.value(), bytes.value().len()));
        }
        oldest.sort_unstable();
        let mut sums = Sums::default();
        let (mut freed, mut removed) = (0, 0);
        for (last_seen, key, length) in oldest {
            if freed >= excess {
                break;
            }
            alerts.remove(&key).map_err(self.access())?;
            sums.alert(Some(minute_of(last_seen)), None);
            let of_day = sums.days.entry(day).or_default();
            of_day.0 -= 1;
            of_day.2 -= size(length);
            freed += u64::try_from(size(length)).unwrap_or(0);
            removed += 1;
        }
        drop(alerts);
        self.apply(write, &sums)?;
        Ok(removed)
    }

    /// How many there were of late.
    pub fn counts(&self, now: Timestamp) -> Result<Counts, StoreError> {
        let read = self.database.begin_read().map_err(self.access())?;
        let minutes = read.open_table(MINUTES).map_err(self.access())?;
        let days = read.open_table(DAYS).map_err(self.access())?;
        let since = |hours: i64| -> Result<Count, StoreError> {
            let first = minute_of(now - SignedDuration::from_hours(hours));
            let tomorrow = first / MINUTES_A_DAY + 1;
            let mut count = Count::default();
            for sum in minutes.range(first..tomorrow * MINUTES_A_DAY).map_err(self.access())? {
                let (alerts, attempts) = sum.map_err(self.access())?.1.value();
                count.alerts += alerts;
                count.attempts += attempts;
            }
            for sum in days.range(tomorrow..).map_err(self.access())? {
                let (alerts, attempts, _) = sum.map_err(self.access())?.1.value();
                count.alerts += alerts;
                count.attempts += attempts;
            }
            Ok(count)
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

    /// Hands over alerts last seen since then, in the order of when they were last seen, until `each` answers false.
    /// It holds one day's of those that fit at a time.
    pub fn list(
        &self,
        since: Timestamp,
        fits: impl Fn(&Alert) -> bool,
        mut each: impl FnMut(Alert) -> bool,
    ) -> Result<(), StoreError> {
        let read = self.database.begin_read().map_err(self.access())?;
        let alerts = read.open_table(ALERTS).map_err(self.access())?;
        let mut of_day: Vec<Alert> = Vec::new();
        let mut day = 0;
        for entry in alerts
            .range::<&Key>(&first_key(day_of(since))..)
            .map_err(self.access())?
        {
            let (key, bytes) = entry.map_err(self.access())?;
            if day_of_key(key.value()) != day {
                day = day_of_key(key.value());
                if !hand_over(&mut of_day, &mut each) {
                    return Ok(());
                }
            }
            let alert = self.decode(bytes.value())?;
            if alert.last_seen >= since && fits(&alert) {
                of_day.push(alert);
            }
        }
        hand_over(&mut of_day, &mut each);
        Ok(())
    }
}

impl Sums {
    /// An alert's last attempt was in one minute and is in another.
    fn alert(&mut self, from: Option<u32>, to: Option<u32>) {
        for (minute, change) in [(from, -1), (to, 1)] {
            if let Some(minute) = minute {
                self.minutes.entry(minute).or_default().0 += change;
            }
        }
    }
}

fn hand_over(alerts: &mut Vec<Alert>, each: &mut impl FnMut(Alert) -> bool) -> bool {
    alerts.sort_by_key(|alert| alert.last_seen);
    std::mem::take(alerts).into_iter().all(each)
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

/// Bytes that an alert counts for.
fn size(value: usize) -> i64 {
    i64::try_from(value + size_of::<Key>()).unwrap_or(i64::MAX)
}

fn minute_of(time: Timestamp) -> u32 {
    u32::try_from(time.as_second().div_euclid(60)).unwrap_or(0)
}
