//! From the embedded object to two loaded programs that use the pinned maps.

use std::path::{Path, PathBuf};

use aya::programs::{ProgramError, ProgramInfo, ProgramType, SchedClassifier};
use aya::sys::{BpfHelper, is_helper_supported};
use aya::{Ebpf, EbpfLoader};
use cellwall_datapath_common::maps as names;

use super::place::{Place, rename, unpin};
use super::shape::{self, Capacities};
use super::{OpenError, Options};
use crate::attach::{HOOKS, Hook, pin_name, program_name};
use crate::port::MapName;

/// The eBPF object that this binary was built with: an ELF file.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/cellwall-ebpf"));

/// Read-only variable of the programs: 1 where `bpf_ktime_get_coarse_ns` (Linux 5.11) may be called.
const COARSE_CLOCK: &str = "COARSE_CLOCK";

/// Bytes of a ring that nobody reads.
const SMALLEST_RING: u32 = 4_096;

/// Characters of the verifier's log that are told.
const LOG_TAIL: usize = 1500;

/// One program of each hook.
pub(crate) struct Programs {
    from_pod: SchedClassifier,
    to_pod: SchedClassifier,
}

impl Programs {
    /// Loads both against the instance's maps, which are made and pinned where they are missing.
    pub(crate) fn load(place: &Place, object: &[u8], capacities: &Capacities) -> Result<Self, OpenError> {
        let coarse = coarse_clock();
        let mut loader = loader(&coarse);
        for name in shape::names() {
            loader.map_pin_path(name, place.map(name));
        }
        for map in MapName::ALL {
            loader.map_max_entries(map.name(), capacities.of(*map));
        }
        loader.map_max_entries(names::RECORDS, capacities.records_bytes());
        let mut object = loader.load(object).map_err(OpenError::Object)?;
        for hook in HOOKS {
            load(&mut object, hook, &place.next_program(hook))?;
        }
        let waiting = Self::open(|hook| place.next_program(hook))?;
        waiting.ok_or(OpenError::NoProgram {
            name: program_name(Hook::FromPod),
        })
    }

    /// The pinned ones; none where one is missing.
    pub(crate) fn pinned(place: &Place) -> Result<Option<Self>, OpenError> {
        Self::open(|hook| place.program(hook))
    }

    fn open(path: impl Fn(Hook) -> PathBuf) -> Result<Option<Self>, OpenError> {
        let open = |hook| {
            let path = path(hook);
            if !path.exists() {
                return Ok(None);
            }
            let failed = |source| OpenError::Program {
                hook,
                source: Box::new(source),
            };
            SchedClassifier::from_pin(path).map(Some).map_err(failed)
        };
        let (Some(from_pod), Some(to_pod)) = (open(Hook::FromPod)?, open(Hook::ToPod)?) else {
            return Ok(None);
        };
        Ok(Some(Self { from_pod, to_pod }))
    }

    /// Whether these are the same code: the kernel's tag is a digest of the instructions. That pinned programs use
    /// the pinned maps is seen to when a map has to be made ([`Programs::disown`]); asking the kernel for a program's
    /// maps would take CAP_SYS_ADMIN.
    pub(crate) fn same(&self, other: &Self) -> Result<bool, OpenError> {
        for hook in HOOKS {
            if self.info(hook)?.tag() != other.info(hook)?.tag() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Pins those that are not pinned; answers how many that were.
    pub(super) fn pin(&mut self, place: &Place) -> Result<usize, OpenError> {
        let mut pinned = 0;
        for hook in HOOKS {
            let path = place.program(hook);
            if !path.exists() {
                let pin = self.of_mut(hook).pin(&path);
                pin.map_err(|source| OpenError::Pin {
                    what: pin_name(hook),
                    source,
                })?;
                pinned += 1;
            }
        }
        Ok(pinned)
    }

    /// Removes the programs' pins before a map is made anew, so that no later start takes programs over that go on
    /// with the map before it. Links keep them running meanwhile.
    pub(crate) fn disown(place: &Place) -> Result<(), OpenError> {
        for hook in HOOKS {
            unpin(&place.program(hook))?;
        }
        Ok(())
    }

    /// What the kernel says about one.
    pub(crate) fn info(&self, hook: Hook) -> Result<ProgramInfo, OpenError> {
        self.of(hook).info().map_err(|source| OpenError::Program {
            hook,
            source: Box::new(source),
        })
    }

    /// The program of a hook.
    pub(crate) fn of(&self, hook: Hook) -> &SchedClassifier {
        match hook {
            Hook::FromPod => &self.from_pod,
            Hook::ToPod => &self.to_pod,
        }
    }

    /// The program of a hook, to attach it.
    pub(crate) fn of_mut(&mut self, hook: Hook) -> &mut SchedClassifier {
        match hook {
            Hook::FromPod => &mut self.from_pod,
            Hook::ToPod => &mut self.to_pod,
        }
    }

    /// Puts the waiting pins of [`Programs::load`] in the place of those before, each atomically.
    pub(crate) fn keep(place: &Place) -> Result<(), OpenError> {
        for hook in HOOKS {
            rename(&place.next_program(hook), &place.program(hook))?;
        }
        Ok(())
    }

    /// Removes the waiting pins of [`Programs::load`]; the programs live as long as this process has them open.
    pub(crate) fn forget(place: &Place) -> Result<(), OpenError> {
        for hook in HOOKS {
            unpin(&place.next_program(hook))?;
        }
        Ok(())
    }
}

/// 1 where the kernel has the coarse clock.
pub(super) fn coarse_clock() -> u8 {
    let coarse = is_helper_supported(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_ktime_get_coarse_ns);
    u8::from(coarse.unwrap_or(false))
}

/// Kernel BTF is not needed: the programs use helpers, the packet and maps alone.
fn loader(coarse: &u8) -> EbpfLoader<'_> {
    let mut loader = EbpfLoader::new();
    loader.btf(None).override_global(COARSE_CLOCK, coarse, false);
    loader
}

/// Loads both programs once more: against the pinned maps in `shared`, which must be there, and against new maps of
/// these capacities for all others. Nothing is pinned.
pub(crate) fn load_double(
    place: &Place,
    options: &Options,
    shared: &[MapName],
    own: &Capacities,
) -> Result<Ebpf, OpenError> {
    let coarse = coarse_clock();
    let mut loader = loader(&coarse);
    for map in MapName::ALL {
        if !shared.contains(map) {
            loader.map_max_entries(map.name(), own.of(*map));
            continue;
        }
        // A map that is missing would be made and pinned.
        if !shape::check(place, map.name(), &options.capacities)? {
            return Err(OpenError::NoMap { name: map.name() });
        }
        loader.map_pin_path(map.name(), place.map(map.name()));
        loader.map_max_entries(map.name(), options.capacities.of(*map));
    }
    loader.map_max_entries(names::RECORDS, SMALLEST_RING);
    let object = options.object.as_deref().unwrap_or(OBJECT);
    let mut object = loader.load(object).map_err(OpenError::Object)?;
    for hook in HOOKS {
        verified(&mut object, hook)?;
    }
    Ok(object)
}

/// One program of the object, which the kernel has verified.
fn verified(object: &mut Ebpf, hook: Hook) -> Result<&mut SchedClassifier, OpenError> {
    let name = program_name(hook);
    let failed = |source| OpenError::Program {
        hook,
        source: Box::new(source),
    };
    let program = object.program_mut(name).ok_or(OpenError::NoProgram { name })?;
    let program: &mut SchedClassifier = program.try_into().map_err(failed)?;
    program.load().map_err(|error| refusal(hook, error))?;
    Ok(program)
}

/// Loads one program of the object and pins it. From the pin it is opened again: an object does not give its
/// programs away.
fn load(object: &mut Ebpf, hook: Hook, path: &Path) -> Result<(), OpenError> {
    let program = verified(object, hook)?;
    unpin(path)?;
    program.pin(path).map_err(|source| OpenError::Pin {
        what: pin_name(hook),
        source,
    })
}

/// The verifier's log of a large program has megabytes; its end says what it did not like.
fn refusal(hook: Hook, error: ProgramError) -> OpenError {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let from = log.char_indices().rev().nth(LOG_TAIL).map_or(0, |(at, _)| at);
            OpenError::Refused {
                hook,
                log: log[from..].to_owned(),
                source: io_error,
            }
        }
        source => OpenError::Program {
            hook,
            source: Box::new(source),
        },
    }
}
