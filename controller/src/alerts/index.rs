//! What alerts are found by without reading all of them: the pods at their ends, and their rule.
//!
//! An entry is the alert's UTC day, a digest of the pod or rule, and what else is in the alert's key. The day stands first,
//! as in the alerts themselves: a transaction writes to few pages, a day goes in one piece, and a listing reads 180 short
//! ranges at most. Two pods may share a digest, so whoever reads looks at the alert, too.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use redb::{Error, ReadOnlyTable, ReadableTable, TableDefinition, WriteTransaction};
use sha2::{Digest, Sha256};

use super::alert::{Alert, AlertEnd, Key, day_of_key};
use super::store::{ALERTS, decoded, weight};
use super::sums::{DAYS, totals};

/// Day, digest of what it is found by, the alert's key without the day.
type Entry = [u8; 28];

/// Entries of the alerts that there are.
const FOUND: TableDefinition<&Entry, ()> = TableDefinition::new("found-1");
/// The sums of all days that the entries were made for. Who writes alerts and knows no index does not set them.
const MADE_FOR: TableDefinition<(), (u64, u64, u64)> = TableDefinition::new("found-for-1");

/// What an alert is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term([u8; 8]);

impl Term {
    /// The pod `namespace/name` at one of its ends.
    pub fn pod(name: &str) -> Self {
        Self::of("pod", name)
    }

    /// Its rule.
    pub fn rule(name: &str) -> Self {
        Self::of("rule", name)
    }

    fn of(what: &str, name: &str) -> Self {
        let digest = Sha256::new().chain_update(what).chain_update("/").chain_update(name);
        let mut term = [0; 8];
        term.copy_from_slice(&digest.finalize()[..8]);
        Self(term)
    }

    /// All that an alert is found by.
    pub fn all_of(alert: &Alert) -> BTreeSet<Self> {
        let pod = |end: &AlertEnd| {
            Some(Self::pod(&format!(
                "{}/{}",
                end.namespace.as_deref()?,
                end.pod.as_deref()?
            )))
        };
        let pods = [&alert.source, &alert.destination].into_iter().filter_map(pod);
        let rule = alert.rule.iter().map(|rule| Self::rule(&rule.name));
        pods.chain(rule).collect()
    }

    fn entry(self, key: &Key) -> Entry {
        let mut entry = [0; 28];
        entry[..4].copy_from_slice(&key[..4]);
        entry[4..12].copy_from_slice(&self.0);
        entry[12..].copy_from_slice(&key[4..]);
        entry
    }

    fn on(self, day: u32) -> RangeInclusive<Entry> {
        let end = |filled: u8| {
            let mut key = [filled; size_of::<Key>()];
            key[..4].copy_from_slice(&day.to_be_bytes());
            self.entry(&key)
        };
        end(0)..=end(u8::MAX)
    }
}

fn key_of(entry: &Entry) -> Key {
    let mut key = [0; size_of::<Key>()];
    key[..4].copy_from_slice(&entry[..4]);
    key[4..].copy_from_slice(&entry[12..]);
    key
}

/// Bytes of so many entries.
pub fn bytes(terms: usize) -> usize {
    terms * size_of::<Entry>()
}

/// An alert was found by `before` and is found by `after`.
pub fn change(
    write: &WriteTransaction,
    key: &Key,
    before: &BTreeSet<Term>,
    after: &BTreeSet<Term>,
) -> Result<(), Error> {
    let mut found = write.open_table(FOUND)?;
    for gone in before.difference(after) {
        found.remove(&gone.entry(key))?;
    }
    for new in after.difference(before) {
        found.insert(&new.entry(key), ())?;
    }
    Ok(())
}

/// Removes the days before this one.
pub fn remove_days(write: &WriteTransaction, first: u32) -> Result<(), Error> {
    let mut end = [0; size_of::<Entry>()];
    end[..4].copy_from_slice(&first.to_be_bytes());
    let mut found = write.open_table(FOUND)?;
    Ok(found.retain_in::<&Entry, _>(..&end, |_, ()| false)?)
}

/// Says, at the end of a transaction, that the entries are those of the alerts that there are now.
pub fn made(write: &WriteTransaction) -> Result<(), Error> {
    let now = totals(write)?;
    let mut made_for = write.open_table(MADE_FOR)?;
    made_for.insert((), now)?;
    Ok(())
}

/// Makes the entries anew where they are not those of the alerts that there are: in a store of before there was an index,
/// or one that a program of then has written to since.
pub fn make_if_older(write: &WriteTransaction) -> Result<(), Error> {
    let wanted = totals(write)?;
    let made_for = write.open_table(MADE_FOR)?.get(())?.map(|sums| sums.value());
    if made_for.unwrap_or_default() == wanted {
        // The table is there for who asks before the first alert.
        write.open_table(FOUND)?;
        return Ok(());
    }
    tracing::info!("the index of {} alerts is made", wanted.0);
    write.delete_table(FOUND)?;
    let alerts = write.open_table(ALERTS)?;
    let mut of_day = OfDay::default();
    for alert in alerts.iter()? {
        let (key, value) = alert?;
        let key = *key.value();
        if day_of_key(&key) != of_day.day {
            of_day.write(write)?;
            of_day.day = day_of_key(&key);
        }
        // One that cannot be read is not found, and nothing else is missing for it.
        let terms = decoded(value.value()).map_or_else(|_| BTreeSet::new(), |alert| Term::all_of(&alert));
        of_day.weight += weight(value.value().len(), terms.len());
        of_day.entries.extend(terms.iter().map(|term| term.entry(&key)));
    }
    of_day.write(write)
}

/// What is found out of the alerts of a day.
#[derive(Default)]
struct OfDay {
    day: u32,
    weight: u64,
    entries: Vec<Entry>,
}

impl OfDay {
    /// Writes it, in order, and begins again.
    fn write(&mut self, write: &WriteTransaction) -> Result<(), Error> {
        self.entries.sort_unstable();
        let mut found = write.open_table(FOUND)?;
        for entry in self.entries.drain(..) {
            found.insert(&entry, ())?;
        }
        let mut days = write.open_table(DAYS)?;
        let sum = days.get(self.day)?.map(|sum| sum.value());
        if let Some((alerts, attempts, _)) = sum {
            days.insert(self.day, (alerts, attempts, self.weight))?;
        }
        self.weight = 0;
        Ok(())
    }
}

/// The index as a reader has it.
pub struct Found(ReadOnlyTable<&'static Entry, ()>);

impl Found {
    /// The index of a reading transaction.
    pub fn open(read: &redb::ReadTransaction) -> Result<Self, Error> {
        Ok(Self(read.open_table(FOUND)?))
    }

    /// Keys of the alerts of a day that may be found by a term.
    pub fn on(&self, day: u32, term: Term) -> Result<impl Iterator<Item = Result<Key, Error>>, Error> {
        let range = term.on(day);
        let entries = self.0.range::<&Entry>(range.start()..=range.end())?;
        Ok(entries.map(|entry| Ok(key_of(entry?.0.value()))))
    }
}

#[cfg(test)]
pub(super) mod tests;
