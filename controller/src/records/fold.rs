//! Folding: repeats of one (source, destination, port, protocol, rule) within a second become attempts, never lost.
//!
//! The first record goes out at once; what repeats it within the second, and within the same UTC day, goes out as one more
//! when the second is over. The sum of `attempts` over what went out is the number of records that came in, always.
//! Records are folded as the kernel wrote them, before anybody is named.

use std::collections::HashMap;

use cellwall_datapath::abi::Record;
use cellwall_datapath::abi::record::record_flags;
use rustc_hash::FxBuildHasher;

/// How long repeats are gathered, in the kernel's nanoseconds.
const WINDOW: u64 = 1_000_000_000;

/// Most windows open at once; beyond it records go out unfolded, which costs lines and loses nothing.
const MOST: usize = 65_536;

/// A record of the kernel and how often it was so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The first of them.
    pub record: Record,
    /// How many.
    pub attempts: u64,
    /// Time of the last, `CLOCK_MONOTONIC` nanoseconds.
    pub last: u64,
    /// It stands for records of many other ends: see [`super::limit`].
    pub overflow: bool,
}

impl From<Record> for Told {
    fn from(record: Record) -> Self {
        Self {
            record,
            attempts: 1,
            last: record.time,
            overflow: false,
        }
    }
}

impl Told {
    /// Takes in one that says the same.
    pub fn merge(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.last = self.last.max(other.last);
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    source: [u8; 16],
    destination: [u8; 16],
    generation: u32,
    cell: u32,
    ifindex: u32,
    port: u16,
    protocol: u8,
    /// What rules look at where there is no port.
    icmp_type: u8,
    hook: u8,
    dropped: u8,
    flags: u8,
    family: u8,
}

impl Key {
    fn of(record: &Record) -> Self {
        let reply = record.flags & record_flags::REPLY != 0;
        let icmp = matches!((record.protocol, record.family), (1, 4) | (58, 6));
        Self {
            source: record.source,
            destination: record.destination,
            generation: record.generation,
            cell: record.cell,
            ifindex: record.ifindex,
            port: if reply {
                record.source_port
            } else {
                record.destination_port
            },
            protocol: record.protocol,
            icmp_type: if icmp { record.detail } else { 0 },
            hook: record.hook,
            dropped: record.dropped,
            flags: record.flags,
            family: record.family,
        }
    }
}

#[derive(Debug)]
struct Window {
    opened: u64,
    day: u32,
    repeats: Option<Told>,
}

/// Windows that are open.
#[derive(Debug, Default)]
pub struct Fold {
    windows: HashMap<Key, Window, FxBuildHasher>,
}

impl Fold {
    /// Takes a record of a UTC day; answers what goes out now.
    pub fn push(&mut self, record: &Record, day: u32) -> Option<Told> {
        let key = Key::of(record);
        let told = Told::from(*record);
        let Some(window) = self.windows.get_mut(&key) else {
            if self.windows.len() < MOST {
                let window = Window {
                    opened: record.time,
                    day,
                    repeats: None,
                };
                self.windows.insert(key, window);
            }
            return Some(told);
        };
        if record.time.saturating_sub(window.opened) < WINDOW && window.day == day {
            match &mut window.repeats {
                Some(sum) => sum.merge(&told),
                none => *none = Some(told),
            }
            return None;
        }
        (window.opened, window.day) = (record.time, day);
        match window.repeats.take() {
            // What was gathered goes out first; this record opens the next window with it gathered.
            Some(sum) => {
                window.repeats = Some(told);
                Some(sum)
            }
            None => Some(told),
        }
    }

    /// What is due at `now`; windows that gathered nothing are closed.
    pub fn due(&mut self, now: u64) -> Vec<Told> {
        let mut out = Vec::new();
        self.windows.retain(|_, window| {
            if now.saturating_sub(window.opened) < WINDOW {
                return true;
            }
            out.extend(window.repeats.take());
            false
        });
        out.sort_by_key(|told| told.record.time);
        out
    }

    /// Everything that is still held, at the end.
    pub fn drain(&mut self) -> Vec<Told> {
        let mut out: Vec<Told> = self.windows.drain().filter_map(|(_, window)| window.repeats).collect();
        out.sort_by_key(|told| told.record.time);
        out
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A refused packet to this port, at this millisecond.
    pub(crate) fn record(millis: u64, port: u16) -> Record {
        Record {
            time: millis * 1_000_000,
            generation: 1,
            cell: 2,
            ifindex: 7,
            peer: 0,
            bytes: 60,
            ethertype: 0x0800,
            source_port: 4_000,
            destination_port: port,
            protocol: 6,
            detail: 2,
            hook: 0,
            dropped: 1,
            flags: record_flags::PORTS,
            family: 4,
            source: std::net::Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets(),
            destination: std::net::Ipv4Addr::new(192, 0, 2, 2).to_ipv6_mapped().octets(),
        }
    }

    #[test]
    fn the_first_goes_out_at_once_and_repeats_follow_as_one() {
        let mut fold = Fold::default();
        assert_eq!(fold.push(&record(0, 80), 0).map(|told| told.attempts), Some(1));
        let other_source_port = Record {
            source_port: 4_001,
            ..record(10, 80)
        };
        assert!(fold.push(&other_source_port, 0).is_none());
        assert!(fold.push(&record(900, 80), 0).is_none());
        assert_eq!(fold.push(&record(20, 81), 0).map(|told| told.attempts), Some(1));
        let due = fold.due(1_500 * 1_000_000);
        assert_eq!(due.len(), 1);
        assert_eq!((due[0].attempts, due[0].last), (2, 900 * 1_000_000));
    }

    #[test]
    fn messages_of_two_types_are_not_repeats_of_one() {
        let message = |detail| Record {
            protocol: 1,
            detail,
            ..record(0, 0)
        };
        let mut fold = Fold::default();
        assert!(fold.push(&message(8), 0).is_some() && fold.push(&message(13), 0).is_some());
        assert!(fold.push(&message(8), 0).is_none());
    }

    #[test]
    fn what_repeats_after_midnight_is_not_of_the_day_before() {
        let mut fold = Fold::default();
        assert!(fold.push(&record(0, 80), 20_000).is_some());
        assert!(fold.push(&record(1, 80), 20_000).is_none());
        let before = fold
            .push(&record(2, 80), 20_001)
            .expect("what was gathered before midnight");
        assert_eq!((before.attempts, before.last), (1, 1_000_000));
        assert_eq!(fold.drain().iter().map(|told| told.attempts).sum::<u64>(), 1);
    }

    #[test]
    fn attempts_that_went_out_are_records_that_came_in() {
        let mut fold = Fold::default();
        let mut out = 0;
        for i in 0..10_000_u64 {
            out += fold
                .push(&record(i * 7, u16::try_from(i % 13).unwrap()), 0)
                .map_or(0, |told| told.attempts);
            if i % 97 == 0 {
                out += fold.due(i * 7_000_000).iter().map(|told| told.attempts).sum::<u64>();
            }
        }
        out += fold.drain().iter().map(|told| told.attempts).sum::<u64>();
        assert_eq!(out, 10_000);
    }
}
