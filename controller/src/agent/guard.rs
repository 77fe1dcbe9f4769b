//! Which interfaces have our programs, and that they stay there.

use std::collections::BTreeSet;

use cellwall_datapath::attach::{AttachError, Outcome};

use super::core::{Core, chain};
use super::locals::Locals;

impl Core {
    /// Brings our programs to where they belong, first in the chain; what they met is told.
    pub(super) fn guard(&mut self) {
        self.unguarded.clear();
        let known: BTreeSet<u32> = self.realiser.image().attached().map(|(ifindex, _)| ifindex).collect();
        for (ifindex, link) in &self.locals.hosts {
            // An interface that the kernel's tables do not know yet would be judged by nothing: policy first.
            if self.fresh && !known.contains(ifindex) {
                self.unguarded
                    .insert(*ifindex, format!("{}: the first policy is not realised", link.name));
                continue;
            }
            match self.instance.attach(link) {
                Ok(outcomes) => {
                    for outcome in outcomes {
                        match outcome {
                            Outcome::Kept => {}
                            Outcome::Attached => tracing::info!(interface = link.name, "guarded"),
                            outcome => tracing::warn!(interface = link.name, ?outcome, "repaired"),
                        }
                    }
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
