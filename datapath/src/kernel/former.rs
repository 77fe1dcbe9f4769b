//! What another layout of the same instance left in the kernel, and whether this one can take it over.

use aya::maps::{MapError, MapInfo};
use cellwall_datapath_common::STATE_VERSION;

use super::OpenError;
use super::maps::Maps;
use super::place::{Place, PlaceError};
use super::shape::{Capacities, Shape};
use crate::carry;

/// Another layout's pins.
pub struct Former {
    /// Its ABI version.
    pub version: u32,
    /// The maps that are handed on, or why they are not.
    pub maps: Result<Maps, Unlike>,
}

/// Why what a layout remembers means nothing to this one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unlike {
    /// It says so, or says nothing.
    #[error(
        "what it remembers is of version {}, and this agent reads {STATE_VERSION}",
        told(found)
    )]
    Version {
        /// What it says.
        found: Vec<u32>,
    },
    /// A map has keys or values of another size, or is of another kind.
    #[error("its map {name} is {found}, and this agent reads {expected}")]
    Shape {
        /// The map.
        name: &'static str,
        /// As it is pinned.
        found: Shape,
        /// As this layout has it.
        expected: Shape,
    },
    /// A map is not there, or cannot be opened.
    #[error("its map {name} cannot be read")]
    Map {
        /// The map.
        name: &'static str,
        /// Why not.
        source: MapError,
    },
    /// Its directory, or a map.
    #[error(transparent)]
    Open(#[from] OpenError),
}

fn told(versions: &[u32]) -> String {
    let each: Vec<String> = versions.iter().map(ToString::to_string).collect();
    if each.is_empty() {
        "none that it tells".to_owned()
    } else {
        each.join(", ")
    }
}

/// Every other layout of the instance, ascending.
pub(super) fn all(place: &Place) -> Result<Vec<Former>, PlaceError> {
    let others = place.versions()?.into_iter().filter(|other| other != place);
    let former = |other: Place| Former {
        version: other.version(),
        maps: open(&other),
    };
    Ok(others.map(former).collect())
}

fn open(place: &Place) -> Result<Maps, Unlike> {
    let found = place.states().map_err(OpenError::from)?;
    if found != [STATE_VERSION] {
        return Err(Unlike::Version { found });
    }
    for map in carry::MAPS {
        let name = map.name();
        let info = MapInfo::from_pin(place.map(name)).map_err(|source| Unlike::Map { name, source })?;
        let found = Shape::of(&info);
        let Some(expected) = Shape::expected(name, &Capacities::default()) else {
            continue;
        };
        if !found.is_like(&expected) {
            return Err(Unlike::Shape { name, found, expected });
        }
    }
    Ok(Maps::open_some(place, &carry::MAPS)?)
}
