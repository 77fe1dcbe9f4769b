//! The two programs on the host side of a pod's interface: what the pod sends comes in there (ingress), what it is
//! sent goes out (egress).
//!
//! TCX where the kernel has it (6.6), first in the chain, each link pinned, so that it outlives every agent; clsact
//! otherwise. Programs are exchanged in place. What another put there is seen and told, and never removed.

mod clsact;
mod tcx;

use std::io;

use aya::programs::ProgramError;
use aya::programs::links::LinkError;
use cellwall_datapath_common::maps;
pub use cellwall_policy::model::Hook;

use crate::kernel::{Instance, OpenError, PlaceError, Programs, make};
use crate::links::Link;
use crate::netlink::{NetlinkError, Route};

pub(crate) use clsact::remove_all;
pub(crate) use tcx::remove as remove_links;

/// Both hooks.
pub(crate) const HOOKS: [Hook; 2] = [Hook::FromPod, Hook::ToPod];

/// Name of a hook's program in the object.
pub(crate) fn program_name(hook: Hook) -> &'static str {
    match hook {
        Hook::FromPod => maps::FROM_POD,
        Hook::ToPod => maps::TO_POD,
    }
}

/// Name of a hook in pins and filters.
pub(crate) fn pin_name(hook: Hook) -> &'static str {
    match hook {
        Hook::FromPod => "from_pod",
        Hook::ToPod => "to_pod",
    }
}

/// How programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// Links in the interface's multi-program chain (Linux 6.6).
    Tcx,
    /// Filters of a `clsact` queueing discipline.
    Clsact,
}

impl Mechanism {
    /// The best that the running kernel has.
    pub fn of_this_kernel() -> Self {
        if tcx::is_supported() { Self::Tcx } else { Self::Clsact }
    }
}

/// What attaching a hook came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Our program was not there and is now.
    Attached,
    /// It was there, and first.
    Kept,
    /// Another program of ours was there and was exchanged in place.
    Replaced,
    /// Our link was there and dead (its interface gone, or taken off by somebody); attached anew (case 70).
    Revived,
    /// These were ahead of ours; ours is ahead of them now, and they are where they were.
    Reordered(Vec<Other>),
}

/// Somebody else's program in the same chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// Program id; 0 for a filter that is no program.
    pub id: u32,
    /// Name of the program, or kind of the filter.
    pub name: String,
}

/// What the kernel says about one hook of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookState {
    /// The hook.
    pub hook: Hook,
    /// Id of our program there; none: it is not attached.
    pub program: Option<u32>,
    /// Whether its tag is that of the program that this agent would attach.
    pub current: bool,
    /// Name of the program there, where the kernel tells it.
    pub name: Option<String>,
    /// Programs ahead of ours in their order; where ours is not attached, all there are. None: the kernel does not
    /// tell us (it wants CAP_SYS_ADMIN for the names of others' programs).
    pub ahead: Option<Vec<Other>>,
}

impl HookState {
    /// Attached, of this build, and nothing ahead as far as can be seen.
    pub fn is_sound(&self) -> bool {
        self.program.is_some() && self.current && self.ahead.as_ref().is_none_or(Vec::is_empty)
    }
}

/// Why a program cannot be attached, looked at or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The interface vanished, or its name went to another.
    #[error("interface {interface} ({ifindex}) is gone")]
    Gone {
        /// Its name.
        interface: String,
        /// Its index.
        ifindex: u32,
    },
    /// The kernel refused.
    #[error("{call} at {hook} of interface {interface}")]
    Program {
        /// What was tried.
        call: &'static str,
        /// The hook.
        hook: Hook,
        /// The interface's name.
        interface: String,
        /// Why not.
        source: Box<ProgramError>,
    },
    /// A pinned link cannot be used.
    #[error("link of {hook} of interface index {ifindex}")]
    Link {
        /// The hook.
        hook: Hook,
        /// The interface's index.
        ifindex: u32,
        /// Why not.
        source: LinkError,
    },
    /// A link cannot be pinned.
    #[error("pinning the link of {hook} of interface {interface}")]
    Pin {
        /// The hook.
        hook: Hook,
        /// The interface's name.
        interface: String,
        /// Why not.
        source: aya::pin::PinError,
    },
    /// Another's ingress queueing discipline is in the way of clsact.
    #[error(
        "interface {interface} has the queueing discipline {kind:?} where clsact must go: `tc qdisc del dev {interface} {kind}`"
    )]
    Qdisc {
        /// The interface's name.
        interface: String,
        /// What is there.
        kind: String,
    },
    /// Every priority is taken by filters of another kind.
    #[error("no filter priority is free at {hook} of interface {interface}")]
    NoPriority {
        /// The hook.
        hook: Hook,
        /// The interface's name.
        interface: String,
    },
    /// Netlink failed.
    #[error("interface {interface}")]
    Netlink {
        /// The interface's name.
        interface: String,
        /// Why.
        source: NetlinkError,
    },
    /// The state of a link cannot be read.
    #[error("reading /proc/self/fdinfo")]
    LinkInfo(#[source] io::Error),
    /// A pin or its directory.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A second copy of the programs cannot be loaded.
    #[error("loading a second copy of the programs")]
    Twin(#[source] Box<OpenError>),
}

impl Instance {
    /// Brings both hooks of an interface to what they should be: our programs, of this build, first in the chain.
    /// Never leaves a moment without a program where there was one.
    pub fn attach(&mut self, interface: &Link) -> Result<[Outcome; 2], AttachError> {
        let [from_pod, to_pod] = HOOKS;
        match self.mechanism {
            Mechanism::Tcx => {
                make(&self.place.links().join(interface.ifindex.to_string()))?;
                Ok([
                    self.attach_tcx(interface, from_pod)?,
                    self.attach_tcx(interface, to_pod)?,
                ])
            }
            Mechanism::Clsact => {
                let mut route = open(&interface.name)?;
                let mut attach = |hook| clsact::attach(&mut route, &self.place, interface, hook, &self.programs);
                Ok([attach(from_pod)?, attach(to_pod)?])
            }
        }
    }

    /// What the kernel says about both hooks of an interface.
    pub fn inspect(&self, interface: &Link) -> Result<[HookState; 2], AttachError> {
        let inspect = |hook| match self.mechanism {
            Mechanism::Tcx => self.inspect_tcx(interface, hook),
            Mechanism::Clsact => {
                let mut route = open(&interface.name)?;
                clsact::inspect(&mut route, &self.place, interface, hook, &self.programs)
            }
        };
        Ok([inspect(Hook::FromPod)?, inspect(Hook::ToPod)?])
    }

    /// Takes our programs off an interface that is no pod's any more.
    pub fn detach(&mut self, interface: &Link) -> Result<(), AttachError> {
        tcx::remove(&self.place, interface.ifindex)?;
        let mut route = open(&interface.name)?;
        clsact::remove(&mut route, &self.place, interface)
    }

    /// Removes the pins of interfaces that are gone, by the list of those that are there; answers how many.
    pub fn prune(&mut self, links: &[Link]) -> Result<usize, AttachError> {
        let mut pruned = 0;
        for ifindex in self.place.linked()? {
            if !links.iter().any(|link| link.ifindex == ifindex) {
                tcx::remove(&self.place, ifindex)?;
                pruned += 1;
            }
        }
        Ok(pruned)
    }

    /// Gives every link and filter of the instance this build's program; answers how many there were.
    pub(crate) fn replace_everywhere(&mut self) -> Result<usize, AttachError> {
        let mut hooks = self.replace_tcx()?;
        hooks += clsact::replace_all(&self.place, &self.programs)?;
        Ok(hooks)
    }

    /// A second copy of both programs.
    fn second_copy(&self) -> Result<Programs, AttachError> {
        self.twin().map_err(|source| AttachError::Twin(Box::new(source)))
    }
}

fn open(interface: &str) -> Result<Route, AttachError> {
    Route::open().map_err(|source| AttachError::Netlink {
        interface: interface.to_owned(),
        source,
    })
}
