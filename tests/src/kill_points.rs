//! An apply on the real kernel that dies at a chosen write, as a process that is killed there does.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::Context as _;
use cellwall_datapath::abi::Active;
use cellwall_datapath::apply::Realiser;
use cellwall_datapath::kernel::{Capacities, Instance, Options, Place};
use cellwall_datapath::port::{Entries, Kernel, KernelError, MapName, Reads};
use cellwall_policy::compile::Compiler;
use cellwall_policy::generate;
use cellwall_policy::model::{Action, DefenseRule};
use cellwall_policy::world::{Document, World};

use crate::judges::node::{links, switches_of};

/// Entries of most maps.
const ENTRIES: u32 = 16_384;
/// Pods and rules of the world.
const SIZE: usize = 14;

/// The real kernel, for so many more writes: each entry is one.
struct Mortal<'a> {
    kernel: &'a mut dyn Kernel,
    /// None: it does not die.
    left: Option<u64>,
    written: u64,
}

impl Mortal<'_> {
    fn write(&mut self) {
        self.written += 1;
        let Some(left) = &mut self.left else { return };
        if *left == 0 {
            // Nothing is flushed, no destructor runs, and the kernel takes back what a process has.
            let own = nix::unistd::Pid::this();
            let _killed = nix::sys::signal::kill(own, nix::sys::signal::Signal::SIGKILL);
        }
        *left = left.saturating_sub(1);
    }
}

impl Reads for Mortal<'_> {
    fn capacity(&self, map: MapName) -> Result<u32, KernelError> {
        self.kernel.capacity(map)
    }

    fn lookup(&self, map: MapName, key: &[u8]) -> Result<Option<Vec<u8>>, KernelError> {
        self.kernel.lookup(map, key)
    }

    fn visit(&self, map: MapName, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), KernelError> {
        self.kernel.visit(map, visit)
    }
}

impl Kernel for Mortal<'_> {
    fn update(&mut self, entries: &Entries) -> Result<(), KernelError> {
        for (key, value) in entries.iter() {
            self.write();
            let mut one = Entries::new(entries.map());
            one.push(key, value);
            self.kernel.update(&one)?;
        }
        Ok(())
    }

    fn delete(&mut self, keys: &Entries) -> Result<(), KernelError> {
        for (key, _) in keys.iter() {
            self.write();
            let mut one = Entries::new(keys.map());
            one.push_key(key);
            self.kernel.delete(&one)?;
        }
        Ok(())
    }

    fn zero(&mut self, map: MapName, indices: &[u32]) -> Result<(), KernelError> {
        for index in indices {
            self.write();
            self.kernel.zero(map, &[*index])?;
        }
        Ok(())
    }

    fn set(&mut self, map: MapName, index: u32, values: &[u8]) -> Result<(), KernelError> {
        self.write();
        self.kernel.set(map, index, values)
    }

    fn activate(&mut self, active: Active) -> Result<(), KernelError> {
        self.write();
        self.kernel.activate(active)
    }

    fn grace(&mut self) -> Result<(), KernelError> {
        self.write();
        self.kernel.grace()
    }
}

/// The world of a seed; `flipped`: with each rule the other way round.
pub fn world(seed: u64, flipped: bool) -> World {
    let mut world = generate::world(seed, SIZE);
    if flipped {
        let rules: Vec<DefenseRule> = world.rules().map(|rule| (**rule).clone()).collect();
        for rule in rules {
            let action = match rule.action {
                Action::Drop => Action::Pass,
                Action::Alert | Action::Pass => Action::Drop,
            };
            world.apply(Document::DefenseRule(DefenseRule { action, ..rule }));
        }
    }
    world
}

/// Puts the world in force as a new process does, in the network namespace of the calling thread, and dies before write
/// number `die_at`. Answers how many writes it were.
pub fn apply(place: &str, world: &World, die_at: Option<u64>) -> anyhow::Result<u64> {
    let options = Options {
        capacities: Capacities::tiny(ENTRIES).with_records(1 << 16),
        ..Options::default()
    };
    let (mut instance, _) = Instance::open(Place::new(place)?, options)?;
    let mut realiser = Realiser::adopt(instance.maps())?;
    let mut compiler = Compiler::new(generate::LOCAL_NODE);
    let adopted = realiser.image().adopted_rules();
    compiler.adopt_rules(adopted.map(|(slot, card)| (slot, card.name.clone(), card.uid.clone())));
    let update = compiler.update(world, &[], &links(world), realiser.next_generation());
    realiser.want(update.changes);
    realiser.want_switches(switches_of(world), 0);
    let mut kernel = Mortal {
        kernel: instance.maps_mut(),
        left: die_at,
        written: 0,
    };
    realiser.realise(&mut kernel)?;
    realiser.settle(&mut kernel)?;
    Ok(kernel.written)
}

/// Another process that does so: `program` is the one of `tests/src/bin/apply-and-die.rs`.
pub fn process(program: &Path, place: &str, seed: u64, flipped: bool, die_at: Option<u64>) -> anyhow::Result<Output> {
    let mut command = Command::new(program);
    command.args([place, &seed.to_string(), &flipped.to_string()]);
    command.args(die_at.map(|at| at.to_string()));
    command.output().context("the process starts")
}
