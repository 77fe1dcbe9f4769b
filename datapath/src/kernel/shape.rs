//! The shape of every map, asked of the kernel before anything of it is believed.

use aya::maps::{MapInfo, MapType};
use cellwall_datapath_common::{limits, maps};

use super::OpenError;
use super::place::Place;
use crate::port::{MapKind, MapName};

/// Capacities that a node may need otherwise than the defaults say. The sizes that both sides have built in (the
/// endpoint index, counters of reasons and events) are not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacities {
    changed: Vec<(MapName, u32)>,
    records_bytes: u32,
}

impl Default for Capacities {
    fn default() -> Self {
        Self {
            changed: Vec::new(),
            records_bytes: limits::RECORDS_BYTES,
        }
    }
}

impl Capacities {
    /// Every map but those with a built-in size at most `entries` large, and a ring of one page: for tests that fill
    /// maps. Endpoints and what goes by their slot stay in step.
    pub fn tiny(entries: u32) -> Self {
        let mut capacities = Self {
            changed: Vec::new(),
            records_bytes: 4096,
        };
        for map in MapName::ALL {
            if !is_built_in(*map) {
                capacities = capacities.with(*map, map.default_capacity().min(entries));
            }
        }
        capacities.with(MapName::Endpoints, MapName::Endpoints.default_capacity().min(entries))
    }

    /// With another capacity of one map. That of `ENDPOINTS` carries those of refusals along; a map with a built-in
    /// size keeps it.
    #[must_use]
    pub fn with(mut self, map: MapName, entries: u32) -> Self {
        if map == MapName::Endpoints {
            self.set(MapName::RefusedNext, entries);
            self.set(MapName::Refused, entries.saturating_mul(limits::REFUSED_PER_ENDPOINT));
        }
        if map == MapName::RuleCards || map == MapName::RuleCounters {
            self.set(MapName::RuleCards, entries);
            self.set(MapName::RuleCounters, entries);
        } else if !is_built_in(map) && map != MapName::Refused && map != MapName::RefusedNext {
            self.set(map, entries);
        }
        self
    }

    /// With another size of the ring of records in bytes: a power of two and a multiple of the page size.
    #[must_use]
    pub fn with_records(mut self, bytes: u32) -> Self {
        self.records_bytes = bytes;
        self
    }

    /// Capacity of a map in entries.
    pub fn of(&self, map: MapName) -> u32 {
        let changed = self.changed.iter().find(|(changed, _)| *changed == map);
        changed.map_or_else(|| map.default_capacity(), |(_, entries)| *entries)
    }

    /// Size of the ring of records in bytes.
    pub fn records_bytes(&self) -> u32 {
        self.records_bytes
    }

    fn set(&mut self, map: MapName, entries: u32) {
        self.changed.retain(|(changed, _)| *changed != map);
        self.changed.push((map, entries));
    }
}

fn is_built_in(map: MapName) -> bool {
    matches!(
        map,
        MapName::Active | MapName::ReasonCounters | MapName::EventCounters | MapName::EndpointIndex
    )
}

/// A map as the kernel has it, or as we expect it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Kind, as the kernel numbers it.
    pub kind: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Most entries; of a ring its bytes.
    pub max_entries: u32,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            kind,
            key_size,
            value_size,
            max_entries,
        } = self;
        write!(
            f,
            "type {kind}, key {key_size}, value {value_size}, {max_entries} entries"
        )
    }
}

impl Shape {
    pub(super) fn of(info: &MapInfo) -> Self {
        Self {
            kind: info.map_type().map_or(u32::MAX, |kind| kind as u32),
            key_size: info.key_size(),
            value_size: info.value_size(),
            max_entries: info.max_entries(),
        }
    }

    /// Whether keys and values are of the same sizes and found in the same way; capacities may differ.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let what = |shape: &Self| (shape.kind, shape.key_size, shape.value_size);
        what(self) == what(other)
    }

    /// What this binary expects of a map; none for a name that it does not know.
    pub(super) fn expected(name: &str, capacities: &Capacities) -> Option<Self> {
        if name == maps::RECORDS {
            let (kind, max_entries) = (MapType::RingBuf as u32, capacities.records_bytes());
            return Some(Self {
                kind,
                key_size: 0,
                value_size: 0,
                max_entries,
            });
        }
        let map = MapName::ALL.iter().copied().find(|map| map.name() == name)?;
        let kind = match map.kind() {
            MapKind::Array => MapType::Array,
            MapKind::PerCpuArray => MapType::PerCpuArray,
            MapKind::Hash => MapType::Hash,
            MapKind::LruHash => MapType::LruHash,
            MapKind::Trie => MapType::LpmTrie,
        };
        Some(Self {
            kind: kind as u32,
            key_size: u32::try_from(map.key_size()).unwrap_or(u32::MAX),
            value_size: u32::try_from(map.value_size()).unwrap_or(u32::MAX),
            max_entries: capacities.of(map),
        })
    }
}

/// Names of all maps that an instance has, the ring included.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    MapName::ALL.iter().map(|map| map.name()).chain([maps::RECORDS])
}

/// Checks one pinned map; false where it is not pinned.
pub(super) fn check(place: &Place, name: &'static str, capacities: &Capacities) -> Result<bool, OpenError> {
    let path = place.map(name);
    if !path.exists() {
        return Ok(false);
    }
    let info = MapInfo::from_pin(&path).map_err(|source| OpenError::Map { name, source })?;
    let (found, expected) = (Shape::of(&info), Shape::expected(name, capacities));
    match expected {
        Some(expected) if expected == found => Ok(true),
        Some(expected) => Err(OpenError::Shape { name, found, expected }),
        None => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::{Capacities, MapName, Shape, names};
    use cellwall_datapath_common::limits;

    #[test]
    fn every_map_has_an_expected_shape() {
        assert!(names().all(|name| Shape::expected(name, &Capacities::default()).is_some()));
    }

    #[test]
    fn a_map_of_another_capacity_is_read_and_one_with_other_values_is_not() {
        let flows = Shape::expected("FLOWS4", &Capacities::default()).unwrap();
        let larger = Shape {
            max_entries: flows.max_entries * 2,
            ..flows
        };
        assert!(larger.is_like(&flows));
        let wider = Shape {
            value_size: flows.value_size + 4,
            ..flows
        };
        assert!(!wider.is_like(&flows));
    }

    #[test]
    fn maps_that_go_by_endpoint_slot_keep_in_step() {
        let capacities = Capacities::default()
            .with(MapName::Endpoints, 3)
            .with(MapName::Refused, 1);
        assert_eq!(capacities.of(MapName::RefusedNext), 3);
        assert_eq!(capacities.of(MapName::Refused), 3 * limits::REFUSED_PER_ENDPOINT);
    }

    #[test]
    fn built_in_sizes_cannot_be_changed() {
        let capacities = Capacities::tiny(8).with(MapName::EndpointIndex, 8);
        assert_eq!(capacities.of(MapName::EndpointIndex), limits::ENDPOINT_INDEX);
        assert_eq!(capacities.of(MapName::Policy), 8);
    }
}
