//! How long interfaces were a pod's that nobody knew yet: from when one is first seen until its identity is in force.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use cellwall_policy::compile::Link;

/// Interfaces whose pod is not known, since when.
#[derive(Debug, Default)]
pub(super) struct Windows {
    /// None: nothing was looked at. What is there then came before this process did.
    known: Option<BTreeSet<u32>>,
    open: BTreeMap<u32, Instant>,
}

impl Windows {
    /// Takes note of the guarded interfaces; answers the windows that have closed. One whose pod was known at the first
    /// sight had none.
    pub(super) fn look(&mut self, links: &[Link], now: Instant) -> Vec<Duration> {
        let there: BTreeSet<u32> = links.iter().map(|link| link.ifindex).collect();
        self.open.retain(|ifindex, _| there.contains(ifindex));
        let mut closed = Vec::new();
        for link in links {
            let is_new = self.known.as_ref().is_some_and(|known| !known.contains(&link.ifindex));
            match (&link.pod, self.open.get(&link.ifindex)) {
                (Some(_), Some(since)) => {
                    closed.push(now.saturating_duration_since(*since));
                    self.open.remove(&link.ifindex);
                }
                (Some(_), None) if is_new => closed.push(Duration::ZERO),
                (None, None) if is_new => drop(self.open.insert(link.ifindex, now)),
                _ => {}
            }
        }
        self.known = Some(there);
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(ifindex: u32, pod: Option<&str>) -> Link {
        Link {
            ifindex,
            master: 0,
            pod: pod.map(Into::into),
            mac: [0; 6],
        }
    }

    #[test]
    fn a_window_is_open_from_the_first_sight_to_the_identity() {
        let (mut windows, begin) = (Windows::default(), Instant::now());
        let after = |millis| begin + Duration::from_millis(millis);
        assert!(windows.look(&[link(1, None), link(2, Some("old"))], begin).is_empty());
        // Seen since before this process: how long is not known.
        assert!(
            windows
                .look(&[link(1, Some("a")), link(2, Some("old"))], after(5))
                .is_empty()
        );
        assert!(windows.look(&[link(1, Some("a")), link(3, None)], after(10)).is_empty());
        let closed = windows.look(&[link(3, Some("b")), link(4, Some("c"))], after(40));
        assert_eq!(closed, [Duration::from_millis(30), Duration::ZERO]);
        // An interface that went, and another of its number.
        assert!(windows.look(&[link(5, None)], after(50)).is_empty());
        assert!(windows.look(&[], after(60)).is_empty());
        assert_eq!(windows.look(&[link(5, Some("d"))], after(70)), [Duration::ZERO]);
    }
}
