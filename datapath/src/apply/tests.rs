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
use cellwall_policy::model::Reason;

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

/// Both verdicts of each probe may be had where a pod's own addresses change: these have no versions.
fn agree(found: &[Cell], expected: &[Cell], other: &[Cell]) -> bool {
    let is_self = |cell: &Cell| cell.reason == Reason::SelfTraffic;
    found.iter().zip(expected).zip(other).all(|((found, expected), other)| {
        found == expected || ((is_self(expected) || is_self(other)) && found == other)
    })
}

/// A realiser that has brought `kernel` to `state`, and settled.
fn realised(kernel: &mut MemoryKernel, state: &State) -> Realiser {
    let mut realiser = Realiser::adopt(kernel).unwrap();
    realiser.want(State::default().changes_to(state));
    realiser.realise(kernel).unwrap();
    realiser.settle(kernel).unwrap();
    realiser
}
