//! Which interfaces have our programs, and that they stay there.

use std::collections::BTreeSet;

use cellwall_datapath::attach::{AttachError, Hook, HookState, Outcome};

use super::carry::Formers;
use super::core::{Core, chain};
use super::faults::put_right;
use super::locals::Locals;

/// Both hooks, in the order in which the kernel's state of them is told.
const HOOKS: [Hook; 2] = [Hook::FromPod, Hook::ToPod];

/// Whether both hooks have the very programs that would be attached, first.
fn is_at_rest(states: &[HookState; 2], ours: [Option<u32>; 2]) -> bool {
    let mut pairs = states.iter().zip(ours);
    pairs.all(|(state, ours)| state.is_sound() && state.program == ours)
}

impl Core {
    /// Brings our programs to where they belong, first in the chain; what was found there is told.
    pub(super) fn guard(&mut self) {
        self.unguarded.clear();
        match self.instance.pin_again() {
            Ok(0) => {}
            Ok(pins) => tracing::warn!(pins, "somebody removed pins of ours; they were put back"),
            Err(error) => tracing::error!("pins of ours that somebody removed stay away: {}", chain(&error)),
        }
        let staged = self.is_staged();
        let known: BTreeSet<u32> = self.realiser.image().attached().map(|(ifindex, _)| ifindex).collect();
        self.guarded.retain(|ifindex| self.locals.hosts.contains_key(ifindex));
        let ours = HOOKS.map(|hook| self.instance.program(hook).ok().map(|(id, _)| id));
        for (ifindex, link) in &self.locals.hosts {
            // An interface that the kernel's tables do not know yet would be judged by nothing: policy first. Without the
            // API server there is none to wait for.
            if self.fresh && !known.contains(ifindex) && !staged {
                self.unguarded
                    .insert(*ifindex, format!("{}: the first policy is not realised", link.name));
                continue;
            }
            let before = self.instance.inspect(link).ok();
            if before.as_ref().is_some_and(|states| is_at_rest(states, ours)) {
                self.guarded.insert(*ifindex);
                continue;
            }
            match self.instance.attach(link) {
                Ok(outcomes) => {
                    let had = self.guarded.contains(ifindex);
                    for (state, outcome) in before.iter().flatten().zip(&outcomes) {
                        match put_right(&link.name, state, outcome).filter(|_| had) {
                            Some((reason, text)) => self.faults.note("ProgramsAttached", reason, text),
                            None if *outcome == Outcome::Attached => tracing::info!(interface = link.name, "guarded"),
                            None => {}
                        }
                    }
                    self.guarded.insert(*ifindex);
                }
                Err(AttachError::Gone { .. }) => {}
                Err(error) => {
                    let text = format!("{}: {}", link.name, chain(&error));
                    tracing::error!("not guarded: {text}");
                    self.unguarded.insert(*ifindex, text);
                }
            }
        }
    }

    /// Once this layout's policy decides everywhere, another's programs go: until then both judge, and what either
    /// drops is dropped.
    pub(super) fn retire_others(&mut self) {
        if self.alone || self.fresh || !self.unguarded.is_empty() {
            return;
        }
        match self.instance.retire_others() {
            Ok(removed) => {
                self.alone = true;
                self.formers = Formers::default();
                if removed.any() {
                    tracing::info!(
                        hooks = removed.hooks,
                        maps = removed.maps,
                        "another layout's programs were removed"
                    );
                }
            }
            Err(error) => tracing::warn!("another layout's programs stay for now: {}", chain(&error)),
        }
    }

    /// Takes the programs off interfaces that are nobody's any more, and pins of interfaces that are gone away.
    pub(super) fn detach(&mut self, former: &Locals) {
        for (ifindex, link) in &former.hosts {
            if self.locals.hosts.contains_key(ifindex) || !self.locals.all.iter().any(|l| l.ifindex == *ifindex) {
                continue;
            }
            match self.instance.detach(link) {
                Ok(()) => tracing::info!(interface = link.name, "no pod's any more, not guarded"),
                Err(error) => tracing::warn!(interface = link.name, "cannot be let go: {}", chain(&error)),
            }
        }
        if !self.locals.all.is_empty()
            && let Err(error) = self.instance.prune(&self.locals.all)
        {
            tracing::warn!("pins of interfaces that are gone stay: {}", chain(&error));
        }
    }
}
