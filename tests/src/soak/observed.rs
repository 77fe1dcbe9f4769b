//! What was seen, and the table of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::Options;
use super::model::Expected;
use crate::numbered::Heard;

/// Wrong answers that are told word by word.
const TOLD: usize = 20;

/// How something was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A TCP connection with a byte each way.
    Tcp,
    /// A datagram over a socket of its own.
    Udp,
    /// One of twenty over one socket, so that it is a flow that changes find open.
    LastingUdp,
}

/// Counts, from all threads.
#[derive(Debug)]
pub(super) struct Observed {
    began: Instant,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: BTreeMap<(Kind, Expected), (u64, u64)>,
    late: u64,
    wrong: u64,
    told: Vec<String>,
    /// How many of these [`Observed::so_far`] has told.
    shown: usize,
    events: BTreeMap<&'static str, u64>,
    adoptions: Vec<Duration>,
    /// Times that the API server was away: whether it was let go on in the end (else killed), and for how long.
    outages: Vec<(bool, Duration)>,
    /// Agents that took over without a server, and those of them that said so.
    started_away: u64,
    stale: u64,
}

impl Default for Observed {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            counts: Mutex::default(),
        }
    }
}

impl Observed {
    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().expect("no thread failed")
    }

    /// One connection; `wrong` says what was wrong with it.
    pub(super) fn connection(&self, kind: Kind, expected: Expected, answered: bool, wrong: Option<String>) {
        let mut counts = self.counts();
        let (all, passed) = counts.connections.entry((kind, expected)).or_default();
        *all += 1;
        *passed += u64::from(answered);
        if let Some(wrong) = wrong {
            counts.wrong += 1;
            if counts.told.len() < TOLD {
                let told = format!("after {:.3} s: {}", self.began.elapsed().as_secs_f64(), wrong);
                counts.told.push(told);
            }
        }
    }

    /// One that had to pass was not answered in time and is asked again.
    pub(super) fn late(&self) {
        self.counts().late += 1;
    }

    /// Something was done.
    pub(super) fn event(&self, what: &'static str, times: u64) {
        *self.counts().events.entry(what).or_default() += times;
    }

    /// From the start of a process until all that is valid was in force.
    pub(super) fn adopted(&self, took: Duration) {
        self.counts().adoptions.push(took);
    }

    /// The API server was away for so long: stopped and let go on, or killed and started again.
    pub(super) fn outage(&self, went_on: bool, away: Duration) {
        self.counts().outages.push((went_on, away));
    }

    /// How often the API server was away.
    pub(super) fn outages(&self) -> usize {
        self.counts().outages.len()
    }

    /// An agent started while the API server was away; answers how many have by now.
    pub(super) fn agents_started_away(&self) -> u64 {
        let mut counts = self.counts();
        counts.started_away += 1;
        counts.started_away
    }

    /// One of these said that its policy is stale.
    pub(super) fn stale(&self) {
        self.counts().stale += 1;
    }

    /// How often something was done.
    pub(super) fn times(&self, what: &str) -> u64 {
        self.counts().events.get(what).copied().unwrap_or(0)
    }

    /// How far it is, and what was wrong since this was asked last.
    pub(super) fn so_far(&self) -> String {
        let mut counts = self.counts();
        let news = counts.told[counts.shown..]
            .iter()
            .map(|wrong| format!("\nwrong {wrong}"));
        let news: String = news.collect();
        counts.shown = counts.told.len();
        let asked: u64 = counts.connections.values().map(|(all, _)| all).sum();
        let kills = counts.events.get("agent killed").copied().unwrap_or(0);
        format!(
            "{:>5} s: {asked} connections, {kills} kills, {} wrong{news}",
            self.began.elapsed().as_secs(),
            counts.wrong
        )
    }

    pub(super) fn report(&self, numbered: Heard, options: &Options) -> Report {
        let mut counts = self.counts();
        counts.adoptions.sort_unstable();
        let adoptions = &counts.adoptions;
        let at = |part: usize| adoptions.get((adoptions.len() * part / 100).min(adoptions.len().saturating_sub(1)));
        let told = |part| at(part).map_or_else(|| "-".to_owned(), |took| format!("{} ms", took.as_millis()));
        let mut lines = vec![format!(
            "{} s, seed {}, {} pods, {} clients, policy from {}",
            self.began.elapsed().as_secs(),
            options.seed,
            options.pods,
            options.clients,
            options.source
        )];
        lines.extend(
            counts
                .events
                .iter()
                .map(|(what, times)| format!("{what:<44} {times:>9}")),
        );
        lines.push(format!(
            "{:<44} {:>9}  p50 {}, p99 {}, worst {}",
            "starts until all was in force",
            adoptions.len(),
            told(50),
            told(99),
            told(100)
        ));
        if !counts.outages.is_empty() {
            let stopped = counts.outages.iter().filter(|(went_on, _)| *went_on).count();
            let away: Duration = counts.outages.iter().map(|(_, away)| *away).sum();
            lines.push(format!(
                "{:<44} {:>9}  {} times killed, {stopped} only stopped; away for {} s; {} agents took over meanwhile, {} said PolicyStale",
                "the API server was away",
                counts.outages.len(),
                counts.outages.len() - stopped,
                away.as_secs(),
                counts.started_away,
                counts.stale
            ));
        }
        for ((kind, expected), (all, passed)) in &counts.connections {
            let kind = match kind {
                Kind::Tcp => "TCP connections",
                Kind::Udp => "datagrams, each a flow",
                Kind::LastingUdp => "datagrams of a lasting flow",
            };
            let expected = match expected {
                Expected::Pass => "must pass",
                Expected::Drop => "must be refused",
                Expected::Either => "under a change",
            };
            lines.push(format!(
                "{:<44} {all:>9}  {passed} answered",
                format!("{kind}, {expected}")
            ));
        }
        lines.push(format!(
            "{:<44} {:>9}",
            "asked again, for no answer came in time", counts.late
        ));
        lines.push(format!(
            "{:<44} {:>9}  {} arrived",
            "numbered datagrams to a refused port", numbered.sent, numbered.leaked
        ));
        lines.push(format!(
            "{:<44} {:>9}  {} missing",
            "numbered datagrams to a permitted port", numbered.sent, numbered.missed
        ));
        // Where floods run, a queue of the machine may lose a datagram that the policy let through.
        let missed = if options.floods { 0 } else { u64::from(numbered.missed) };
        let wrong = counts.wrong + u64::from(numbered.leaked) + missed;
        lines.push(format!("{:<44} {wrong:>9}", "wrong"));
        lines.extend(counts.told.iter().cloned());
        Report {
            wrong,
            asked: counts.connections.values().map(|(all, _)| all).sum(),
            decided: counts
                .connections
                .iter()
                .filter(|((_, expected), _)| *expected != Expected::Either)
                .map(|(_, (all, _))| all)
                .sum(),
            lines,
        }
    }
}

/// What a soak came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was not as it must be: connections, and numbered datagrams that leaked.
    pub wrong: u64,
    /// Connections that were asked for.
    pub asked: u64,
    /// Connections of which one outcome only was right.
    pub decided: u64,
    lines: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
