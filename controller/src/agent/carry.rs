//! From one layout of the kernel's maps to another: what its programs remember goes along, so that open connections are
//! not judged in their middle and counters go on.

use cellwall_datapath::carry::{self, Carried};
use cellwall_datapath::counters;
use cellwall_datapath::kernel::{Former, Instance, Maps};

use super::core::{Core, chain};

/// What other layouts remember, until they are gone.
#[derive(Default)]
pub(super) struct Formers(Vec<(u32, Maps)>);

impl Formers {
    /// Looks for other layouts, and has rules keep their slots. To be called before anything of this one is read.
    pub(super) fn find(instance: &mut Instance) -> Self {
        let formers = instance.formers().unwrap_or_else(|error| {
            tracing::warn!("other layouts cannot be looked for: {}", chain(&error));
            Vec::new()
        });
        let mut readable = Vec::new();
        for Former { version, maps } in formers {
            match maps {
                Ok(maps) => match carry::cards(&maps, instance.maps_mut()) {
                    Ok(()) => readable.push((version, maps)),
                    Err(error) => begin_anew(version, &error),
                },
                Err(error) => begin_anew(version, &error),
            }
        }
        Self(readable)
    }
}

fn begin_anew(version: u32, error: &dyn std::error::Error) {
    tracing::warn!(
        "flows and counters of layout v{version} begin anew: {}; open connections are judged as at an agent's first start",
        chain(error)
    );
}

impl Core {
    /// Before this layout's programs see packets: what the others remember is handed on.
    pub(super) fn carry_over(&mut self) {
        if self.fresh || self.alone {
            return;
        }
        for (version, maps) in &self.formers.0 {
            match carry::before(maps, self.instance.maps_mut(), counters::tick()) {
                Ok(carried) => told(*version, carried),
                Err(error) => begin_anew(*version, &error),
            }
        }
    }

    /// When they see packets, before the others go: what changed meanwhile follows.
    pub(super) fn carry_the_rest(&mut self) {
        if self.fresh || self.alone || !self.unguarded.is_empty() {
            return;
        }
        for (version, maps) in &self.formers.0 {
            match carry::after(maps, self.instance.maps_mut(), counters::tick()) {
                Ok(carried) => told(*version, carried),
                Err(error) => tracing::warn!("the last flows of layout v{version} begin anew: {}", chain(&error)),
            }
        }
    }
}

fn told(version: u32, carried: Carried) {
    let Carried { flows, released, full } = carried;
    tracing::info!(flows, released, full, "flows of layout v{version} go on");
}
