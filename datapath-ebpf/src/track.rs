//! Flows: one canonical key for both directions, unanswered ones apart from answered ones, re-judged by generation.
// Long because: one table of states has one room; its parts are the steps of a packet, in their order.

use cellwall_datapath_common::record::event;
use cellwall_datapath_common::{Cell, FlowValue, flow_flags, limits};

use crate::family::Family;
use crate::guard::is_to_itself;
use crate::judge::Question;
use crate::layout::LiveFlow;
use crate::packet::Packet;
use crate::passed;
use crate::scene::{Headers, Outcome, Scene, fragment, kind, tcp};
use crate::tables::Tables;
use crate::tell::{NO_PEER, count, drops, how, outcome};
use crate::transport::{query_ports, request_of};
use crate::verdict::{action, passing, reason, refusal};
use crate::who::{find, found, is_way_of};

/// How long after the hooks were attached a TCP flow in mid-stream is taken over whatever its direction.
const ADOPTION: u64 = 60_000_000_000;
/// Ticks within which to-pod takes a SYN for the one that from-pod has just judged: a second.
const JUST_NOW: u32 = 60;

/// What there is to do about a packet that the fast path had no answer to.
pub mod step {
    /// Nothing: the outcome is set down.
    pub const DONE: u32 = 0;
    /// It goes on with its flow, whose verdict holds.
    pub const SAME: u32 = 1;
    /// It goes on with its flow, which is to be judged again.
    pub const AGAIN: u32 = 2;
    /// It opens a flow.
    pub const OPEN: u32 = 3;
    /// It is of a TCP flow in mid-stream that nobody saw open.
    pub const ADOPT: u32 = 4;
    /// It is judged by itself, and nothing is remembered.
    pub const ALONE: u32 = 5;
}

/// The flow's key, and whether the packet's source is the lower end.
#[inline(always)]
pub fn key_of<F: Family, T: Tables>(tables: T, h: &Headers<F::Address>) -> Option<(&'static F::Key, bool)> {
    let (source_port, destination_port) = match h.kind {
        kind::TCP | kind::PORTS => (h.source_port, h.destination_port),
        kind::REQUEST => query_ports::<F>(h.detail, h.identifier),
        kind::REPLY => {
            let (asking, other) = query_ports::<F>(request_of::<F>(h.detail), h.identifier);
            (other, asking)
        }
        _ => (0, 0),
    };
    F::key(
        tables,
        &h.source,
        &h.destination,
        source_port,
        destination_port,
        h.protocol,
    )
}

/// Whether a packet of this kind may belong to a flow in which it travels `forward`.
#[inline(always)]
const fn is_direction<A>(h: &Headers<A>, forward: bool) -> bool {
    match h.kind {
        kind::TCP => forward || !h.is_syn(),
        kind::REQUEST => forward,
        kind::REPLY => !forward,
        // Of no flow at all: without ports their key is that of an echo whose identifier is zero.
        kind::ERROR | kind::MESSAGE => false,
        _ => true,
    }
}

#[inline(always)]
const fn is_forward(flags: u32, lo: bool) -> bool {
    (flags & flow_flags::FROM_LO != 0) == lo
}

/// What the tables of flows have to say about a packet that nothing else was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It goes on with its flow: it is counted, and that is all.
    GoesOn,
    /// Something is known under its key that needs a second thought, or nothing was looked for.
    Otherwise,
    /// Nothing is known under its key.
    Nothing,
}

/// A packet of a live flow that needs no second thought: of an answered one, or the opener's in one that was not answered
/// and that such a packet does not move to the answered ones.
#[inline(always)]
pub fn goes_on<F: Family, T: Tables, P: Packet>(tables: T, packet: P, scene: &Scene, h: &Headers<F::Address>) -> Known {
    if h.fragment != fragment::WHOLE || h.is_syn() || matches!(h.kind, kind::ERROR | kind::MESSAGE) {
        return Known::Otherwise;
    }
    let Some((key, lo)) = key_of::<F, T>(tables, h) else {
        return Known::Otherwise;
    };
    let (flow, is_answered) = match F::flow(tables, key) {
        Some(flow) => (flow, true),
        None => match F::opening(tables, key) {
            Some(flow) => (flow, false),
            None => return Known::Nothing,
        },
    };
    let flags = flow.flags();
    let forward = is_forward(flags, lo);
    let (own, other) = flow.interfaces(lo == scene.is_from_pod());
    let (revision, cell) = flow.verdict();
    let here = own == scene.ifindex && (scene.is_from_pod() || other == 0 || other == scene.ingress);
    if !here
        || revision != scene.generation
        || cell.action() == action::DROP
        || !is_direction(h, forward)
        || !is_answered && (!forward || h.kind == kind::TCP)
        || FlowValue::is_expired(h.protocol, flags, flow.last_seen(), scene.tick)
    {
        return Known::Otherwise;
    }
    note(tables, scene, h, flow, flags, lo, forward);
    if !is_silent(scene, flags, other, forward) {
        count(tables, scene, cell, false, 0);
    }
    passed::note::<F, T, P>(tables, packet, scene, h, passed::toward(scene, flags, other));
    Known::GoesOn
}

/// Whether the sender's hook on this node has counted this packet.
#[inline(always)]
const fn is_silent(scene: &Scene, flags: u32, other: u32, forward: bool) -> bool {
    !scene.is_from_pod() && other != 0 && !(flags & flow_flags::LATE != 0 && forward)
}

/// Notes a packet in its flow.
#[inline(always)]
fn note<A, T: Tables>(tables: T, scene: &Scene, h: &Headers<A>, flow: &LiveFlow, flags: u32, lo: bool, forward: bool) {
    flow.seen(scene.tick);
    let mut mark = 0;
    if !forward && (h.kind != kind::TCP || h.detail & tcp::RST == 0) {
        mark |= flow_flags::ANSWERED;
    }
    if h.kind == kind::TCP && h.detail & (tcp::FIN | tcp::RST) != 0 {
        let fin = h.detail & tcp::RST == 0;
        mark |= match (fin, lo) {
            (true, true) => flow_flags::FIN_LO,
            (true, false) => flow_flags::FIN_HI,
            (false, true) => flow_flags::RESET_LO,
            (false, false) => flow_flags::RESET_HI,
        };
    }
    let mark = tables.forget(mark, scene.tick);
    if mark & !flags != 0 {
        flow.mark(mark);
    }
}

/// Looks for the packet's flow. The entry under its key, if any, is left in `place`, for the packet to go on with or for
/// another flow to take. Answers a [`step`].
#[inline(never)]
pub fn known<F: Family, T: Tables>(
    tables: T,
    scene: &Scene,
    h: &Headers<F::Address>,
    place: &mut Option<&'static LiveFlow>,
) -> u32 {
    let Some((key, lo)) = key_of::<F, T>(tables, h) else {
        return step::ALONE;
    };
    let Some(flow) = F::flow(tables, key).or_else(|| F::opening(tables, key)) else {
        return step::OPEN;
    };
    *place = Some(flow);
    let standing = standing::<F, T>(tables, scene, h, flow, lo);
    if standing != step::SAME {
        return standing;
    }
    let flags = flow.flags();
    let (_, other) = flow.interfaces(lo == scene.is_from_pod());
    if !scene.is_from_pod() && other != 0 && !is_way_of(tables, scene.ingress, other, scene.generation) {
        outcome(tables, refusal(reason::SPOOFED), flow.peer(), 0);
        return step::DONE;
    }
    let (revision, cell) = flow.verdict();
    let current = revision == scene.generation;
    // From-pod has judged this very SYN, on its way here.
    let just_judged = is_silent(scene, flags, other, is_forward(flags, lo))
        && scene.ingress != 0
        && scene.tick.wrapping_sub(flow.last_seen()) <= JUST_NOW;
    if !current || h.is_syn() && !just_judged {
        return step::AGAIN;
    }
    outcome(tables, cell, flow.peer(), 0);
    step::SAME
}

/// Whether the packet belongs to the flow under its key: SAME, or what it is instead.
#[inline(always)]
fn standing<F: Family, T: Tables>(tables: T, scene: &Scene, h: &Headers<F::Address>, flow: &LiveFlow, lo: bool) -> u32 {
    let flags = flow.flags();
    let forward = is_forward(flags, lo);
    let (own, _) = flow.interfaces(lo == scene.is_from_pod());
    if FlowValue::is_expired(h.protocol, flags, flow.last_seen(), scene.tick) {
        return step::OPEN;
    }
    if own != scene.ifindex {
        if scene.is_from_pod() {
            // Another interface's flow is never inherited; an end not bound to any yet may answer.
            if own != 0 || forward {
                return step::OPEN;
            }
        } else {
            // To-pod sees flows of others too, when a bridge floods. Ours is one whose end has our address.
            let Some(ours) = found(tables) else {
                return step::ALONE;
            };
            if !find::<F, T>(tables, scene.generation, &h.destination, ours) || ours.ifindex != scene.ifindex {
                return step::ALONE;
            }
            if own != 0 {
                return step::OPEN;
            }
        }
    }
    if is_direction(h, forward) {
        step::SAME
    } else {
        step::OPEN
    }
}

/// Prepares what is to be judged: question 0, and question 1 for TCP in mid-stream. Answers the [`step`] as it turns
/// out: a flow of which an end belongs to somebody else now is none.
#[inline(never)]
pub fn ask<F: Family, T: Tables>(
    tables: T,
    scene: &Scene,
    h: &Headers<F::Address>,
    place: Option<&'static LiveFlow>,
    step: u32,
) -> u32 {
    let mut step = step;
    let Some(question) = F::question(tables, 0) else {
        return step::DONE;
    };
    question.other = if scene.is_from_pod() { h.destination } else { h.source };
    if !find::<F, T>(tables, scene.generation, &question.other, &mut question.found) {
        outcome(tables, refusal(reason::INTERNAL), NO_PEER, 0);
        return step::DONE;
    }
    question.protocol = u32::from(h.protocol);
    question.to_itself = u32::from(is_to_itself::<F, T>(
        tables,
        scene,
        question.found.ifindex,
        &h.destination,
    ));
    if step == step::AGAIN
        && let Some(flow) = place
        && let Some((_, lo)) = key_of::<F, T>(tables, h)
    {
        let forward = is_forward(flow.flags(), lo);
        turn::<F>(scene, h, question, forward);
        if !is_stale::<F, T>(tables, scene, h, question, flow.born()) {
            return step;
        }
        step = step::OPEN;
    }
    let sender = question.found.ifindex;
    if !scene.is_from_pod() && sender != 0 && !is_way_of(tables, scene.ingress, sender, scene.generation) {
        outcome(tables, refusal(reason::SPOOFED), question.found.peer, how::NEW);
        return step::DONE;
    }
    turn::<F>(scene, h, question, true);
    if h.kind == kind::REPLY {
        return step::ALONE;
    }
    if h.kind == kind::TCP && !h.is_syn() {
        let Some(back) = F::question(tables, 1) else {
            return step::DONE;
        };
        *back = *question;
        turn::<F>(scene, h, back, false);
        if step == step::OPEN {
            step = step::ADOPT;
        }
    }
    step
}

/// Whether an end of a flow opened at generation `born` belongs to somebody else now.
#[inline(always)]
fn is_stale<F: Family, T: Tables>(
    tables: T,
    scene: &Scene,
    h: &Headers<F::Address>,
    question: &Question<F::Address>,
    born: u32,
) -> bool {
    if question.found.is_newer(born, scene.generation) {
        return true;
    }
    let own = if scene.is_from_pod() { &h.source } else { &h.destination };
    let Some(ours) = found(tables) else {
        return true;
    };
    !find::<F, T>(tables, scene.generation, own, ours) || ours.is_newer(born, scene.generation)
}

/// Puts the question for a packet whose initiator is its source (`forward`) or its destination.
#[inline(always)]
fn turn<F: Family>(scene: &Scene, h: &Headers<F::Address>, question: &mut Question<F::Address>, forward: bool) {
    question.opens = u32::from(scene.is_from_pod() == forward);
    question.number = u32::from(match (h.kind, forward) {
        (kind::TCP | kind::PORTS, false) => h.source_port,
        (kind::REPLY, false) => u16::from(request_of::<F>(h.detail)),
        _ => h.destination_port,
    });
}

/// Goes on with a known flow: `scratch.outcome.cell` is its verdict, judged again where `step` says so.
#[inline(never)]
pub fn go_on<F: Family, T: Tables>(tables: T, scene: &Scene, h: &Headers<F::Address>, flow: &LiveFlow, step: u32) {
    let Some(scratch) = tables.scratch() else {
        return;
    };
    let Some(question) = F::question(tables, 0) else {
        return;
    };
    let cell = Cell(scratch.outcome.cell);
    let Some((key, lo)) = key_of::<F, T>(tables, h) else {
        return;
    };
    let flags = flow.flags();
    let forward = is_forward(flags, lo);
    let (_, other) = flow.interfaces(lo == scene.is_from_pod());
    let mut how = if forward { 0 } else { how::REPLY };
    if is_silent(scene, flags, other, forward) {
        how |= how::SILENT;
    }
    if step == step::AGAIN {
        let (revision, before) = flow.verdict();
        // A Drop that alert-only lets through is told with every policy: under the one before it may have been cut.
        let spared = revision != scene.generation && cell.action() == action::DROP && !drops(scene, cell);
        if before != cell || spared {
            how |= how::CHANGED;
        }
        flow.set_interfaces(lo == scene.is_from_pod(), scene.ifindex, question.found.ifindex);
        flow.judged(scene.generation, cell, question.found.peer);
    }
    how = tables.forget(how, scene.tick);
    if h.is_syn() && FlowValue::is_closing(flags) && !drops(scene, cell) {
        // The ports are used again.
        how |= how::NEW;
        let mut value = flow.value();
        value.flags = flags & (flow_flags::FROM_LO | flow_flags::LATE);
        value.born = scene.generation;
        flow.replace(&value);
    }
    note(tables, scene, h, flow, flags, lo, forward);
    scratch.outcome.peer = flow.peer();
    scratch.outcome.how = tables.forget(how, scene.tick);
    let (_, other) = flow.interfaces(lo == scene.is_from_pod());
    scratch.outcome.toward = passed::toward(scene, flags, other);
    if !drops(scene, cell) {
        promote::<F, T>(tables, h, key, flow, forward);
    }
}

/// Moves a flow to the answered ones: at the responder's first packet, for TCP at the initiator's first packet after
/// that, so that a flood of SYNs to an open port fills nothing but the table of the unanswered. One whose pod has its share
/// of them already, or for which there is no room, stays where it is and is tried again with its next packet.
#[inline(always)]
fn promote<F: Family, T: Tables>(tables: T, h: &Headers<F::Address>, key: &F::Key, flow: &LiveFlow, forward: bool) {
    let flags = flow.flags();
    let ready = if h.kind == kind::TCP {
        forward && flags & flow_flags::ANSWERED != 0 && h.detail & (tcp::SYN | tcp::RST) == 0
    } else {
        !forward
    };
    // The answered ones are looked at first: what is there needs no move.
    if !ready || F::flow(tables, key).is_some() {
        return;
    }
    let value = flow.value();
    let account = FlowValue::account(value.flags, value.lo_ifindex, value.hi_ifindex);
    // Less than none, while the agent reckons, is none.
    if tables.held(account).cast_signed() >= i64::from(limits::FLOW_QUOTA) {
        tables.count_event(event::FLOWS_QUOTA);
    } else if F::answer(tables, key, &value).is_ok() {
        tables.hold(account);
        F::opened(tables, key);
    } else {
        tables.count_event(event::FLOWS_FULL);
    }
}

/// A packet that belongs to no flow: `scratch.outcome` has its verdict, and for TCP in mid-stream the one of the other
/// orientation; it is remembered where it opens a flow.
#[inline(never)]
pub fn open<F: Family, T: Tables>(
    tables: T,
    scene: &Scene,
    h: &Headers<F::Address>,
    place: Option<&'static LiveFlow>,
    step: u32,
) {
    let Some(scratch) = tables.scratch() else {
        return;
    };
    let Some(question) = F::question(tables, 0) else {
        return;
    };
    let mut cell = Cell(scratch.outcome.cell);
    let mut how = how::NEW;
    let mut flags = 0;
    let mut forward = true;
    if step == step::ADOPT {
        flags = flow_flags::ADOPTED;
        forward = is_likely_forward(h);
        cell = adopted(scene, cell, Cell(scratch.outcome.back), forward);
    }
    if !forward {
        how |= how::REPLY;
        flags |= flow_flags::ANSWERED;
    }
    flags = tables.forget(flags, scene.tick);
    how = tables.forget(how, scene.tick);
    let ifindex = question.found.ifindex;
    let from_neighbour = !scene.is_from_pod() && ifindex != 0;
    let lasts = step != step::ALONE
        && (h.kind != kind::TCP || h.detail & tcp::RST == 0)
        && (scene.is_from_pod() || !F::is_multicast(&h.destination));
    let mut toward = 0;
    if lasts && !drops(scene, cell) {
        if from_neighbour && forward {
            flags |= flow_flags::LATE;
        }
        toward = passed::toward(scene, flags, ifindex);
        enter::<F, T>(tables, scene, h, place, flags, forward, cell, question);
    } else if from_neighbour {
        how |= how::SILENT;
    }
    scratch.outcome = Outcome {
        cell: cell.0,
        back: 0,
        peer: question.found.peer,
        how,
        toward,
    };
}

/// Writes a new flow down: over what is under its key, else among the unanswered.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "inlined; there is no other caller")]
fn enter<F: Family, T: Tables>(
    tables: T,
    scene: &Scene,
    h: &Headers<F::Address>,
    place: Option<&'static LiveFlow>,
    flags: u32,
    forward: bool,
    cell: Cell,
    question: &Question<F::Address>,
) {
    let Some((key, lo)) = key_of::<F, T>(tables, h) else {
        return;
    };
    let direction = if lo == forward { flow_flags::FROM_LO } else { 0 };
    let (own, other) = (scene.ifindex, question.found.ifindex);
    let (lo_ifindex, hi_ifindex) = if lo == scene.is_from_pod() {
        (own, other)
    } else {
        (other, own)
    };
    let value = FlowValue {
        revision: scene.generation,
        cell: cell.0,
        last_seen: scene.tick,
        born: scene.generation,
        lo_ifindex,
        hi_ifindex,
        flags: flags | direction,
        peer: question.found.peer,
    };
    if let Some(place) = place {
        place.replace(&value);
    } else if F::open(tables, key, &value).is_err() {
        tables.count_event(event::OPENING_FULL);
    }
}

/// Which way a TCP packet in mid-stream travels: a SYN with ACK answers; else the end with the ephemeral port of the
/// two is taken for the initiator.
#[inline(always)]
const fn is_likely_forward<A>(h: &Headers<A>) -> bool {
    const EPHEMERAL: u16 = 32_768;
    if h.detail & tcp::SYN != 0 {
        return false;
    }
    !(h.destination_port >= EPHEMERAL && h.source_port < EPHEMERAL)
}

/// TCP in mid-stream without a flow: both orientations were judged. Equal verdicts are taken; different ones pass
/// shortly after the hooks were attached, and drop afterwards.
#[inline(always)]
fn adopted(scene: &Scene, there: Cell, here: Cell, forward: bool) -> Cell {
    if there.action() == here.action() {
        if forward { there } else { here }
    } else if scene.now.wrapping_sub(scene.endpoint.attached) < ADOPTION {
        passing(reason::NO_STATE)
    } else {
        refusal(reason::NO_STATE)
    }
}
