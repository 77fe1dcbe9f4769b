//! TCX: links in the interface's chain of programs, each pinned.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions, TcError};
use aya::programs::{LinkOrder, MultiProgLink, ProgramError, ProgramInfo, SchedClassifier, TcAttachType};
use aya::sys::SyscallError;

use super::{AttachError, HOOKS, Hook, HookState, Other, Outcome};
use crate::kernel::{Instance, Place, names, rename, unpin};
use crate::links::Link;

/// Whether the kernel has TCX: asked of the loopback interface, which every namespace has and which this leaves as
/// it is.
pub(super) fn is_supported() -> bool {
    match SchedClassifier::query_tcx("lo", TcAttachType::Ingress) {
        // It answered, and then would not tell about the programs it named.
        Err(ProgramError::SyscallError(error)) => error.call != "bpf_prog_query",
        Err(_) => false,
        Ok(_) => true,
    }
}

fn direction(hook: Hook) -> TcAttachType {
    match hook {
        Hook::FromPod => TcAttachType::Ingress,
        Hook::ToPod => TcAttachType::Egress,
    }
}

/// A link as the kernel describes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Description {
    /// Interface, 0 where the link is dead.
    ifindex: u32,
    program: u32,
}

/// What became of a pinned link.
enum Pinned {
    Missing,
    Dead,
    Alive(SchedClassifierLink, u32),
}

/// What became of giving a link another program.
enum Update {
    Done,
    /// The chain has that very program by another link, which is on its way out or held open by somebody. This link
    /// goes on with its own copy of it.
    Busy,
    Dead,
}

impl Instance {
    pub(super) fn attach_tcx(&mut self, interface: &Link, hook: Hook) -> Result<Outcome, AttachError> {
        let pin = self.place.link(interface.ifindex, hook);
        let program = self.program_id(interface, hook)?;
        let outcome = match open(&pin, interface.ifindex, hook)? {
            Pinned::Alive(_, running) if running == program => Outcome::Kept,
            Pinned::Alive(link, _) => match self.update(link, interface.ifindex, hook)? {
                Update::Done => Outcome::Replaced,
                Update::Busy => Outcome::Kept,
                Update::Dead => self.attach_anew(interface, hook, Outcome::Revived)?,
            },
            Pinned::Dead => self.attach_anew(interface, hook, Outcome::Revived)?,
            Pinned::Missing => self.attach_anew(interface, hook, Outcome::Attached)?,
        };
        let state = self.inspect_tcx(interface, hook)?;
        match state.ahead {
            Some(ahead) if state.program.is_some() && !ahead.is_empty() => {
                self.move_first(interface, hook)?;
                Ok(Outcome::Reordered(ahead))
            }
            _ => Ok(outcome),
        }
    }

    fn attach_anew(&mut self, interface: &Link, hook: Hook, outcome: Outcome) -> Result<Outcome, AttachError> {
        let attached = attach_first(self.programs.of_mut(hook), interface, hook);
        let link = match attached {
            // The chain has this very program already, by a link whose pin somebody removed and which somebody
            // still holds open: a copy of the program goes ahead of it.
            Err(AttachError::Program { source, .. }) if errno(&source) == Some(libc::EEXIST) => {
                attach_first(self.second_copy()?.of_mut(hook), interface, hook)?
            }
            attached => attached?,
        };
        let pin = self.place.link(interface.ifindex, hook);
        unpin(&pin)?;
        keep(link, &pin, interface, hook)?;
        Ok(outcome)
    }

    /// Puts a copy of our program first, takes the old link away, and gives the new link the instance's program.
    fn move_first(&mut self, interface: &Link, hook: Hook) -> Result<(), AttachError> {
        let link = attach_first(self.second_copy()?.of_mut(hook), interface, hook)?;
        let (next, pin) = (
            self.place.next_link(interface.ifindex, hook),
            self.place.link(interface.ifindex, hook),
        );
        unpin(&next)?;
        keep(link, &next, interface, hook)?;
        rename(&next, &pin)?;
        // The old link's last reference went with its pin, but the kernel lets go of it in its own time; until then
        // the chain has the instance's program and does not take it twice.
        if let Pinned::Alive(link, _) = open(&pin, interface.ifindex, hook)? {
            let _later = self.update(link, interface.ifindex, hook);
        }
        Ok(())
    }

    /// Gives a link the instance's program.
    fn update(&mut self, link: SchedClassifierLink, ifindex: u32, hook: Hook) -> Result<Update, AttachError> {
        let program = self.programs.of_mut(hook);
        let updated = program.attach_to_link(link).and_then(|id| program.take_link(id));
        let Err(source) = updated else {
            // Pinned: closing our descriptor leaves it attached.
            return Ok(Update::Done);
        };
        match errno(&source) {
            Some(libc::ENOLINK) => Ok(Update::Dead),
            Some(libc::EEXIST) => Ok(Update::Busy),
            _ => Err(AttachError::Program {
                call: "exchanging the program",
                hook,
                interface: ifindex.to_string(),
                source: Box::new(source),
            }),
        }
    }

    pub(super) fn replace_tcx(&mut self) -> Result<usize, AttachError> {
        let mut replaced = 0;
        for ifindex in self.place.linked()? {
            for hook in HOOKS {
                let pin = self.place.link(ifindex, hook);
                let update = match open(&pin, ifindex, hook)? {
                    Pinned::Alive(link, _) => self.update(link, ifindex, hook)?,
                    Pinned::Dead => Update::Dead,
                    Pinned::Missing => continue,
                };
                if let Update::Dead = update {
                    unpin(&pin)?;
                } else {
                    replaced += 1;
                }
            }
        }
        Ok(replaced)
    }

    pub(super) fn inspect_tcx(&self, interface: &Link, hook: Hook) -> Result<HookState, AttachError> {
        let program = match open(&self.place.link(interface.ifindex, hook), interface.ifindex, hook)? {
            Pinned::Alive(_, program) => Some(program),
            Pinned::Missing | Pinned::Dead => None,
        };
        let ours = self
            .programs
            .info(hook)
            .map_err(|source| AttachError::Twin(Box::new(source)))?;
        let chain = chain(interface, hook)?;
        let tag = chain
            .as_ref()
            .and_then(|chain| chain.iter().find(|link| Some(link.id()) == program));
        let current = program == Some(ours.id()) || tag.is_some_and(|info| info.tag() == ours.tag());
        let name = tag.map(|info| text(info.name()));
        let ahead = chain.map(|chain| {
            let ahead = chain.iter().take_while(|info| Some(info.id()) != program);
            // An orphan of ours (a link without a pin, held open by somebody) judges as ours does.
            let foreign = ahead.filter(|info| !is_copy(info, &ours));
            foreign
                .map(|info| Other {
                    id: info.id(),
                    name: text(info.name()),
                })
                .collect()
        });
        Ok(HookState {
            hook,
            program,
            current,
            name,
            ahead,
        })
    }

    fn program_id(&self, interface: &Link, hook: Hook) -> Result<u32, AttachError> {
        self.programs
            .of(hook)
            .info()
            .map(|info| info.id())
            .map_err(failed("asking about the program", interface, hook))
    }
}

/// Whether both are the same code on the same maps. Another instance's program has the same tag and other maps.
fn is_copy(one: &ProgramInfo, other: &ProgramInfo) -> bool {
    let maps = |info: &ProgramInfo| info.map_ids().ok().flatten().unwrap_or_default();
    let (ones, others) = (maps(one), maps(other));
    one.tag() == other.tag() && ones.iter().any(|id| others.contains(id))
}

/// Removes the pins of one interface; its links go with them.
pub(crate) fn remove(place: &Place, ifindex: u32) -> Result<usize, AttachError> {
    let dir = place.links().join(ifindex.to_string());
    let mut removed = 0;
    for hook in HOOKS {
        removed += usize::from(unpin(&place.link(ifindex, hook))?);
        unpin(&place.next_link(ifindex, hook))?;
    }
    if names(&dir)?.is_empty() {
        // Somebody else's file in it is not ours to remove, and the directory stays with it.
        let _empty = fs::remove_dir(&dir);
    }
    Ok(removed)
}

/// The programs of a hook in their order; none where we are not allowed to see them.
fn chain(interface: &Link, hook: Hook) -> Result<Option<Vec<ProgramInfo>>, AttachError> {
    // A program may go between the list and the look at it.
    for _ in 0..4 {
        match SchedClassifier::query_tcx(&interface.name, direction(hook)) {
            Ok((_, chain)) => return Ok(Some(chain)),
            Err(error) => match errno(&error) {
                Some(libc::EPERM | libc::EACCES) => return Ok(None),
                Some(libc::ENOENT) => {}
                _ => return Err(failed("listing the programs", interface, hook)(error)),
            },
        }
    }
    Ok(None)
}

fn attach_first(program: &mut SchedClassifier, interface: &Link, hook: Hook) -> Result<FdLink, AttachError> {
    let first = TcAttachOptions::TcxOrder(LinkOrder::first());
    let link = program
        .attach_with_options(&interface.name, direction(hook), first)
        .and_then(|id| program.take_link(id))
        .map_err(failed("attaching", interface, hook))?;
    // aya takes names, and a name may have gone to another interface since the list was made.
    if describe(&link)?.is_some_and(|description| description.ifindex != interface.ifindex) {
        return Err(AttachError::Gone {
            interface: interface.name.clone(),
            ifindex: interface.ifindex,
        });
    }
    link.try_into().map_err(|source| AttachError::Link {
        hook,
        ifindex: interface.ifindex,
        source,
    })
}

fn keep(link: FdLink, pin: &Path, interface: &Link, hook: Hook) -> Result<(), AttachError> {
    let pinned = link.pin(pin);
    pinned.map(drop).map_err(|source| AttachError::Pin {
        hook,
        interface: interface.name.clone(),
        source,
    })
}

fn open(pin: &Path, ifindex: u32, hook: Hook) -> Result<Pinned, AttachError> {
    let link = match PinnedLink::from_pin(pin) {
        Ok(link) => SchedClassifierLink::try_from(FdLink::from(link)),
        Err(LinkError::SyscallError(SyscallError { io_error, .. })) if io_error.kind() == io::ErrorKind::NotFound => {
            return Ok(Pinned::Missing);
        }
        Err(error) => Err(error),
    };
    let link = link.map_err(|source| AttachError::Link { hook, ifindex, source })?;
    match describe(&link)? {
        Some(description) if description.ifindex == ifindex => Ok(Pinned::Alive(link, description.program)),
        Some(_) => Ok(Pinned::Dead),
        // Not told: an update will find out.
        None => Ok(Pinned::Alive(link, 0)),
    }
}

/// What the kernel says about a link. Its own query needs a descriptor that aya keeps to itself.
fn describe(link: &SchedClassifierLink) -> Result<Option<Description>, AttachError> {
    let Ok(fd) = link.fd() else { return Ok(None) };
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).map_err(AttachError::LinkInfo)?;
    Ok(parse(&text))
}

fn parse(text: &str) -> Option<Description> {
    let field = |name: &str| {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().parse().ok()
    };
    Some(Description {
        ifindex: field("ifindex")?,
        program: field("prog_id")?,
    })
}

fn failed(call: &'static str, interface: &Link, hook: Hook) -> impl FnOnce(ProgramError) -> AttachError {
    let (interface, ifindex) = (interface.name.clone(), interface.ifindex);
    move |source| match errno(&source) {
        Some(libc::ENODEV | libc::ENXIO) => AttachError::Gone { interface, ifindex },
        _ => AttachError::Program {
            call,
            hook,
            interface,
            source: Box::new(source),
        },
    }
}

fn errno(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        ProgramError::TcError(TcError::IoError(error)) | ProgramError::IOError(error) => error.raw_os_error(),
        _ => None,
    }
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Description, parse};

    #[test]
    fn a_link_is_described_by_its_interface_and_program() {
        let text =
            "pos:\t0\nlink_type:\ttcx\nlink_id:\t5\nprog_tag:\tab\nprog_id:\t17\nifindex:\t4\nattach_type:\t46\n";
        assert_eq!(
            parse(text),
            Some(Description {
                ifindex: 4,
                program: 17
            })
        );
    }

    #[test]
    fn a_description_without_an_interface_is_none() {
        assert_eq!(parse("link_type:\txdp\nprog_id:\t17\n"), None);
    }
}
