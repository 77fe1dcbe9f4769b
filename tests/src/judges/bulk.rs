//! Very many random frames: each is read by the second opinion on frames, what it asks is answered by the evaluator, and
//! the packet path built for the host (and, where they are loaded, the programs in the kernel) must say the same.
//!
//! A program in the kernel tells of each frame whether it passes; what it counted is compared as sums after each state of
//! a world, which must be the sums of what the host build said of the same frames.

mod expected;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use anyhow::Context as _;
use cellwall_datapath::abi::{Cell, record::REASONS};
use cellwall_datapath::image::{Image, InterfaceEntry};
use cellwall_datapath::inspect;
use cellwall_datapath::memory::MemoryKernel;
use cellwall_policy::evaluate::{Answer, HookQuestion, at_hook};
use cellwall_policy::generate::{self, Dice};
use cellwall_policy::model::{Action, Address, Hook, Mode, Name, Protocol, Reason};
use cellwall_policy::world::World;
use rustc_hash::{FxHashMap, FxHashSet};

use self::expected::{Expected, bare, fits, is_of, opens, reason_name};
use super::course::{edit, is_crowded};
use super::node::{UNKNOWN, ifindex};
use super::verdict::Told;
use super::{Host, Live, Node, Opening, random};
use crate::frames::reference::asks::{Asked, Asks, Seat, asks};

/// Changes of each world.
const EDITS: u64 = 3;
/// Questions that frames start from, in each state of a world.
const QUESTIONS: usize = 240;
const AIMED: usize = 120;
/// Addresses that nobody has.
const NOBODYS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 222)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x77)),
];
/// Disagreements that are told of one world.
const ENOUGH: usize = 5;

/// What is told of a frame that the sender's hook has counted.
const COUNTED_BEFORE: &str = "counted by the sender's hook";

/// What came of it.
#[derive(Debug, Default)]
pub struct Tally {
    /// Worlds.
    pub worlds: u64,
    /// Frames that were judged and compared.
    pub packets: u64,
    /// Of them, those that went on with a flow: repeated, or answered.
    pub followed: u64,
    /// Questions that the evaluator answered.
    pub questions: u64,
    /// Frames by reason that the packet path gave.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Frames about which one opinion says nothing, and why.
    pub left_out: BTreeMap<&'static str, u64>,
    /// Frames about which opinions differ.
    pub disagreements: Vec<String>,
}

/// A hook to judge at.
struct Chair {
    pod: Option<Name>,
    ifindex: u32,
    own: Rc<[IpAddr]>,
    is_known: bool,
}

/// One state of a world.
struct State<'a> {
    world: &'a World,
    host: Host,
    chairs: Vec<Chair>,
    /// One slot of each rule, by name, and for every slot that one: a rule that came anew has a former one besides.
    slots: FxHashMap<Name, u32>,
    names: FxHashMap<u32, u32>,
    answers: FxHashMap<(bool, usize, IpAddr, u8, Option<u16>), Told>,
    /// Keys of the flows that a program in the kernel may know.
    flows: FxHashSet<(IpAddr, IpAddr, u16, u16, u8)>,
    /// Frames by number of the reason, and those of which only the sender's hook says one.
    reasons: [u64; REASONS as usize],
    counted_before: u64,
}

/// Judges `packets` frames in each state of the world of `seed`.
pub fn world(
    tally: &mut Tally,
    seed: u64,
    packets: u64,
    memory: &mut MemoryKernel,
    live: Option<&mut Live>,
) -> anyhow::Result<()> {
    let crowded = is_crowded(seed);
    let mut first = generate::world(seed, 4 + usize::try_from(seed % 5)? * 5);
    if crowded {
        generate::crowd(seed, &mut first);
    }
    let mut node = Node::begin(first, memory, live)?;
    tally.worlds += 1;
    for number in 0..=EDITS {
        if number > 0 {
            node.change(|world| edit(world, seed, number == EDITS, number, crowded))?;
        }
        let dice = &mut Dice::new(seed.wrapping_mul(64).wrapping_add(number));
        let image = node.image()?;
        let host = Host::over(node.memory);
        let world = node.world.clone();
        let mut state = State::new(&world, &image, host);
        let asked = seed.wrapping_mul(1_000).wrapping_add(number);
        let mut questions = generate::questions(asked, &world, QUESTIONS);
        if crowded {
            questions.extend(generate::aimed_questions(asked, &world, AIMED));
        }
        let openings: Vec<_> = questions
            .iter()
            .filter_map(|question| state.opening(question))
            .collect();
        if openings.is_empty() {
            continue;
        }
        let pool: Vec<IpAddr> = questions
            .iter()
            .map(|question| question.peer.ip())
            .chain(state.chairs.iter().flat_map(|chair| chair.own.iter().copied()))
            .collect();
        if let Some(live) = node.live() {
            let actual = inspect(live.instance.maps())?;
            live.begin(&actual)?;
            live.forget_flows()?;
        }
        for packet in 0..packets {
            let (hook, chair, opening) = dice.pick(&openings);
            let fresh = u16::try_from(1_024 + packet % 60_000)?;
            let frame = random::frame(dice, &Opening { fresh, ..*opening }, &pool);
            let told = state.judge(tally, *hook, *chair, &frame, dice, node.live());
            told.with_context(|| format!("seed {seed}, state {number}, {hook:?}, {frame:02x?}"))?;
            if tally.disagreements.len() >= ENOUGH {
                break;
            }
        }
        state.end(tally);
        if tally.disagreements.len() >= ENOUGH {
            return Ok(());
        }
        if let Some(live) = node.live() {
            live.drain();
            // Where a packet was judged otherwise, that is told rather than the sums.
            if !tally.disagreements.is_empty() {
                return Ok(());
            }
            live.end().with_context(|| format!("seed {seed}, state {number}"))?;
        }
    }
    Ok(())
}

impl<'a> State<'a> {
    fn new(world: &'a World, image: &Image, host: Host) -> Self {
        let chair = |pod: Option<Name>, ifindex: u32| {
            let is_known = !image.interfaces.get(&ifindex).is_some_and(InterfaceEntry::is_startup);
            let mut own: Vec<IpAddr> = image.own(ifindex).map(Address::ip).collect();
            if !is_known {
                // It may have any address that is nobody else's.
                own.extend(NOBODYS);
            }
            Chair {
                pod,
                ifindex,
                own: own.into(),
                is_known,
            }
        };
        let local = world
            .pods()
            .filter(|pod| world.is_local(pod) && !pod.host_network && pod.phase.is_live());
        let chairs = local
            .map(|pod| chair(Some(pod.uid.clone()), ifindex(&pod.uid)))
            .chain([chair(None, UNKNOWN)])
            .collect();
        let slots: FxHashMap<Name, u32> = image
            .rules
            .iter()
            .map(|(slot, card)| (card.name.clone(), slot.0))
            .collect();
        Self {
            world,
            host,
            chairs,
            names: image
                .rules
                .iter()
                .map(|(slot, card)| (slot.0, slots[&card.name]))
                .collect(),
            slots,
            answers: FxHashMap::default(),
            flows: FxHashSet::default(),
            reasons: [0; REASONS as usize],
            counted_before: 0,
        }
    }

    /// Where a question is asked, and the packet of it; none where it cannot be one.
    fn opening(&self, question: &HookQuestion) -> Option<(Hook, usize, Opening)> {
        let index = self.chairs.iter().position(|chair| chair.pod == question.pod)?;
        let chair = &self.chairs[index];
        let peer = question.peer.ip();
        let of_family = |address: &&IpAddr| address.is_ipv4() == peer.is_ipv4();
        let own = chair.own.iter().find(of_family);
        let own = *own.or_else(|| NOBODYS.iter().find(of_family).filter(|_| question.hook == Hook::ToPod))?;
        let (source, destination) = match question.hook {
            Hook::FromPod => (own, peer),
            Hook::ToPod => (peer, own),
        };
        let opening = Opening {
            source,
            destination,
            protocol: question.protocol.number(),
            port: question.port.unwrap_or(0),
            fresh: 0,
        };
        Some((question.hook, index, opening))
    }

    /// Adds up what was judged in this state.
    fn end(&self, tally: &mut Tally) {
        tally.questions += self.answers.len() as u64;
        for (number, frames) in (0..).zip(self.reasons).filter(|(_, frames)| *frames > 0) {
            *tally.reasons.entry(reason_name(number)).or_default() += frames;
        }
        if self.counted_before > 0 {
            *tally.reasons.entry(COUNTED_BEFORE).or_default() += self.counted_before;
        }
    }

    /// Judges a frame, and now and then what follows on it.
    fn judge(
        &mut self,
        tally: &mut Tally,
        hook: Hook,
        chair: usize,
        frame: &[u8],
        dice: &mut Dice,
        mut live: Option<&mut Live>,
    ) -> anyhow::Result<()> {
        let place = &self.chairs[chair];
        let own = Rc::clone(&place.own);
        let seat = Seat {
            from_pod: hook == Hook::FromPod,
            own: &own,
            is_known: place.is_known,
        };
        let ifindex = place.ifindex;
        let asked = asks(seat, frame);
        if live.is_some()
            && let Some(why) = self.unfit(frame, &asked)
        {
            *tally.left_out.entry(why).or_default() += 1;
            return Ok(());
        }
        let expected = match self.expected(hook, chair, &asked) {
            Ok(expected) => expected,
            Err(why) => {
                *tally.left_out.entry(why).or_default() += 1;
                return Ok(());
            }
        };
        let told = self.host.judge(hook, ifindex, frame);
        self.compare(tally, (hook, chair), frame, &expected, told, live.as_deref_mut())?;
        let follows = dice.between(0, 7);
        if follows > 1 {
            return Ok(());
        }
        let Asks::Rules(asked) = &asked else { return Ok(()) };
        if !opens(&told, asked) {
            return Ok(());
        }
        if follows == 0 {
            let again = self.host.follow(hook, ifindex, frame);
            tally.followed += 1;
            return self.compare(tally, (hook, chair), frame, &Expected::Passes, again, live);
        }
        let Asked {
            source,
            destination,
            protocol,
            port,
            fresh,
            ..
        } = *asked;
        let back = match hook {
            Hook::FromPod => Hook::ToPod,
            Hook::ToPod => Hook::FromPod,
        };
        // What comes from a pod that has not the address, and what comes in a tunnel, is no answer.
        let is_tunnel = matches!(protocol, 4 | 41 | 47) || protocol == 17 && matches!(fresh, 4789 | 8472 | 6081);
        if back == Hook::FromPod && (!own.contains(&destination) || is_tunnel) {
            return Ok(());
        }
        let answer = random::answer(source, destination, protocol, [fresh, port.unwrap_or(0)]);
        let answered = self.host.follow(back, ifindex, &answer);
        tally.followed += 1;
        self.compare(tally, (back, chair), &answer, &Expected::Passes, answered, live)
    }

    /// Why a frame is not for the kernel: it could not be told from one before it.
    fn unfit(&mut self, frame: &[u8], asked: &Asks) -> Option<&'static str> {
        if !Live::takes(frame) {
            return Some("too short for BPF_PROG_TEST_RUN, which wants a whole fixed header");
        }
        let (Asks::Rules(Asked { is_first_fragment, .. }) | Asks::Neighbour { is_first_fragment }) = asked else {
            return None;
        };
        if *is_first_fragment {
            return Some("fragments, which are remembered");
        }
        let Asks::Rules(asked) = asked else { return None };
        let (mut one, mut other) = (
            (asked.source, asked.fresh),
            (asked.destination, asked.port.unwrap_or(0)),
        );
        if matches!(asked.protocol, 1 | 58) {
            other.1 = 0;
        }
        if one > other {
            std::mem::swap(&mut one, &mut other);
        }
        let is_new = self.flows.insert((one.0, other.0, one.1, other.1, asked.protocol));
        (!is_new).then_some("of a flow that is there already")
    }

    fn compare(
        &mut self,
        tally: &mut Tally,
        (hook, chair): (Hook, usize),
        frame: &[u8],
        expected: &Expected<'_>,
        told: Told,
        live: Option<&mut Live>,
    ) -> anyhow::Result<()> {
        tally.packets += 1;
        let ifindex = self.chairs[chair].ifindex;
        let mut named = told;
        if let Some(said) = &mut named.said {
            said.slot = self.names.get(&said.slot).copied().unwrap_or(said.slot);
        }
        let mut wrong = (!fits(expected, named) || (told.said.is_none() && hook == Hook::FromPod)).then_some("host");
        if let Some(live) = live {
            let dropped = live.run(hook, ifindex, frame)?;
            if dropped != told.dropped {
                wrong = Some("kernel");
            }
            if let Some(said) = told.said {
                live.explain(hook, dropped, said)?;
            }
            if tally.packets.is_multiple_of(256) {
                live.drain();
            }
        }
        match told.said {
            Some(said) => self.reasons[said.reason as usize] += 1,
            None => self.counted_before += 1,
        }
        if let Some(who) = wrong {
            let reason = told.said.map_or(COUNTED_BEFORE, |said| reason_name(said.reason));
            tally.disagreements.push(format!(
                "{who}: {hook:?} of {:?}: expected {expected:?}, host told {told:?} ({reason}), {frame:02x?}",
                self.chairs[chair].pod
            ));
        }
        Ok(())
    }

    fn expected<'b>(&mut self, hook: Hook, chair: usize, asked: &'b Asks) -> Result<Expected<'b>, &'static str> {
        let mode = self.world.defense().mode;
        if mode == Mode::Off {
            return Ok(Expected::One(bare(false, Action::Pass, Reason::Off)));
        }
        match asked {
            Asks::LeftOut(why) => Err(why),
            Asks::Refused(reasons) => Ok(Expected::Refused(reasons)),
            Asks::Neighbour { .. } => Ok(Expected::One(bare(false, Action::Pass, Reason::Neighbour))),
            Asks::Rules(asked) => {
                let peer = match hook {
                    Hook::FromPod => asked.destination,
                    Hook::ToPod => asked.source,
                };
                let there = self.answer(hook, chair, peer, asked.protocol, asked.port);
                let back = match asked.back {
                    // Whatever a pod sends to its own address passes.
                    Some(back) if !is_of(there, Reason::SelfTraffic) => back,
                    _ => return Ok(Expected::One(there)),
                };
                let opposite = match hook {
                    Hook::FromPod => Hook::ToPod,
                    Hook::ToPod => Hook::FromPod,
                };
                let mut here = self.answer(opposite, chair, peer, asked.protocol, Some(back));
                if hook == Hook::ToPod && is_of(here, Reason::SelfTraffic) {
                    // It came by a Service, whose address was rewritten: from itself to itself either way.
                    here = self.answer(hook, chair, peer, asked.protocol, Some(back));
                }
                let action = |told: Told| told.said.map(|said| said.action);
                Ok(if action(there) == action(here) {
                    Expected::Either(there, here)
                } else {
                    // Their hooks were attached long ago.
                    Expected::One(bare(mode == Mode::Enforce, Action::Drop, Reason::NoState))
                })
            }
        }
    }

    /// The evaluator's answer to a packet that opens a flow.
    fn answer(&mut self, hook: Hook, chair: usize, peer: IpAddr, protocol: u8, port: Option<u16>) -> Told {
        let key = (hook == Hook::FromPod, chair, peer, protocol, port);
        if let Some(told) = self.answers.get(&key) {
            return *told;
        }
        let question = HookQuestion {
            hook,
            pod: self.chairs[chair].pod.clone(),
            peer: peer.into(),
            protocol: Protocol::of(protocol, peer.is_ipv4()),
            port,
        };
        let Answer {
            verdict,
            applied,
            reason,
            rule,
            ..
        } = at_hook(self.world, &question);
        let slot = rule.map_or(Cell::NO_RULE, |rule| {
            self.slots.get(&rule.name).copied().unwrap_or(Cell::NO_RULE - 1)
        });
        let mut told = bare(applied == Action::Drop, verdict, reason);
        if let Some(said) = &mut told.said {
            said.slot = slot;
        }
        self.answers.insert(key, told);
        told
    }
}
