//! The records of late, in memory, for `cellwall flows`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::FlowRecord;

/// Records kept.
const KEPT: usize = 100_000;

/// Which records are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Only {
    /// Last seen within so many seconds.
    pub since: Option<u64>,
    /// From or to namespace/pod.
    pub pod: Option<String>,
    /// By this rule.
    pub rule: Option<String>,
    /// With this verdict.
    pub verdict: Option<String>,
}

impl Only {
    /// Whether a record is one of them now.
    pub fn fits(&self, record: &FlowRecord, now: Timestamp) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|w| found == Some(w));
        let since = self
            .since
            .map(|seconds| SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)));
        let pod = |name: &str| record.source.is_pod(name) || record.destination.is_pod(name);
        is(&self.verdict, Some(&record.verdict))
            && is(&self.rule, record.rule.as_ref().map(|rule| rule.name.as_str()))
            && self.pod.as_deref().is_none_or(pod)
            && since.is_none_or(|since| now.duration_since(record.last_seen) <= since)
    }
}

/// A ring of records with followers.
#[derive(Debug)]
pub struct Recent {
    ring: Mutex<VecDeque<Arc<FlowRecord>>>,
    news: broadcast::Sender<Arc<FlowRecord>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            ring: Mutex::default(),
            news: broadcast::channel(4_096).0,
        }
    }
}

impl Recent {
    /// Adds one; the oldest goes when the ring is full.
    pub fn push(&self, record: Arc<FlowRecord>) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back(record.clone());
        // Sent while the ring is held, so that `all_and_follow` neither misses nor repeats one. No follower is fine.
        let _ = self.news.send(record);
    }

    /// All that is kept, oldest first, and a receiver of what comes after exactly those.
    pub fn all_and_follow(&self) -> (Vec<Arc<FlowRecord>>, broadcast::Receiver<Arc<FlowRecord>>) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        (ring.iter().cloned().collect(), self.news.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_told_where_all_that_is_asked_for_is_so() {
        let end = |pod: Option<&str>| {
            json!({"ip": null, "port": null, "namespace": pod.map(|_| "shop"), "pod": pod, "uid": null, "app": null,
                "images": [], "labels": {}, "objects": [], "entity": null})
        };
        let time = "2026-01-02T03:04:05Z";
        let record = json!({
            "time": time, "node": "n", "verdict": "DROP", "action": null, "applied": "Drop", "reason": "RULE",
            "rule": {"name": "closed", "uid": "u", "priority": 1}, "generation": 1, "hook": "FROM_POD", "protocol": "TCP",
            "source": end(Some("web")), "destination": end(None), "attempts": 1, "first_seen": time, "last_seen": time,
        });
        let record: FlowRecord = serde_json::from_value(record).unwrap();
        let now = record.last_seen + SignedDuration::from_secs(10);
        let asked = |since, [pod, rule, verdict]: [Option<&str>; 3]| {
            let [pod, rule, verdict] = [pod, rule, verdict].map(|text| text.map(str::to_owned));
            Only {
                since,
                pod,
                rule,
                verdict,
            }
            .fits(&record, now)
        };
        assert!(asked(None, [None; 3]));
        assert!(asked(Some(10), [Some("shop/web"), Some("closed"), Some("DROP")]));
        assert!(!asked(Some(9), [None; 3]), "it is older");
        for other in [
            [Some("shop/db"), None, None],
            [None, Some("open"), None],
            [None, None, Some("PASS")],
        ] {
            assert!(!asked(None, other), "{other:?}");
        }
    }
}
