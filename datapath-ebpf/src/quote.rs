//! ICMP errors: related to a flow that passed, in the direction that fits, or judged like any message.

use cellwall_datapath_common::{FlowValue, flow_flags};

use crate::family::{Family, Quoted};
use crate::judge::has_ports;
use crate::packet::{Packet, high, low, octet};
use crate::scene::{Headers, Scene, kind};
use crate::tables::Tables;
use crate::tell::{NO_PEER, drops, how, outcome};
use crate::transport::{icmp_kind, query_ports, request_of};
use crate::verdict::{passing, reason};
use crate::who::{find, found, is_way_of};

/// Answers of [`related`].
pub mod relation {
    /// It belongs to no flow.
    pub const NONE: u32 = 0;
    /// It belongs to a flow that passed.
    pub const FLOW: u32 = 1;
    /// It belongs to a flow judged under an older generation: question 0 asks whether that still passes.
    pub const ASK: u32 = 2;
}

/// Reads the packet that an error quotes. Answers whether it fits: the error goes to the quoted source and, where the
/// pod sends it, comes from the quoted destination.
#[inline(never)]
pub fn read<F: Family, T: Tables, P: Packet>(tables: T, packet: P, scene: &Scene, h: &Headers<F::Address>) -> bool {
    let Some(quoted) = F::quote(tables) else {
        return false;
    };
    F::quoted(packet, h.at + 8, h.end, quoted).is_some()
        && F::same(&quoted.source, &h.destination)
        && (!scene.is_from_pod() || F::same(&quoted.destination, &h.source))
        && ports_of::<F, P>(packet, quoted, h.end).is_some()
}

/// The quoted packet's ports; none where they are not all there, or it is an error or a message without a flow.
#[inline(always)]
fn ports_of<F: Family, P: Packet>(packet: P, quoted: &mut Quoted<F::Address>, end: u32) -> Option<()> {
    if quoted.protocol == u32::from(F::ICMP) {
        if quoted.at + 8 > end {
            return None;
        }
        let words = packet.words::<2>(quoted.at)?;
        let number = octet(words[0], 0);
        let kind = icmp_kind::<F>(number);
        let request = match kind {
            kind::REQUEST => number,
            kind::REPLY => request_of::<F>(number),
            _ => return None,
        };
        let (asking, other) = query_ports::<F>(request, high(words[1]));
        quoted.ports = if kind == kind::REQUEST {
            [asking, other]
        } else {
            [other, asking]
        };
        quoted.numbers = [u16::from(request); 2];
        quoted.kind = u32::from(kind);
        return Some(());
    }
    quoted.kind = u32::from(kind::OTHER);
    quoted.ports = [0; 2];
    quoted.numbers = [0; 2];
    if has_ports(quoted.protocol) {
        if quoted.at + 4 > end {
            return None;
        }
        let [word] = packet.words::<1>(quoted.at)?;
        quoted.ports = [high(word), low(word)];
        quoted.numbers = [low(word), high(word)];
    }
    Some(())
}

/// Whether the quoted packet belongs to a flow that passed: alive, of this interface, and passing under the active
/// generation. Answers [`relation`], and sets the outcome down for where it does.
#[inline(never)]
pub fn related<F: Family, T: Tables>(tables: T, scene: &Scene, h: &Headers<F::Address>) -> u32 {
    let (Some(quoted), Some(sender)) = (F::quote(tables), found(tables)) else {
        return relation::NONE;
    };
    sender.ifindex = 0;
    if !scene.is_from_pod() {
        if !find::<F, T>(tables, scene.generation, &h.source, sender) {
            return relation::NONE;
        }
        if sender.ifindex != 0 && !is_way_of(tables, scene.ingress, sender.ifindex, scene.generation) {
            return relation::NONE;
        }
    }
    let how = if sender.ifindex == 0 { 0 } else { how::SILENT };
    outcome(tables, passing(reason::RELATED), NO_PEER, how);
    #[allow(clippy::cast_possible_truncation, reason = "read as one byte")]
    let protocol = quoted.protocol as u8;
    let [source, destination] = quoted.ports;
    let Some((key, lo)) = F::key(
        tables,
        &quoted.source,
        &quoted.destination,
        source,
        destination,
        protocol,
    ) else {
        return relation::NONE;
    };
    let Some(flow) = F::flow(tables, key).or_else(|| F::opening(tables, key)) else {
        return relation::NONE;
    };
    let flags = flow.flags();
    let forward = (flags & flow_flags::FROM_LO != 0) == lo;
    // The pod is the quoted destination where it sends the error, the quoted source where it gets it.
    let (own, _) = flow.interfaces(lo != scene.is_from_pod());
    let misfit =
        quoted.kind == u32::from(kind::REQUEST) && !forward || quoted.kind == u32::from(kind::REPLY) && forward;
    if own != scene.ifindex || misfit || FlowValue::is_expired(protocol, flags, flow.last_seen(), scene.tick) {
        return relation::NONE;
    }
    let (revision, cell) = flow.verdict();
    if revision == scene.generation {
        return if drops(scene, cell) {
            relation::NONE
        } else {
            relation::FLOW
        };
    }
    ask::<F, T>(tables, scene, quoted, flow.born(), forward)
}

/// The flow itself is judged again at its own next packet; the error only asks about it.
#[inline(always)]
fn ask<F: Family, T: Tables>(tables: T, scene: &Scene, quoted: &Quoted<F::Address>, born: u32, forward: bool) -> u32 {
    let Some(question) = F::question(tables, 0) else {
        return relation::NONE;
    };
    question.other = if scene.is_from_pod() {
        quoted.source
    } else {
        quoted.destination
    };
    question.number = u32::from(if forward { quoted.numbers[0] } else { quoted.numbers[1] });
    question.protocol = quoted.protocol;
    // The quoted packet went the other way than the error.
    question.opens = u32::from(scene.is_from_pod() != forward);
    question.to_itself = 0;
    let known = find::<F, T>(tables, scene.generation, &question.other, &mut question.found);
    if known && !question.found.is_newer(born, scene.generation) {
        relation::ASK
    } else {
        relation::NONE
    }
}
