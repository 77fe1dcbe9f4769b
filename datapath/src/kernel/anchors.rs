//! What a living agent holds of its instance besides the pins, so that pins that somebody removed can be put back: the
//! maps with all that is in them, and the programs.

use aya::maps::MapData;

use super::place::Place;
use super::{OpenError, shape};

/// Descriptors of every map.
pub(super) struct Anchors(Vec<(&'static str, MapData)>);

impl Anchors {
    /// Holds the pinned maps.
    pub(super) fn hold(place: &Place) -> Result<Self, OpenError> {
        let hold = |name| {
            let data = MapData::from_pin(place.map(name));
            data.map(|data| (name, data))
                .map_err(|source| OpenError::Map { name, source })
        };
        shape::names().map(hold).collect::<Result<_, _>>().map(Self)
    }

    /// Pins the maps that are not pinned; answers how many that were.
    pub(super) fn pin(&self, place: &Place) -> Result<usize, OpenError> {
        let missing = self.0.iter().filter(|(name, _)| !place.map(name).exists());
        let mut pinned = 0;
        for (name, data) in missing {
            data.pin(place.map(name))
                .map_err(|source| OpenError::Pin { what: name, source })?;
            pinned += 1;
        }
        Ok(pinned)
    }
}
