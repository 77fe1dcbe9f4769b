//! Deletes answered flows that are over. Only the sweep deletes: the programs take an expired flow for absent and
//! may bring it to life again, so every candidate is read anew right before it goes (case 38). Tables of unanswered
//! flows and fragments evict by themselves; how many unanswered flows made room for newer ones is reckoned here, for the
//! kernel does not tell. So is how many answered flows are on each pod's account, which the programs hold against its
//! share (case 39).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aya::Pod;
use aya::maps::{HashMap, Map, MapData, MapError};
use cellwall_datapath_common::FlowValue;
use cellwall_datapath_common::record::event;

use super::tick;
use crate::kernel::{Maps, OpenError, Place};
use crate::port::{Entries, Kernel, KernelError, MapName};

/// Offset of the protocol in a key of either family, from its end.
pub(crate) const PROTOCOL_FROM_END: usize = 4;
/// Ticks beyond its idle time that a flow is left alone: a packet that saw it alive has long been counted by then.
const SLACK: u32 = 64;

/// Rests between two passes.
const BETWEEN: u32 = 20;

/// How many keys are counted in the time in which one entry is looked at.
const KEYS: u64 = 8;

/// A table of flows, by keys of this many bytes.
type Flows<const K: usize> = HashMap<MapData, [u8; K], [u8; 32]>;

/// What a pass over the tables did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Entries looked at.
    pub seen: u64,
    /// Entries deleted.
    pub deleted: u64,
    /// Entries that were over at first sight and alive at the second.
    pub revived: u64,
    /// Unanswered flows that made room for newer ones since the maps were made: entered, and neither answered nor there
    /// any more. While new ones come in it may be too small by as many as come during a pass, never too large.
    pub evicted: u64,
}

/// Answered flows that there are, by the pod on whose account they are.
type Accounts = BTreeMap<u32, u64>;

/// Walks both tables of answered flows once, settles the pods' accounts, and counts the unanswered. After every `chunk`
/// entries `pause` is called, which may sleep, and may end the pass.
pub fn sweep(place: &Place, chunk: u64, mut pause: impl FnMut(&Sweep) -> ControlFlow<()>) -> Result<Sweep, OpenError> {
    let mut sweep = Sweep::default();
    let mut maps = Maps::open(place)?;
    // Read before the walk: what is entered meanwhile may be counted twice until the next pass, and is never forgotten.
    let entered = super::accounts(&maps, MapName::Entered)?;
    let mut there = Accounts::new();
    if table::<16>(place, MapName::Flows4, chunk, &mut sweep, &mut there, &mut pause)?.is_continue()
        && table::<40>(place, MapName::Flows6, chunk, &mut sweep, &mut there, &mut pause)?.is_continue()
    {
        settle(&mut maps, &entered, &there)?;
        if let Some(evicted) = evicted(&maps, place, chunk, &mut || pause(&sweep))? {
            sweep.evicted = evicted;
        }
    }
    // Ended or not, what was done is told.
    Ok(sweep)
}

/// Writes down how many of the flows that each pod had `entered` are gone, of which these are `there`. Of a pod that has none
/// nothing is kept.
fn settle(kernel: &mut impl Kernel, entered: &Accounts, there: &Accounts) -> Result<(), KernelError> {
    let (now, before) = (
        super::accounts(kernel, MapName::Entered)?,
        super::accounts(kernel, MapName::Gone)?,
    );
    let mut gone = Entries::new(MapName::Gone);
    let mut closed = [
        (Entries::new(MapName::Entered), &now),
        (Entries::new(MapName::Gone), &before),
    ];
    let all: BTreeSet<u32> = [entered, there, &now, &before]
        .into_iter()
        .flat_map(BTreeMap::keys)
        .copied()
        .collect();
    for ifindex in all {
        let of = |accounts: &Accounts| accounts.get(&ifindex).copied().unwrap_or(0);
        if there.contains_key(&ifindex) || of(&now) != of(entered) {
            let number = of(entered).wrapping_sub(of(there));
            gone.push(&ifindex.to_ne_bytes(), &number.to_ne_bytes());
            continue;
        }
        for (keys, _) in closed.iter_mut().filter(|(_, known)| known.contains_key(&ifindex)) {
            keys.push_key(&ifindex.to_ne_bytes());
        }
    }
    kernel.update(&gone)?;
    closed.iter().try_for_each(|(keys, _)| kernel.delete(keys))
}

/// Unanswered flows that made room; none where the pass was ended.
fn evicted(
    maps: &Maps,
    place: &Place,
    chunk: u64,
    pause: &mut impl FnMut() -> ControlFlow<()>,
) -> Result<Option<u64>, OpenError> {
    let read = |index: u32| super::happened(maps, index).unwrap_or(0);
    // Entered before the walk, answered after it: what comes and goes meanwhile is not taken for evicted.
    let opened = read(event::OPENED);
    let chunk = chunk.saturating_mul(KEYS);
    let four = present::<16>(place, MapName::Opening4, chunk, pause)?;
    let six = present::<40>(place, MapName::Opening6, chunk, pause)?;
    Ok(four.zip(six).map(|(four, six)| {
        let left = read(event::ANSWERED).saturating_add(four).saturating_add(six);
        opened.saturating_sub(left)
    }))
}

/// How many entries a table of unanswered flows has; none where the pass was ended.
fn present<const K: usize>(
    place: &Place,
    name: MapName,
    chunk: u64,
    pause: &mut impl FnMut() -> ControlFlow<()>,
) -> Result<Option<u64>, OpenError>
where
    [u8; K]: Pod,
{
    let (map, capacity) = open::<K>(place, name)?;
    let mut seen = 0_u64;
    for key in map.keys() {
        key.map_err(|source| OpenError::Map {
            name: name.name(),
            source,
        })?;
        seen += 1;
        // A walk begins anew where its last key has gone.
        if seen > capacity.saturating_mul(2) {
            break;
        }
        if seen.is_multiple_of(chunk.max(1)) && pause().is_break() {
            return Ok(None);
        }
    }
    Ok(Some(seen))
}

/// A table of flows, and how many have room in it.
fn open<const K: usize>(place: &Place, name: MapName) -> Result<(Flows<K>, u64), OpenError>
where
    [u8; K]: Pod,
{
    let failed = |source: MapError| OpenError::Map {
        name: name.name(),
        source,
    };
    let data = MapData::from_pin(place.map(name.name())).map_err(failed)?;
    let capacity = u64::from(data.info().map_err(failed)?.max_entries());
    let map = Map::from_map_data(data).and_then(HashMap::try_from);
    Ok((map.map_err(failed)?, capacity))
}

/// Sweeps in a thread of its own until `stop` is set: `chunk` entries, then `rest`, and so on; between two passes it rests
/// [`BETWEEN`] as long. A pass over tables full of openings that nobody answers costs some 30 ms of a processor.
pub fn sweep_in_thread(
    place: Place,
    chunk: u64,
    rest: Duration,
    stop: Arc<AtomicBool>,
    mut told: impl FnMut(Result<Sweep, OpenError>) + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let pause = move |stop: &AtomicBool| {
        std::thread::sleep(rest);
        if stop.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    std::thread::Builder::new().name("sweep".into()).spawn(move || {
        while (0..BETWEEN).all(|_| pause(&stop).is_continue()) {
            told(sweep(&place, chunk.max(1), |_| pause(&stop)));
        }
    })
}

fn table<const K: usize>(
    place: &Place,
    name: MapName,
    chunk: u64,
    sweep: &mut Sweep,
    there: &mut Accounts,
    pause: &mut impl FnMut(&Sweep) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, OpenError>
where
    [u8; K]: Pod,
{
    let failed = |source: MapError| OpenError::Map {
        name: name.name(),
        source,
    };
    // Two handles: the walk borrows one, deleting needs the other.
    let ((walked, capacity), (mut swept, _)) = (open::<K>(place, name)?, open::<K>(place, name)?);
    // The walk goes on from the last key; were that one deleted, it would begin anew. So a key is judged when the
    // next one is at hand.
    let mut last: Option<[u8; K]> = None;
    let mut steps = 0_u64;
    for key in walked.keys() {
        let key = key.map_err(failed)?;
        if let Some(last) = last.replace(key) {
            consider(&mut swept, &last, sweep, there).map_err(failed)?;
        }
        steps += 1;
        if steps > capacity.saturating_mul(2) {
            break;
        }
        if steps.is_multiple_of(chunk.max(1)) && pause(sweep).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    if let Some(last) = last {
        consider(&mut swept, &last, sweep, there).map_err(failed)?;
    }
    Ok(ControlFlow::Continue(()))
}

fn consider<const K: usize>(
    map: &mut Flows<K>,
    key: &[u8; K],
    sweep: &mut Sweep,
    there: &mut Accounts,
) -> Result<(), MapError> {
    sweep.seen += 1;
    let Some((flow, over)) = look(map, key)? else {
        return Ok(());
    };
    if over {
        if look(map, key)?.is_some_and(|(_, over)| over) {
            return match map.remove(key) {
                Ok(()) => {
                    sweep.deleted += 1;
                    Ok(())
                }
                Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
                Err(error) => Err(error),
            };
        }
        sweep.revived += 1;
    }
    let account = FlowValue::account(flow.flags, flow.lo_ifindex, flow.hi_ifindex);
    *there.entry(account).or_default() += 1;
    Ok(())
}

/// The flow under a key, if it is there, and whether it is over.
fn look<const K: usize>(map: &Flows<K>, key: &[u8; K]) -> Result<Option<(FlowValue, bool)>, MapError> {
    match map.get(key, 0) {
        Ok(value) => Ok(super::flow_value(&value).map(|flow| (flow, expired(key, &value, tick())))),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the entry is over at tick `now`, and has been for a while.
fn expired(key: &[u8], value: &[u8], now: u32) -> bool {
    let protocol = key.len().checked_sub(PROTOCOL_FROM_END).and_then(|at| key.get(at));
    match (protocol, super::flow_value(value)) {
        (Some(protocol), Some(value)) => {
            let later = value.last_seen.wrapping_add(SLACK);
            FlowValue::is_expired(*protocol, value.flags, later, now)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryKernel;
    use cellwall_datapath_common::{flow::idle, flow_flags, ticks};

    /// What is held after a pass: on each account so many were `entered` when it began, `there` as it found, and `now` in
    /// the end.
    fn held(entered: &[(u32, u64)], there: &[(u32, u64)], now: &[(u32, u64)]) -> (Accounts, usize) {
        let mut kernel = MemoryKernel::new();
        let put = |kernel: &mut MemoryKernel, map, counts: &[(u32, u64)]| {
            let mut entries = Entries::new(map);
            for (ifindex, count) in counts {
                entries.push(&ifindex.to_ne_bytes(), &count.to_ne_bytes());
            }
            kernel.update(&entries).unwrap();
        };
        put(&mut kernel, MapName::Entered, now);
        // Of a pass before this one.
        put(&mut kernel, MapName::Gone, &[(1, 1), (9, 3)]);
        let accounts = |counts: &[(u32, u64)]| counts.iter().copied().collect::<Accounts>();
        settle(&mut kernel, &accounts(entered), &accounts(there)).unwrap();
        let mut kept = 0;
        for map in [MapName::Entered, MapName::Gone] {
            crate::port::Reads::visit(&kernel, map, &mut |_, _| kept += 1).unwrap();
        }
        (super::super::held(&kernel).unwrap(), kept)
    }

    #[test]
    fn a_pod_is_held_to_what_is_there_and_to_what_it_has_entered_since() {
        assert_eq!(held(&[(1, 50)], &[(1, 20)], &[(1, 50)]).0, [(1, 20)].into());
        assert_eq!(held(&[(1, 50)], &[(1, 20)], &[(1, 57)]).0, [(1, 27)].into());
        assert_eq!(held(&[(1, 50)], &[], &[(1, 57)]).0, [(1, 7)].into());
        let wrapped = u64::MAX - 1;
        assert_eq!(held(&[(1, wrapped)], &[(1, 20)], &[(1, 5)]).0, [(1, 27)].into());
    }

    #[test]
    fn flows_that_nobody_is_known_to_have_entered_are_held_all_the_same() {
        assert_eq!(held(&[], &[(1, 20)], &[]).0, [(1, 20)].into());
        assert_eq!(held(&[], &[(1, 20)], &[(1, 2)]).0, [(1, 22)].into());
    }

    #[test]
    fn of_a_pod_that_has_no_flow_nothing_is_kept() {
        assert_eq!(held(&[(1, 50)], &[], &[(1, 50)]), ([].into(), 0));
        assert_eq!(
            held(&[(1, 50), (2, 3)], &[(2, 3)], &[(1, 50), (2, 3)]),
            ([(2, 3)].into(), 2)
        );
    }

    fn key(protocol: u8) -> [u8; 16] {
        let mut key = [0; 16];
        key[12] = protocol;
        key
    }

    fn value(last_seen: u32, flags: u32) -> Vec<u8> {
        [1, 0, last_seen, 1, 0, 0, flags, 0].map(u32::to_ne_bytes).concat()
    }

    #[test]
    fn an_idle_flow_goes_after_its_time_and_not_before() {
        let end = 1000 + SLACK + ticks(idle::ANSWERED);
        let value = value(1000, flow_flags::ANSWERED);
        assert!(!expired(&key(17), &value, end));
        assert!(expired(&key(17), &value, end + 1));
    }

    #[test]
    fn established_tcp_lives_for_a_day() {
        let value = value(1000, flow_flags::ANSWERED);
        assert!(!expired(&key(6), &value, 1000 + ticks(idle::TCP)));
        assert!(expired(&key(6), &value, 1000 + SLACK + ticks(idle::TCP) + 1));
    }

    #[test]
    fn a_flow_seen_by_a_faster_clock_is_alive() {
        assert!(!expired(&key(17), &value(1000, 0), 990));
        assert!(!expired(&key(17), &value(5, 0), u32::MAX - 5));
    }

    #[test]
    fn bytes_of_another_size_are_left_alone() {
        assert!(!expired(&key(17), &[0; 31], u32::MAX / 4));
        assert!(!expired(&[], &value(1000, 0), u32::MAX / 4));
    }
}
