//! Judging: from a peer, a protocol and a number to a cell of the compiled tables.

use cellwall_datapath_common::policy::{
    LIST, NEVER_DROPS, PEER_NONE, PEER_PLAIN, class, digest2, digest16, table_index,
};
use cellwall_datapath_common::{Cell, PeerKey, TableValue, cell_flags};

use crate::family::{Family, protocol};
use crate::layout::PortKey;
use crate::scene::{Headers, Scene, fragment};
use crate::tables::Tables;
use crate::verdict::{FINE, action, passing, reason, refusal};
use crate::who::{Found, find, found, settle};

/// One question to the tables: may this pod open something to, or be reached from, that address?
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Question<A> {
    /// The other end.
    pub other: A,
    /// What it is; judging puts the peer here that decided (a Service port in place of its address).
    pub found: Found,
    /// Destination port or ICMP type.
    pub number: u32,
    /// IP protocol number.
    pub protocol: u32,
    /// 1 where the pod is the initiator.
    pub opens: u32,
    /// 1 where both ends are the pod's own address.
    pub to_itself: u32,
}

/// The verdict. Never panics, never widens: tables that do not fit together are a Drop with the reason INTERNAL.
#[inline(never)]
pub fn judge<F: Family, T: Tables>(tables: T, scene: &Scene, question: &mut Question<F::Address>) -> u32 {
    if question.to_itself != 0 {
        return passing(reason::SELF).0;
    }
    let peer = if question.opens != 0 {
        match service::<F, T>(tables, scene, question) {
            Some(peer) => peer,
            None => return refusal(reason::INTERNAL).0,
        }
    } else {
        question.found.peer
    };
    question.found.peer = peer;
    let policy = if question.opens != 0 {
        scene.endpoint.egress
    } else {
        scene.endpoint.ingress
    };
    cell_of::<F, T>(
        tables,
        scene.generation,
        policy,
        peer,
        question.protocol << 16 | question.number,
    )
}

/// The peer that a destination is at this port: a Service port's where one is there, else the address's own.
#[inline(always)]
fn service<F: Family, T: Tables>(tables: T, scene: &Scene, question: &Question<F::Address>) -> Option<u32> {
    let plain = question.found.peer;
    let kind = question.found.class();
    let is_node = kind == class::NODE || kind == class::LOCAL_NODE;
    if !has_ports(question.protocol) || !(is_node || kind == class::CLUSTER_IP || kind == class::EXTERNAL_IP) {
        return Some(plain);
    }
    #[allow(clippy::cast_possible_truncation, reason = "read as one byte and as 16 bits")]
    let mut key = PortKey {
        scope: F::mapped(&question.other),
        port: question.number as u16,
        protocol: question.protocol as u8,
        kind: F::NUMBER,
    };
    // A host port at one address first: it stands for what is behind the node port of its number too.
    match service_port(tables, scene.generation, &key) {
        PEER_NONE => {}
        TORN => return None,
        port => return Some(port),
    }
    if !is_node {
        return Some(plain);
    }
    key.scope = [0, 0, 0, plain.to_le()];
    key.kind = F::NUMBER + 16;
    match service_port(tables, scene.generation, &key) {
        PEER_NONE => Some(plain),
        TORN => None,
        port => Some(port),
    }
}

/// Peer at a Service port, [`PEER_NONE`] without; [`TORN`] where it never settled.
#[inline(never)]
fn service_port<T: Tables>(tables: T, generation: u32, key: &PortKey) -> u32 {
    let tail = u32::from(key.port) << 16 | u32::from(key.protocol) << 8 | u32::from(key.kind);
    let digest = digest2(digest16(key.scope), tail);
    settle(tables, generation, digest, PEER_NONE, || tables.service_port(key)).unwrap_or(TORN)
}

/// No peer has this number.
const TORN: u32 = 0xffff_fffe;

/// Whether the protocol of this number has ports.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "read as one byte")]
pub const fn has_ports(number: u32) -> bool {
    matches!(number as u8, protocol::TCP | protocol::UDP | protocol::SCTP)
}

/// The table of (policy, peer), or of the peer's class.
#[inline(always)]
fn table_of<T: Tables>(tables: T, generation: u32, policy: u32, peer: u32) -> Option<&'static TableValue> {
    let mut number = table_number(tables, generation, policy, peer);
    if number == 0 && peer & PEER_PLAIN != PEER_PLAIN {
        number = table_number(tables, generation, policy, peer | PEER_PLAIN);
    }
    tables.table(number.checked_sub(1)?)
}

/// Slot of a table plus one, 0 without; beyond every slot where it never settled.
#[inline(never)]
fn table_number<T: Tables>(tables: T, generation: u32, policy: u32, peer: u32) -> u32 {
    let key = PeerKey { policy, peer };
    settle(tables, generation, digest2(policy, peer), 0, || tables.policy(&key)).unwrap_or(u32::MAX)
}

/// The cell for `what`: protocol in the upper half, port or type in the lower.
#[inline(never)]
#[allow(clippy::cast_possible_truncation, reason = "read as one byte")]
pub fn cell_of<F: Family, T: Tables>(tables: T, generation: u32, policy: u32, peer: u32, what: u32) -> u32 {
    let Some(table) = table_of(tables, generation, policy, peer) else {
        return refusal(reason::INTERNAL).0;
    };
    let number = what >> 16;
    let (reference, at) = match (number as u8, F::NUMBER) {
        (protocol::TCP, _) => (table.refs[table_index::TCP], what & 0xffff),
        (protocol::UDP, _) => (table.refs[table_index::UDP], what & 0xffff),
        (protocol::SCTP, _) => (table.refs[table_index::SCTP], what & 0xffff),
        (protocol::ICMP, 4) => (table.refs[table_index::ICMP], what & 0xffff),
        (protocol::ICMPV6, 6) => (table.refs[table_index::ICMPV6], what & 0xffff),
        _ => (table.refs[table_index::OTHER], number),
    };
    let cell = if reference & LIST == 0 {
        reference
    } else {
        listed(tables, reference & !LIST, at)
    };
    if Cell(cell).is_written() {
        cell
    } else {
        refusal(reason::INTERNAL).0
    }
}

/// The cell at `number` in the list whose header is at `header`.
#[inline(always)]
fn listed<T: Tables>(tables: T, header: u32, number: u32) -> u32 {
    let Some(head) = tables.span(header) else {
        return refusal(reason::INTERNAL).0;
    };
    // The first span starts at 0: `low` is always one that begins at or before `number`.
    let (mut low, mut high) = (1, head.start.wrapping_add(1));
    for _ in 0..17 {
        if high.wrapping_sub(low) <= 1 {
            break;
        }
        let middle = low + (high - low) / 2;
        match tables.span(header.wrapping_add(middle)) {
            Some(span) if span.start <= number => low = middle,
            Some(_) => high = middle,
            None => return refusal(reason::INTERNAL).0,
        }
    }
    match tables.span(header.wrapping_add(low)) {
        Some(span) if head.start != 0 && high.wrapping_sub(low) <= 1 => span.cell & !LIST,
        _ => refusal(reason::INTERNAL).0,
    }
}

/// For a later fragment of an unknown train: [`FINE`] where no port of the protocol, nor the protocol as a whole,
/// could be dropped between these two in this direction; else the reason of the refusal.
#[inline(never)]
#[allow(clippy::cast_possible_truncation, reason = "read as one byte")]
pub fn may_drop<F: Family, T: Tables>(tables: T, scene: &Scene, peer: u32, number: u32) -> u32 {
    let kind = peer >> 28;
    // Behind some port of it may stand backends that are refused: which port is not known.
    if scene.is_from_pod() && has_ports(number) && (kind == class::CLUSTER_IP || kind == class::EXTERNAL_IP) {
        return reason::FRAGMENT;
    }
    let policy = if scene.is_from_pod() {
        scene.endpoint.egress
    } else {
        scene.endpoint.ingress
    };
    let Some(table) = table_of(tables, scene.generation, policy, peer) else {
        return reason::INTERNAL;
    };
    let drops = |reference: u32| {
        if reference & LIST == 0 {
            !Cell(reference).is_written() || Cell(reference).action() == action::DROP
        } else {
            tables
                .span(reference & !LIST)
                .is_none_or(|head| head.cell != NEVER_DROPS)
        }
    };
    let refused = match (number as u8, F::NUMBER) {
        (protocol::TCP, _) => drops(table.refs[table_index::TCP]),
        (protocol::UDP, _) => drops(table.refs[table_index::UDP]),
        (protocol::SCTP, _) => drops(table.refs[table_index::SCTP]),
        (protocol::ICMP, 4) => drops(table.refs[table_index::ICMP]),
        (protocol::ICMPV6, 6) => drops(table.refs[table_index::ICMPV6]),
        (_, 4) => {
            let cell = cell_of::<F, T>(tables, scene.generation, policy, peer, number << 16);
            Cell(cell).action() == action::DROP
        }
        // More extension headers may lie in the fragments: any protocol could come.
        _ => table.refs.iter().any(|reference| drops(*reference)),
    };
    if refused { reason::FRAGMENT } else { FINE }
}

/// Whether a packet is encapsulation that pods may not send to nodes.
#[inline(always)]
pub const fn is_tunnel<A>(h: &Headers<A>) -> bool {
    const VXLAN: u16 = 4789;
    const OLD_VXLAN: u16 = 8472;
    const GENEVE: u16 = 6081;
    match h.protocol {
        protocol::IPIP | protocol::SIX_IN_FOUR | protocol::GRE => true,
        protocol::UDP => h.fragment != fragment::LATER && matches!(h.destination_port, VXLAN | OLD_VXLAN | GENEVE),
        _ => false,
    }
}

/// Encapsulation from the pod: refused to a node's address unless a Pass or Alert rule names the protocol or port.
/// Answers [`FINE`] or a reason.
#[inline(never)]
pub fn tunnel<F: Family, T: Tables>(tables: T, scene: &Scene, h: &Headers<F::Address>) -> u32 {
    let Some(found) = found(tables) else {
        return reason::INTERNAL;
    };
    if !find::<F, T>(tables, scene.generation, &h.destination, found) {
        return reason::INTERNAL;
    }
    if found.class() != class::NODE && found.class() != class::LOCAL_NODE {
        return FINE;
    }
    let what = u32::from(h.protocol) << 16 | u32::from(h.destination_port);
    let cell = Cell(cell_of::<F, T>(
        tables,
        scene.generation,
        scene.endpoint.egress,
        found.peer,
        what,
    ));
    if cell.action() != action::DROP && cell.flags() & cell_flags::NAMED != 0 {
        FINE
    } else {
        reason::TUNNEL
    }
}
