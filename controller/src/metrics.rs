//! Metrics by Prometheus' conventions, made anew at each scrape from what the kernel and the agent hold then.

mod api;
mod records;

pub use records::{ByReason, RecordScrape};

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub use api::ApiScrape;

/// Flows and packets by verdict, reason, hook.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct VerdictLabels {
    /// PASS, ALERT, DROP.
    pub verdict: String,
    /// Pass or Drop.
    pub applied: String,
    /// Reason.
    pub reason: String,
    /// FROM_POD or TO_POD.
    pub hook: String,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RuleLabels {
    /// Name.
    pub rule: String,
    /// Action.
    pub action: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MapLabels {
    map: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabels {
    condition: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: String,
}

/// Flows, packets, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Totals {
    pub flows: u64,
    pub packets: u64,
    pub bytes: u64,
}

/// What a scrape tells.
#[derive(Debug, Default)]
pub struct Scrape {
    /// By verdict and reason.
    pub verdicts: Vec<(VerdictLabels, Totals)>,
    /// By rule.
    pub rules: Vec<(RuleLabels, Totals)>,
    /// Map, entries, capacity.
    pub maps: Vec<(String, u64, u64)>,
    /// Flows and trains that found their table full, by table; verdicts are given without an entry.
    pub maps_refused: Vec<(String, u64)>,
    /// Unanswered flows that made room for newer ones.
    pub evicted: u64,
    /// Answered flows whose pod held its share of their tables.
    pub flows_over_quota: u64,
    /// What became of records.
    pub records: RecordScrape,
    /// State of the node.
    pub state: String,
    /// Generation last asked for.
    pub generation_wanted: u32,
    /// Generation the kernel decides by.
    pub generation_realised: u32,
    /// Age of the policy in seconds.
    pub policy_age_seconds: u64,
    /// Pods guarded.
    pub pods_protected: usize,
    /// Pods that cannot be guarded.
    pub pods_not_enforceable: usize,
    /// Conditions, and whether they hold.
    pub conditions: Vec<(String, bool)>,
    /// Packets that the self-test has judged.
    pub probed: u64,
    /// Interfaces that are to have programs, and those that have both.
    pub interfaces: usize,
    /// See above.
    pub interfaces_guarded: usize,
    /// What is told of the API server; none: there is none.
    pub api: Option<ApiScrape>,
}

/// Time that applies took; lives as long as the process.
#[derive(Debug, Clone)]
pub struct ApplyDuration(Histogram);

impl Default for ApplyDuration {
    fn default() -> Self {
        Self(Histogram::new([
            0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
        ]))
    }
}

impl ApplyDuration {
    /// One more apply.
    pub fn observe(&self, took: std::time::Duration) {
        self.0.observe(took.as_secs_f64());
    }
}

/// How long new interfaces were of a pod that was not known yet; lives as long as the process.
#[derive(Debug, Clone)]
pub struct StartupWindow(Histogram);

impl Default for StartupWindow {
    fn default() -> Self {
        Self(Histogram::new([
            0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
        ]))
    }
}

impl StartupWindow {
    /// One more pod is known.
    pub fn observe(&self, took: std::time::Duration) {
        self.0.observe(took.as_secs_f64());
    }
}

fn counter(value: u64) -> Counter {
    let counter: Counter<u64, AtomicU64> = Counter::default();
    counter.inc_by(value);
    counter
}

fn gauge(value: u64) -> Gauge {
    let gauge: Gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    gauge
}

/// What is told of maps.
fn maps(registry: &mut Registry, scrape: &Scrape) {
    let (entries, capacity) = (
        Family::<MapLabels, Gauge>::default(),
        Family::<MapLabels, Gauge>::default(),
    );
    for (map, used, most) in &scrape.maps {
        entries
            .get_or_create(&MapLabels { map: map.clone() })
            .set(i64::try_from(*used).unwrap_or(i64::MAX));
        capacity
            .get_or_create(&MapLabels { map: map.clone() })
            .set(i64::try_from(*most).unwrap_or(i64::MAX));
    }
    registry.register("map_entries", "Entries of a kernel map", entries);
    registry.register("map_capacity", "Entries that a kernel map can hold", capacity);
    let refused = Family::default();
    for (map, count) in &scrape.maps_refused {
        add(&refused, &MapLabels { map: map.clone() }, *count);
    }
    registry.register("map_full", "Entries that found no room in a flow table", refused);
    let over_quota = Counter::<u64>::default();
    over_quota.inc_by(scrape.flows_over_quota);
    registry.register(
        "flows_over_quota",
        "Answered flows whose pod held its share of the flow tables",
        over_quota,
    );
    let evicted = Family::default();
    let openings = MapLabels {
        map: "OPENING".to_owned(),
    };
    add(&evicted, &openings, scrape.evicted);
    registry.register("map_evicted", "Unanswered flows that made room for newer ones", evicted);
}

/// What is told of the node's state.
fn status(registry: &mut Registry, scrape: &Scrape) {
    let states = Family::<StateLabels, Gauge>::default();
    for state in ["Normal", "Abnormal", "NormalToBeConfirmed"] {
        let labels = StateLabels {
            state: state.to_owned(),
        };
        states.get_or_create(&labels).set(i64::from(scrape.state == state));
    }
    registry.register("intercept_state", "1 for the state that the node is in", states);
    let conditions = Family::<ConditionLabels, Gauge>::default();
    for (condition, holds) in &scrape.conditions {
        let labels = ConditionLabels {
            condition: condition.clone(),
        };
        conditions.get_or_create(&labels).set(i64::from(*holds));
    }
    registry.register("condition", "1 where a condition of the node holds", conditions);
    registry.register(
        "probe_packets",
        "Packets that the self-test has run and judged",
        counter(scrape.probed),
    );
    registry.register(
        "interfaces",
        "Pod interfaces that are to have programs",
        gauge(scrape.interfaces as u64),
    );
    registry.register(
        "interfaces_guarded",
        "Pod interfaces whose two hooks have our programs, read back from the kernel",
        gauge(scrape.interfaces_guarded as u64),
    );
}

/// The text of a scrape.
pub fn render(scrape: &Scrape, applies: &ApplyDuration, startups: &StartupWindow) -> String {
    let mut registry = Registry::with_prefix("cellwall");
    let (flows, packets, bytes) = (Family::default(), Family::default(), Family::default());
    for (labels, totals) in &scrape.verdicts {
        add(&flows, labels, totals.flows);
        add(&packets, labels, totals.packets);
        add(&bytes, labels, totals.bytes);
    }
    registry.register("flows", "Flows judged (for drops: packets refused)", flows);
    registry.register("packets", "Packets judged", packets);
    registry.register_with_unit("traffic", "Bytes judged", Unit::Bytes, bytes);
    let (flows, packets, bytes) = (Family::default(), Family::default(), Family::default());
    for (labels, totals) in &scrape.rules {
        add(&flows, labels, totals.flows);
        add(&packets, labels, totals.packets);
        add(&bytes, labels, totals.bytes);
    }
    registry.register(
        "rule_flows",
        "Flows a rule decided (for Drop rules: packets refused)",
        flows,
    );
    registry.register("rule_packets", "Packets a rule decided", packets);
    registry.register_with_unit("rule_traffic", "Bytes a rule decided", Unit::Bytes, bytes);
    maps(&mut registry, scrape);
    records::register(&mut registry, &scrape.records);
    status(&mut registry, scrape);
    registry.register(
        "policy_generation_wanted",
        "Generation last asked for",
        gauge(scrape.generation_wanted.into()),
    );
    registry.register(
        "policy_generation_realised",
        "Generation that the kernel decides by",
        gauge(scrape.generation_realised.into()),
    );
    registry.register_with_unit(
        "policy_age",
        "Time since the policy in force was last known to be the wanted one",
        Unit::Seconds,
        gauge(scrape.policy_age_seconds),
    );
    registry.register_with_unit(
        "apply_duration",
        "Time to realise a change",
        Unit::Seconds,
        applies.0.clone(),
    );
    registry.register_with_unit(
        "startup_window",
        "Time from a new interface's first sight until its pod's policy is in force; 0: with the first sight",
        Unit::Seconds,
        startups.0.clone(),
    );
    registry.register(
        "pods_protected",
        "Pods of this node whose interfaces are guarded",
        gauge(scrape.pods_protected as u64),
    );
    registry.register(
        "pods_not_enforceable",
        "Pods of this node that cannot be guarded (host network)",
        gauge(scrape.pods_not_enforceable as u64),
    );
    if let Some(api) = &scrape.api {
        api::register(&mut registry, api);
    }
    registry.register("build_info", "Version of the agent", build());
    let mut text = String::new();
    // why: writing into a String fails only if a metric's own encoding does, and then nothing is better than half
    if encode(&mut text, &registry).is_err() {
        String::new()
    } else {
        text
    }
}

/// Always 1; the labels say it.
fn build() -> Family<BuildLabels, Gauge> {
    let build = Family::<BuildLabels, Gauge>::default();
    build
        .get_or_create(&BuildLabels {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
        .set(1);
    build
}

fn add<L: Clone + std::hash::Hash + Eq>(family: &Family<L, Counter>, labels: &L, value: u64) {
    family.get_or_create(labels).inc_by(value);
}

#[cfg(test)]
mod tests;
