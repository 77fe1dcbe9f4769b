//! The kernel's time as time of day.
//!
//! What the programs write is monotonic. The clock of the machine may jump meanwhile, by a year and back: a time that is
//! told is as good as the clock when it is told, and nothing that is decided stands on it.

use std::time::Duration;

use cellwall_datapath::counters;
use jiff::{SignedDuration, Timestamp};

/// When those nanoseconds of the kernel's monotonic clock were, by the clock of now.
pub(crate) fn wall(nanos: u64) -> Timestamp {
    wall_at(nanos, Timestamp::now(), counters::monotonic())
}

/// The same, where it is `now` by the one clock and `monotonic` by the other. A time that is yet to come is now.
pub(crate) fn wall_at(nanos: u64, now: Timestamp, monotonic: Duration) -> Timestamp {
    let ago = monotonic.saturating_sub(Duration::from_nanos(nanos));
    let ago = SignedDuration::try_from(ago).ok();
    ago.and_then(|ago| now.checked_sub(ago).ok()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000_000_000;

    #[test]
    fn a_time_is_as_long_ago_as_the_monotonic_clock_says_whatever_the_other_one_jumped_to() {
        let year = SignedDuration::from_hours(365 * 24);
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        for now in [now, now + year, now - year] {
            let told = wall_at(4 * MINUTE, now, Duration::from_nanos(10 * MINUTE));
            assert_eq!(now.duration_since(told), SignedDuration::from_mins(6));
        }
    }

    #[test]
    fn what_is_yet_to_come_or_was_before_all_time_is_now() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        assert_eq!(wall_at(u64::MAX, now, Duration::from_nanos(10)), now);
        assert_eq!(wall_at(0, Timestamp::MIN, Duration::from_secs(1)), Timestamp::MIN);
    }
}
