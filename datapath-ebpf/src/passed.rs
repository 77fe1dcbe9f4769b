//! A packet from one pod of this node to another is judged once. From-pod notes the very packet it lets through, and
//! gives it the number of the note; to-pod, which meets it within the same call of the kernel, finds the note and has
//! nothing to ask.
//!
//! The number travels in the packet's `tc_index`, which nothing but traffic control reads and which forwarding leaves
//! alone. It is no secret and need not be: from-pod writes it over whatever a pod put there, and it only says where to
//! look. What counts is that this processor's note holds the same addresses and ports, this interface as the place
//! where they lead, and the generation in force. A packet whose addresses were translated on the way, that goes to
//! another interface, or that met a change of policy, is judged. A note is good for one packet. Where a packet is met
//! on another processor, or later, there is no note of it, and it takes the long way.

use cellwall_datapath_common::{Active, flow_flags};

use crate::family::{Family, V4, V6};
use crate::packet::Packet;
use crate::scene::{Headers, Scene, kind};
use crate::tables::Tables;

/// Notes of one processor: the kernel may take up to so many packets through from-pod before it forwards the first.
pub const NOTES: usize = 16;

/// What to-pod is to meet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed {
    /// Its number, 1 to 65,535; 0: nothing.
    pub tag: u32,
    /// Generation that let it through.
    pub generation: u32,
    /// Interface that it is for.
    pub toward: u32,
    /// What the two share: see [`Plain::what`].
    pub what: u32,
    /// Both ports, as they lie in memory.
    pub ports: u32,
    /// Source; IPv4 in the first word.
    pub source: [u32; 4],
    /// Destination.
    pub destination: [u32; 4],
}

/// What is read of a packet without options or extension headers.
#[derive(Clone, Copy, Debug)]
pub struct Plain<A> {
    /// Family and protocol.
    pub what: u32,
    /// Both ports, as they lie in memory.
    pub ports: u32,
    /// Source.
    pub source: A,
    /// Destination.
    pub destination: A,
}

/// Where a flow that from-pod lets through leads, for [`note`]: the interface of a pod of this node, 0 where it is to be
/// judged again. What a pod of this node opened to another address is (a Service's, which was translated).
#[inline(always)]
pub const fn toward(scene: &Scene, flags: u32, other: u32) -> u32 {
    if scene.is_from_pod() && flags & flow_flags::LATE == 0 {
        other
    } else {
        0
    }
}

/// Notes a packet that from-pod lets through.
#[inline(always)]
pub fn note<F: Family, T: Tables, P: Packet>(
    tables: T,
    packet: P,
    scene: &Scene,
    h: &Headers<F::Address>,
    toward: u32,
) {
    if toward == 0 || h.at as usize != F::PLAIN || !matches!(h.kind, kind::TCP | kind::PORTS) {
        return;
    }
    let (Some([ports]), Some(scratch)) = (F::ports(packet), tables.scratch()) else {
        return;
    };
    let mut tag = scratch.passed_last.wrapping_add(1) & 0xffff;
    if tag == 0 {
        tag = 1;
    }
    scratch.passed_last = tag;
    let Some(note) = scratch.passed.get_mut(tag as usize & (NOTES - 1)) else {
        return;
    };
    note.tag = tag;
    note.generation = scene.generation;
    note.toward = toward;
    note.what = what::<F>(h.protocol);
    note.ports = ports;
    F::put(&h.source, &mut note.source);
    F::put(&h.destination, &mut note.destination);
    packet.set_tag(tag);
}

/// Whether this is the packet of a note: to-pod then lets it through. The note is used up.
#[inline(always)]
pub fn is_noted<T: Tables, P: Packet>(tables: T, packet: P, active: &Active) -> bool {
    let tag = packet.tag();
    if tag == 0 {
        return false;
    }
    // What is a number here is nobody's business in the pod.
    packet.set_tag(0);
    let Some(scratch) = tables.scratch() else {
        return false;
    };
    let Some(note) = scratch.passed.get_mut(tag as usize & (NOTES - 1)) else {
        return false;
    };
    if note.tag != tag || note.toward != packet.ifindex() || note.generation != active.generation || packet.is_tagged()
    {
        return false;
    }
    let found = match note.what >> 8 {
        4 => is_of::<V4, P>(packet, note),
        _ => is_of::<V6, P>(packet, note),
    };
    if found {
        note.tag = 0;
    }
    found
}

#[inline(always)]
fn is_of<F: Family, P: Packet>(packet: P, note: &Passed) -> bool {
    F::plain(packet).is_some_and(|plain| {
        plain.what == note.what
            && plain.ports == note.ports
            && F::is(&plain.source, &note.source)
            && F::is(&plain.destination, &note.destination)
    })
}

/// [`Plain::what`] of a family and a protocol.
#[inline(always)]
pub const fn what<F: Family>(protocol: u8) -> u32 {
    (F::NUMBER as u32) << 8 | protocol as u32
}
