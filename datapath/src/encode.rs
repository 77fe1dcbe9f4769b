//! From compiled changes to bytes: where everything goes in the maps, and the plan that brings it there.
//!
//! The encoder believes an [`Image`] of the kernel and keeps it true: an update is drawn up ([`Encoder::encode`])
//! without touching the belief, then committed when its flip succeeded or abandoned when it did not. Slots that an
//! update leaves are free only after a grace period ([`Encoder::settled`]).

mod addresses;
mod believed;
pub(crate) mod cells;
mod commit;
mod draft;
mod error;
mod heal;
mod interfaces;
mod new_tables;
mod policies;
mod prefixes;
mod ranges;
pub(crate) mod rules;
mod tables;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};

use cellwall_datapath_common::Active;
use cellwall_datapath_common::policy::PEER_NONE;

pub use error::EncodeError;
pub use wanted::Wanted;

use crate::image::{Image, Leftover};
use crate::keys::Key;
use crate::plan::{Plan, Step};
use crate::port::{KernelError, MapKind, MapName, Reads};
use draft::{Draft, removals};
use ranges::Ranges;
use tables::Tables;

/// Where everything is, as believed, and what is free.
#[derive(Debug, Clone)]
pub struct Encoder {
    image: Image,
    capacities: BTreeMap<MapName, u32>,
    /// Entries that the kernel has, by hash or trie; the dead ones too.
    present: BTreeMap<MapName, u64>,
    tables: Tables,
    slots: Ranges,
    retired_slots: Vec<u32>,
    /// Interface whose number is in each element of the index.
    elements: BTreeMap<u32, u32>,
    /// Entries to delete once a grace period has passed.
    dead: BTreeSet<Key>,
    /// Taken over from an earlier process: numbers mean nothing until the whole state was given once.
    adopted: bool,
    settled: bool,
}

/// An update drawn up.
#[must_use = "commit or abandon it, or its slots stay taken"]
pub struct Update {
    /// Its plan.
    pub plan: Plan,
    draft: Draft,
}

/// Capacities of the maps that plans write to.
pub type Capacities = BTreeMap<MapName, u32>;

/// Reads the capacities of all maps.
pub fn capacities(kernel: &dyn Reads) -> Result<Capacities, KernelError> {
    MapName::ALL
        .iter()
        .map(|map| Ok((*map, kernel.capacity(*map)?)))
        .collect()
}

impl Encoder {
    /// An encoder that goes on from what the kernel holds. The first update is taken as the whole state.
    /// Before it, [`Self::heal`] is to be run.
    pub fn new(image: Image, capacities: Capacities) -> Self {
        let size = |map: MapName| capacities.get(&map).copied().unwrap_or_else(|| map.default_capacity());
        let mut tables = Tables::new(size(MapName::Tables), size(MapName::Spans));
        let mut slots = Ranges::new(size(MapName::Endpoints));
        for slot in image.policies.values().copied().collect::<BTreeSet<_>>() {
            tables.adopt(slot, image.tables.get(&slot));
        }
        image.policies.values().for_each(|slot| tables.name(*slot));
        for entry in image.interfaces.values() {
            slots.claim(entry.slot, 1);
        }
        let mut encoder = Self {
            present: BTreeMap::new(),
            tables,
            slots,
            retired_slots: Vec::new(),
            elements: BTreeMap::new(),
            dead: BTreeSet::new(),
            adopted: true,
            settled: image.active.generation == 0,
            capacities,
            image,
        };
        for (ifindex, entry) in &encoder.image.interfaces {
            if !entry.extra {
                encoder.elements.insert(ifindex & encoder.index_mask(), *ifindex);
            }
        }
        encoder.adopt_leftovers();
        encoder.count_present();
        encoder
    }

    /// What the encoder believes the kernel to hold.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The generation that the next update makes.
    pub fn next_generation(&self) -> u32 {
        following(self.image.active.generation)
    }

    /// Free places: endpoint slots, table slots, list places.
    pub fn free(&self) -> [u32; 3] {
        [
            self.slots.free(),
            self.tables.slots().free(),
            self.tables.places().free(),
        ]
    }

    /// Entries in use and capacity of each map that an update may fill.
    pub fn fill(&self) -> BTreeMap<MapName, (u64, u64)> {
        let hashes = self
            .present
            .iter()
            .map(|(map, count)| (*map, (*count, self.limit(*map))));
        let arrays = [
            (MapName::Endpoints, &self.slots),
            (MapName::Tables, self.tables.slots()),
            (MapName::Spans, self.tables.places()),
        ];
        let arrays = arrays.map(|(map, ranges)| (map, (used(ranges), ranges.limit().into())));
        let cards = (
            MapName::RuleCards,
            (self.image.rules.len() as u64, self.limit(MapName::RuleCards)),
        );
        hashes.chain(arrays).chain([cards]).collect()
    }

    /// Draws up the update that makes the kernel say what is wanted; refused as a whole where it does not fit.
    pub fn encode(&mut self, wanted: &Wanted) -> Result<Update, EncodeError> {
        if !self.settled {
            return Err(EncodeError::Unsettled {
                generation: self.image.active.generation,
            });
        }
        let full;
        let wanted = if self.adopted && !wanted.full {
            full = Wanted {
                full: true,
                ..wanted.clone()
            };
            &full
        } else {
            wanted
        };
        let mut draft = Draft::new(self.image.active.generation);
        let drawn = self.draw(&mut draft, wanted).and_then(|()| self.check_room(&draft));
        if let Err(refusal) = drawn {
            self.give_back(&draft);
            return Err(refusal);
        }
        let plan = self.plan(&mut draft, wanted);
        Ok(Update { plan, draft })
    }

    fn draw(&mut self, draft: &mut Draft, wanted: &Wanted) -> Result<(), EncodeError> {
        self.draw_rules(draft, wanted)?;
        self.draw_tables(draft, wanted)?;
        self.draw_policies(draft, wanted)?;
        self.draw_interfaces(draft, wanted);
        self.draw_addresses(draft, wanted);
        self.draw_prefixes(draft, wanted);
        self.draw_service_ports(draft, wanted);
        draft.finish_claimed();
        if wanted.full {
            self.draw_broken(draft);
        }
        Ok(())
    }

    fn plan(&self, draft: &mut Draft, wanted: &Wanted) -> Plan {
        let Active {
            generation,
            switches,
            pass_sample,
            ..
        } = self.image.active;
        let prepare = draft.prepare();
        let revived = self.dead.intersection(&draft.revived).next().is_some();
        let same = prepare.is_empty() && draft.finish.is_empty() && draft.dead.is_subset(&self.dead) && !revived;
        if same && generation != 0 && (switches, pass_sample) == (wanted.switches, wanted.pass_sample) {
            return Plan::default();
        }
        let dead: BTreeSet<_> = self
            .dead
            .union(&draft.dead)
            .filter(|key| !draft.revived.contains(key))
            .collect();
        Plan {
            prepare,
            flip: Some(Active::sealed(draft.next, wanted.switches, wanted.pass_sample)),
            finish: draft.finish.clone(),
            clean: removals(dead),
        }
    }

    /// What CLEAN has to remove now: all that died, in this update or before.
    pub fn cleaning(&self) -> Vec<Step> {
        removals(&self.dead)
    }

    /// Counts before anything is written (case 61).
    fn check_room(&self, draft: &Draft) -> Result<(), EncodeError> {
        let full = |map, needed, limit| Err(EncodeError::Capacity { map, needed, limit });
        for (map, inserted) in &draft.inserted {
            let (needed, limit) = (self.present.get(map).copied().unwrap_or(0) + inserted, self.limit(*map));
            if needed > limit {
                return full(*map, needed, limit);
            }
        }
        let (tables, places, longest) = draft.tables.short;
        let arrays = [
            (MapName::Endpoints, &self.slots, draft.slots_short),
            (MapName::Tables, self.tables.slots(), tables),
            (MapName::Spans, self.tables.places(), places),
        ];
        let Some((map, ranges, short)) = arrays.into_iter().find(|(.., short)| *short > 0) else {
            return Ok(());
        };
        let (needed, limit) = (used(ranges) + short, u64::from(ranges.limit()));
        if needed > limit {
            return full(map, needed, limit);
        }
        let (length, free) = (longest, ranges.free());
        Err(EncodeError::Fragmented { map, length, free })
    }

    /// Entries that a map holds at most. A full trie cannot even replace before Linux 6.13: one is kept free.
    fn limit(&self, map: MapName) -> u64 {
        let capacity = self
            .capacities
            .get(&map)
            .copied()
            .unwrap_or_else(|| map.default_capacity());
        u64::from(capacity) - u64::from(map.kind() == MapKind::Trie && capacity > 0)
    }

    fn index_mask(&self) -> u32 {
        let size = self.capacities.get(&MapName::EndpointIndex).copied();
        size.unwrap_or_else(|| MapName::EndpointIndex.default_capacity())
            .saturating_sub(1)
    }

    fn leftover(&self, key: Key) -> Option<Leftover> {
        if self.image.leftovers.is_empty() {
            return None;
        }
        self.image.leftovers.get(&key.raw()).copied()
    }
}

/// The number after `generation`; 0 is none.
fn following(generation: u32) -> u32 {
    generation.wrapping_add(1).max(1)
}

fn used(ranges: &Ranges) -> u64 {
    u64::from(ranges.limit() - ranges.free())
}

/// A peer as versioned maps have it.
fn peer_bits(peer: Option<cellwall_policy::compiled::PeerId>) -> u32 {
    peer.map_or(PEER_NONE, |peer| peer.0)
}
