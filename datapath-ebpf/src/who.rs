//! Who is who: the active generation, endpoints, and what an address is.

use cellwall_datapath_common::policy::{Active, PEER_NONE, PEER_PLAIN, Versioned, class, digest2};
use cellwall_datapath_common::{limits, record::event};

use crate::family::Family;
use crate::layout::Endpoint;
use crate::scene::Scene;
use crate::tables::Tables;
use crate::verdict::{FINE, reason};

/// How often a value is read that is being written, before it counts as torn.
const TRIES: u32 = 4;

/// What an address is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// Peer.
    pub peer: u32,
    /// Generation at which it was last taken from another owner; 0: never.
    pub since: u32,
    /// Interface of a local pod, else 0.
    pub ifindex: u32,
    /// 1 where it is an exact entry, 0 where a range or nothing names it.
    pub exact: u32,
}

impl Found {
    /// Class of the peer.
    #[inline(always)]
    pub const fn class(&self) -> u32 {
        self.peer >> 28
    }

    /// Whether the address changed hands after a flow that was opened at generation `born`.
    #[inline(always)]
    pub const fn is_newer(&self, born: u32, active: u32) -> bool {
        let counts = active.wrapping_sub(self.since) < 0x8000_0000;
        let newer = self.since.wrapping_sub(born);
        self.since != 0 && counts && newer != 0 && newer < 0x8000_0000
    }
}

/// The place for an address asked about beside a question.
#[inline(always)]
pub fn found<T: Tables>(tables: T) -> Option<&'static mut Found> {
    Some(&mut tables.scratch()?.found)
}

/// The active generation; none where it never settled.
#[inline(always)]
pub fn active<T: Tables>(tables: T) -> Option<Active> {
    for _ in 0..TRIES {
        let active = tables.active()?;
        if active.is_whole() {
            return Some(active);
        }
    }
    tables.count_event(event::TORN);
    None
}

/// Slot of the interface's endpoint plus one, 0 without.
#[inline(always)]
pub fn endpoint_number<T: Tables>(tables: T, ifindex: u32, generation: u32) -> u32 {
    let digest = digest2(ifindex, 0);
    if let Some(value) = tables.endpoint_index(ifindex & (limits::ENDPOINT_INDEX - 1))
        && let Some(number) = value.read(generation, digest)
    {
        return number;
    }
    other_endpoint_number(tables, ifindex, generation)
}

/// The same where the array's element is another interface's or being written.
#[inline(never)]
fn other_endpoint_number<T: Tables>(tables: T, ifindex: u32, generation: u32) -> u32 {
    let digest = digest2(ifindex, 0);
    for _ in 0..TRIES {
        if let Some(value) = tables.endpoint_index(ifindex & (limits::ENDPOINT_INDEX - 1))
            && let Some(number) = value.read(generation, digest)
        {
            return number;
        }
    }
    for _ in 0..TRIES {
        match tables.endpoint_extra(ifindex) {
            None => return 0,
            Some(value) => {
                if let Some(number) = value.read(generation, digest) {
                    return number;
                }
            }
        }
    }
    tables.count_event(event::TORN);
    0
}

/// The endpoint of an interface, and its slot.
#[inline(always)]
pub fn endpoint<T: Tables>(tables: T, ifindex: u32, generation: u32) -> Option<(&'static Endpoint, u32)> {
    let slot = endpoint_number(tables, ifindex, generation).checked_sub(1)?;
    let endpoint = tables.endpoint(slot)?;
    if endpoint.ifindex != ifindex {
        return None;
    }
    Some((endpoint, slot))
}

/// Whether a packet that came in by `ingress` may be of the local pod at `sender`: by that pod's interface, or by the
/// bridge or other master of it. 0, a packet made on this node, is no way that the kernel shows.
#[inline(always)]
pub fn is_way_of<T: Tables>(tables: T, ingress: u32, sender: u32, generation: u32) -> bool {
    ingress == 0 || ingress == sender || is_master_of(tables, ingress, sender, generation)
}

#[inline(never)]
fn is_master_of<T: Tables>(tables: T, ingress: u32, sender: u32, generation: u32) -> bool {
    endpoint(tables, sender, generation).is_some_and(|(endpoint, _)| endpoint.master == ingress)
}

/// Whether a packet at to-pod came in by the way of its source, where that is a pod of this node. Answers [`FINE`] or a
/// reason.
#[inline(never)]
pub fn way<F: Family, T: Tables>(tables: T, scene: &Scene, source: &F::Address) -> u32 {
    let Some(found) = found(tables) else {
        return reason::INTERNAL;
    };
    if !find::<F, T>(tables, scene.generation, source, found) {
        return reason::INTERNAL;
    }
    if found.ifindex == 0 || is_way_of(tables, scene.ingress, found.ifindex, scene.generation) {
        FINE
    } else {
        reason::SPOOFED
    }
}

/// Finds what `address` is. Answers false where the tables never settled.
#[inline(never)]
pub fn find<F: Family, T: Tables>(tables: T, generation: u32, address: &F::Address, found: &mut Found) -> bool {
    found.exact = 0;
    found.since = 0;
    found.ifindex = 0;
    found.peer = class::WORLD << 28 | PEER_PLAIN;
    let digest = F::digest(address);
    let mut whole = false;
    for _ in 0..TRIES {
        let Some(value) = F::address(tables, address) else {
            whole = true;
            break;
        };
        if let Some(peer) = value.peer.read(generation, digest) {
            if peer != PEER_NONE {
                *found = Found {
                    peer,
                    since: value.since,
                    ifindex: value.ifindex,
                    exact: 1,
                };
                return true;
            }
            // No entry in this version; it still knows when the address changed hands.
            found.since = value.since;
            whole = true;
            break;
        }
    }
    // Ranges: their values are sealed without a key, because a reader does not know which one matched.
    if whole {
        for _ in 0..TRIES {
            let Some(value) = F::prefix(tables, address) else {
                return true;
            };
            if let Some(peer) = value.read(generation, 0) {
                if peer != PEER_NONE {
                    found.peer = peer;
                }
                return true;
            }
        }
    }
    tables.count_event(event::TORN);
    false
}

/// Reads a versioned value that `lookup` answers; 0 without an entry, none where it never settled.
#[inline(always)]
pub fn settle<T: Tables>(
    tables: T,
    generation: u32,
    digest: u32,
    absent: u32,
    lookup: impl Fn() -> Option<Versioned>,
) -> Option<u32> {
    for _ in 0..TRIES {
        match lookup() {
            None => return Some(absent),
            Some(value) => {
                if let Some(value) = value.read(generation, digest) {
                    return Some(value);
                }
            }
        }
    }
    tables.count_event(event::TORN);
    None
}
