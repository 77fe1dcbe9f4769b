//! Sums of alerts, by minute and by day: how many there were of late costs the same with ten alerts as with millions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use redb::{Error, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

/// By minutes since 1970: alerts last seen in it, attempts made in it.
const MINUTES: TableDefinition<u32, (u64, u64)> = TableDefinition::new("minutes-1");
/// By days since 1970: alerts, attempts, bytes of alerts and of what they are found by.
pub(super) const DAYS: TableDefinition<u32, OfDay> = TableDefinition::new("days-1");

const MINUTES_A_DAY: u32 = 1_440;

/// Alerts, attempts, bytes.
pub(super) type OfDay = (u64, u64, u64);

/// Alerts and attempts in a span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Count {
    pub alerts: u64,
    pub attempts: u64,
}

/// Changes of sums, collected over a transaction.
#[derive(Default)]
pub(super) struct Sums {
    minutes: BTreeMap<u32, (i64, u64)>,
    days: BTreeMap<u32, (i64, u64, i64)>,
}

impl Sums {
    /// An alert's last attempt was at one time and is at another.
    pub(super) fn alert(&mut self, from: Option<Timestamp>, to: Option<Timestamp>) {
        for (time, change) in [(from, -1), (to, 1)] {
            if let Some(time) = time {
                self.minutes.entry(minute_of(time)).or_default().0 += change;
            }
        }
    }

    /// Attempts were made, the last of them at this time.
    pub(super) fn attempts(&mut self, day: u32, last: Timestamp, attempts: u64) {
        self.minutes.entry(minute_of(last)).or_default().1 += attempts;
        self.days.entry(day).or_default().1 += attempts;
    }

    /// A day has more alerts, or less, and more bytes of them.
    pub(super) fn day(&mut self, day: u32, alerts: i64, bytes: i64) {
        let sum = self.days.entry(day).or_default();
        sum.0 += alerts;
        sum.2 += bytes;
    }

    pub(super) fn apply(&self, write: &WriteTransaction) -> Result<(), Error> {
        let mut minutes = write.open_table(MINUTES)?;
        for (minute, (alerts, attempts)) in &self.minutes {
            let known = minutes.get(minute)?.map_or((0, 0), |sum| sum.value());
            let sum = (
                known.0.saturating_add_signed(*alerts),
                known.1.saturating_add(*attempts),
            );
            minutes.insert(minute, sum)?;
        }
        let mut days = write.open_table(DAYS)?;
        for (day, (alerts, attempts, bytes)) in &self.days {
            let known = days.get(day)?.map_or((0, 0, 0), |sum| sum.value());
            let sum = (
                known.0.saturating_add_signed(*alerts),
                known.1.saturating_add(*attempts),
                known.2.saturating_add_signed(*bytes),
            );
            days.insert(day, sum)?;
        }
        Ok(())
    }
}

/// The days that there are, the oldest first, with their sums.
pub(super) fn days(write: &WriteTransaction) -> Result<Vec<(u32, OfDay)>, Error> {
    let days = write.open_table(DAYS)?;
    let all = days.iter()?;
    all.map(|day| day.map(|(day, sum)| (day.value(), sum.value())).map_err(Into::into))
        .collect()
}

/// The sums of all days.
pub(super) fn totals(write: &WriteTransaction) -> Result<OfDay, Error> {
    let add = |all: OfDay, (_, day): &(u32, OfDay)| (all.0 + day.0, all.1 + day.1, all.2 + day.2);
    Ok(days(write)?.iter().fold((0, 0, 0), add))
}

/// Removes the sums of the days before this one.
pub(super) fn remove_days(write: &WriteTransaction, first: u32) -> Result<(), Error> {
    let mut minutes = write.open_table(MINUTES)?;
    minutes.retain_in(..first.saturating_mul(MINUTES_A_DAY), |_, _| false)?;
    let mut days = write.open_table(DAYS)?;
    Ok(days.retain_in(..first, |_, _| false)?)
}

/// What there was since a time, to the minute, and until the end of the day `last`: what a clock that was ahead has dated is
/// not of late before its day has come.
pub(super) fn since(read: &ReadTransaction, time: Timestamp, last: u32) -> Result<Count, Error> {
    let (minutes, days) = (read.open_table(MINUTES)?, read.open_table(DAYS)?);
    let first = minute_of(time);
    let tomorrow = first / MINUTES_A_DAY + 1;
    let mut count = Count::default();
    for sum in minutes.range(first..tomorrow * MINUTES_A_DAY)? {
        let (alerts, attempts) = sum?.1.value();
        count.alerts += alerts;
        count.attempts += attempts;
    }
    for sum in days.range(tomorrow..=last.max(tomorrow))? {
        let (alerts, attempts, _) = sum?.1.value();
        count.alerts += alerts;
        count.attempts += attempts;
    }
    Ok(count)
}

fn minute_of(time: Timestamp) -> u32 {
    u32::try_from(time.as_second().div_euclid(60)).unwrap_or(0)
}
