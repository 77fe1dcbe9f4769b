//! What metrics tell of records and alerts: given = received + lost{ring_full} + lost{unread}, and of the received ones some
//! may be lost later.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{ReasonLabels, add, counter, gauge};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RecordLabels {
    verdict: String,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GivenLabels {
    verdict: String,
}

/// Counts by verdict and reason.
pub type ByReason = Vec<((String, String), u64)>;

/// What became of records.
#[derive(Debug, Default)]
pub struct RecordScrape {
    /// That the programs gave, by verdict.
    pub given: Vec<(String, u64)>,
    /// Received from the kernel.
    pub received: ByReason,
    /// That found the ring full.
    pub ring_full: ByReason,
    /// Lost, by where they were lost.
    pub lost: Vec<(String, u64)>,
    /// That the last check could neither find nor account for.
    pub missing: u64,
    /// Told in lines that stand for many, since their pod had as many lines as it may.
    pub overflow: u64,
    /// Alerts that wait for the disk.
    pub alerts_waiting: usize,
    /// Whether the last transaction of alerts failed.
    pub alerts_failing: bool,
}

fn by_reason(counts: &ByReason) -> Family<RecordLabels, Counter> {
    let family = Family::default();
    for ((verdict, reason), count) in counts {
        let (verdict, reason) = (verdict.clone(), reason.clone());
        add(&family, &RecordLabels { verdict, reason }, *count);
    }
    family
}

pub(super) fn register(registry: &mut Registry, scrape: &RecordScrape) {
    let given = Family::default();
    for (verdict, count) in &scrape.given {
        let verdict = verdict.clone();
        add(&given, &GivenLabels { verdict }, *count);
    }
    registry.register(
        "records_given",
        "Flow records that the programs gave, received or not",
        given,
    );
    registry.register(
        "records_received",
        "Flow records received from the kernel",
        by_reason(&scrape.received),
    );
    registry.register(
        "records_ring_full",
        "Flow records that found the ring full",
        by_reason(&scrape.ring_full),
    );
    let lost = Family::default();
    for (reason, count) in &scrape.lost {
        add(&lost, &ReasonLabels { reason: reason.clone() }, *count);
    }
    registry.register("records_lost", "Flow records lost, by where", lost);
    registry.register(
        "records_missing",
        "Flow records given that are neither received nor counted as lost; always 0",
        gauge(scrape.missing),
    );
    registry.register(
        "records_overflow",
        "Flow records told in lines without the other end, beyond the lines that a pod may have",
        counter(scrape.overflow),
    );
    registry.register(
        "alerts_waiting",
        "Alerts that are not on disk yet",
        gauge(scrape.alerts_waiting as u64),
    );
    registry.register(
        "alerts_write_failing",
        "1 while alerts cannot be written to the state directory",
        gauge(scrape.alerts_failing.into()),
    );
}
