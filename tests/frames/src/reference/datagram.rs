//! From the bytes of a packet to its protocol and what follows the headers, or why that cannot be said.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Reason, be16};

/// Bytes that a packet can have: a fragment that ends behind them lies.
const LONGEST: usize = 65_535;

/// A packet that was read.
#[derive(Debug)]
pub(super) struct Datagram<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    /// From the transport header on, or what a later fragment carries.
    pub(super) segment: &'a [u8],
    /// Where that begins in the packet.
    pub(super) at: usize,
    /// None where it is whole.
    pub(super) piece: Option<Piece>,
}

/// Which fragment it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) id: u32,
    /// In bytes.
    pub(super) offset: usize,
}

/// What could be read: the addresses where the fixed header was there, and the packet where nothing was wrong.
#[derive(Debug)]
pub(super) struct Read<'a> {
    pub(super) ends: Option<(IpAddr, IpAddr)>,
    pub(super) content: Result<Datagram<'a>, Vec<Reason>>,
}

/// Reads IPv4.
pub(super) fn read4(body: &[u8]) -> Read<'_> {
    if body.len() < 20 {
        return Read {
            ends: None,
            content: Err(vec![Reason::Malformed]),
        };
    }
    let address = |at: usize| IpAddr::V4(Ipv4Addr::new(body[at], body[at + 1], body[at + 2], body[at + 3]));
    let ends = (address(12), address(16));
    Read {
        ends: Some(ends),
        content: content4(body, ends).ok_or_else(|| vec![Reason::Malformed]),
    }
}

fn content4(body: &[u8], (source, destination): (IpAddr, IpAddr)) -> Option<Datagram<'_>> {
    let header = usize::from(body[0] & 15) * 4;
    let total = usize::from(be16(body, 2)?);
    if body[0] >> 4 != 4 || header < 20 || total < header || total > body.len() || source_routed(&body[20..header])? {
        return None;
    }
    let fragment = be16(body, 6)?;
    let (offset, more) = (usize::from(fragment & 0x1fff) * 8, fragment & 0x2000 != 0);
    let segment = &body[header..total];
    if offset + segment.len() > LONGEST {
        return None;
    }
    Some(Datagram {
        source,
        destination,
        protocol: body[9],
        segment,
        at: header,
        piece: (more || offset > 0).then_some(Piece {
            id: u32::from(be16(body, 4)?),
            offset,
        }),
    })
}

/// Whether the options hold a loose or strict source route; none where an option's length lies.
fn source_routed(mut options: &[u8]) -> Option<bool> {
    while let [kind, rest @ ..] = options {
        match kind {
            0 => return Some(false),
            1 => options = rest,
            131 | 137 => return Some(true),
            _ => {
                let length = usize::from(*rest.first()?);
                if length < 2 {
                    return None;
                }
                options = options.get(length..)?;
            }
        }
    }
    Some(false)
}

/// Reads IPv6.
pub(super) fn read6(body: &[u8]) -> Read<'_> {
    if body.len() < 40 {
        return Read {
            ends: None,
            content: Err(vec![Reason::Malformed]),
        };
    }
    let address = |at: usize| {
        let octets: [u8; 16] = body[at..at + 16].try_into().expect("sixteen bytes");
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let ends = (address(8), address(24));
    Read {
        ends: Some(ends),
        content: content6(body, ends),
    }
}

/// The fixed header and the chain.
fn content6(body: &[u8], ends: (IpAddr, IpAddr)) -> Result<Datagram<'_>, Vec<Reason>> {
    let length = be16(body, 4).map_or(0, usize::from);
    let rest = body[40..].get(..length);
    let (Some(rest), 6) = (rest, body[0] >> 4) else {
        return Err(vec![Reason::Malformed]);
    };
    let mut walk = Walk {
        next: body[6],
        rest,
        headers: 0,
        fragments: 0,
        source_routed: false,
        piece: None,
    };
    let end = walk.go_to_the_end();
    let too_long = walk.piece.is_some_and(|piece| piece.offset + walk.rest.len() > LONGEST);
    if !end.is_empty() || walk.source_routed || too_long {
        let malformed = (walk.source_routed || too_long).then_some(Reason::Malformed);
        return Err(end.into_iter().chain(malformed).collect());
    }
    Ok(Datagram {
        source: ends.0,
        destination: ends.1,
        protocol: walk.next,
        segment: walk.rest,
        at: 40 + rest.len() - walk.rest.len(),
        piece: walk.piece,
    })
}

/// Along a chain of extension headers.
struct Walk<'a> {
    next: u8,
    rest: &'a [u8],
    headers: usize,
    fragments: usize,
    source_routed: bool,
    piece: Option<Piece>,
}

impl Walk<'_> {
    /// Goes on to the transport header, or in a later fragment to what it carries; answers why it came no further.
    fn go_to_the_end(&mut self) -> Vec<Reason> {
        loop {
            let later = self.piece.is_some_and(|piece| piece.offset > 0);
            if later || !matches!(self.next, 0 | 43 | 44 | 51 | 60) {
                return Vec::new();
            }
            self.headers += 1;
            self.fragments += usize::from(self.next == 44);
            let misplaced = self.headers > 8 || self.fragments > 1 || (self.next == 0 && self.headers > 1);
            let is_first = self.piece.is_some();
            let is_whole = self.step();
            if misplaced || !is_whole {
                // The first fragment has to hold the whole chain.
                let cut_off = (!is_whole && is_first).then_some(Reason::Fragment);
                let chain = (misplaced || !is_first).then_some(Reason::ExtensionChain);
                return cut_off.into_iter().chain(chain).collect();
            }
        }
    }

    /// One header further; answers whether it was all there.
    fn step(&mut self) -> bool {
        let [following, size, ..] = *self.rest else {
            return false;
        };
        // Segments are left: it is on its way to somewhere else than its destination says.
        self.source_routed |= self.next == 43 && self.rest.get(3).is_some_and(|left| *left > 0);
        let size = match self.next {
            44 => 8,
            51 => (usize::from(size) + 2) * 4,
            _ => (usize::from(size) + 1) * 8,
        };
        let Some((header, rest)) = self.rest.split_at_checked(size) else {
            return false;
        };
        if self.next == 44 {
            self.piece = fragment6(header);
        }
        (self.next, self.rest) = (following, rest);
        true
    }
}

/// What a Fragment header says; none where it is the only one of its train.
fn fragment6(header: &[u8]) -> Option<Piece> {
    let word = be16(header, 2)?;
    let id = u32::from(be16(header, 4)?) << 16 | u32::from(be16(header, 6)?);
    (word & !6 != 0).then_some(Piece {
        id,
        offset: usize::from(word & !7),
    })
}
