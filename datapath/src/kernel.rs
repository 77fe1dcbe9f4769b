//! The instance in the kernel: its pins, its maps behind the port, its programs.
//!
//! Everything is pinned, so that nothing here decides whether enforcement goes on: an agent that ends, crashes or
//! is replaced leaves maps, programs and links as they are, and the next one takes them over. New programs are
//! loaded against the pinned maps and put into the pinned links in place (case 67).

mod anchors;
mod build;
mod features;
mod former;
mod load;
mod maps;
mod place;
mod shape;
mod table;
mod uninstall;

use std::borrow::Cow;

use aya::EbpfError;
use aya::maps::MapError;
use aya::pin::PinError;
use aya::programs::ProgramError;
use cellwall_datapath_common::hook as hook_numbers;
use rustix::process::{Resource, Rlimit, setrlimit};

pub use features::{Feature, Features};
pub use former::{Former, Unlike};
pub use load::OBJECT;
pub use maps::{Maps, count};
pub use place::{BPF_FS, Lock, Place, PlaceError};
pub use shape::{Capacities, Shape};
pub use uninstall::{Removed, uninstall};

pub(crate) use load::{Programs, load_double};
pub(crate) use place::{make, names, rename, unpin};

use anchors::Anchors;
use build::Build;

use crate::attach::{AttachError, HOOKS, Hook, Mechanism};
use crate::port::KernelError;

/// Why an instance cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Its directory, the file system, or the lock.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A pinned map was made for something else.
    #[error("pinned map {name} is {found}, this binary needs {expected}: `cellwall uninstall` and start again")]
    Shape {
        /// The map.
        name: &'static str,
        /// As it is pinned.
        found: Shape,
        /// As this binary expects it.
        expected: Shape,
    },
    /// A map that the object should define.
    #[error("the eBPF object has no map {name}")]
    NoMap {
        /// Its name.
        name: &'static str,
    },
    /// A map cannot be made or opened.
    #[error("map {name}")]
    Map {
        /// The map.
        name: &'static str,
        /// Why not.
        source: MapError,
    },
    /// A map that is open does not answer.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The object cannot be read, or its maps cannot be made.
    #[error("the eBPF object cannot be loaded")]
    Object(#[source] EbpfError),
    /// A program that the object should define.
    #[error("the eBPF object has no program {name}")]
    NoProgram {
        /// Its name.
        name: &'static str,
    },
    /// The kernel's verifier does not take a program.
    #[error("the kernel refuses the program of {hook}; its last words: {log}")]
    Refused {
        /// Its hook.
        hook: Hook,
        /// The end of the verifier's log.
        log: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A program cannot be opened, or the kernel does not tell about it.
    #[error("program of {hook}")]
    Program {
        /// Its hook.
        hook: Hook,
        /// Why not.
        source: Box<ProgramError>,
    },
    /// A program or map cannot be pinned.
    #[error("pinning {what}")]
    Pin {
        /// What.
        what: &'static str,
        /// Why not.
        source: PinError,
    },
    /// A link that was there before cannot be given the new program.
    #[error(transparent)]
    Attach(#[from] AttachError),
}

/// How to open an instance.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Sizes of maps.
    pub capacities: Capacities,
    /// How programs are attached; none: TCX where the kernel has it, else clsact.
    pub mechanism: Option<Mechanism>,
    /// Another object than the embedded one.
    pub object: Option<Cow<'static, [u8]>>,
}

/// What opening found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Nothing was pinned: no policy was in force.
    First,
    /// Maps and programs were taken over; the programs are of this very build.
    Adopted,
    /// Maps were taken over, and every link now runs this build's programs.
    Replaced {
        /// Hooks whose program was exchanged.
        hooks: usize,
    },
}

/// An instance that this process owns: its maps, its programs, the way they are attached.
pub struct Instance {
    pub(crate) place: Place,
    pub(crate) programs: Programs,
    pub(crate) mechanism: Mechanism,
    maps: Maps,
    options: Options,
    anchors: Anchors,
    lock: Lock,
}

impl Instance {
    /// Opens the instance, or makes it. On any error what was in force before is still in force.
    pub fn open(place: Place, options: Options) -> Result<(Self, Opening), OpenError> {
        let lock = Self::claim(&place)?;
        allow_memory();
        let mut pinned = 0;
        for name in shape::names() {
            pinned += usize::from(shape::check(&place, name, &options.capacities)?);
        }
        if pinned < shape::names().count() {
            Programs::disown(&place)?;
        }
        let mechanism = options.mechanism.unwrap_or_else(Mechanism::of_this_kernel);
        let build = Build::of(object(&options));
        if pinned == shape::names().count()
            && let Some(programs) = build.pinned(&place)?
        {
            let (maps, anchors) = (Maps::open(&place)?, Anchors::hold(&place)?);
            let instance = Self {
                place,
                programs,
                mechanism,
                maps,
                options,
                anchors,
                lock,
            };
            return Ok((instance, Opening::Adopted));
        }
        let programs = load_programs(&place, &options)?;
        for name in shape::names() {
            if !shape::check(&place, name, &options.capacities)? {
                return Err(OpenError::NoMap { name });
            }
        }
        let (maps, anchors) = (Maps::open(&place)?, Anchors::hold(&place)?);
        let mut instance = Self {
            place,
            programs,
            mechanism,
            maps,
            options,
            anchors,
            lock,
        };
        let opening = instance.take_over(pinned > 0)?;
        build.mark(&instance.place, &instance.programs)?;
        Ok((instance, opening))
    }

    fn claim(place: &Place) -> Result<Lock, OpenError> {
        place.mount()?;
        let lock = place.lock()?;
        place.prepare()?;
        Ok(lock)
    }

    /// Keeps the pinned programs where they are this build's; else gives every link the new ones and pins these
    /// last, so that a start that is cut short is repeated by the next.
    fn take_over(&mut self, had_maps: bool) -> Result<Opening, OpenError> {
        let pinned = Programs::pinned(&self.place)?;
        if let Some(pinned) = pinned
            && pinned.same(&self.programs)?
        {
            self.programs = pinned;
            Programs::forget(&self.place)?;
            return Ok(Opening::Adopted);
        }
        // Where none of these maps was there, a filter that is known by the instance alone is another layout's, or lost its
        // pins: it goes on with the policy that it has until it is attached to, which is when there is one here.
        let opening = if had_maps {
            let hooks = self.replace_everywhere()?;
            Opening::Replaced { hooks }
        } else {
            Opening::First
        };
        Programs::keep(&self.place)?;
        Ok(opening)
    }

    /// Where the instance is pinned.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// How programs are attached on this kernel.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The maps: the real kernel behind the port.
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// The maps, to write them.
    pub fn maps_mut(&mut self) -> &mut Maps {
        &mut self.maps
    }

    /// How it was opened.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Id and tag of a hook's program, as the kernel has it.
    pub fn program(&self, hook: Hook) -> Result<(u32, u64), OpenError> {
        let info = self.programs.info(hook)?;
        Ok((info.id(), info.tag()))
    }

    /// Puts back pins of maps and programs that somebody removed, so that the next agent finds what is in force; answers
    /// how many. Links are for [`Instance::attach`] to put back: without its pin one is gone.
    pub fn pin_again(&mut self) -> Result<usize, OpenError> {
        let missing = |hook| !self.place.program(hook).exists();
        let programs = HOOKS.into_iter().filter(|hook| missing(*hook)).count();
        let maps = shape::names().filter(|name| !self.place.map(name).exists()).count();
        if programs + maps == 0 {
            return Ok(0);
        }
        self.place.mount()?;
        self.place.prepare()?;
        // A directory that was removed has taken our lock along.
        if !self.lock.is_of(&self.place) {
            self.lock = self.place.lock()?;
        }
        let pinned = self.anchors.pin(&self.place)?;
        let again = self.programs.pin(&self.place)?;
        Build::of(object(&self.options)).mark(&self.place, &self.programs)?;
        Ok(pinned + again)
    }

    /// Every other layout of the instance that is in the kernel, with what can be taken over of it.
    pub fn formers(&self) -> Result<Vec<Former>, PlaceError> {
        former::all(&self.place)
    }

    /// Takes every other version of the instance out of the kernel. To be called when this one's policy is in force:
    /// until then both judge, and what either drops is dropped.
    pub fn retire_others(&mut self) -> Result<Removed, AttachError> {
        uninstall::others(&self.place)
    }

    /// Another copy of the programs, on the same maps: a chain takes a program once, so a second link beside the
    /// first needs its own.
    pub(crate) fn twin(&self) -> Result<Programs, OpenError> {
        let twin = load_programs(&self.place, &self.options)?;
        Programs::forget(&self.place)?;
        Ok(twin)
    }
}

/// Kernels before 5.11 count maps against the limit of locked memory. Not being allowed to lift it is no error:
/// either it is high enough, or making the maps will say what is wrong.
fn allow_memory() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    if setrlimit(Resource::Memlock, unlimited).is_err() {
        tracing::debug!("the limit of locked memory stays");
    }
}

fn load_programs(place: &Place, options: &Options) -> Result<Programs, OpenError> {
    Programs::load(place, object(options), &options.capacities)
}

fn object(options: &Options) -> &[u8] {
    options.object.as_deref().unwrap_or(load::OBJECT)
}

/// Number of a hook in the ABI.
pub fn hook_number(hook: Hook) -> u8 {
    match hook {
        Hook::FromPod => hook_numbers::FROM_POD,
        Hook::ToPod => hook_numbers::TO_POD,
    }
}
