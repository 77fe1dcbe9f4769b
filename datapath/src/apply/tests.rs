//! Plans under every circumstance: any prefix, any failure, a kill anywhere.

mod capacity;
mod damage;
mod dice;
mod examples;
mod faults;
mod prefixes;
mod restart;
mod states;
mod texts;

use cellwall_policy::compiled::Cell;
use cellwall_policy::model::{Hook, Reason};

use super::Realiser;
use crate::image::{Image, Probe};
use crate::inspect::inspect;
use crate::memory::MemoryKernel;
use crate::port::MapName;
use dice::Dice;
use states::{INDEX, State};

/// A kernel in which interfaces collide early.
fn small_kernel() -> MemoryKernel {
    MemoryKernel::new()
        .with_capacity(MapName::EndpointIndex, INDEX)
        .with_capacity(MapName::Endpoints, 32)
        .with_capacity(MapName::Tables, 256)
        .with_capacity(MapName::Spans, 1024)
        .with_capacity(MapName::RuleCards, 16)
}

fn probes(dice: &mut Dice) -> Vec<Probe> {
    (0..24).map(|_| dice.probe()).collect()
}

fn verdicts(image: &Image, probes: &[Probe]) -> Vec<Cell> {
    probes.iter().map(|probe| image.judge(probe)).collect()
}

fn verdicts_of(kernel: &MemoryKernel, probes: &[Probe]) -> Vec<Cell> {
    verdicts(&inspect(kernel).unwrap(), probes)
}

/// What the states before and after a flip say of each probe.
struct Sides {
    expected: Vec<Cell>,
    other: Vec<Cell>,
    /// What is expected where no address counts as the pod's own.
    no_self: Vec<Cell>,
    /// Whether the packet goes to an address that its pod claimed until the flip: the claim ends right after it.
    claimed: Vec<bool>,
}

impl Sides {
    /// Before the flip from `old` to `new`, and after it.
    fn around(old: &Image, new: &Image, probes: &[Probe]) -> (Self, Self) {
        let claims = |probe: &Probe| old.own_addresses.contains(&(probe.ifindex, probe.peer));
        let claimed = |probe: &Probe| probe.hook == Hook::FromPod && claims(probe);
        let mut after = Self::new(new, old, probes);
        after.claimed = probes.iter().map(claimed).collect();
        (Self::new(old, new, probes), after)
    }

    fn new(expected: &Image, other: &Image, probes: &[Probe]) -> Self {
        let mut no_self = expected.clone();
        no_self.own_addresses.clear();
        for entry in no_self.interfaces.values_mut() {
            (entry.record.v4, entry.record.v6, entry.record.v6_link) = (0, [0; 16], [0; 16]);
        }
        Self {
            expected: verdicts(expected, probes),
            other: verdicts(other, probes),
            no_self: verdicts(&no_self, probes),
            claimed: vec![false; probes.len()],
        }
    }

    /// Which addresses are a pod's own, and whose an address last was, have no versions: around a flip that changes
    /// them, what a pod sends to itself may be judged as sent to itself or as sent to that address, by one policy. Before
    /// the flip nothing becomes a pod's own that the policies on both sides say is another's.
    fn allows(&self, probe: usize, found: &Cell) -> bool {
        let is_self = |cell: &Cell| cell.reason == Reason::SelfTraffic;
        let (expected, other) = (&self.expected[probe], &self.other[probe]);
        let own = is_self(expected) || is_self(other);
        found == expected
            || (own && (found == other || *found == self.no_self[probe]))
            || (self.claimed[probe] && is_self(found))
    }

    fn agree(&self, found: &[Cell]) -> bool {
        found.iter().enumerate().all(|(probe, found)| self.allows(probe, found))
    }

    fn differences(&self, probes: &[Probe], found: &[Cell]) -> String {
        let differ = found
            .iter()
            .enumerate()
            .filter(|(probe, found)| !self.allows(*probe, found));
        let lines = differ.map(|(number, found)| {
            let (expected, other) = (&self.expected[number], &self.other[number]);
            format!(
                "{:?}\n  found {found:?}\n  not {expected:?}\n  beside {other:?}",
                probes[number]
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// A realiser that has brought `kernel` to `state`, and settled.
fn realised(kernel: &mut MemoryKernel, state: &State) -> Realiser {
    let mut realiser = Realiser::adopt(kernel).unwrap();
    realiser.want(State::default().changes_to(state));
    realiser.realise(kernel).unwrap();
    realiser.settle(kernel).unwrap();
    realiser
}
