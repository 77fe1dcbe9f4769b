//! How many lines a second one pod may have. What is beyond is not lost: it goes out after the second, as one line per
//! (pod, rule, reason) with all the attempts and without the other end. So a noisy pod hides none but itself.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use super::fold::Told;

/// A pod's turn, in the kernel's nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// The rule (in the cell, with action and reason), and where: interface, hook, whether it was dropped.
type Kind = (u32, u32, u8, u8);

/// Lines of each pod in this second, and what is beyond them.
#[derive(Debug)]
pub struct Limit {
    /// Lines a second; 0: as many as there are.
    most: u32,
    began: u64,
    lines: HashMap<u32, u32, FxBuildHasher>,
    beyond: HashMap<Kind, Told, FxBuildHasher>,
}

impl Limit {
    /// At most so many lines a second of each pod; 0: no limit.
    pub fn new(most: u32) -> Self {
        Self {
            most,
            began: 0,
            lines: HashMap::default(),
            beyond: HashMap::default(),
        }
    }

    /// Answers the record back where its pod may have another line.
    pub fn pass(&mut self, told: Told) -> Option<Told> {
        let lines = self.lines.entry(told.record.ifindex).or_default();
        if self.most == 0 || *lines < self.most {
            *lines += 1;
            return Some(told);
        }
        let record = &told.record;
        let kind = (record.cell, record.ifindex, record.hook, record.dropped);
        let told = Told { overflow: true, ..told };
        match self.beyond.get_mut(&kind) {
            Some(sum) => sum.merge(&told),
            None => drop(self.beyond.insert(kind, told)),
        }
        None
    }

    /// Where the second is over at `now`, what was beyond in it; the next one begins.
    pub fn due(&mut self, now: u64) -> Vec<Told> {
        if now.saturating_sub(self.began) < SECOND {
            return Vec::new();
        }
        self.began = now;
        self.drain()
    }

    /// All that was beyond so far.
    pub fn drain(&mut self) -> Vec<Told> {
        self.lines.clear();
        let mut out: Vec<Told> = self.beyond.drain().map(|(_, told)| told).collect();
        out.sort_by_key(|told| told.record.time);
        out
    }
}

#[cfg(test)]
mod tests {
    use cellwall_datapath::abi::Record;

    use super::super::fold::tests::record;
    use super::*;

    #[test]
    fn a_noisy_pod_hides_none_but_itself_and_its_attempts_are_told_by_rule_and_reason() {
        let mut limit = Limit::new(3);
        let of = |ifindex, cell, port| {
            Told::from(Record {
                ifindex,
                cell,
                ..record(0, port)
            })
        };
        let passed = (0..100).filter_map(|port| limit.pass(of(7, 2 + u32::from(port % 2), port)));
        assert_eq!(passed.count(), 3);
        assert!(limit.pass(of(8, 2, 80)).is_some(), "the quiet pod");
        let beyond = limit.due(SECOND);
        let told: Vec<_> = beyond
            .iter()
            .map(|told| (told.record.ifindex, told.attempts, told.overflow))
            .collect();
        assert_eq!(told.iter().map(|(_, attempts, _)| attempts).sum::<u64>(), 97);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().all(|(ifindex, _, overflow)| *ifindex == 7 && *overflow));
        assert!(limit.pass(of(7, 2, 1)).is_some(), "the next second");
    }
}
