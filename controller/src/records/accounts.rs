//! What became of every record, to the unit: given = received + lost.
//!
//! The kernel counts what its programs gave (sent, or found the ring full); the reader counts what it took, by verdict and
//! reason. The sums are kept in a file of the state directory, written in place at each turn: they outlive an agent that
//! was killed, just as the kernel's do, and what it had taken and not yet handed out is counted as lost. A reboot ends
//! both; which maps the sums belong to is in the file.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use cellwall_datapath::abi::record::REASONS;

/// Name of the file.
pub const FILE: &str = "records.accounts";
const MARK: u64 = u64::from_be_bytes(*b"cwacct01");
const REASONS_OF: usize = REASONS as usize;
/// Kinds of records: PASS, ALERT, DROP, and a DROP that was let through.
pub const KINDS: usize = 4;

/// Where a received record may get lost on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The flow log did not take it.
    Sink,
    /// The collector did not take it.
    Collector,
    /// An agent was killed that held it.
    Killed,
    /// It was of a size that is not ours.
    Malformed,
}

impl Loss {
    /// All of them, as they are numbered.
    pub const ALL: [Self; 4] = [Self::Sink, Self::Collector, Self::Killed, Self::Malformed];

    /// As metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sink => "sink",
            Self::Collector => "collector",
            Self::Killed => "killed",
            Self::Malformed => "malformed",
        }
    }
}

/// The sums. Written by the reader, read by everybody.
#[derive(Debug)]
pub struct Accounts {
    received: [[AtomicU64; REASONS_OF]; KINDS],
    handed: AtomicU64,
    lost: [AtomicU64; Loss::ALL.len()],
    overflow: AtomicU64,
    /// By action: records given that no agent has counted, from before the sums began.
    before: [AtomicU64; 3],
    /// By action: what the last check could not account for. Not saved.
    missing: [AtomicU64; 3],
    /// Unanswered flows that made room for newer ones, as the sweep has reckoned. Not saved.
    pub evicted: AtomicU64,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            received: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            handed: AtomicU64::new(0),
            lost: Default::default(),
            overflow: AtomicU64::new(0),
            before: Default::default(),
            missing: Default::default(),
            evicted: AtomicU64::new(0),
        }
    }
}

impl Accounts {
    fn saved(&self) -> impl Iterator<Item = &AtomicU64> {
        let single = [&self.handed, &self.overflow];
        let sums = self.received.iter().flatten().chain(single);
        sums.chain(&self.lost).chain(&self.before)
    }

    /// A record was taken from the ring.
    pub fn take(&self, kind: u32, reason: u32) {
        let of_kind = &self.received[kind as usize % KINDS];
        add(&of_kind[reason as usize % REASONS_OF], 1);
    }

    /// So many were handed on, or counted as lost where they should have been.
    pub fn hand(&self, records: u64) {
        add(&self.handed, records);
    }

    /// So many got lost.
    pub fn lose(&self, how: Loss, records: u64) {
        add(&self.lost[how as usize], records);
    }

    /// So many are told in lines that name one end only.
    pub fn overflow(&self, records: u64) {
        add(&self.overflow, records);
    }

    /// How many are told in lines that name one end only.
    pub fn overflown(&self) -> u64 {
        get(&self.overflow)
    }

    /// How many got lost so.
    pub fn lost(&self, how: Loss) -> u64 {
        get(&self.lost[how as usize])
    }

    /// All that got lost after the ring.
    pub fn all_lost(&self) -> u64 {
        self.lost.iter().map(get).sum()
    }

    /// Received records by kind and reason; those that there are.
    pub fn received(&self) -> Vec<(u8, u8, u64)> {
        let mut found = Vec::new();
        for (kind, of_kind) in (0..).zip(&self.received) {
            for (reason, count) in (0..).zip(of_kind) {
                let count = get(count);
                if count > 0 {
                    found.push((kind, reason, count));
                }
            }
        }
        found
    }

    /// All that was received.
    pub fn all_received(&self) -> u64 {
        self.received.iter().flatten().map(get).sum()
    }

    /// By action, what was received: a DROP that was let through is a DROP.
    fn by_action(&self) -> [u64; 3] {
        let of = |kind: usize| self.received[kind].iter().map(get).sum::<u64>();
        [of(0), of(1), of(2) + of(3)]
    }

    /// By action, how many of the records `sent` are neither received nor known to be lost: none, where all is well and the
    /// ring is empty.
    pub fn gap(&self, sent: [u64; 3]) -> [i64; 3] {
        let known = self.by_action();
        std::array::from_fn(|action| {
            let known = known[action] + get(&self.before[action]);
            i64::try_from(i128::from(sent[action]) - i128::from(known)).unwrap_or(i64::MAX)
        })
    }

    /// What the first check of an agent cannot account for: it was given before the sums began, or its reader was killed
    /// between taking it and counting it.
    pub fn settle(&self, gap: [i64; 3]) {
        for (before, gap) in self.before.iter().zip(gap) {
            add(before, u64::try_from(gap).unwrap_or(0));
        }
    }

    /// Records given that no reader has counted.
    pub fn unread(&self) -> u64 {
        self.before.iter().map(get).sum()
    }

    /// What a later check cannot account for.
    pub fn set_missing(&self, gap: [i64; 3]) {
        for (missing, gap) in self.missing.iter().zip(gap) {
            missing.store(gap.unsigned_abs(), Ordering::Relaxed);
        }
    }

    /// Records that the last check could not account for.
    pub fn missing(&self) -> u64 {
        self.missing.iter().map(get).sum()
    }
}

/// The sums' file.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    maps: [u64; 2],
    /// Whether the sums of an agent before were taken over.
    pub resumed: bool,
}

impl Ledger {
    /// Opens the file in a directory. Where it holds the sums of the same maps (`ring` is the ring's number), `accounts`
    /// goes on from them; what that agent held when it ended counts as lost.
    pub fn open(directory: &Path, ring: u32, accounts: &Accounts) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let file = options.open(directory.join(FILE))?;
        let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let maps = [u64::from(crc32fast::hash(&boot)), u64::from(ring)];
        let mut ledger = Self {
            file,
            maps,
            resumed: false,
        };
        let mut bytes = vec![0; ledger.bytes(accounts).len()];
        if ledger.file.read_exact_at(&mut bytes, 0).is_ok() {
            ledger.resumed = ledger.resume(&bytes, accounts);
        }
        ledger.save(accounts)?;
        Ok(ledger)
    }

    fn head(&self) -> [u64; 3] {
        [MARK, self.maps[0], self.maps[1]]
    }

    fn bytes(&self, accounts: &Accounts) -> Vec<u8> {
        let words = self.head().into_iter().chain(accounts.saved().map(get));
        words.flat_map(u64::to_ne_bytes).collect()
    }

    fn resume(&self, bytes: &[u8], accounts: &Accounts) -> bool {
        let (words, _) = bytes.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_ne_bytes(*word));
        if !self.head().iter().all(|own| words.next() == Some(*own)) {
            return false;
        }
        for (sum, saved) in accounts.saved().zip(words) {
            sum.store(saved, Ordering::Relaxed);
        }
        let held = accounts.all_received().saturating_sub(get(&accounts.handed));
        accounts.lose(Loss::Killed, held);
        accounts.hand(held);
        true
    }

    /// Writes the sums, in one call: whoever is killed has written all of them or none.
    pub fn save(&self, accounts: &Accounts) -> io::Result<()> {
        self.file.write_all_at(&self.bytes(accounts), 0)
    }
}

fn add(sum: &AtomicU64, count: u64) {
    sum.fetch_add(count, Ordering::Relaxed);
}

fn get(sum: &AtomicU64) -> u64 {
    sum.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_go_on_over_a_restart_and_what_a_killed_agent_held_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let first = Accounts::default();
        let ledger = Ledger::open(directory.path(), 7, &first).unwrap();
        assert!(!ledger.resumed);
        for _ in 0..10 {
            first.take(2, 1);
        }
        first.hand(7);
        ledger.save(&first).unwrap();

        let second = Accounts::default();
        assert!(Ledger::open(directory.path(), 7, &second).unwrap().resumed);
        assert_eq!(second.received(), [(2, 1, 10)]);
        assert_eq!((second.lost(Loss::Killed), second.all_lost()), (3, 3));
        // Two more were taken from the ring by the killed agent, and not counted.
        assert_eq!(second.gap([0, 0, 12]), [0, 0, 2]);
        second.settle([0, 0, 2]);
        assert_eq!((second.gap([0, 0, 12]), second.unread()), ([0; 3], 2));

        let of_other_maps = Accounts::default();
        assert!(!Ledger::open(directory.path(), 8, &of_other_maps).unwrap().resumed);
        assert_eq!(of_other_maps.all_received(), 0);
    }
}
