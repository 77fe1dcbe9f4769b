//! The transport headers: ports, flags, types, and what kind of packet that makes.

use crate::family::{Family, protocol};
use crate::packet::{Packet, high, low, octet};
use crate::scene::{Headers, fragment, kind, tcp};
use crate::verdict::reason;

/// Reads the transport header at `h.at`. Later fragments have none and must not come here.
#[inline(always)]
pub fn read<F: Family, P: Packet>(packet: P, h: &mut Headers<F::Address>, jumbo: bool) -> Result<(), u32> {
    let length = h.end - h.at;
    // A first fragment must hold the whole header.
    let short = if h.fragment == fragment::FIRST {
        reason::FRAGMENT
    } else {
        reason::MALFORMED
    };
    if h.protocol == protocol::TCP {
        if length < 20 {
            return Err(short);
        }
        let words = F::transport::<P, 4>(packet, h.at).ok_or(reason::MALFORMED)?;
        ports(h, words[0]);
        let header = u32::from(octet(words[3], 0) >> 4) * 4;
        let flags = octet(words[3], 1);
        h.detail = flags;
        h.kind = kind::TCP;
        if header < 20 || header > length || !are_sane(flags) {
            return Err(reason::MALFORMED);
        }
    } else if h.protocol == protocol::UDP {
        if length < 8 {
            return Err(short);
        }
        let words = F::transport::<P, 2>(packet, h.at).ok_or(reason::MALFORMED)?;
        ports(h, words[0]);
        h.kind = kind::PORTS;
        let said = u32::from(high(words[1]));
        let is_jumbo = said == 0 && jumbo;
        if said < 8 && !is_jumbo || said > length && h.fragment == fragment::WHOLE {
            return Err(reason::MALFORMED);
        }
    } else if h.protocol == F::ICMP {
        if length < 8 {
            return Err(short);
        }
        let words = F::transport::<P, 2>(packet, h.at).ok_or(reason::MALFORMED)?;
        h.detail = octet(words[0], 0);
        h.destination_port = u16::from(h.detail);
        h.identifier = high(words[1]);
        h.kind = icmp_kind::<F>(h.detail);
    } else if h.protocol == protocol::SCTP {
        if length < 12 {
            return Err(short);
        }
        let words = F::transport::<P, 1>(packet, h.at).ok_or(reason::MALFORMED)?;
        ports(h, words[0]);
        h.kind = kind::PORTS;
    } else {
        h.kind = kind::OTHER;
    }
    Ok(())
}

#[inline(always)]
fn ports<A>(h: &mut Headers<A>, word: u32) {
    h.source_port = high(word);
    h.destination_port = low(word);
}

/// No flag at all, and SYN with FIN or RST, are what no TCP sends.
#[inline(always)]
pub const fn are_sane(flags: u8) -> bool {
    flags & tcp::ALL != 0 && !(flags & tcp::SYN != 0 && flags & (tcp::FIN | tcp::RST) != 0)
}

/// What an ICMP type is to the flow table.
#[inline(always)]
pub const fn icmp_kind<F: Family>(number: u8) -> u8 {
    match (F::NUMBER, number) {
        // Echo; over IPv4 timestamp, information and address mask too.
        (4, 8 | 13 | 15 | 17) | (6, 128) => kind::REQUEST,
        (4, 0 | 14 | 16 | 18) | (6, 129) => kind::REPLY,
        (4, 3 | 4 | 11 | 12) | (6, 1..=4) => kind::ERROR,
        _ => kind::MESSAGE,
    }
}

/// The type of the request that `reply` answers.
#[inline(always)]
pub const fn request_of<F: Family>(reply: u8) -> u8 {
    match (F::NUMBER, reply) {
        (4, 0) => 8,
        _ => reply - 1,
    }
}

/// Ports of a query's key, asking end first: its identifier, and what tells queries other than echo apart.
#[inline(always)]
pub const fn query_ports<F: Family>(request: u8, identifier: u16) -> (u16, u16) {
    match (F::NUMBER, request) {
        (4, 8) | (6, 128) => (identifier, 0),
        _ => (identifier, request as u16),
    }
}
