//! The way of a packet through a hook, from the first byte to the verdict.

use cellwall_datapath_common::record::{event, reason_index};
use cellwall_datapath_common::{Cell, TICK_SHIFT, hook, switches};

use crate::family::{Family, V4, V6};
use crate::fragment::{begins, follow, remember};
use crate::guard::{ALWAYS, is_nobody_allowed, is_own, is_special, special};
use crate::judge::{is_tunnel, judge, tunnel};
use crate::layout::{Endpoint, LiveFlow};
use crate::packet::{Packet, high};
use crate::quote::{related, relation};
use crate::scene::{Headers, Scene, fragment, kind};
use crate::tables::Tables;
use crate::tell::{NO_PEER, conclude, drops, how, outcome};
use crate::track::{Known, ask, go_on, goes_on, known, open, step};
use crate::verdict::{FINE, action, passing, reason, refusal};
use crate::{arp, passed, quote, transport, who};

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;
const OLD_SERVICE_VLAN: u16 = 0x9100;

/// A packet that the pod sent. Answers whether it passes.
#[inline(always)]
pub fn from_pod<T: Tables, P: Packet>(tables: T, packet: P) -> bool {
    run(tables, packet, hook::FROM_POD)
}

/// A packet on its way to the pod. Answers whether it passes.
#[inline(always)]
pub fn to_pod<T: Tables, P: Packet>(tables: T, packet: P) -> bool {
    run(tables, packet, hook::TO_POD)
}

/// What stands in for the endpoint of an interface that has none.
static NOBODY: Endpoint = Endpoint {
    attached: 0,
    ifindex: 0,
    master: 0,
    egress: 0,
    ingress: 0,
    flags: 0,
    v4: 0,
    v6: [0; 4],
    v6_link: [0; 4],
    mac: [0; 2],
};

#[inline(always)]
fn run<T: Tables, P: Packet>(tables: T, packet: P, hook: u8) -> bool {
    if hook == hook::FROM_POD {
        packet.set_tag(0);
    }
    let Some(active) = who::active(tables) else {
        let index = reason_index(u32::from(hook), action::DROP, 1, reason::INTERNAL);
        tables.count_reason(index, 1, packet.bytes(), tables.now());
        return false;
    };
    if active.switches & switches::OFF != 0 {
        let index = reason_index(u32::from(hook), action::PASS, 0, reason::OFF);
        tables.count_reason(index, 0, packet.bytes(), tables.now());
        return true;
    }
    if hook == hook::TO_POD && passed::is_noted(tables, packet, &active) {
        return true;
    }
    let now = tables.now();
    let ifindex = packet.ifindex();
    let (endpoint, slot) = who::endpoint(tables, ifindex, active.generation).unwrap_or((&NOBODY, u32::MAX));
    #[allow(clippy::cast_possible_truncation, reason = "ticks wrap")]
    let tick = (now >> TICK_SHIFT) as u32;
    let mut scene = Scene {
        endpoint,
        now,
        slot,
        generation: active.generation,
        switches: active.switches,
        sample: active.pass_sample,
        ifindex,
        ingress: if hook == hook::TO_POD {
            packet.ingress_ifindex()
        } else {
            0
        },
        bytes: packet.bytes(),
        tick,
        ethertype: 0,
        hook,
        family: 0,
    };
    match packet.fixed::<12, 1>() {
        Some([word]) => scene.ethertype = high(word),
        None => return unread(tables, &scene, refusal(reason::MALFORMED).0),
    }
    if slot == u32::MAX {
        return nobody(tables, &scene);
    }
    frame(tables, packet, &mut scene)
}

/// A frame of a guarded interface.
#[inline(always)]
fn frame<T: Tables, P: Packet>(tables: T, packet: P, scene: &mut Scene) -> bool {
    if packet.is_tagged() {
        return unread(tables, scene, refusal(reason::VLAN).0);
    }
    let ethertype = scene.ethertype;
    if scene.is_from_pod() && packet.ethertype() != ethertype && !is_vlan(ethertype) {
        return unread(tables, scene, refusal(reason::NOT_IP).0);
    }
    match ethertype {
        IPV4 => {
            scene.family = V4::NUMBER;
            datagram::<V4, T, P>(tables, packet, scene)
        }
        IPV6 => {
            scene.family = V6::NUMBER;
            datagram::<V6, T, P>(tables, packet, scene)
        }
        ARP => {
            let answer = arp::check(tables, packet, scene);
            let cell = if answer == FINE {
                passing(reason::NEIGHBOUR)
            } else {
                refusal(answer)
            };
            unread(tables, scene, cell.0)
        }
        _ if is_vlan(ethertype) => unread(tables, scene, refusal(reason::VLAN).0),
        _ => unread(tables, scene, refusal(reason::NOT_IP).0),
    }
}

#[inline(always)]
const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, VLAN | SERVICE_VLAN | OLD_SERVICE_VLAN)
}

/// An interface with a program and no endpoint: its pod is not known, and nothing is known that it could be.
#[inline(never)]
fn nobody<T: Tables>(tables: T, scene: &Scene) -> bool {
    tables.count_event(event::NO_ENDPOINT);
    let open = scene.switches & switches::STARTUP_OPEN != 0;
    let cell = if open {
        passing(reason::STARTUP)
    } else {
        refusal(reason::STARTUP)
    };
    unread(tables, scene, cell.0)
}

/// Concludes about a frame whose addresses were not read.
#[inline(never)]
fn unread<T: Tables>(tables: T, scene: &Scene, cell: u32) -> bool {
    let Some(h) = V6::headers(tables) else {
        return false;
    };
    *h = Headers::default();
    let how = if is_seen_before(tables, scene) { how::SILENT } else { 0 };
    outcome(tables, Cell(cell), NO_PEER, how);
    conclude::<V6, T>(tables, scene, h)
}

/// Whether a packet at to-pod came in by a guarded interface, whose from-pod hook has counted it.
#[inline(always)]
fn is_seen_before<T: Tables>(tables: T, scene: &Scene) -> bool {
    scene.ingress != 0 && who::endpoint_number(tables, scene.ingress, scene.generation) != 0
}

/// An IP packet of a guarded interface.
#[inline(always)]
fn datagram<F: Family, T: Tables, P: Packet>(tables: T, packet: P, scene: &Scene) -> bool {
    let way = quick::<F, T, P>(tables, packet, scene);
    if way == way::DONE {
        return true;
    }
    // Nor is the long way followed anew for each way out of the short one.
    let way = packet.forget(way);
    let Some(h) = F::headers(tables) else {
        return false;
    };
    *h = Headers::default();
    let read = read::<F, P>(packet, h);
    if let Err(reason) = read.and_then(|()| guard::<F, T>(tables, scene, h)) {
        outcome(tables, refusal(reason), NO_PEER, 0);
        return conclude::<F, T>(tables, scene, h);
    }
    let is_rare = is_special::<F>(h) || h.fragment != fragment::WHOLE;
    if way == way::UNSURE && !is_rare && goes_on_late::<F, T, P>(tables, packet, scene, h) {
        return true;
    }
    if !is_rare || rare::<F, T, P>(tables, packet, scene, h) {
        decide::<F, T, P>(tables, packet, scene, h, way == way::NEW);
        if h.fragment == fragment::FIRST {
            remember(tables, scene);
        }
    }
    let passes = conclude::<F, T>(tables, scene, h);
    if passes
        && !is_rare
        && let Some(scratch) = tables.scratch()
    {
        passed::note::<F, T, P>(tables, packet, scene, h, scratch.outcome.toward);
    }
    passes
}

/// How far [`quick`] came.
mod way {
    /// The packet goes on with its flow.
    pub(super) const DONE: u32 = 0;
    /// It has no flow with which it may just go on.
    pub(super) const LONG: u32 = 1;
    /// It has to be looked at closer, before its flow may be looked for.
    pub(super) const UNSURE: u32 = 2;
    /// No flow has its key.
    pub(super) const NEW: u32 = 3;
}

/// The way of most packets: a whole one, plainly the pod's own, of a flow that needs no second thought. The headers stay
/// in registers, and nothing of them is left behind.
#[inline(never)]
fn quick<F: Family, T: Tables, P: Packet>(tables: T, packet: P, scene: &Scene) -> u32 {
    let mut h = Headers::default();
    if read::<F, P>(packet, &mut h).is_err()
        || is_special::<F>(&h)
        || h.fragment != fragment::WHOLE
        || scene.is_from_pod() && !is_surely_own::<F>(scene, &h)
    {
        return way::UNSURE;
    }
    match goes_on::<F, T, P>(tables, packet, scene, &h) {
        Known::GoesOn => way::DONE,
        Known::Otherwise => way::LONG,
        Known::Nothing => way::NEW,
    }
}

/// [`goes_on`] for what the guard had to look at first.
#[inline(never)]
fn goes_on_late<F: Family, T: Tables, P: Packet>(tables: T, packet: P, scene: &Scene, h: &Headers<F::Address>) -> bool {
    goes_on::<F, T, P>(tables, packet, scene, h) == Known::GoesOn
}

/// Fragments, neighbour discovery, group membership, router messages. Answers whether the packet is still to be
/// decided about; if not, the outcome is set down.
#[inline(never)]
fn rare<F: Family, T: Tables, P: Packet>(tables: T, packet: P, scene: &Scene, h: &Headers<F::Address>) -> bool {
    if !scene.is_from_pod() {
        let answer = who::way::<F, T>(tables, scene, &h.source);
        if answer != FINE {
            outcome(tables, refusal(answer), NO_PEER, 0);
            return false;
        }
    }
    if is_special::<F>(h) {
        let answer = special::<F, T, P>(tables, packet, scene, h);
        if answer == ALWAYS {
            let is_first = h.fragment == fragment::FIRST;
            if is_first && !begins::<F, T, P>(tables, packet, scene, h) {
                return false;
            }
            let how = if is_seen_before(tables, scene) { how::SILENT } else { 0 };
            outcome(tables, passing(reason::NEIGHBOUR), NO_PEER, how);
            if is_first {
                remember(tables, scene);
            }
            return false;
        }
        if answer != FINE {
            outcome(tables, refusal(answer), NO_PEER, 0);
            return false;
        }
    }
    match h.fragment {
        fragment::LATER => {
            follow::<F, T>(tables, scene, h);
            false
        }
        fragment::FIRST => begins::<F, T, P>(tables, packet, scene, h),
        _ => true,
    }
}

/// Reads the headers and refuses what nobody may send to anybody.
#[inline(always)]
fn read<F: Family, P: Packet>(packet: P, h: &mut Headers<F::Address>) -> Result<(), u32> {
    let jumbo = F::parse(packet, h)?;
    if h.fragment == fragment::LATER {
        h.kind = kind::OTHER;
    } else {
        transport::read::<F, P>(packet, h, jumbo)?;
    }
    if F::is_loopback(&h.source) || F::is_loopback(&h.destination) {
        return Err(reason::LOOPBACK);
    }
    Ok(())
}

/// Whether the pod plainly may send this: from an address in its record, and no tunnel.
#[inline(always)]
fn is_surely_own<F: Family>(scene: &Scene, h: &Headers<F::Address>) -> bool {
    F::is_own(scene.endpoint, &h.source) && !is_tunnel(h)
}

/// Refuses what the pod may not send, whatever the rules.
#[inline(always)]
fn guard<F: Family, T: Tables>(tables: T, scene: &Scene, h: &Headers<F::Address>) -> Result<(), u32> {
    if !scene.is_from_pod() {
        return Ok(());
    }
    if !is_own::<F, T>(tables, scene, &h.source) && !is_nobody_allowed::<F>(h) {
        return Err(reason::SPOOFED);
    }
    if is_tunnel(h) {
        crate::verdict::checked(tunnel::<F, T>(tables, scene, h))?;
    }
    Ok(())
}

/// A packet that the fast path had no answer to: sets the outcome down. `is_new`: no flow has its key.
#[inline(never)]
fn decide<F: Family, T: Tables, P: Packet>(tables: T, packet: P, scene: &Scene, h: &Headers<F::Address>, is_new: bool) {
    let mut place: Option<&'static LiveFlow> = None;
    let step = match h.kind {
        kind::ERROR if is_related::<F, T, P>(tables, packet, scene, h) => step::DONE,
        kind::ERROR | kind::MESSAGE => step::ALONE,
        _ if is_new => step::OPEN,
        _ => known::<F, T>(tables, scene, h, &mut place),
    };
    let mut step = packet.forget(step);
    if step == step::DONE {
        return;
    }
    if step != step::SAME {
        step = packet.forget(ask::<F, T>(tables, scene, h, place, step));
        if step == step::DONE {
            return;
        }
        judge_all::<F, T>(tables, scene, step);
    }
    match place {
        Some(flow) if step == step::SAME || step == step::AGAIN => go_on::<F, T>(tables, scene, h, flow, step),
        _ => open::<F, T>(tables, scene, h, place, step),
    }
}

/// Judges question 0 and, for TCP in mid-stream, question 1.
#[inline(always)]
fn judge_all<F: Family, T: Tables>(tables: T, scene: &Scene, step: u32) {
    let Some(question) = F::question(tables, 0) else {
        return;
    };
    let cell = judge::<F, T>(tables, scene, question);
    let mut back = 0;
    if step == step::ADOPT
        && let Some(question) = F::question(tables, 1)
    {
        back = judge::<F, T>(tables, scene, question);
    }
    if let Some(scratch) = tables.scratch() {
        scratch.outcome.cell = cell;
        scratch.outcome.back = back;
    }
}

/// Whether an ICMP error belongs to a flow that passes; then the outcome is set down.
#[inline(always)]
fn is_related<F: Family, T: Tables, P: Packet>(tables: T, packet: P, scene: &Scene, h: &Headers<F::Address>) -> bool {
    if !quote::read::<F, T, P>(tables, packet, scene, h) {
        return false;
    }
    match related::<F, T>(tables, scene, h) {
        relation::FLOW => true,
        relation::ASK => match F::question(tables, 0) {
            Some(question) => !drops(scene, Cell(judge::<F, T>(tables, scene, question))),
            None => false,
        },
        _ => false,
    }
}
