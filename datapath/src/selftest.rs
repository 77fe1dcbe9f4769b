//! Packets through a double of the loaded programs: what they decide by the maps that are in force, judged against what
//! the reference says, without a trace in anything that is counted, recorded or remembered.
//!
//! The double is the same object, loaded once more against the same maps of policy, and against maps of its own for
//! all that a packet leaves behind: flows, counters, records, refusals, scratch memory. The kernel's tag of a program is
//! a digest of its instructions and leaves out which maps they use, so the double's tags are those of the programs at
//! the interfaces, which [`SelfTest::load`] insists on. Nothing of this is on a packet's way: there is no mark that a
//! test packet bears and a pod could forge, and no branch that a packet takes because of it.

mod frame;

use std::collections::BTreeMap;

use aya::maps::MapError;
use aya::programs::{ProgramError, SchedClassifier};
use aya::{Ebpf, TestRun as _, TestRunOptions};
use cellwall_datapath_common::Cell;
use cellwall_datapath_common::record::reason_index;

pub use frame::Opening;

use crate::attach::{HOOKS, Hook, program_name};
use crate::counters;
use crate::kernel::{Capacities, Maps, OpenError, Options, Place, hook_number, load_double};
use crate::port::{Entries, Kernel as _, KernelError, MapName, Reads as _};

/// What the programs answer for "go on with the next one" (-1), and for "drop".
const NEXT: u32 = u32::MAX;
const SHOT: u32 = 2;
/// Bytes of a `__sk_buff`, and where the hook's interface is in it.
const CONTEXT: usize = 192;
const IFINDEX: usize = 40;
/// Rule slots that the double counts; of a rule beyond, which rule it was is not compared. Slots are given from the
/// smallest free one on.
const SLOTS: u32 = 4_096;
/// Entries of the double's flow tables: they are emptied after each round.
const FLOWS: u32 = 1_024;

/// The maps that say what is to be decided; all others are the double's own.
const POLICY: [MapName; 13] = [
    MapName::Active,
    MapName::EndpointIndex,
    MapName::EndpointExtra,
    MapName::Endpoints,
    MapName::OwnAddresses,
    MapName::Addresses4,
    MapName::Addresses6,
    MapName::Prefixes4,
    MapName::Prefixes6,
    MapName::ServicePorts,
    MapName::Policy,
    MapName::Tables,
    MapName::Spans,
];

/// Why packets cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelfTestError {
    /// The double cannot be loaded.
    #[error("the programs cannot be loaded a second time")]
    Load(#[from] OpenError),
    /// It is not what is attached.
    #[error(
        "the program of {hook} has the tag {found:016x} when it is loaded again, and {pinned:016x} where it is pinned"
    )]
    Tag {
        /// The hook.
        hook: Hook,
        /// Of the double.
        found: u64,
        /// Of the pinned program.
        pinned: u64,
    },
    /// It uses other maps than what is attached.
    #[error("map {map} that is pinned is not the one that the pinned program of {hook} uses")]
    OtherMap {
        /// The map.
        map: &'static str,
        /// The hook.
        hook: Hook,
    },
    /// The kernel does not run it.
    #[error("BPF_PROG_TEST_RUN at {hook} of interface index {ifindex}")]
    Run {
        /// The hook.
        hook: Hook,
        /// The interface.
        ifindex: u32,
        /// Why not.
        source: Box<ProgramError>,
    },
    /// It answered what it never answers.
    #[error("the program of {hook} answers {answer}")]
    Answer {
        /// The hook.
        hook: Hook,
        /// The answer.
        answer: u32,
    },
    /// Its maps cannot be read.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// A verdict as the programs count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// Whether the packet is dropped.
    pub dropped: bool,
    /// 0 Pass, 1 Alert, 2 Drop.
    pub action: u8,
    /// Reason number.
    pub reason: u8,
    /// Slot of the rule credited.
    pub slot: Option<u32>,
}

/// The double.
pub struct SelfTest {
    object: Ebpf,
    maps: Maps,
    /// Packets by (hook, action, dropped, reason), and by rule slot, as far as they are explained.
    reasons: BTreeMap<(u8, u8, bool, u8), u64>,
    rules: BTreeMap<u32, u64>,
}

impl SelfTest {
    /// Loads the double of the instance that is pinned there. The kernel verifies both programs anew, which takes it a
    /// second or two.
    pub fn load(place: &Place, options: &Options) -> Result<Self, SelfTestError> {
        let own = Capacities::default()
            .with(MapName::RuleCounters, SLOTS)
            .with(MapName::Endpoints, 1);
        let own = [
            MapName::Flows4,
            MapName::Flows6,
            MapName::Opening4,
            MapName::Opening6,
            MapName::Entered,
            MapName::Gone,
            MapName::Fragments,
        ]
        .into_iter()
        .fold(own, |own, map| own.with(map, FLOWS));
        let mut object = load_double(place, options, &POLICY, &own)?;
        for hook in HOOKS {
            compare(&object, place, hook)?;
        }
        let maps = Maps::gather(MapName::ALL, |map| {
            if POLICY.contains(&map) {
                let data = aya::maps::MapData::from_pin(place.map(map.name()))?;
                let capacity = data.info()?.max_entries();
                return Ok((aya::maps::Map::from_map_data(data)?, capacity));
            }
            let taken = object.take_map(map.name());
            let missing = || MapError::PinError {
                name: Some(map.name().to_owned()),
                error: aya::pin::PinError::NoFd {
                    name: map.name().to_owned(),
                },
            };
            Ok((taken.ok_or_else(missing)?, own.of(map)))
        })?;
        Ok(Self {
            object,
            maps,
            reasons: BTreeMap::new(),
            rules: BTreeMap::new(),
        })
    }

    /// Runs a packet at a hook of an interface, which is in the network namespace of the calling thread. None: it was
    /// judged as `expected`; else how it was, as far as it was counted.
    pub fn run(
        &mut self,
        hook: Hook,
        ifindex: u32,
        packet: &Opening,
        expected: Said,
    ) -> Result<Option<(bool, Option<Said>)>, SelfTestError> {
        let dropped = self.test(hook, ifindex, &packet.frame())?;
        if dropped == expected.dropped && self.counted(hook, expected)? {
            return Ok(None);
        }
        Ok(Some((dropped, self.find(hook)?)))
    }

    fn test(&self, hook: Hook, ifindex: u32, frame: &[u8]) -> Result<bool, SelfTestError> {
        let failed = |source| SelfTestError::Run {
            hook,
            ifindex,
            source: Box::new(source),
        };
        let mut context = [0; CONTEXT];
        context[IFINDEX..IFINDEX + 4].copy_from_slice(&ifindex.to_ne_bytes());
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        let run = program(&self.object, hook).and_then(|program| program.test_run(options));
        match run.map_err(failed)?.return_value {
            NEXT => Ok(false),
            SHOT => Ok(true),
            answer => Err(SelfTestError::Answer { hook, answer }),
        }
    }

    /// Whether the last packet was counted as this; if so, it is explained.
    fn counted(&mut self, hook: Hook, said: Said) -> Result<bool, SelfTestError> {
        let Said {
            dropped,
            action,
            reason,
            slot,
        } = said;
        let number = hook_number(hook);
        let index = reason_index(number.into(), action.into(), dropped.into(), reason.into());
        let by_reason = counters::at(&self.maps, MapName::ReasonCounters, index)?.packets;
        let explained = self.reasons.entry((number, action, dropped, reason)).or_default();
        if by_reason != *explained + 1 {
            return Ok(false);
        }
        if let Some(slot) = slot.filter(|slot| *slot < SLOTS) {
            let by_rule = counters::at(&self.maps, MapName::RuleCounters, slot)?.packets;
            let known = self.rules.entry(slot).or_default();
            if by_rule != *known + 1 {
                return Ok(false);
            }
            *known += 1;
        }
        *explained += 1;
        Ok(true)
    }

    /// What the last packet was counted as, whatever was expected; none where it was not counted, or not once.
    fn find(&mut self, hook: Hook) -> Result<Option<Said>, SelfTestError> {
        let mut found = Vec::new();
        for one in counters::reasons(&self.maps)? {
            let key = (one.hook, one.action, one.dropped, one.reason);
            if self.reasons.insert(key, one.counter.packets).unwrap_or(0) != one.counter.packets {
                found.push(one);
            }
        }
        let mut credited = None;
        for slot in 0..SLOTS {
            let packets = counters::at(&self.maps, MapName::RuleCounters, slot)?.packets;
            if packets > 0 && self.rules.insert(slot, packets).unwrap_or(0) != packets {
                credited = Some(slot);
            }
        }
        let [one] = &found[..] else { return Ok(None) };
        Ok((one.hook == hook_number(hook)).then_some(Said {
            dropped: one.dropped,
            action: one.action,
            reason: one.reason,
            slot: credited,
        }))
    }

    /// Forgets the flows that packets opened: the next ones are judged by the tables again.
    pub fn forget(&mut self) -> Result<(), SelfTestError> {
        for map in [MapName::Flows4, MapName::Flows6, MapName::Opening4, MapName::Opening6] {
            let mut keys = Entries::new(map);
            self.maps.visit(map, &mut |key, _| keys.push_key(key))?;
            if !keys.is_empty() {
                self.maps.delete(&keys)?;
            }
        }
        Ok(())
    }
}

/// A rule slot in the words of [`Said`].
pub fn credited(slot: u32) -> Option<u32> {
    (slot != Cell::NO_RULE).then_some(slot)
}

fn program(object: &Ebpf, hook: Hook) -> Result<&SchedClassifier, ProgramError> {
    object
        .program(program_name(hook))
        .ok_or(ProgramError::NotLoaded)?
        .try_into()
}

/// Whether double and pinned program are the same code, and where the kernel tells that, on the same maps of policy.
fn compare(object: &Ebpf, place: &Place, hook: Hook) -> Result<(), SelfTestError> {
    let failed = |source| OpenError::Program {
        hook,
        source: Box::new(source),
    };
    let double = program(object, hook).and_then(SchedClassifier::info).map_err(failed)?;
    let pinned = SchedClassifier::from_pin(place.program(hook)).map_err(failed)?;
    let pinned = pinned.info().map_err(failed)?;
    if double.tag() != pinned.tag() {
        return Err(SelfTestError::Tag {
            hook,
            found: double.tag(),
            pinned: pinned.tag(),
        });
    }
    // Without CAP_SYS_ADMIN the kernel does not tell which maps a program uses.
    let (Ok(Some(doubles)), Ok(Some(pinneds))) = (double.map_ids(), pinned.map_ids()) else {
        return Ok(());
    };
    for map in POLICY {
        let name = map.name();
        let info = aya::maps::MapInfo::from_pin(place.map(name)).map_err(|source| OpenError::Map { name, source })?;
        if doubles.contains(&info.id()) && !pinneds.contains(&info.id()) {
            return Err(SelfTestError::OtherMap { map: name, hook });
        }
    }
    Ok(())
}
