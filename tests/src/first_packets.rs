//! What pods that send in their first millisecond meet until they are known: what arrives of what their policy refuses, and
//! how long what it permits is held up.

use std::time::Duration;

/// A port that their policy refuses them.
pub const REFUSED: u16 = 1001;
/// One that it permits.
pub const PERMITTED: u16 = 1002;

/// What decides about a pod that is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Everything passes.
    Open,
    /// The strictest of what may be its policy.
    Guarded,
    /// Nothing passes.
    Closed,
    /// Closed, and the plugin has it known before it runs.
    Plugin,
}

impl Way {
    /// `startup` of the ClusterDefense.
    pub fn startup(self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::Guarded => "Guarded",
            Self::Closed | Self::Plugin => "Closed",
        }
    }
}

/// What one pod met. Times count from its first datagram.
#[derive(Debug)]
pub struct Window {
    /// Refused datagrams that arrived.
    pub leaked: usize,
    /// When the last of them left.
    pub last_leak: Duration,
    /// When the first permitted one left that arrived.
    pub first_passed: Option<Duration>,
    /// How many permitted ones did not arrive after that.
    pub lost: usize,
}

/// Prints what became of some pods; answers of how many refused datagrams arrived.
pub fn tell(what: &str, windows: &[Window]) -> usize {
    let leaking = windows.iter().filter(|window| window.leaked > 0).count();
    let lost: usize = windows.iter().map(|window| window.lost).sum();
    let leaks = Times::new(windows.iter().map(|window| window.last_leak));
    let held = Times::new(windows.iter().filter_map(|window| window.first_passed));
    println!(
        "{what}: {} pods; refused datagrams arrived of {leaking}, the last sent after {leaks}; permitted ones arrived of {}, \
         from {held} on, {lost} lost after that",
        windows.len(),
        held.0.len(),
    );
    leaking
}

/// Sorted times, for quantiles.
pub struct Times(Vec<Duration>);

impl Times {
    /// Of these.
    pub fn new(times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<_> = times.collect();
        times.sort_unstable();
        Self(times)
    }

    /// The time that this part of a hundred does not exceed.
    pub fn at(&self, percent: usize) -> Duration {
        let place = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(place).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |percent| self.at(percent).as_secs_f64() * 1000.0;
        write!(f, "p50 {:.1} p99 {:.1} worst {:.1} ms", at(50), at(99), at(100))
    }
}

/// How often something is done: as the environment says, else as usual.
pub fn how_often(variable: &str, usual: usize) -> usize {
    let given = std::env::var(variable).ok();
    given.map_or(usual, |text| {
        text.parse().unwrap_or_else(|_| panic!("{variable} is a number"))
    })
}
