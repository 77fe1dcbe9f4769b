//! What the programs of one layout remember, handed on to those of another: flows, and what was counted by rule and by
//! reason.
//!
//! The policy is never handed on: the new layout has it from its sources. A flow is handed on without its verdict (the
//! generation that judged it is none), so that its next packet is judged again by the policy that is in force then, in
//! the flow's own direction; and only where both its addresses still belong to the interfaces that they belonged to when
//! it was opened. What is not handed on begins anew.

#[cfg(test)]
mod tests;

use cellwall_datapath_common::policy::PEER_NONE;
use cellwall_datapath_common::record::{self, event};
use cellwall_datapath_common::{Active, AddressValue, Counter, FlowValue, RuleCardValue};

use crate::counters::PROTOCOL_FROM_END;
use crate::layout::Layout;
use crate::port::{Entries, Kernel, KernelError, MapName, Reads};

/// Maps of the layout before that are read. Which address was whose since when is asked, too.
pub const MAPS: [MapName; 10] = [
    MapName::Active,
    MapName::RuleCards,
    MapName::RuleCounters,
    MapName::ReasonCounters,
    MapName::Addresses4,
    MapName::Addresses6,
    MapName::Flows4,
    MapName::Flows6,
    MapName::Opening4,
    MapName::Opening6,
];

/// Flows written at once.
const BATCH: usize = 1_024;
/// "No peer was looked up", as the programs have it.
const NO_PEER: u32 = PEER_NONE;

/// What became of the flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Handed on.
    pub flows: u64,
    /// Not handed on, for an end belongs to somebody else now.
    pub released: u64,
    /// Whether a table of the new layout had no room for all.
    pub full: bool,
}

/// Hands on the names of rules, so that each gets the slot that it had, and its counters with it. To be called before
/// the new layout's maps are read; where a policy was realised in them it does nothing.
pub fn cards(old: &dyn Reads, new: &mut dyn Kernel) -> Result<(), KernelError> {
    if generation(new)? != 0 {
        return Ok(());
    }
    let capacity = new.capacity(MapName::RuleCards)?;
    let mut cards = Entries::new(MapName::RuleCards);
    old.visit(MapName::RuleCards, &mut |key, value| {
        if u32::from_bytes(key).is_some_and(|slot| slot < capacity) {
            cards.push(key, value);
        }
    })?;
    new.update(&cards)
}

/// Hands on what was counted, and the flows. To be called when the new layout's policy is realised and before its
/// programs see packets. Done twice it changes nothing more. `tick` is the programs' time.
pub fn before(old: &dyn Reads, new: &mut dyn Kernel, tick: u32) -> Result<Carried, KernelError> {
    counters(old, new)?;
    let mut hand = Hand::new(old, new, tick)?;
    let opened = hand.flows()?;
    let carried = hand.carried;
    // What is among the unanswered counts as opened: else it would be missing in the sum that evictions are reckoned by.
    let mut values = new
        .lookup(MapName::EventCounters, &event::OPENED.to_bytes())?
        .unwrap_or_default();
    if let Some(first) = values.first_chunk_mut() {
        *first = u64::from_ne_bytes(*first).wrapping_add(opened).to_ne_bytes();
        new.set(MapName::EventCounters, event::OPENED, &values)?;
    }
    Ok(carried)
}

/// Hands on what changed since [`before`]: flows that were opened or went on meanwhile, but for those that the new
/// layout's programs have judged themselves. To be called when these programs are in place, and the ones before are, too.
pub fn after(old: &dyn Reads, new: &mut dyn Kernel, tick: u32) -> Result<Carried, KernelError> {
    let mut hand = Hand::new(old, new, tick)?;
    hand.flows()?;
    Ok(hand.carried)
}

fn generation(kernel: &dyn Reads) -> Result<u32, KernelError> {
    let bytes = kernel.lookup(MapName::Active, &0_u32.to_bytes())?;
    let active = bytes.and_then(|bytes| Active::from_bytes(&bytes));
    Ok(active.map_or(0, |active| active.generation))
}

/// Of each rule that has the same slot in both, and of each reason: on each processor the higher count of the two.
fn counters(old: &dyn Reads, new: &mut dyn Kernel) -> Result<(), KernelError> {
    let mut slots = Vec::new();
    old.visit(MapName::RuleCards, &mut |key, value| {
        slots.extend(u32::from_bytes(key).zip(RuleCardValue::from_bytes(value)));
    })?;
    for (slot, card) in slots {
        let now = new.lookup(MapName::RuleCards, &slot.to_bytes())?;
        let now = now.and_then(|bytes| RuleCardValue::from_bytes(&bytes));
        if now.is_some_and(|now| (now.name, now.uid) == (card.name, card.uid)) {
            counter(old, new, MapName::RuleCounters, slot)?;
        }
    }
    for reason in 0..record::REASON_COUNTERS {
        counter(old, new, MapName::ReasonCounters, reason)?;
    }
    Ok(())
}

fn counter(old: &dyn Reads, new: &mut dyn Kernel, map: MapName, index: u32) -> Result<(), KernelError> {
    let key = index.to_bytes();
    let (Some(before), Some(now)) = (old.lookup(map, &key)?, new.lookup(map, &key)?) else {
        return Ok(());
    };
    let size = map.value_size();
    let counters = |bytes: &[u8]| -> Vec<Counter> {
        let each = bytes.chunks_exact(size);
        each.map(|bytes| Counter::from_bytes(bytes).unwrap_or_default())
            .collect()
    };
    let (before, now) = (counters(&before), counters(&now));
    let higher: Vec<Counter> = before.iter().zip(&now).map(|(one, other)| higher(one, other)).collect();
    if higher == now || before.len() != now.len() {
        return Ok(());
    }
    let values: Vec<u8> = higher.iter().flat_map(Layout::to_bytes).collect();
    new.set(map, index, &values)
}

fn higher(one: &Counter, other: &Counter) -> Counter {
    Counter {
        flows: one.flows.max(other.flows),
        packets: one.packets.max(other.packets),
        bytes: one.bytes.max(other.bytes),
        last: one.last.max(other.last),
    }
}

/// What is to be done with a flow.
enum Fate {
    Carried(FlowValue),
    /// It is over, or the new programs have it already.
    Left,
    Released,
}

/// Flows on their way from one layout's maps to another's.
struct Hand<'a> {
    old: &'a dyn Reads,
    new: &'a mut dyn Kernel,
    /// The generation that decides in the old layout.
    active: u32,
    tick: u32,
    carried: Carried,
}

impl<'a> Hand<'a> {
    fn new(old: &'a dyn Reads, new: &'a mut dyn Kernel, tick: u32) -> Result<Self, KernelError> {
        Ok(Self {
            active: generation(old)?,
            old,
            new,
            tick,
            carried: Carried::default(),
        })
    }

    /// All four tables; answers how many unanswered flows came to those of the new layout.
    fn flows(&mut self) -> Result<u64, KernelError> {
        use MapName::{Addresses4, Addresses6, Flows4, Flows6, Opening4, Opening6};
        self.table(Flows4, Addresses4)?;
        self.table(Flows6, Addresses6)?;
        Ok(self.table(Opening4, Addresses4)? + self.table(Opening6, Addresses6)?)
    }

    /// One table; answers how many flows of it are new to the new layout.
    fn table(&mut self, map: MapName, addresses: MapName) -> Result<u64, KernelError> {
        let (mut fresh, mut failed) = (0, None);
        let mut batch = Entries::new(map);
        let old = self.old;
        old.visit(map, &mut |key, value| {
            if failed.is_some() || self.carried.full {
                return;
            }
            match self.entry(map, addresses, key, value, &mut batch) {
                Ok(is_fresh) => fresh += u64::from(is_fresh),
                Err(error) => failed = Some(error),
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        self.write(&mut batch)?;
        Ok(fresh)
    }

    fn entry(
        &mut self,
        map: MapName,
        addresses: MapName,
        key: &[u8],
        value: &[u8],
        batch: &mut Entries,
    ) -> Result<bool, KernelError> {
        let there = self.new.lookup(map, key)?;
        let there = there.and_then(|bytes| FlowValue::from_bytes(&bytes));
        match self.fate(addresses, key, value, there)? {
            Fate::Carried(flow) => {
                batch.push(key, &flow.to_bytes());
                if batch.len() >= BATCH {
                    self.write(batch)?;
                }
                Ok(there.is_none())
            }
            Fate::Left => Ok(false),
            Fate::Released => {
                self.carried.released += 1;
                Ok(false)
            }
        }
    }

    /// Writes the flows; a table that is full takes no more.
    fn write(&mut self, batch: &mut Entries) -> Result<(), KernelError> {
        let written = std::mem::replace(batch, Entries::new(batch.map()));
        match self.new.update(&written) {
            Ok(()) => self.carried.flows += written.len() as u64,
            Err(error) if error.is_full() => self.carried.full = true,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn fate(
        &self,
        addresses: MapName,
        key: &[u8],
        value: &[u8],
        there: Option<FlowValue>,
    ) -> Result<Fate, KernelError> {
        let size = addresses.key_size();
        let protocol = key.len().checked_sub(PROTOCOL_FROM_END).and_then(|at| key.get(at));
        let (Some(flow), Some(protocol)) = (FlowValue::from_bytes(value), protocol) else {
            return Ok(Fate::Left);
        };
        let judged = there.is_some_and(|there| there.revision != 0);
        if judged || FlowValue::is_expired(*protocol, flow.flags, flow.last_seen, self.tick) {
            return Ok(Fate::Left);
        }
        for end in key.chunks_exact(size).take(2) {
            if !self.is_still_its(addresses, end, flow.born)? {
                return Ok(Fate::Released);
            }
        }
        let carried = FlowValue {
            // No generation: the next packet is judged, and an address that changes hands from now on is newer.
            revision: 0,
            born: 0,
            // Numbers of peers are the old layout's.
            peer: NO_PEER,
            ..flow
        };
        Ok(if there == Some(carried) {
            Fate::Left
        } else {
            Fate::Carried(carried)
        })
    }

    /// Whether an address is whose it was when a flow was opened in generation `born`: it did not change hands since in
    /// the old layout, and is of the same interface, or of none, in the new one.
    fn is_still_its(&self, addresses: MapName, address: &[u8], born: u32) -> Result<bool, KernelError> {
        let read = |kernel: &dyn Reads| -> Result<Option<AddressValue>, KernelError> {
            let bytes = kernel.lookup(addresses, address)?;
            Ok(bytes.and_then(|bytes| AddressValue::from_bytes(&bytes)))
        };
        let (before, now) = (read(self.old)?, read(self.new)?);
        let interface = |value: Option<AddressValue>| value.map_or(0, |value| value.ifindex);
        let since = before.map_or(0, |value| value.since);
        let newer = since.wrapping_sub(born);
        let counts = self.active.wrapping_sub(since) < 1 << 31;
        let changed_hands = since != 0 && counts && newer != 0 && newer < 1 << 31;
        Ok(interface(before) == interface(now) && !changed_hands)
    }
}
