//! The fourth judge: the programs as the kernel has loaded them, run by `BPF_PROG_TEST_RUN`.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use aya::programs::SchedClassifier;
use aya::{TestRun as _, TestRunOptions};
use cellwall_datapath::abi::Cell;
use cellwall_datapath::attach;
use cellwall_datapath::counters::{self, ReasonCount};
use cellwall_datapath::events::Records;
use cellwall_datapath::image::Image;
use cellwall_datapath::kernel::{Capacities, Instance, Options, Place};
use cellwall_datapath::port::{Entries, Kernel as _, MapName, Reads as _};
use cellwall_policy::model::Hook;

use super::verdict::{Said, Told};

/// What the programs answer for "go on with the next one" (-1), and for "drop".
const NEXT: u32 = u32::MAX;
const SHOT: u32 = 2;
/// Bytes of a `__sk_buff`, and where the hook's interface is in it.
const CONTEXT: usize = 192;
const IFINDEX: usize = 40;
const INGRESS: usize = 36;
/// Entries of most maps: worlds are small, and every map is read whole after each change.
pub const ENTRIES: u32 = 16_384;

/// The programs, their maps and their ring.
pub struct Live {
    /// The instance.
    pub instance: Instance,
    /// Interface by which what is run comes in; 0, where a packet is made on the node.
    pub ingress: u32,
    records: Records,
    programs: [SchedClassifier; 2],
    /// Packets by (hook, action, dropped, reason), and by rule slot, as the records explain them.
    reasons: BTreeMap<(u8, u8, bool, u8), u64>,
    rules: BTreeMap<u32, u64>,
}

fn key(count: &ReasonCount) -> (u8, u8, bool, u8) {
    (count.hook, count.action, count.dropped, count.reason)
}

impl Live {
    /// Loads the programs of a new instance.
    pub fn load(place: &Place) -> anyhow::Result<Self> {
        let options = Options {
            capacities: Capacities::tiny(ENTRIES).with_records(1 << 16),
            ..Options::default()
        };
        let (instance, _) = Instance::open(place.clone(), options)?;
        let program = |hook| SchedClassifier::from_pin(place.program(hook));
        Ok(Self {
            instance,
            ingress: 0,
            records: Records::open(place)?,
            programs: [program(attach::Hook::FromPod)?, program(attach::Hook::ToPod)?],
            reasons: BTreeMap::new(),
            rules: BTreeMap::new(),
        })
    }

    /// Takes the counters as they are: what was counted from here on is explained by packets. To be called after each
    /// change of policy, which may give a rule's slot to another one.
    pub fn begin(&mut self, image: &Image) -> anyhow::Result<()> {
        let maps = self.instance.maps();
        let slots: Vec<u32> = image.rules.keys().map(|slot| slot.0).collect();
        self.reasons = counters::reasons(maps)?
            .iter()
            .map(|one| (key(one), one.counter.packets))
            .collect();
        let packets = counters::rules(maps, &slots)?
            .into_iter()
            .map(|counter| counter.packets);
        self.rules = slots.into_iter().zip(packets).collect();
        Ok(())
    }

    /// Whether everything counted since [`Live::begin`] was told, and nothing was lost or torn.
    pub fn end(&mut self) -> anyhow::Result<()> {
        let unexplained = self.counted()?;
        ensure!(unexplained.is_none(), "counted, but of no packet: {unexplained:?}");
        let events = counters::events(self.instance.maps())?;
        let bad = events.torn + events.opening_full + events.flows_full + events.no_endpoint;
        ensure!(bad == 0 && events.lost == [0; 3], "{events:?}");
        ensure!(self.records.malformed() == 0, "a record of a wrong size");
        Ok(())
    }

    /// Runs one frame at a hook of the interface, which is in the calling thread's namespace. Answers whether it was
    /// dropped; what it was counted as is to be told by [`Live::explain`].
    pub fn run(&mut self, hook: Hook, ifindex: u32, frame: &[u8]) -> anyhow::Result<bool> {
        let mut context = [0; CONTEXT];
        context[IFINDEX..IFINDEX + 4].copy_from_slice(&ifindex.to_ne_bytes());
        context[INGRESS..INGRESS + 4].copy_from_slice(&self.ingress.to_ne_bytes());
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        let program = &self.programs[usize::from(hook == Hook::ToPod)];
        match program.test_run(options).context("BPF_PROG_TEST_RUN")?.return_value {
            NEXT => Ok(false),
            SHOT => Ok(true),
            other => bail!("the program answers {other}"),
        }
    }

    /// Whether `BPF_PROG_TEST_RUN` takes a frame: it wants a whole fixed header.
    pub fn takes(frame: &[u8]) -> bool {
        let shortest = match frame.get(12..14) {
            Some([8, 0]) => 34,
            Some([0x86, 0xdd]) => 54,
            _ => 15,
        };
        frame.len() >= shortest
    }

    /// Runs one frame: the number of the reason where it is refused.
    pub fn refuses(&mut self, hook: Hook, ifindex: u32, frame: &[u8]) -> anyhow::Result<Option<u32>> {
        self.drain();
        if !self.run(hook, ifindex, frame)? {
            return Ok(None);
        }
        let mut recorded = Vec::new();
        self.records.drain(8, |record| recorded.push(*record));
        match recorded[..] {
            [record] if record.dropped == 1 => Ok(Some(Cell(record.cell).reason())),
            _ => bail!("one packet, dropped, and told as {recorded:?}"),
        }
    }

    /// Runs one frame, and finds out what it was recorded and counted as.
    pub fn judge(&mut self, hook: Hook, ifindex: u32, frame: &[u8]) -> anyhow::Result<Told> {
        let dropped = self.run(hook, ifindex, frame)?;
        let mut recorded = Vec::new();
        self.records.drain(8, |record| recorded.push(*record));
        let said = match recorded[..] {
            [] => self.counted()?,
            [record] => {
                ensure!(
                    record.dropped == u8::from(dropped),
                    "the program drops: {dropped}, tells {record:?}"
                );
                let said = Said::from(Cell(record.cell));
                self.explain(hook, dropped, said)?;
                Some(said)
            }
            _ => bail!("one packet, {} records", recorded.len()),
        };
        Ok(Told { dropped, said })
    }

    /// Makes room in the ring.
    pub fn drain(&mut self) {
        self.records.drain(u64::MAX, |_| {});
    }

    /// Says what a packet must have been counted as: [`Live::end`] compares the sums.
    pub fn explain(&mut self, hook: Hook, dropped: bool, said: Said) -> anyhow::Result<()> {
        let Said { action, reason, slot } = said;
        let hook = u8::from(hook == Hook::ToPod);
        let key = (hook, u8::try_from(action)?, dropped, u8::try_from(reason)?);
        *self.reasons.entry(key).or_default() += 1;
        if slot != Cell::NO_RULE {
            *self.rules.entry(slot).or_default() += 1;
        }
        Ok(())
    }

    /// The packet that was counted and not recorded, if there is one.
    fn counted(&mut self) -> anyhow::Result<Option<Said>> {
        let maps = self.instance.maps();
        let mut found = Vec::new();
        for count in counters::reasons(maps)? {
            let before = self.reasons.insert(key(&count), count.counter.packets).unwrap_or(0);
            if count.counter.packets != before {
                ensure!(count.counter.packets == before + 1, "{before} packets, then {count:?}");
                found.push(count);
            }
        }
        let slots: Vec<u32> = self.rules.keys().copied().collect();
        let mut slot = Cell::NO_RULE;
        for (at, counter) in slots.iter().zip(counters::rules(maps, &slots)?) {
            let before = self.rules.insert(*at, counter.packets).unwrap_or(0);
            if counter.packets != before {
                ensure!(
                    slot == Cell::NO_RULE && counter.packets == before + 1,
                    "rule slot {at}: {before}, {counter:?}"
                );
                slot = *at;
            }
        }
        match found[..] {
            [] => {
                ensure!(slot == Cell::NO_RULE, "counted for rule slot {slot} alone");
                Ok(None)
            }
            [count] => Ok(Some(Said {
                action: count.action.into(),
                reason: count.reason.into(),
                slot,
            })),
            _ => bail!("one packet, counted as {found:?}"),
        }
    }

    /// Forgets every flow.
    pub fn forget_flows(&mut self) -> anyhow::Result<()> {
        for map in [MapName::Flows4, MapName::Flows6, MapName::Opening4, MapName::Opening6] {
            let mut keys = Entries::new(map);
            self.instance.maps().visit(map, &mut |key, _| keys.push_key(key))?;
            if !keys.is_empty() {
                self.instance.maps_mut().delete(&keys)?;
            }
        }
        Ok(())
    }
}
