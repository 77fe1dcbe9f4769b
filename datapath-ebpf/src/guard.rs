//! Before any rule: addresses that are not the sender's, loopback, neighbour discovery, router messages.

use cellwall_datapath_common::policy::{class, endpoint_flags};

use crate::family::{Family, V4, V6, protocol};
use crate::layout::OwnKey;
use crate::packet::Packet;
use crate::scene::{Headers, Scene, fragment};
use crate::tables::Tables;
use crate::verdict::{FINE, reason};
use crate::who::{find, found};

const MLD_QUERY: u8 = 130;
const MLD_REPORT: u8 = 131;
const MLD_DONE: u8 = 132;
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
const MLD_REPORT_2: u8 = 143;
const REDIRECT_4: u8 = 5;
const ROUTER_ADVERTISEMENT_4: u8 = 9;

/// Answer of [`special`]: passes whatever the rules say.
pub const ALWAYS: u32 = 0xfe;

/// Whether `address` is the pod's.
#[inline(always)]
pub fn is_own<F: Family, T: Tables>(tables: T, scene: &Scene, address: &F::Address) -> bool {
    F::is_own(scene.endpoint, address)
        || scene.endpoint.flags & (endpoint_flags::MORE_ADDRESSES | endpoint_flags::STARTUP) != 0
            && is_own_otherwise::<F, T>(tables, scene, address)
}

/// Whether `address` is known to be the pod's: as a destination, for which nobody is given the benefit of the doubt.
#[inline(always)]
fn is_known_own<F: Family, T: Tables>(tables: T, scene: &Scene, address: &F::Address) -> bool {
    F::is_own(scene.endpoint, address)
        || scene.endpoint.flags & endpoint_flags::MORE_ADDRESSES != 0 && is_listed::<F, T>(tables, scene, address)
}

/// Whether the pod sends to its own address, which the pod of interface `holder` (0: of none here) has. An address that
/// another pod of this node took over is that pod's, whoever had it.
#[inline(always)]
pub fn is_to_itself<F: Family, T: Tables>(tables: T, scene: &Scene, holder: u32, destination: &F::Address) -> bool {
    let untaken = holder == 0 || holder == scene.ifindex;
    scene.is_from_pod() && untaken && is_known_own::<F, T>(tables, scene, destination)
}

/// Whether the address is among those beyond the record.
#[inline(never)]
fn is_listed<F: Family, T: Tables>(tables: T, scene: &Scene, address: &F::Address) -> bool {
    tables.owns(&OwnKey {
        address: F::mapped(address),
        ifindex: scene.ifindex,
    })
}

/// Addresses beyond those in the record; for a pod that is not known yet, all that are not another's.
#[inline(never)]
fn is_own_otherwise<F: Family, T: Tables>(tables: T, scene: &Scene, address: &F::Address) -> bool {
    let key = OwnKey {
        address: F::mapped(address),
        ifindex: scene.ifindex,
    };
    if tables.owns(&key) {
        return true;
    }
    if !scene.is_startup() || F::is_unspecified(address) || F::is_multicast(address) || F::is_loopback(address) {
        return false;
    }
    let Some(found) = found(tables) else {
        return false;
    };
    if !find::<F, T>(tables, scene.generation, address, found) {
        return false;
    }
    // A pod of this node whose interface is not known yet may be this one.
    let is_unbound = found.class() == class::LOCAL_POD && (found.ifindex == 0 || found.ifindex == scene.ifindex);
    found.exact == 0 || is_unbound
}

/// Whether the packet is of a kind that [`special`] has something to say about.
#[inline(always)]
pub const fn is_special<F: Family>(h: &Headers<F::Address>) -> bool {
    if h.fragment == fragment::LATER {
        return F::NUMBER == 4 && h.protocol == protocol::IGMP;
    }
    match (F::NUMBER, h.protocol) {
        (4, protocol::IGMP) => true,
        (4, protocol::ICMP) => h.detail == REDIRECT_4 || h.detail == ROUTER_ADVERTISEMENT_4,
        (6, protocol::ICMPV6) => matches!(h.detail, MLD_QUERY..=REDIRECT | MLD_REPORT_2),
        _ => false,
    }
}

/// Neighbour discovery, group membership, router messages. Answers [`ALWAYS`], [`FINE`] (judge it) or a reason.
#[inline(never)]
pub fn special<F: Family, T: Tables, P: Packet>(tables: T, packet: P, scene: &Scene, h: &Headers<F::Address>) -> u32 {
    if F::NUMBER == 4 {
        return match (h.protocol, scene.is_from_pod()) {
            (protocol::IGMP, _) => ALWAYS,
            (_, true) => reason::ROUTER,
            (_, false) => FINE,
        };
    }
    match h.detail {
        MLD_QUERY..=MLD_DONE | MLD_REPORT_2 | ROUTER_SOLICITATION => ALWAYS,
        ROUTER_ADVERTISEMENT | REDIRECT if scene.is_from_pod() => reason::ROUTER,
        ROUTER_ADVERTISEMENT => ALWAYS,
        REDIRECT => FINE,
        _ => neighbour::<T, P>(tables, packet, scene, h.at, h.end, target_rule::<F>(h)),
    }
}

/// 1 where the target must be the pod's own: an advertisement, or a solicitation from `::` (is this address free?).
#[inline(always)]
fn target_rule<F: Family>(h: &Headers<F::Address>) -> u32 {
    u32::from(h.detail == NEIGHBOUR_ADVERTISEMENT || F::is_unspecified(&h.source))
}

/// A neighbour solicitation or advertisement: its target must be there and, where asked for, be the pod's.
#[inline(always)]
fn neighbour<T: Tables, P: Packet>(tables: T, packet: P, scene: &Scene, at: u32, end: u32, own: u32) -> u32 {
    if at + 24 > end {
        return reason::MALFORMED;
    }
    let Some(target) = packet.words::<4>(at + 8) else {
        return reason::MALFORMED;
    };
    if scene.is_from_pod() && own != 0 && !is_own::<V6, T>(tables, scene, &target) {
        return reason::SPOOFED;
    }
    ALWAYS
}

/// Whether a source that is not the pod's may be there: `::` before the pod has an address, in what asks whether it may
/// have it, asks for routers, or joins groups.
#[inline(always)]
pub fn is_nobody_allowed<F: Family>(h: &Headers<F::Address>) -> bool {
    F::NUMBER == 6
        && F::is_unspecified(&h.source)
        && h.protocol == protocol::ICMPV6
        && h.fragment != fragment::LATER
        && matches!(
            h.detail,
            MLD_REPORT | MLD_DONE | MLD_REPORT_2 | ROUTER_SOLICITATION | NEIGHBOUR_SOLICITATION
        )
}

/// Whether an ARP packet's sender address may be the pod's.
#[inline(always)]
pub fn is_own_4<T: Tables>(tables: T, scene: &Scene, address: u32) -> bool {
    is_own::<V4, T>(tables, scene, &address)
}
