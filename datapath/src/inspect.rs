//! Reads back what the kernel holds: at a restart, for `dump`, and to see drift.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cellwall_datapath_common::policy::{LIST, PEER_NONE, digest2};
use cellwall_datapath_common::{Active, AddressValue, EndpointRecord, RuleCardValue, Span, TableValue, Versioned};
use cellwall_policy::compiled::{AddressEntry, PeerId, RuleSlot};

use crate::encode::cells;
use crate::encode::rules::card_of;
use crate::image::{Image, InterfaceEntry, Leftover, RawKey, TableEntry};
use crate::keys::Key;
use crate::layout::Layout;
use crate::port::{KernelError, MapName, Reads};
use crate::witness::{Witness, witness};

/// Reads all maps of the policy. Never changes anything; whatever the bytes are, there is an image of them.
pub fn inspect(kernel: &dyn Reads) -> Result<Image, KernelError> {
    read(kernel, None)
}

/// The elements of the two large arrays that say something: all others were zero when this was taken down.
///
/// An array has every element below its capacity, and reading a hundred thousand zeros takes longer than everything
/// else. What somebody writes into an element that nothing of ours uses is not seen: no program and no person reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Of `ENDPOINT_INDEX`.
    interfaces: Vec<u32>,
    /// Of `RULE_CARDS`.
    cards: Vec<u32>,
}

impl Places {
    /// Those that `image` uses, in maps of this kernel.
    pub fn of(image: &Image, kernel: &dyn Reads) -> Result<Self, KernelError> {
        let mask = kernel.capacity(MapName::EndpointIndex)?.saturating_sub(1);
        let interfaces: BTreeSet<u32> = image.interfaces.keys().map(|ifindex| ifindex & mask).collect();
        Ok(Self {
            interfaces: interfaces.into_iter().collect(),
            cards: image.rules.keys().map(|slot| slot.0).collect(),
        })
    }

    fn in_map(&self, map: MapName) -> Option<&[u32]> {
        match map {
            MapName::EndpointIndex => Some(&self.interfaces),
            MapName::RuleCards => Some(&self.cards),
            _ => None,
        }
    }
}

/// The same as [`inspect()`], looking at these places only of the arrays that are mostly empty.
pub fn inspect_places(kernel: &dyn Reads, places: &Places) -> Result<Image, KernelError> {
    read(kernel, Some(places))
}

/// The same as [`inspect_places`], and a witness of what was read.
pub fn inspect_witnessed(kernel: &dyn Reads, places: &Places) -> Result<(Image, Witness), KernelError> {
    witness(kernel, |kernel| inspect_places(kernel, places))
}

fn read(kernel: &dyn Reads, places: Option<&Places>) -> Result<Image, KernelError> {
    let mut image = Image::default();
    read_active(kernel, &mut image)?;
    read_rules(kernel, places, &mut image)?;
    read_interfaces(kernel, places, &mut image)?;
    read_own_addresses(kernel, &mut image)?;
    read_peers(kernel, &mut image)?;
    read_tables(kernel, &mut image)?;
    Ok(image)
}

/// Every element, or those at `places`.
fn visit(
    kernel: &dyn Reads,
    map: MapName,
    places: Option<&Places>,
    each: &mut dyn FnMut(&[u8], &[u8]),
) -> Result<(), KernelError> {
    let Some(places) = places.and_then(|places| places.in_map(map)) else {
        return kernel.visit(map, each);
    };
    for index in places {
        let key = index.to_bytes();
        if let Some(value) = kernel.lookup(map, &key)? {
            each(&key, &value);
        }
    }
    Ok(())
}

fn raw(map: MapName, key: &[u8]) -> RawKey {
    RawKey { map, key: key.to_vec() }
}

fn read_active(kernel: &dyn Reads, image: &mut Image) -> Result<(), KernelError> {
    let key = 0_u32.to_bytes();
    let bytes = kernel.lookup(MapName::Active, &key)?.unwrap_or_default();
    let active = Active::from_bytes(&bytes).unwrap_or_default();
    if active != Active::default() && !active.is_whole() {
        image.leftovers.insert(raw(MapName::Active, &key), Leftover::Broken);
    }
    image.active = active;
    Ok(())
}

fn read_rules(kernel: &dyn Reads, places: Option<&Places>, image: &mut Image) -> Result<(), KernelError> {
    visit(kernel, MapName::RuleCards, places, &mut |key, value| {
        if value.iter().all(|byte| *byte == 0) {
            return;
        }
        let card = RuleCardValue::from_bytes(value).and_then(|value| card_of(&value));
        match (u32::from_bytes(key), card) {
            (Some(slot), Some(card)) => drop(image.rules.insert(RuleSlot(slot), card)),
            _ => drop(image.leftovers.insert(raw(MapName::RuleCards, key), Leftover::Broken)),
        }
    })
}

/// What a versioned value gives at generation `active`, and what is wrong with it.
fn effective(value: Versioned, active: u32, digest: u32, none: u32) -> (Option<u32>, Option<Leftover>) {
    let Some(now) = value.read(active, digest) else {
        return (None, Some(Leftover::Broken));
    };
    let is_reached = active.wrapping_sub(value.generation) < 1 << 31;
    let now = Some(now).filter(|bits| *bits != none);
    let leftover = if is_reached {
        now.is_none().then_some(Leftover::Dead)
    } else {
        Some(Leftover::Unrealised)
    };
    (now, leftover)
}

fn read_interfaces(kernel: &dyn Reads, places: Option<&Places>, image: &mut Image) -> Result<(), KernelError> {
    let mut found = Vec::new();
    for map in [MapName::EndpointIndex, MapName::EndpointExtra] {
        visit(kernel, map, places, &mut |key, value| {
            if map == MapName::EndpointExtra || value.iter().any(|byte| *byte != 0) {
                found.push((raw(map, key), Versioned::from_bytes(value).unwrap_or_default()));
            }
        })?;
    }
    let mask = kernel.capacity(MapName::EndpointIndex)?.saturating_sub(1);
    for (key, value) in found {
        let number = u32::from_bytes(&key.key).unwrap_or_default();
        let extra = key.map == MapName::EndpointExtra;
        // An element does not say whose it is: its records do, and the seal says whether that is true.
        let mut records = BTreeMap::new();
        for slot in [value.new, value.previous]
            .into_iter()
            .filter_map(|bits| bits.checked_sub(1))
        {
            let bytes = kernel.lookup(MapName::Endpoints, &slot.to_bytes())?;
            records.extend(
                bytes
                    .and_then(|bytes| EndpointRecord::from_bytes(&bytes))
                    .map(|record| (slot, record)),
            );
        }
        let is_its = |record: &EndpointRecord| {
            if extra {
                record.ifindex == number
            } else {
                record.ifindex & mask == number
            }
        };
        let owners = records
            .values()
            .filter(|record| is_its(record))
            .map(|record| record.ifindex);
        let owner = if extra {
            Some(number)
        } else {
            owners
                .clone()
                .find(|ifindex| value.read(0, digest2(*ifindex, 0)).is_some())
        };
        let read = owner.map(|owner| (owner, effective(value, image.active.generation, digest2(owner, 0), 0)));
        let (now, leftover) = read.map_or((None, Some(Leftover::Broken)), |(_, read)| read);
        let slot = now.and_then(|bits| bits.checked_sub(1));
        let record = slot
            .and_then(|slot| records.get(&slot))
            .filter(|record| owner == Some(record.ifindex));
        match (slot, record, owner) {
            (Some(slot), Some(record), Some(owner)) => {
                image.interfaces.insert(
                    owner,
                    InterfaceEntry {
                        slot,
                        record: *record,
                        extra,
                    },
                );
                image.leftovers.extend(leftover.map(|why| (key, why)));
            }
            (Some(_), ..) => drop(image.leftovers.insert(key, Leftover::Broken)),
            (None, ..) => image.leftovers.extend(leftover.map(|why| (key, why))),
        }
    }
    Ok(())
}

fn read_own_addresses(kernel: &dyn Reads, image: &mut Image) -> Result<(), KernelError> {
    kernel.visit(MapName::OwnAddresses, &mut |key, _| {
        let key = raw(MapName::OwnAddresses, key);
        match Key::of(&key) {
            Some(Key::Own(ifindex, address)) => drop(image.own_addresses.insert((ifindex, address))),
            _ => drop(image.leftovers.insert(key, Leftover::Broken)),
        }
    })
}

/// Addresses, ranges, Service ports and policy entries.
fn read_peers(kernel: &dyn Reads, image: &mut Image) -> Result<(), KernelError> {
    use MapName::{Addresses4, Addresses6, Policy, Prefixes4, Prefixes6, ServicePorts};
    for map in [Addresses4, Addresses6, Prefixes4, Prefixes6, ServicePorts, Policy] {
        kernel.visit(map, &mut |key, value| read_peer(image, raw(map, key), value))?;
    }
    Ok(())
}

fn read_peer(image: &mut Image, raw: RawKey, value: &[u8]) {
    let Some(key) = Key::of(&raw) else {
        image.leftovers.insert(raw, Leftover::Broken);
        return;
    };
    let none = if raw.map == MapName::Policy { 0 } else { PEER_NONE };
    let address = AddressValue::from_bytes(value);
    // why: a value of the wrong size has no seal that fits
    let version = address
        .map(|value| value.peer)
        .or_else(|| Versioned::from_bytes(value))
        .unwrap_or_default();
    let (now, leftover) = effective(version, image.active.generation, key.digest(), none);
    image.leftovers.extend(leftover.map(|why| (raw, why)));
    let Some(bits) = now else { return };
    match key {
        Key::Address(key) => {
            let (since, ifindex) = address.map_or((0, 0), |value| (value.since, value.ifindex));
            image.addresses.insert(
                key,
                AddressEntry {
                    peer: PeerId(bits),
                    since,
                    ifindex,
                },
            );
        }
        Key::Prefix(cidr) => drop(image.prefixes.insert(cidr, PeerId(bits))),
        Key::ServicePort(key) => drop(image.service_ports.insert(key, PeerId(bits))),
        Key::Policy(policy, peer) => drop(image.policies.insert((policy, peer), bits.wrapping_sub(1))),
        Key::Extra(_) | Key::Index(_) | Key::Own(..) | Key::Card(_) => {}
    }
}

/// The tables that policy entries name.
fn read_tables(kernel: &dyn Reads, image: &mut Image) -> Result<(), KernelError> {
    let slots: BTreeSet<u32> = image.policies.values().copied().collect();
    let mut refs = BTreeMap::new();
    for slot in slots {
        let key = slot.to_bytes();
        match kernel
            .lookup(MapName::Tables, &key)?
            .and_then(|bytes| TableValue::from_bytes(&bytes))
        {
            Some(value) => drop(refs.insert(slot, value.refs)),
            None => drop(image.leftovers.insert(raw(MapName::Tables, &key), Leftover::Broken)),
        }
    }
    let lists: BTreeSet<u32> = refs
        .values()
        .flatten()
        .filter(|reference| **reference & LIST != 0)
        .map(|reference| reference & !LIST)
        .collect();
    let spans = read_spans(kernel, &lists)?;
    for (slot, refs) in refs {
        match cells::table(refs, &spans) {
            Some(table) => drop(image.tables.insert(
                slot,
                TableEntry {
                    table: Arc::new(table),
                    refs,
                },
            )),
            None => drop(
                image
                    .leftovers
                    .insert(raw(MapName::Tables, &slot.to_bytes()), Leftover::Broken),
            ),
        }
    }
    Ok(())
}

/// The spans of these lists, each at its index: the header says how many follow.
fn read_spans(kernel: &dyn Reads, lists: &BTreeSet<u32>) -> Result<Vec<Span>, KernelError> {
    let capacity = kernel.capacity(MapName::Spans)?;
    let mut spans: Vec<Span> = Vec::new();
    for header in lists.iter().copied().filter(|header| *header < capacity) {
        let count = read_span(kernel, header, &mut spans)?.min(cells::LONGEST);
        for index in header + 1..(header + 1).saturating_add(count).min(capacity) {
            read_span(kernel, index, &mut spans)?;
        }
    }
    Ok(spans)
}

/// Reads one span to its index; answers its start.
fn read_span(kernel: &dyn Reads, index: u32, spans: &mut Vec<Span>) -> Result<u32, KernelError> {
    let bytes = kernel.lookup(MapName::Spans, &index.to_bytes())?;
    let span = bytes.and_then(|bytes| Span::from_bytes(&bytes)).unwrap_or_default();
    let at = index as usize;
    if spans.len() <= at {
        spans.resize(at + 1, Span::default());
    }
    spans[at] = span;
    Ok(span.start)
}
