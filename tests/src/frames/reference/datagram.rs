//! From the bytes of a packet to its protocol and what follows the headers, or why that cannot be said.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Reason, be16};

/// A packet that was read.
#[derive(Debug)]
pub(super) struct Datagram<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    /// From the transport header on, or what a later fragment carries.
    pub(super) segment: &'a [u8],
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
    pub(super) content: Result<Datagram<'a>, Reason>,
}

/// Reads IPv4.
pub(super) fn read4(body: &[u8]) -> Read<'_> {
    if body.len() < 20 {
        return Read {
            ends: None,
            content: Err(Reason::Malformed),
        };
    }
    let address = |at: usize| IpAddr::V4(Ipv4Addr::new(body[at], body[at + 1], body[at + 2], body[at + 3]));
    let ends = (address(12), address(16));
    Read {
        ends: Some(ends),
        content: content4(body, ends).ok_or(Reason::Malformed),
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
    Some(Datagram {
        source,
        destination,
        protocol: body[9],
        segment: &body[header..total],
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
            content: Err(Reason::Malformed),
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

fn content6(body: &[u8], (source, destination): (IpAddr, IpAddr)) -> Result<Datagram<'_>, Reason> {
    let length = usize::from(be16(body, 4).ok_or(Reason::Malformed)?);
    if body[0] >> 4 != 6 {
        return Err(Reason::Malformed);
    }
    let mut rest = body[40..].get(..length).ok_or(Reason::Malformed)?;
    let mut next = body[6];
    let mut headers = 0;
    let mut piece: Option<Piece> = None;
    let mut fragment_seen = false;
    loop {
        let later = piece.is_some_and(|piece| piece.offset > 0);
        if later || !matches!(next, 0 | 43 | 44 | 51 | 60) {
            return Ok(Datagram {
                source,
                destination,
                protocol: next,
                segment: rest,
                piece,
            });
        }
        // The first fragment has to hold the whole chain.
        let broken = if piece.is_some() {
            Reason::Fragment
        } else {
            Reason::ExtensionChain
        };
        headers += 1;
        if headers > 8 || (next == 0 && headers > 1) || (next == 44 && fragment_seen) {
            return Err(Reason::ExtensionChain);
        }
        let [following, size, ..] = *rest else {
            return Err(broken);
        };
        let size = match next {
            44 => 8,
            51 => (usize::from(size) + 2) * 4,
            _ => (usize::from(size) + 1) * 8,
        };
        let header = rest.get(..size).ok_or(broken)?;
        if next == 44 {
            fragment_seen = true;
            piece = fragment6(header);
        }
        next = following;
        rest = &rest[size..];
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
