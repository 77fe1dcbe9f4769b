//! Which build the pinned programs are of, so that a start with the same one need not load it to find out: the kernel's
//! verifier takes most of a second for it, and more on a busy machine.
//!
//! The mark is a directory beside the pins, so that it goes where they go. Its name is a digest of the object, and the
//! tags that the kernel gave its programs: pinned programs of other tags are not the ones that were marked.

use std::fs;
use std::hash::Hasher as _;
use std::io;

use rustc_hash::FxHasher;

use super::load::{Programs, coarse_clock};
use super::place::{Place, PlaceError, make, names};
use super::{Hook, OpenError};

/// The object that this process would load, on this kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Build(String);

impl Build {
    pub(super) fn of(object: &[u8]) -> Self {
        let mut digest = FxHasher::default();
        digest.write(object);
        Self(format!("{:016x}-{}-{}", digest.finish(), object.len(), coarse_clock()))
    }

    /// The pinned programs, if they are of this build.
    pub(super) fn pinned(&self, place: &Place) -> Result<Option<Programs>, OpenError> {
        let Some(programs) = Programs::pinned(place)? else {
            return Ok(None);
        };
        let known = names(&place.builds())?.contains(&self.name(&programs)?);
        if known {
            Programs::forget(place)?;
        }
        Ok(known.then_some(programs))
    }

    /// Says that these programs, which are pinned, are of this build, and no other mark is left.
    pub(super) fn mark(&self, place: &Place, programs: &Programs) -> Result<(), OpenError> {
        let name = self.name(programs)?;
        for other in names(&place.builds())?.iter().filter(|other| **other != name) {
            remove(place, other)?;
        }
        Ok(make(&place.builds().join(name))?)
    }

    fn name(&self, programs: &Programs) -> Result<String, OpenError> {
        let tag = |hook| programs.info(hook).map(|info| info.tag());
        let (from, to) = (tag(Hook::FromPod)?, tag(Hook::ToPod)?);
        Ok(format!("{}-{from:016x}-{to:016x}", self.0))
    }
}

/// Removes all marks.
pub(super) fn forget(place: &Place) -> Result<(), PlaceError> {
    names(&place.builds())?.iter().try_for_each(|name| remove(place, name))
}

fn remove(place: &Place, name: &str) -> Result<(), PlaceError> {
    let path = place.builds().join(name);
    match fs::remove_dir(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(PlaceError::File {
            call: "remove",
            path,
            source: error,
        }),
        _ => Ok(()),
    }
}
