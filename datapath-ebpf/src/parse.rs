//! The IP headers: nothing goes on that was not fully read, and no length is believed that lies.

use crate::chain::{Chain, is_extension, walk};
use crate::packet::{ETHERNET, Packet, high, low, octet};
use crate::scene::{Headers, fragment};
use crate::verdict::{FINE, checked, reason};

/// Longest that a length field of 16 bits can say.
const LONGEST: u32 = 65_535;

/// Reads an IPv4 header. Answers whether the packet is a jumbogram (never).
#[inline(always)]
pub fn v4<P: Packet>(packet: P, h: &mut Headers<u32>) -> Result<bool, u32> {
    let words = packet.fixed::<14, 5>().ok_or(reason::MALFORMED)?;
    h.source = words[3];
    h.destination = words[4];
    h.protocol = octet(words[2], 1);
    let first = octet(words[0], 0);
    let header = u32::from(first & 15) * 4;
    let room = packet.bytes() - ETHERNET;
    let mut total = u32::from(low(words[0]));
    if total == 0 && room > LONGEST && packet.is_segmented() {
        total = room;
    }
    if first >> 4 != 4 || header < 20 || total < header || total > room {
        return Err(reason::MALFORMED);
    }
    h.at = ETHERNET + header;
    h.end = ETHERNET + total;
    if header > 20 {
        checked(options(packet, h.at))?;
    }
    let place = low(words[1]);
    if place & 0x3fff != 0 {
        h.id = u32::from(high(words[1]));
        h.train = h.protocol;
        place_fragment(h, place & 0x1fff)?;
    }
    Ok(false)
}

/// Reads an IPv6 header and its chain. Answers whether the packet is a jumbogram.
#[inline(always)]
pub fn v6<P: Packet>(packet: P, h: &mut Headers<[u32; 4]>) -> Result<bool, u32> {
    let words = packet.fixed::<14, 10>().ok_or(reason::MALFORMED)?;
    h.source = [words[2], words[3], words[4], words[5]];
    h.destination = [words[6], words[7], words[8], words[9]];
    h.protocol = octet(words[1], 2);
    h.at = ETHERNET + 40;
    if octet(words[0], 0) >> 4 != 6 || packet.bytes() < h.at {
        return Err(reason::MALFORMED);
    }
    let room = packet.bytes() - h.at;
    let mut payload = u32::from(high(words[1]));
    let mut jumbo = false;
    if payload == 0 && room > LONGEST {
        payload = if packet.is_segmented() {
            room
        } else {
            jumbo_length(packet, h.protocol)
        };
        jumbo = true;
    }
    if payload > room {
        return Err(reason::MALFORMED);
    }
    h.end = h.at + payload;
    if is_extension(u32::from(h.protocol)) {
        let mut chain = Chain::new(h.protocol, h.at, h.end);
        chain.jumbo = u32::from(jumbo);
        checked(walk(packet, &mut chain))?;
        h.protocol = chain.protocol();
        h.at = chain.at;
        if chain.fragment != u32::from(fragment::WHOLE) {
            h.id = chain.id;
            #[allow(clippy::cast_possible_truncation, reason = "read as one byte and as 13 bits")]
            let (train, offset) = (chain.train as u8, chain.offset as u16);
            h.train = train;
            place_fragment(h, offset)?;
        }
    }
    Ok(jumbo)
}

/// Length that a jumbo payload option says, which must be the first one of a hop-by-hop header; 0 without.
#[inline(always)]
fn jumbo_length<P: Packet>(packet: P, next: u8) -> u32 {
    match packet.words::<2>(ETHERNET + 40) {
        Some([word, length]) if next == 0 && low(word) == 0xc204 && u32::from_be(length) > LONGEST => {
            u32::from_be(length)
        }
        _ => 0,
    }
}

/// Notes a fragment at `offset` (units of 8 bytes) and refuses those that no whole packet is made of: they would
/// reach past the longest packet, or rewrite the middle of a TCP header.
#[inline(always)]
fn place_fragment<A>(h: &mut Headers<A>, offset: u16) -> Result<(), u32> {
    h.offset = offset;
    h.fragment = if offset == 0 { fragment::FIRST } else { fragment::LATER };
    if u32::from(offset) * 8 + (h.end - h.at) > LONGEST {
        return Err(reason::MALFORMED);
    }
    if h.train == crate::family::protocol::TCP && (offset == 1 || offset == 2) {
        return Err(reason::FRAGMENT);
    }
    Ok(())
}

/// Looks through IPv4 options up to `end` for lengths that lie and for source routes. Answers [`FINE`] or a reason.
#[inline(never)]
fn options<P: Packet>(packet: P, end: u32) -> u32 {
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    let (mut at, mut end) = (ETHERNET + 20, end);
    for _ in 0..40 {
        (at, end) = (packet.forget(at), packet.forget(end));
        if at >= end {
            return FINE;
        }
        let Some(option) = packet.byte(at) else {
            return reason::MALFORMED;
        };
        match option {
            END => return FINE,
            NOTHING => at += 1,
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return reason::MALFORMED,
            _ => {
                let length = if at + 1 < end { packet.byte(at + 1) } else { None };
                match length {
                    Some(length) if length >= 2 && at + u32::from(length) <= end => at += u32::from(length),
                    _ => return reason::MALFORMED,
                }
            }
        }
    }
    FINE
}
