//! Takes everything of an instance out of the kernel, with or without a living agent's help.

use std::fs;
use std::path::{Path, PathBuf};

use super::build;
use super::place::{Place, PlaceError, names, unpin};
use crate::attach::{self, AttachError, HOOKS};

/// What an uninstall removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Hooks that had our program.
    pub hooks: usize,
    /// Maps.
    pub maps: usize,
    /// Files in our directory that are not ours; they were left, and the directories that hold them.
    pub left: Vec<PathBuf>,
}

impl Removed {
    /// Whether there was anything of ours.
    pub fn any(&self) -> bool {
        self.hooks > 0 || self.maps > 0
    }
}

/// Removes links, filters, programs and maps of every version of the instance, and its directories. Refused while an
/// agent has it. Filters are looked for in the calling thread's network namespace.
pub fn uninstall(place: &Place) -> Result<Removed, AttachError> {
    let mut removed = Removed::default();
    let _lock = place.instance().is_dir().then(|| place.lock()).transpose()?;
    let filters = attach::remove_all(place);
    removed.hooks = filters.map_err(|source| AttachError::Netlink {
        interface: "*".to_owned(),
        source,
    })?;
    for version in place.versions()? {
        retire(&version, &mut removed)?;
    }
    remove_dir(&place.instance(), &mut removed)?;
    Ok(removed)
}

/// Removes every version but this one.
pub(super) fn others(place: &Place) -> Result<Removed, AttachError> {
    let mut removed = Removed::default();
    for version in place.versions()? {
        if version != *place {
            retire(&version, &mut removed)?;
        }
    }
    Ok(removed)
}

/// One version: what packets meet first goes first.
fn retire(place: &Place, removed: &mut Removed) -> Result<(), AttachError> {
    for ifindex in place.linked()? {
        removed.hooks += attach::remove_links(place, ifindex)?;
    }
    for hook in HOOKS {
        unpin(&place.program(hook))?;
        unpin(&place.next_program(hook))?;
    }
    // Another version may have had other maps: what is a map's pin tells where it lies.
    for name in names(&place.dir().join("maps"))? {
        removed.maps += usize::from(unpin(&place.map(&name))?);
    }
    build::forget(place)?;
    for state in place.states()? {
        remove_dir(&place.state(state), removed)?;
    }
    for dir in ["links", "progs", "builds", "maps", ""] {
        remove_dir(&place.dir().join(dir), removed)?;
    }
    Ok(())
}

/// Removes a directory that is empty; else notes what is in it.
fn remove_dir(path: &Path, removed: &mut Removed) -> Result<(), PlaceError> {
    let left = names(path)?;
    if left.is_empty() {
        match fs::remove_dir(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(PlaceError::File {
                    call: "remove",
                    path: path.to_owned(),
                    source: error,
                });
            }
            _ => return Ok(()),
        }
    }
    removed.left.extend(left.into_iter().map(|name| path.join(name)));
    Ok(())
}
