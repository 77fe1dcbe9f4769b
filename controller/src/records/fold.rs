//! Folding: repeats of one (source, destination, port, protocol, rule) within a second become attempts, never lost.
//!
//! The first record goes out at once; what repeats it within the second goes out as one more record when the second
//! is over. The sum of `attempts` over what went out is the number of records that came in, always.

use std::collections::HashMap;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use super::FlowRecord;

/// How long repeats are gathered.
const WINDOW: SignedDuration = SignedDuration::from_secs(1);

/// Most windows open at once; beyond it records go out unfolded, which costs lines and loses nothing.
const MOST: usize = 65_536;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    port: Option<u16>,
    /// What rules look at where there is no port.
    icmp_type: Option<u8>,
    protocol: String,
    rule: Option<String>,
    verdict: String,
    applied: String,
    reason: String,
    hook: String,
    generation: u32,
}

#[derive(Debug)]
struct Window {
    opened: Timestamp,
    repeats: Option<FlowRecord>,
}

/// Windows that are open.
#[derive(Debug, Default)]
pub struct Fold {
    windows: HashMap<Key, Window>,
}

impl Fold {
    /// Takes a record; answers what goes out now.
    pub fn push(&mut self, record: FlowRecord) -> Option<FlowRecord> {
        let key = key(&record);
        match self.windows.get_mut(&key) {
            Some(window) if record.time.duration_since(window.opened) < WINDOW => {
                match &mut window.repeats {
                    Some(sum) => {
                        sum.attempts += record.attempts;
                        sum.last_seen = sum.last_seen.max(record.last_seen);
                    }
                    none => *none = Some(record),
                }
                None
            }
            Some(window) => {
                let due = window.repeats.take();
                window.opened = record.time;
                match due {
                    // What was gathered goes out first; this record opens the next window with it gathered.
                    Some(sum) => {
                        window.repeats = Some(record);
                        Some(sum)
                    }
                    None => Some(record),
                }
            }
            None => {
                if self.windows.len() < MOST {
                    self.windows.insert(
                        key,
                        Window {
                            opened: record.time,
                            repeats: None,
                        },
                    );
                }
                Some(record)
            }
        }
    }

    /// What is due at `now`; windows that gathered nothing are closed.
    pub fn due(&mut self, now: Timestamp) -> Vec<FlowRecord> {
        let mut out = Vec::new();
        self.windows.retain(|_, window| {
            if now.duration_since(window.opened) < WINDOW {
                return true;
            }
            out.extend(window.repeats.take());
            false
        });
        out.sort_by_key(|record| record.time);
        out
    }

    /// Everything that is still held, at the end.
    pub fn drain(&mut self) -> Vec<FlowRecord> {
        let mut out: Vec<FlowRecord> = self.windows.drain().filter_map(|(_, window)| window.repeats).collect();
        out.sort_by_key(|record| record.time);
        out
    }
}

fn key(record: &FlowRecord) -> Key {
    Key {
        source: record.source.ip,
        destination: record.destination.ip,
        port: record.destination.port,
        icmp_type: record.icmp_type,
        protocol: record.protocol.clone(),
        rule: record.rule.as_ref().map(|rule| rule.name.clone()),
        verdict: record.verdict.clone(),
        applied: record.applied.clone(),
        reason: record.reason.clone(),
        hook: record.hook.clone(),
        generation: record.generation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::flow::FlowEnd;

    fn record(millis: i64, port: u16) -> FlowRecord {
        let time = Timestamp::from_millisecond(millis).unwrap();
        FlowRecord {
            time,
            node: "node-0".into(),
            verdict: "DROP".into(),
            action: Some("Drop".into()),
            applied: "Drop".into(),
            reason: "RULE".into(),
            rule: None,
            generation: 1,
            hook: "FROM_POD".into(),
            protocol: "TCP".into(),
            tcp_flags: None,
            icmp_type: None,
            source: FlowEnd::default(),
            destination: FlowEnd {
                port: Some(port),
                ..FlowEnd::default()
            },
            attempts: 1,
            first_seen: time,
            last_seen: time,
        }
    }

    #[test]
    fn the_first_goes_out_at_once_and_repeats_follow_as_one() {
        let mut fold = Fold::default();
        assert_eq!(fold.push(record(0, 80)).map(|r| r.attempts), Some(1));
        assert!(fold.push(record(10, 80)).is_none());
        assert!(fold.push(record(900, 80)).is_none());
        assert_eq!(fold.push(record(20, 81)).map(|r| r.attempts), Some(1));
        let due = fold.due(Timestamp::from_millisecond(1_500).unwrap());
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].attempts, 2);
        assert_eq!(due[0].last_seen, Timestamp::from_millisecond(900).unwrap());
    }

    #[test]
    fn messages_of_two_types_are_not_repeats_of_one() {
        let message = |icmp_type| FlowRecord {
            icmp_type: Some(icmp_type),
            ..record(0, 0)
        };
        let mut fold = Fold::default();
        assert!(fold.push(message(8)).is_some() && fold.push(message(13)).is_some());
        assert!(fold.push(message(8)).is_none());
    }

    #[test]
    fn attempts_that_went_out_are_records_that_came_in() {
        let mut fold = Fold::default();
        let mut out = 0;
        for i in 0..10_000_i64 {
            out += fold
                .push(record(i * 7, u16::try_from(i % 13).unwrap()))
                .map_or(0, |r| r.attempts);
            if i % 97 == 0 {
                out += fold
                    .due(Timestamp::from_millisecond(i * 7).unwrap())
                    .iter()
                    .map(|r| r.attempts)
                    .sum::<u64>();
            }
        }
        out += fold.drain().iter().map(|r| r.attempts).sum::<u64>();
        assert_eq!(out, 10_000);
    }
}
