//! One alert, what it is known by, and how a record becomes part of it.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::records::flow::{Workload, is_pod};
use crate::records::{FlowEnd, FlowRecord, RuleName};

const DAY: i64 = 86_400;

/// What an alert is known by: its UTC day as a big-endian number, so that days lie in order, and a digest of the rest.
pub type Key = [u8; 20];

/// Days since 1970 of a time.
pub fn day_of(time: Timestamp) -> u32 {
    u32::try_from(time.as_second().div_euclid(DAY)).unwrap_or(0)
}

/// The day of a key.
pub fn day_of_key(key: &Key) -> u32 {
    u32::from_be_bytes([key[0], key[1], key[2], key[3]])
}

/// The least key of a day.
pub fn first_key(day: u32) -> Key {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&day.to_be_bytes());
    key
}

/// An end of an alert: of a pod, or of what else has the address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[allow(missing_docs, reason = "as in FlowEnd")]
pub struct AlertEnd {
    /// Null in an alert that stands for many other ends.
    pub ip: Option<IpAddr>,
    pub namespace: Option<String>,
    pub pod: Option<String>,
    pub uid: Option<String>,
    pub app: Option<String>,
    /// What owns the pod.
    pub workload: Option<Workload>,
    pub entity: Option<String>,
}

impl From<&FlowEnd> for AlertEnd {
    fn from(end: &FlowEnd) -> Self {
        Self {
            ip: end.ip,
            namespace: end.namespace.clone(),
            pod: end.pod.clone(),
            uid: end.uid.clone(),
            app: end.app.clone(),
            workload: end.workload.clone(),
            entity: end.entity.clone(),
        }
    }
}

impl AlertEnd {
    /// Whether this is `namespace/pod`.
    fn is_named(&self, name: &str) -> bool {
        is_pod(self.namespace.as_deref(), self.pod.as_deref(), name)
    }

    fn digest_into(&self, digest: &mut Sha256) {
        match (&self.uid, self.ip) {
            (Some(uid), _) => part(digest, uid.as_bytes()),
            (None, Some(ip)) => part(digest, ip.to_string().as_bytes()),
            (None, None) => part(digest, b""),
        }
    }
}

/// An alert. `action`, `applied`, `reason` and `verdict` are those of its last attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in FlowRecord")]
pub struct Alert {
    pub verdict: String,
    pub action: Option<String>,
    pub applied: String,
    pub reason: String,
    pub rule: Option<RuleName>,
    pub protocol: String,
    /// Null where the protocol has none, and in an alert that stands for many.
    pub port: Option<u16>,
    pub source: AlertEnd,
    pub destination: AlertEnd,
    /// How often it was tried.
    pub attempts: u64,
    /// How many of those were dropped.
    pub dropped: u64,
    #[serde(with = "time")]
    pub first_seen: Timestamp,
    #[serde(with = "time")]
    pub last_seen: Timestamp,
}

impl Alert {
    /// The alert that a record is part of; none where the verdict is PASS.
    pub fn of(record: &FlowRecord) -> Option<Self> {
        (record.verdict != "PASS").then(|| Self {
            verdict: record.verdict.clone(),
            action: record.action.clone(),
            applied: record.applied.clone(),
            reason: record.reason.clone(),
            rule: record.rule.clone(),
            protocol: record.protocol.clone(),
            port: record.destination.port,
            source: (&record.source).into(),
            destination: (&record.destination).into(),
            attempts: record.attempts,
            dropped: if record.applied == "Drop" { record.attempts } else { 0 },
            first_seen: record.first_seen,
            last_seen: record.last_seen,
        })
    }

    /// What it is known by.
    pub fn key(&self) -> Key {
        let mut digest = Sha256::new();
        self.source.digest_into(&mut digest);
        self.destination.digest_into(&mut digest);
        part(
            &mut digest,
            &self.port.map_or([0; 3], |port| {
                let [high, low] = port.to_be_bytes();
                [1, high, low]
            }),
        );
        part(&mut digest, self.protocol.as_bytes());
        if let Some(rule) = &self.rule {
            part(&mut digest, rule.name.as_bytes());
        } else {
            part(&mut digest, b"");
            part(&mut digest, self.reason.as_bytes());
        }
        let mut key = first_key(day_of(self.last_seen));
        key[4..].copy_from_slice(&digest.finalize()[..16]);
        key
    }

    /// Takes in what else is known of the same alert.
    pub fn merge(&mut self, other: &Self) {
        self.attempts = self.attempts.saturating_add(other.attempts);
        self.dropped = self.dropped.saturating_add(other.dropped);
        self.first_seen = self.first_seen.min(other.first_seen);
        if other.last_seen >= self.last_seen {
            let (attempts, dropped, first_seen) = (self.attempts, self.dropped, self.first_seen);
            *self = Self {
                attempts,
                dropped,
                first_seen,
                ..other.clone()
            };
        }
    }

    /// The alert that stands for all those of the end `source` or the other one that there is no room for.
    #[must_use]
    pub fn of_many(mut self, source: bool) -> Self {
        let other = if source {
            &mut self.destination
        } else {
            &mut self.source
        };
        *other = AlertEnd::default();
        self.port = None;
        self
    }

    /// Whether it is from or to the pod `namespace/name`.
    pub fn is_about(&self, pod: &str) -> bool {
        self.source.is_named(pod) || self.destination.is_named(pod)
    }
}

/// Parts of a digest have their length before them, so that no two lists of parts are one text.
fn part(digest: &mut Sha256, bytes: &[u8]) {
    digest.update((bytes.len() as u64).to_be_bytes());
    digest.update(bytes);
}

/// Times as RFC 3339 for people, as microseconds on disk.
mod time {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            time.serialize(to)
        } else {
            time.as_microsecond().serialize(to)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        if from.is_human_readable() {
            return Timestamp::deserialize(from);
        }
        Timestamp::from_microsecond(i64::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}
