//! ARP: the sender's address must be the pod's; a probe (sender 0.0.0.0) may ask for the pod's own address only.

use crate::guard::is_own_4;
use crate::packet::Packet;
use crate::scene::Scene;
use crate::tables::Tables;
use crate::verdict::{FINE, reason};

/// Hardware type Ethernet, protocol type IPv4.
const ETHERNET_IPV4: u32 = 0x0001_0800;
/// Lengths of a MAC and of an IPv4 address.
const LENGTHS: u32 = 0x0604;

/// Answers [`FINE`] or the reason of a refusal.
#[inline(never)]
pub fn check<T: Tables, P: Packet>(tables: T, packet: P, scene: &Scene) -> u32 {
    let Some([kinds, lengths]) = packet.fixed::<14, 2>() else {
        return reason::MALFORMED;
    };
    let Some([sender]) = packet.words::<1>(28) else {
        return reason::MALFORMED;
    };
    let Some([target]) = packet.words::<1>(38) else {
        return reason::MALFORMED;
    };
    if u32::from_be(kinds) != ETHERNET_IPV4 || u32::from_be(lengths) >> 16 != LENGTHS {
        return reason::MALFORMED;
    }
    let claimed = if sender == 0 { target } else { sender };
    if scene.is_from_pod() && !is_own_4(tables, scene, claimed) {
        return reason::SPOOFED;
    }
    FINE
}
