//! Random frames: what a question asks, and then a few things done to it that a hostile pod would do.

use std::net::IpAddr;

use cellwall_policy::generate::Dice;

use super::Opening;

/// Bytes of an Ethernet header, and of the fixed headers behind it.
const ETHERNET: usize = 14;
const V4: usize = 20;
const V6: usize = 40;
/// Extension headers and what is none.
const CHAIN: [u8; 8] = [0, 43, 44, 51, 60, 60, 135, 59];
/// IPv4 options: end, none, record route, timestamp, security, loose and strict source route, router alert.
const OPTIONS: [u8; 8] = [0, 1, 7, 68, 130, 131, 137, 148];
const ETHERTYPES: [u16; 8] = [0x0800, 0x86dd, 0x0806, 0x8847, 0x8863, 0x88cc, 0x0004, 0x9100];
const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// The frame of a question, and in two cases of three something done to it. `pool` has addresses to put in.
pub fn frame(dice: &mut Dice, opening: &Opening, pool: &[IpAddr]) -> Vec<u8> {
    let mut frame = opening.frame();
    if opening.source.is_ipv4() {
        // Trains of fragments are told apart by it.
        put16(&mut frame, ETHERNET + 4, opening.fresh);
    }
    let times = match dice.between(0, 11) {
        0..=3 => 0,
        4..=8 => 1,
        9 | 10 => 2,
        _ => 3,
    };
    for _ in 0..times {
        mutate(dice, &mut frame, opening, pool);
    }
    frame
}

/// The answer to a packet that opened a flow.
pub fn answer(source: IpAddr, destination: IpAddr, protocol: u8, [source_port, destination_port]: [u16; 2]) -> Vec<u8> {
    let is_query = protocol == 1 || protocol == 58;
    // Of a query, the port is the type and the fresh number the identifier.
    let (port, fresh) = if is_query {
        let reply = if destination_port == 8 { 0 } else { destination_port + 1 };
        (reply, source_port)
    } else {
        (source_port, destination_port)
    };
    let opening = Opening {
        source: destination,
        destination: source,
        protocol,
        port,
        fresh,
    };
    let mut frame = opening.frame();
    if protocol == 6 {
        let flags = transport(&frame) + 13;
        frame[flags] = 0x12;
    }
    frame
}

fn put16(frame: &mut [u8], at: usize, value: u16) {
    if let Some(place) = frame.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

fn is_v4(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[8, 0])
}

/// Where the transport header is, if nothing was put before it.
fn transport(frame: &[u8]) -> usize {
    if is_v4(frame) {
        ETHERNET + usize::from(frame.get(ETHERNET).map_or(5, |byte| byte & 15)) * 4
    } else {
        ETHERNET + V6
    }
}

fn byte(dice: &mut Dice) -> u8 {
    dice.bits().to_le_bytes()[0]
}

fn word(dice: &mut Dice) -> u16 {
    u16::from_le_bytes([byte(dice), byte(dice)])
}

fn below(dice: &mut Dice, limit: usize) -> usize {
    usize::try_from(dice.bits() % limit.max(1) as u64).unwrap_or(0)
}

fn mutate(dice: &mut Dice, frame: &mut Vec<u8>, opening: &Opening, pool: &[IpAddr]) {
    match dice.between(0, 31) {
        0..=4 => flip(dice, frame),
        5 | 6 => frame.truncate(ETHERNET + below(dice, frame.len().saturating_sub(ETHERNET) + 1)),
        7 => frame.extend((0..dice.between(1, 46)).map(|_| 0)),
        8..=10 if is_v4(frame) => options(dice, frame),
        8..=12 => chain(dice, frame),
        13..=16 => {
            let flags = transport(frame) + 13;
            if let Some(place) = frame.get_mut(flags) {
                *place = byte(dice);
            }
        }
        17 => fragment(dice, frame),
        18 => {
            let tag = [dice.pick(&TAGS).to_be_bytes(), word(dice).to_be_bytes()].concat();
            frame.splice(12..12, tag);
        }
        19 => put16(frame, 12, *dice.pick(&ETHERTYPES)),
        20..=22 => lie(dice, frame),
        23 | 24 => address(dice, frame, pool, false),
        25 => address(dice, frame, pool, true),
        26 => {
            let at = if is_v4(frame) { ETHERNET + 9 } else { ETHERNET + 6 };
            if let Some(place) = frame.get_mut(at) {
                *place = byte(dice);
            }
        }
        27 => arp(dice, frame, opening, pool),
        28 => target(dice, frame, opening, pool),
        // TTL, traffic class, a port beside.
        _ => {
            let at = transport(frame) + 2;
            put16(frame, at, opening.port.wrapping_add(word(dice) % 3).wrapping_sub(1));
        }
    }
}

/// A bit of the headers.
fn flip(dice: &mut Dice, frame: &mut [u8]) {
    let at = 12 + below(dice, frame.len().min(80).saturating_sub(12));
    if let Some(place) = frame.get_mut(at) {
        *place ^= 1 << (byte(dice) & 7);
    }
}

/// Options before the transport header, in order or not.
fn options(dice: &mut Dice, frame: &mut Vec<u8>) {
    let words = 1 + below(dice, 10);
    let mut options = Vec::new();
    while options.len() < words * 4 {
        let kind = *dice.pick(&OPTIONS);
        options.push(kind);
        if kind > 1 {
            let size = 2 + below(dice, 10);
            let said = if dice.chance(1, 6) { below(dice, 40) } else { size };
            options.push(u8::try_from(said).unwrap_or(0));
            options.extend(std::iter::repeat_n(0, size - 2));
        }
    }
    if dice.chance(1, 2) {
        // Nothing in them.
        options.fill(1);
    }
    options.truncate(words * 4);
    if frame.len() < ETHERNET + V4 || frame[ETHERNET] != 0x45 {
        return;
    }
    frame[ETHERNET] = 0x45 + u8::try_from(words).unwrap_or(0);
    let total = u16::from_be_bytes([frame[ETHERNET + 2], frame[ETHERNET + 3]]);
    put16(
        frame,
        ETHERNET + 2,
        total.wrapping_add(u16::try_from(words * 4).unwrap_or(0)),
    );
    frame.splice(ETHERNET + V4..ETHERNET + V4, options);
}

/// Extension headers before the transport header.
fn chain(dice: &mut Dice, frame: &mut Vec<u8>) {
    if is_v4(frame) || frame.len() < ETHERNET + V6 {
        return;
    }
    let mut next = frame[ETHERNET + 6];
    let mut headers = Vec::new();
    for _ in 0..dice.between(1, 9) {
        let kind = if dice.chance(1, 2) { 60 } else { *dice.pick(&CHAIN) };
        let units = below(dice, 3);
        let mut header = vec![next, u8::try_from(units).unwrap_or(0)];
        let size = match kind {
            44 => 8,
            51 => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        header.resize(size, 0);
        match kind {
            44 => {
                header[1] = 0;
                let of_one = [0, 6];
                let word = if dice.chance(1, 2) { *dice.pick(&of_one) } else { 1 };
                put16(&mut header, 2, word);
                put16(&mut header, 4, word.wrapping_add(byte(dice).into()));
            }
            43 if dice.chance(1, 4) => header[3] = 1,
            _ => {}
        }
        headers.splice(0..0, header);
        next = kind;
    }
    if dice.chance(1, 8) {
        headers.truncate(below(dice, headers.len()));
    }
    frame[ETHERNET + 6] = next;
    let payload = u16::from_be_bytes([frame[ETHERNET + 4], frame[ETHERNET + 5]]);
    put16(
        frame,
        ETHERNET + 4,
        payload.wrapping_add(u16::try_from(headers.len()).unwrap_or(0)),
    );
    frame.splice(ETHERNET + V6..ETHERNET + V6, headers);
}

fn fragment(dice: &mut Dice, frame: &mut Vec<u8>) {
    if is_v4(frame) {
        let word = match dice.between(0, 4) {
            0 | 1 => 0x2000,
            2 => 0x4000,
            3 => 1 + u16::from(byte(dice)) % 3,
            _ => word(dice),
        };
        put16(frame, ETHERNET + 6, word);
    } else if frame.len() >= ETHERNET + V6 {
        let next = frame[ETHERNET + 6];
        frame[ETHERNET + 6] = 44;
        let word = if dice.chance(1, 2) { 1 } else { word(dice) };
        let header = [&[next, 0], &word.to_be_bytes()[..], &[0, 0], &word.to_be_bytes()].concat();
        let payload = u16::from_be_bytes([frame[ETHERNET + 4], frame[ETHERNET + 5]]);
        put16(frame, ETHERNET + 4, payload.wrapping_add(8));
        frame.splice(ETHERNET + V6..ETHERNET + V6, header);
    }
}

/// A length that is not so.
fn lie(dice: &mut Dice, frame: &mut [u8]) {
    let at = match (dice.between(0, 2), is_v4(frame)) {
        (0, true) => ETHERNET + 2,
        (0, false) => ETHERNET + 4,
        // Of UDP; of TCP it is the sequence.
        (1, _) => transport(frame) + 4,
        _ => {
            let place = transport(frame) + 12;
            if let Some(place) = frame.get_mut(place) {
                *place = byte(dice);
            }
            return;
        }
    };
    if let Some(place) = frame.get(at..at + 2) {
        let was = u16::from_be_bytes([place[0], place[1]]);
        let is = match dice.between(0, 3) {
            0 => was.wrapping_add(1),
            1 => was.wrapping_sub(1),
            2 => byte(dice).into(),
            _ => word(dice),
        };
        put16(frame, at, is);
    }
}

/// Another source or destination.
fn address(dice: &mut Dice, frame: &mut [u8], pool: &[IpAddr], source: bool) {
    let Some(address) = dice.choose(pool) else { return };
    let (at, octets) = match (address, is_v4(frame)) {
        (IpAddr::V4(v4), true) => (ETHERNET + if source { 12 } else { 16 }, v4.octets().to_vec()),
        (IpAddr::V6(v6), false) => (ETHERNET + if source { 8 } else { 24 }, v6.octets().to_vec()),
        _ => return,
    };
    if let Some(place) = frame.get_mut(at..at + octets.len()) {
        place.copy_from_slice(&octets);
    }
}

/// An ARP packet, in the sender's name or another's.
fn arp(dice: &mut Dice, frame: &mut Vec<u8>, opening: &Opening, pool: &[IpAddr]) {
    let mut any = |own: IpAddr| match (dice.choose(pool), own) {
        (Some(IpAddr::V4(other)), _) if dice.chance(1, 3) => other.octets(),
        (_, IpAddr::V4(own)) if !dice.chance(1, 4) => own.octets(),
        _ => [0; 4],
    };
    let (says, asks) = (any(opening.source), any(opening.source));
    let operation = u8::from(dice.chance(1, 2)) + 1;
    frame.truncate(12);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, 1]);
    frame.extend(says);
    frame.extend([0; 6]);
    frame.extend(asks);
    if dice.chance(1, 8) {
        flip(dice, frame);
    }
}

/// The target of a neighbour solicitation or advertisement.
fn target(dice: &mut Dice, frame: &mut [u8], opening: &Opening, pool: &[IpAddr]) {
    let target = match dice.choose(pool) {
        Some(other) if dice.chance(1, 3) => *other,
        _ => opening.source,
    };
    if let (IpAddr::V6(target), Some(place)) = (target, frame.get_mut(ETHERNET + V6 + 8..ETHERNET + V6 + 24)) {
        place.copy_from_slice(&target.octets());
    }
}
