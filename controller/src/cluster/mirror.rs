//! Which objects the API server has, what of them is in force, and what an event changes.
//!
//! Nothing counts before every kind was listed in full: a world of which half is known would judge by the other
//! half's absence. A list that is asked for again (the server forgot what we had seen last) is compared, so that only
//! what differs changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use cellwall_crds::Violation;
use cellwall_policy::world::{Document, DocumentKey};

use super::Kind;
use super::feed::{About, Heard, ObjectKey};
use super::kept::Kept;

/// An object of the API server.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// Uid, generation, whether it is leaving.
    pub about: About,
    /// What the world holds of it; none: nothing.
    pub in_force: Option<DocumentKey>,
    /// Why its present version is not in force; empty: it is.
    pub faults: Vec<Violation>,
}

/// A document that changed: what it says now, or nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// To be put in force.
    Put(Document),
    /// To be taken away.
    Gone(DocumentKey),
}

#[derive(Debug, Default)]
struct Known {
    entries: BTreeMap<ObjectKey, Entry>,
    /// What a list in progress has shown.
    listing: Option<BTreeSet<ObjectKey>>,
    listed: bool,
    /// Since when the watch is down, and why.
    down: Option<(Instant, String)>,
    /// Why it failed last.
    failure: String,
}

/// What a burst came to.
#[derive(Debug, Default)]
pub struct Taken {
    /// What changes in the world, in order.
    pub deltas: Vec<Delta>,
    /// Objects whose standing (accepted, refused) may have changed.
    pub told: Vec<(Kind, ObjectKey)>,
}

/// The objects of the API server.
#[derive(Debug)]
pub struct Mirror {
    kinds: BTreeMap<Kind, Known>,
    kept: Kept,
    began: Instant,
    reconnects: u64,
    relists: u64,
}

impl Mirror {
    /// Nothing heard yet; what was valid before is known.
    pub fn open(state_dir: &Path) -> Self {
        Self {
            kinds: Kind::ALL.into_iter().map(|kind| (kind, Known::default())).collect(),
            kept: Kept::open(state_dir),
            began: Instant::now(),
            reconnects: 0,
            relists: 0,
        }
    }

    /// Takes in a burst.
    pub fn take(&mut self, heard: Vec<Heard>) -> Taken {
        let mut taken = Taken::default();
        for one in heard {
            match one {
                Heard::Listing(kind) => self.listing(kind),
                Heard::Listed(kind) => self.listed(kind, &mut taken),
                Heard::Put { kind, key, about, read } => self.put(kind, key, about, read, &mut taken),
                Heard::Gone(kind, key) => self.gone(kind, &key, &mut taken),
                Heard::Down(kind, why) => {
                    let since = self.of(kind).down.take().map_or_else(Instant::now, |(since, _)| since);
                    self.of(kind).failure.clone_from(&why);
                    self.of(kind).down = Some((since, why));
                }
                Heard::Up(kind) => {
                    if self.of(kind).down.take().is_some() {
                        self.reconnects += 1;
                    }
                }
            }
        }
        taken
    }

    fn of(&mut self, kind: Kind) -> &mut Known {
        self.kinds.entry(kind).or_default()
    }

    fn listing(&mut self, kind: Kind) {
        let known = self.of(kind);
        known.listing = Some(BTreeSet::new());
        if known.listed {
            tracing::info!(%kind, why = known.failure, "the API server has forgotten what was seen last: listed anew");
            self.relists += 1;
        }
    }

    fn listed(&mut self, kind: Kind, taken: &mut Taken) {
        let known = self.of(kind);
        known.listed = true;
        if let Some(there) = known.listing.take() {
            let gone: Vec<ObjectKey> = known
                .entries
                .keys()
                .filter(|key| !there.contains(*key))
                .cloned()
                .collect();
            for key in &gone {
                self.gone(kind, key, taken);
            }
            self.kept.retain(kind, |key| there.contains(key));
        }
    }

    fn put(
        &mut self,
        kind: Kind,
        key: ObjectKey,
        about: About,
        read: Result<Box<super::Read>, Vec<Violation>>,
        taken: &mut Taken,
    ) {
        let before = self.of(kind).entries.remove(&key).unwrap_or_default();
        let same = before.about.uid == about.uid;
        let (read, faults) = match read {
            Ok(read) => (Some(read), Vec::new()),
            Err(faults) => (self.kept.last(kind, &key, &about.uid), faults),
        };
        let in_force = match read {
            Some(read) => {
                if let Some(written) = read.written.filter(|_| faults.is_empty()) {
                    self.kept.put(kind, &key, &about.uid, written);
                }
                let now = read.document.key();
                // A pod of the same name that was made anew is another one.
                if let Some(old) = before.in_force.filter(|old| *old != now) {
                    taken.deltas.push(Delta::Gone(old));
                }
                taken.deltas.push(Delta::Put(read.document));
                Some(now)
            }
            // What cannot be read any more stays as it was; another object of its name never was anything.
            None if same => before.in_force,
            None => {
                taken.deltas.extend(before.in_force.map(Delta::Gone));
                None
            }
        };
        let known = self.of(kind);
        if let Some(listing) = &mut known.listing {
            listing.insert(key.clone());
        }
        let entry = Entry {
            about,
            in_force,
            faults,
        };
        known.entries.insert(key.clone(), entry);
        taken.told.push((kind, key));
    }

    fn gone(&mut self, kind: Kind, key: &ObjectKey, taken: &mut Taken) {
        let entry = self.of(kind).entries.remove(key);
        self.kept.forget(kind, key);
        if let Some(entry) = entry {
            taken.deltas.extend(entry.in_force.map(Delta::Gone));
            taken.told.push((kind, key.clone()));
        }
    }

    /// Whether every kind was listed in full since the start.
    pub fn is_whole(&self) -> bool {
        self.kinds.values().all(|known| known.listed)
    }

    /// Kinds that were not listed in full yet, each with why, where it is known.
    pub fn awaited(&self) -> Vec<(Kind, Option<&str>)> {
        let awaited = self.kinds.iter().filter(|(_, known)| !known.listed);
        awaited
            .map(|(kind, known)| (*kind, known.down.as_ref().map(|(_, why)| why.as_str())))
            .collect()
    }

    /// The watch that is down for longest: its kind, for how long, and why.
    pub fn down(&self) -> Option<(Kind, Duration, &str)> {
        let down = self.kinds.iter().filter_map(|(kind, known)| {
            let (since, why) = known.down.as_ref()?;
            Some((*kind, since.elapsed(), why.as_str()))
        });
        down.max_by_key(|(_, since, _)| *since)
    }

    /// How long ago what is in force was last known to be what the API server has; zero: it is.
    pub fn age(&self) -> Duration {
        if !self.is_whole() {
            // Since the process before this one knew; where there was none, since the start.
            let before = self.kept.current.and_then(|then| {
                let passed = jiff::Timestamp::now().as_second().checked_sub(then)?;
                u64::try_from(passed).ok().map(Duration::from_secs)
            });
            return before.unwrap_or_default().max(self.began.elapsed());
        }
        self.down().map_or(Duration::ZERO, |(_, since, _)| since)
    }

    /// How long this process has followed.
    pub fn running(&self) -> Duration {
        self.began.elapsed()
    }

    /// How often a watch stood again after it had failed.
    pub fn reconnects(&self) -> u64 {
        self.reconnects
    }

    /// How often a kind was listed anew, because the server had forgotten what was seen last.
    pub fn relists(&self) -> u64 {
        self.relists
    }

    /// The objects of a kind.
    pub fn entries(&self, kind: Kind) -> impl Iterator<Item = (&ObjectKey, &Entry)> {
        self.kinds.get(&kind).into_iter().flat_map(|known| &known.entries)
    }

    /// One object.
    pub fn entry(&self, kind: Kind, key: &ObjectKey) -> Option<&Entry> {
        self.kinds.get(&kind)?.entries.get(key)
    }

    /// Objects whose present version is not in force.
    pub fn refused(&self) -> impl Iterator<Item = (Kind, &ObjectKey, &Entry)> {
        let all = self.kinds.iter();
        all.flat_map(|(kind, known)| known.entries.iter().map(|(key, entry)| (*kind, key, entry)))
            .filter(|(_, _, entry)| !entry.faults.is_empty())
    }

    /// Saves what a restart must not forget; after the policy was realised, since it waits for the disk.
    pub fn save(&mut self) {
        if !self.is_whole() {
            return;
        }
        let current = jiff::Timestamp::now() - jiff::SignedDuration::try_from(self.age()).unwrap_or_default();
        self.kept.save(Some(current.as_second()));
    }
}

#[cfg(test)]
mod tests;
