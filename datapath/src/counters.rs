//! What the programs count: packets by rule and by reason, events, refusals, flows. Sums over all CPUs, through the
//! port, so that the in-memory kernel answers alike.

mod sweep;

use std::collections::BTreeMap;
use std::time::Duration;

use cellwall_datapath_common::limits::REFUSED_PER_ENDPOINT;
use cellwall_datapath_common::record::{self, event};
use cellwall_datapath_common::{Counter, FlowKey4, FlowKey6, FlowValue, Refused, TICK_SHIFT};
use rustix::time::{ClockId, clock_gettime};

pub(crate) use sweep::PROTOCOL_FROM_END;
pub use sweep::{Sweep, sweep, sweep_in_thread};

use crate::events;
use crate::port::{KernelError, MapName, Operation, Reads};

/// Packets judged with one reason at one hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonCount {
    /// Hook, as [`cellwall_datapath_common::hook`] numbers it.
    pub hook: u8,
    /// 0 Pass, 1 Alert, 2 Drop: what the policy says.
    pub action: u8,
    /// Whether the packets were dropped.
    pub dropped: bool,
    /// Reason number.
    pub reason: u8,
    /// How many.
    pub counter: Counter,
}

/// Counters of events, by what they mean. See [`event`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Records that found the ring full, by action; [`lost`] tells them by reason, too.
    pub lost: [u64; 3],
    /// Records sent, by action.
    pub sent: [u64; 3],
    /// Answered flows that found their table full.
    pub flows_full: u64,
    /// Answered flows whose pod held its share already.
    pub flows_quota: u64,
    /// Unanswered flows that could not be entered.
    pub opening_full: u64,
    /// Values whose seal never fitted.
    pub torn: u64,
    /// Packets on an interface without an endpoint entry.
    pub no_endpoint: u64,
    /// Fragment trains that could not be entered.
    pub fragments_full: u64,
    /// Unanswered flows entered.
    pub opened: u64,
    /// Flows that were answered and so left the unanswered ones.
    pub answered: u64,
}

/// Either end's address and port, protocol, and state of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Over IPv4.
    V4(FlowKey4, FlowValue),
    /// Over IPv6.
    V6(FlowKey6, FlowValue),
}

/// Counters of the rules in `slots`, in their order.
pub fn rules(kernel: &impl Reads, slots: &[u32]) -> Result<Vec<Counter>, KernelError> {
    slots
        .iter()
        .map(|slot| at(kernel, MapName::RuleCounters, *slot))
        .collect()
}

/// Every reason that was given at least once.
pub fn reasons(kernel: &impl Reads) -> Result<Vec<ReasonCount>, KernelError> {
    let mut counts = Vec::new();
    for hook in 0..2_u8 {
        for (action, dropped) in [(0, false), (0, true), (1, false), (1, true), (2, false), (2, true)] {
            for reason in 0..u8::try_from(record::REASONS).unwrap_or(u8::MAX) {
                let index = record::reason_index(hook.into(), u32::from(action), dropped.into(), reason.into());
                let counter = at(kernel, MapName::ReasonCounters, index)?;
                if counter != Counter::default() {
                    counts.push(ReasonCount {
                        hook,
                        action,
                        dropped,
                        reason,
                        counter,
                    });
                }
            }
        }
    }
    Ok(counts)
}

/// Records that found the ring full, by [`event::kind`] and reason; those that there are.
pub fn lost(kernel: &impl Reads) -> Result<BTreeMap<(u8, u8), u64>, KernelError> {
    let mut lost = BTreeMap::new();
    for kind in 0..4_u8 {
        for reason in 0..u8::try_from(record::REASONS).unwrap_or(u8::MAX) {
            let count = happened(kernel, event::lost(kind.into(), reason.into()))?;
            if count > 0 {
                lost.insert((kind, reason), count);
            }
        }
    }
    Ok(lost)
}

/// Records sent, by action.
pub fn sent(kernel: &impl Reads) -> Result<[u64; 3], KernelError> {
    let read = |action: u32| happened(kernel, event::SENT + action);
    Ok([read(0)?, read(1)?, read(2)?])
}

/// All events.
pub fn events(kernel: &impl Reads) -> Result<Events, KernelError> {
    let read = |index: u32| happened(kernel, index);
    let mut by_action = [0_u64; 3];
    for ((kind, _), count) in lost(kernel)? {
        by_action[usize::from(kind.min(2))] += count;
    }
    Ok(Events {
        lost: by_action,
        sent: sent(kernel)?,
        flows_full: read(event::FLOWS_FULL)?,
        flows_quota: read(event::FLOWS_QUOTA)?,
        opening_full: read(event::OPENING_FULL)?,
        torn: read(event::TORN)?,
        no_endpoint: read(event::NO_ENDPOINT)?,
        fragments_full: read(event::FRAGMENTS_FULL)?,
        opened: read(event::OPENED)?,
        answered: read(event::ANSWERED)?,
    })
}

/// The last refusals in `slot`, oldest first: at most [`REFUSED_PER_ENDPOINT`], of every endpoint that had the slot. One
/// that is being written while we read may be half old, half new.
pub fn refused(kernel: &impl Reads, slot: u32) -> Result<Vec<Refused>, KernelError> {
    let map = MapName::RefusedNext;
    let next = read(kernel, map, slot)?;
    let next = u64::from_ne_bytes(*next.first_chunk().ok_or_else(|| short(map, slot))?);
    let kept = next.min(u64::from(REFUSED_PER_ENDPOINT));
    let mut refused = Vec::new();
    for number in next - kept..next {
        // why: the remainder is below 64
        let place = u32::try_from(number % u64::from(REFUSED_PER_ENDPOINT)).unwrap_or(0);
        let index = slot.saturating_mul(REFUSED_PER_ENDPOINT).saturating_add(place);
        refused.extend(events::decode(&read(kernel, MapName::Refused, index)?));
    }
    Ok(refused)
}

/// The last refusals at each of `interfaces`, oldest first: at most [`REFUSED_PER_ENDPOINT`] of each, none older than the
/// time given with it (`CLOCK_MONOTONIC` nanoseconds: an index may have been another interface's before). Looked for in
/// every slot: a change moves an endpoint to another one, and what was refused before stays in the former, whoever has
/// that now, until as many newer ones have been kept there.
pub fn refused_at(kernel: &impl Reads, interfaces: &BTreeMap<u32, u64>) -> Result<Vec<Refused>, KernelError> {
    let mut slots = Vec::new();
    kernel.visit(MapName::RefusedNext, &mut |slot, next| {
        if next.iter().any(|byte| *byte != 0) {
            slots.extend(slot.try_into().ok().map(u32::from_ne_bytes));
        }
    })?;
    let mut found: BTreeMap<u32, Vec<Refused>> = BTreeMap::new();
    for slot in slots {
        for one in refused(kernel, slot)? {
            if interfaces.get(&one.ifindex).is_some_and(|since| one.time >= *since) {
                found.entry(one.ifindex).or_default().push(one);
            }
        }
    }
    let most = REFUSED_PER_ENDPOINT as usize;
    let mut last = Vec::new();
    for mut of_one in found.into_values() {
        of_one.sort_by_key(|one| one.time);
        last.extend_from_slice(&of_one[of_one.len().saturating_sub(most)..]);
    }
    last.sort_by_key(|one| one.time);
    Ok(last)
}

/// Answered flows on each pod's account, by its interface, as the programs reckon: too few or too many by those that came
/// and went since the last pass of the sweep.
pub fn held(kernel: &impl Reads) -> Result<BTreeMap<u32, u64>, KernelError> {
    let mut held = accounts(kernel, MapName::Entered)?;
    for (ifindex, gone) in accounts(kernel, MapName::Gone)? {
        let entered = held.entry(ifindex).or_default();
        *entered = entered.wrapping_sub(gone);
    }
    // Less than none, for a moment, is none.
    held.retain(|_, held| held.cast_signed() > 0);
    Ok(held)
}

/// A map of counts by interface.
fn accounts(kernel: &impl Reads, map: MapName) -> Result<BTreeMap<u32, u64>, KernelError> {
    let mut accounts = BTreeMap::new();
    kernel.visit(map, &mut |ifindex, count| {
        if let (Ok(ifindex), Ok(count)) = (ifindex.try_into(), count.try_into()) {
            accounts.insert(u32::from_ne_bytes(ifindex), u64::from_ne_bytes(count));
        }
    })?;
    Ok(accounts)
}

/// Hands over every flow: answered ones and, where `opening` says so, those that nobody answered yet.
pub fn flows(kernel: &impl Reads, opening: bool, mut each: impl FnMut(Flow)) -> Result<(), KernelError> {
    let maps = [MapName::Flows4, MapName::Flows6, MapName::Opening4, MapName::Opening6];
    for map in &maps[..if opening { 4 } else { 2 }] {
        kernel.visit(*map, &mut |key, value| {
            let flow = match map {
                MapName::Flows4 | MapName::Opening4 => key4(key).zip(flow_value(value)).map(|(k, v)| Flow::V4(k, v)),
                _ => key6(key).zip(flow_value(value)).map(|(k, v)| Flow::V6(k, v)),
            };
            if let Some(flow) = flow {
                each(flow);
            }
        })?;
    }
    Ok(())
}

/// `CLOCK_MONOTONIC`, the clock of every time that the programs write.
pub fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

/// The same in the ticks of flows.
pub fn tick() -> u32 {
    let ticks = monotonic().as_nanos() >> TICK_SHIFT;
    u32::try_from(ticks & u128::from(u32::MAX)).unwrap_or(0)
}

/// How often an event happened, by its number.
fn happened(kernel: &impl Reads, index: u32) -> Result<u64, KernelError> {
    let words = words(kernel, MapName::EventCounters, index)?;
    Ok(words.into_iter().fold(0, u64::wrapping_add))
}

/// One counter of `map`, [`MapName::RuleCounters`] or [`MapName::ReasonCounters`], over all CPUs.
pub(crate) fn at(kernel: &impl Reads, map: MapName, index: u32) -> Result<Counter, KernelError> {
    let words = words(kernel, map, index)?;
    let mut sum = Counter::default();
    for cpu in words.chunks_exact(4) {
        let [flows, packets, bytes, last] = [cpu[0], cpu[1], cpu[2], cpu[3]];
        sum.flows = sum.flows.wrapping_add(flows);
        sum.packets = sum.packets.wrapping_add(packets);
        sum.bytes = sum.bytes.wrapping_add(bytes);
        sum.last = sum.last.max(last);
    }
    Ok(sum)
}

/// The values of all CPUs as 64-bit words.
fn words(kernel: &impl Reads, map: MapName, index: u32) -> Result<Vec<u64>, KernelError> {
    let bytes = read(kernel, map, index)?;
    let (words, _) = bytes.as_chunks();
    Ok(words.iter().map(|word| u64::from_ne_bytes(*word)).collect())
}

fn read(kernel: &impl Reads, map: MapName, index: u32) -> Result<Vec<u8>, KernelError> {
    kernel
        .lookup(map, &index.to_ne_bytes())?
        .ok_or_else(|| short(map, index))
}

fn short(map: MapName, index: u32) -> KernelError {
    KernelError::new(Operation::Lookup, Some(map), Some(&index.to_ne_bytes()), libc::ENOENT)
}

fn key4(bytes: &[u8]) -> Option<FlowKey4> {
    let (lo, rest) = bytes.split_first_chunk()?;
    let (hi, rest) = rest.split_first_chunk()?;
    let (lo_port, rest) = rest.split_first_chunk()?;
    let (hi_port, rest) = rest.split_first_chunk()?;
    let [protocol, pad @ ..] = <[u8; 4]>::try_from(rest).ok()?;
    Some(FlowKey4 {
        lo: *lo,
        hi: *hi,
        lo_port: *lo_port,
        hi_port: *hi_port,
        protocol,
        pad,
    })
}

fn key6(bytes: &[u8]) -> Option<FlowKey6> {
    let (lo, rest) = bytes.split_first_chunk()?;
    let (hi, rest) = rest.split_first_chunk()?;
    let (lo_port, rest) = rest.split_first_chunk()?;
    let (hi_port, rest) = rest.split_first_chunk()?;
    let [protocol, pad @ ..] = <[u8; 4]>::try_from(rest).ok()?;
    Some(FlowKey6 {
        lo: *lo,
        hi: *hi,
        lo_port: *lo_port,
        hi_port: *hi_port,
        protocol,
        pad,
    })
}

fn flow_value(bytes: &[u8]) -> Option<FlowValue> {
    let (words, []) = bytes.as_chunks::<4>() else {
        return None;
    };
    let words: &[[u8; 4]; 8] = words.try_into().ok()?;
    let [revision, cell, last_seen, born, lo_ifindex, hi_ifindex, flags, peer] = words.map(u32::from_ne_bytes);
    Some(FlowValue {
        revision,
        cell,
        last_seen,
        born,
        lo_ifindex,
        hi_ifindex,
        flags,
        peer,
    })
}

#[cfg(test)]
mod tests {
    use cellwall_datapath_common::Record;

    use super::*;
    use crate::layout::Layout as _;
    use crate::memory::MemoryKernel;
    use crate::port::{Entries, Kernel as _};

    /// Slots and, in each, the refusals that it was given: (interface, time).
    fn kernel(slots: &[(u32, &[(u32, u64)])]) -> MemoryKernel {
        let mut kernel = MemoryKernel::new();
        for (slot, refusals) in slots {
            let mut kept = Entries::new(MapName::Refused);
            for (number, (ifindex, time)) in (0..).zip(*refusals) {
                let place = slot * REFUSED_PER_ENDPOINT + number % REFUSED_PER_ENDPOINT;
                let blank = Record::from_bytes(&[0; size_of::<Record>()]).unwrap();
                let record = Record {
                    ifindex: *ifindex,
                    time: *time,
                    ..blank
                };
                kept.push(&place.to_ne_bytes(), &record.to_bytes());
            }
            kernel.update(&kept).unwrap();
            let mut next = Entries::new(MapName::RefusedNext);
            next.push(&slot.to_ne_bytes(), &(refusals.len() as u64).to_ne_bytes());
            kernel.update(&next).unwrap();
        }
        kernel
    }

    fn times(kernel: &MemoryKernel, interfaces: &[(u32, u64)]) -> Vec<(u32, u64)> {
        let found = refused_at(kernel, &interfaces.iter().copied().collect()).unwrap();
        found.iter().map(|one| (one.ifindex, one.time)).collect()
    }

    #[test]
    fn refusals_are_found_in_every_slot_that_an_interface_had() {
        let kernel = kernel(&[(2, &[(7, 10), (7, 30)]), (900, &[(7, 40), (7, 50)]), (5, &[(8, 20)])]);
        assert_eq!(times(&kernel, &[(7, 0)]), [(7, 10), (7, 30), (7, 40), (7, 50)]);
        assert_eq!(times(&kernel, &[(7, 40), (8, 0)]), [(8, 20), (7, 40), (7, 50)]);
        assert_eq!(times(&kernel, &[(9, 0)]), []);
    }

    #[test]
    fn of_the_refusals_in_several_slots_the_last_ones_are_told() {
        let old: Vec<(u32, u64)> = (0..100).map(|time| (7, time)).collect();
        let new: Vec<(u32, u64)> = (100..110).map(|time| (7, time)).collect();
        let found = times(&kernel(&[(1, &old), (0, &new)]), &[(7, 0)]);
        assert_eq!(found.len(), REFUSED_PER_ENDPOINT as usize);
        assert_eq!((found[0], found[63]), ((7, 46), (7, 109)));
    }
}
