//! The only interpreter of plans: makes the kernel say what is wanted, or leaves it saying what it said.

mod error;
mod report;
#[cfg(test)]
mod tests;

use cellwall_datapath_common::Active;
use cellwall_policy::compiled::Change;

pub use error::{ApplyError, Phase};
pub use report::{Report, Writes};

use crate::encode::{Encoder, Update, Wanted, capacities};
use crate::image::{Difference, Image};
use crate::inspect::inspect;
use crate::layout::Layout;
use crate::plan::Step;
use crate::port::{Kernel, KernelError, MapName, Reads};

/// Realises wanted states one after the other, and remembers what is still to be done.
///
/// A failure never loses anything: what was wanted stays wanted, what was half written is taken back (now, or before
/// the next attempt), what could not be deleted is deleted later. A process that starts anew reads back what the one
/// before it left ([`Realiser::adopt`]) and goes on from there.
#[derive(Debug, Clone)]
pub struct Realiser {
    encoder: Encoder,
    wanted: Wanted,
    /// Steps without which nothing may be activated: undo that failed, entries of a generation that never was.
    repairs: Vec<Step>,
    /// Whether `repairs` are the encoder's own, found at the start.
    healing: bool,
    /// FINISH steps that failed.
    unfinished: Vec<Step>,
}

impl Realiser {
    /// Goes on from what the kernel holds. The first state realised is taken as the whole one.
    pub fn adopt(kernel: &dyn Reads) -> Result<Self, KernelError> {
        Ok(Self::resume(inspect(kernel)?, capacities(kernel)?))
    }

    fn resume(image: Image, capacities: crate::encode::Capacities) -> Self {
        let encoder = Encoder::new(image, capacities);
        let Active {
            switches, pass_sample, ..
        } = encoder.image().active;
        let wanted = Wanted::whole(switches, pass_sample);
        Self {
            repairs: encoder.heal(),
            healing: true,
            encoder,
            wanted,
            unfinished: Vec::new(),
        }
    }

    /// What the kernel is believed to hold.
    pub fn image(&self) -> &Image {
        self.encoder.image()
    }

    /// The encoder: fill of the maps, free places.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The generation that decides.
    pub fn generation(&self) -> u32 {
        self.image().active.generation
    }

    /// The number of the next generation: changes compiled now count under it.
    pub fn next_generation(&self) -> u32 {
        self.encoder.next_generation()
    }

    /// Adds changes to what is wanted.
    pub fn want(&mut self, changes: impl IntoIterator<Item = Change>) {
        self.wanted.extend(changes);
    }

    /// Sets [`cellwall_datapath_common::switches`] and how many passing flows are recorded.
    pub fn want_switches(&mut self, switches: u32, pass_sample: u32) {
        self.wanted.switches = switches;
        self.wanted.pass_sample = pass_sample;
    }

    /// Says when the hooks of an interface were attached, `CLOCK_MONOTONIC` nanoseconds.
    pub fn attached(&mut self, ifindex: u32, time: u64) {
        self.wanted.attached.insert(ifindex, time);
    }

    /// GROUND and CLEAN: whatever earlier calls left to be done. Waits for a grace period (about 10 ms) where one is
    /// due; called soon after each update, the next one need not wait. What cannot be deleted is no error.
    pub fn settle(&mut self, kernel: &mut dyn Kernel) -> Result<Report, ApplyError> {
        let mut report = Report::new(self.generation());
        self.ground(kernel, &mut report)?;
        Ok(report)
    }

    fn ground(&mut self, kernel: &mut dyn Kernel, report: &mut Report) -> Result<(), ApplyError> {
        let failed = |source| ApplyError::Kernel {
            phase: Phase::Ground,
            source,
            limit: None,
            taken_back: false,
        };
        for step in &self.repairs {
            run(kernel, step, report).map_err(failed)?;
        }
        self.repairs.clear();
        if std::mem::take(&mut self.healing) {
            self.encoder.healed();
        }
        while let Some(step) = self.unfinished.first() {
            run(kernel, step, report).map_err(failed)?;
            self.unfinished.remove(0);
        }
        if !self.encoder.is_settled() {
            run(kernel, &Step::Grace, report).map_err(failed)?;
            self.encoder.settled();
        }
        for step in self.encoder.cleaning() {
            match run(kernel, &step, report) {
                Ok(()) => self.encoder.cleaned(&step),
                Err(error) => report.postponed.push(error),
            }
        }
        Ok(())
    }

    /// Makes the kernel say what is wanted. On an error the last generation decides as before, and what is wanted
    /// stays so. FINISH and CLEAN cannot fail: what they could not do is in the report and done later.
    pub fn realise(&mut self, kernel: &mut dyn Kernel) -> Result<Report, ApplyError> {
        let mut report = Report::new(self.generation());
        self.ground(kernel, &mut report)?;
        let update = self.encoder.encode(&self.wanted)?;
        if let Err(error) = self.prepare(kernel, &update, &mut report) {
            self.encoder.abandon(update);
            return Err(error);
        }
        report.activated = !update.plan.is_empty();
        self.unfinished.clone_from(&update.plan.finish);
        self.encoder.commit(update);
        self.wanted.realised();
        report.generation = self.generation();
        while let Some(step) = self.unfinished.first() {
            if let Err(error) = run(kernel, step, &mut report) {
                report.postponed.push(error);
                break;
            }
            self.unfinished.remove(0);
        }
        Ok(report)
    }

    /// PREPARE and FLIP, or nothing.
    fn prepare(&mut self, kernel: &mut dyn Kernel, update: &Update, report: &mut Report) -> Result<(), ApplyError> {
        for (number, prepared) in update.plan.prepare.iter().enumerate() {
            if let Err(source) = run(kernel, &prepared.step, report) {
                let undo = update.plan.prepare[..=number]
                    .iter()
                    .rev()
                    .flat_map(|prepared| prepared.undo.clone());
                return Err(self.take_back(kernel, Phase::Prepare, source, undo.collect(), report));
            }
        }
        let Some(active) = update.plan.flip else { return Ok(()) };
        let Err(source) = run(kernel, &Step::Activate(active), report) else {
            return Ok(());
        };
        let before = self.image().active;
        let mut undo = Vec::new();
        match read_active(kernel) {
            Some(found) if found == active => return Ok(()),
            Some(found) if found == before => {}
            // Which of the two decides is not known: first the old one again, and only then its entries.
            _ => undo.push(Step::Activate(before)),
        }
        undo.extend(
            update
                .plan
                .prepare
                .iter()
                .rev()
                .flat_map(|prepared| prepared.undo.clone()),
        );
        Err(self.take_back(kernel, Phase::Flip, source, undo, report))
    }

    /// Takes back what was written; what cannot be is kept for the next attempt, which begins with it.
    fn take_back(
        &mut self,
        kernel: &mut dyn Kernel,
        phase: Phase,
        source: KernelError,
        undo: Vec<Step>,
        report: &mut Report,
    ) -> ApplyError {
        let taken_back = undo.iter().try_for_each(|step| run(kernel, step, report)).is_ok();
        if !taken_back {
            self.repairs = undo;
        }
        let limit = source.map.and_then(|map| kernel.capacity(map).ok());
        ApplyError::Kernel {
            phase,
            source,
            limit,
            taken_back,
        }
    }

    /// Reads the kernel anew and wants what it was believed to say: the next [`Self::realise`] puts right whatever
    /// somebody else changed, at one flip.
    pub fn recover(&mut self, kernel: &dyn Reads) -> Result<(), KernelError> {
        let fresh = Self::adopt(kernel)?;
        let wanted = std::mem::take(&mut self.wanted);
        let wanted = if wanted.full {
            wanted
        } else {
            wanted.over(self.encoder.believed())
        };
        *self = Self { wanted, ..fresh };
        Ok(())
    }

    /// What the kernel holds otherwise than believed (after [`Self::settle`]; before it, what is still to be done).
    pub fn drift(&self, kernel: &dyn Reads) -> Result<Vec<Difference>, KernelError> {
        Ok(self.image().diff(&inspect(kernel)?))
    }
}

fn read_active(kernel: &dyn Reads) -> Option<Active> {
    Active::from_bytes(&kernel.lookup(MapName::Active, &0_u32.to_bytes()).ok()??)
}

fn run(kernel: &mut dyn Kernel, step: &Step, report: &mut Report) -> Result<(), KernelError> {
    match step {
        Step::Update(entries) => kernel.update(entries)?,
        Step::Delete(keys) => kernel.delete(keys)?,
        Step::Zero(map, indices) => kernel.zero(*map, indices)?,
        Step::Activate(active) => kernel.activate(*active)?,
        Step::Grace => kernel.grace()?,
    }
    report.count(step);
    Ok(())
}
