//! IPv6 extension headers: at most eight of five kinds; every other next header is the transport.

use cellwall_datapath_common::limits::EXTENSION_HEADERS;

use crate::packet::{Packet, low, octet};
use crate::scene::fragment;
use crate::verdict::{FINE, reason};

const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
const FRAGMENT: u32 = 44;
const AUTHENTICATION: u32 = 51;
const DESTINATION: u32 = 60;

/// Where a walk stands, and what it found.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    /// Next header.
    pub next: u32,
    /// Offset of it.
    pub at: u32,
    /// Offset behind the packet's last byte.
    pub end: u32,
    /// Fragment identification, as it lies in memory.
    pub id: u32,
    /// Fragment offset in units of 8 bytes.
    pub offset: u32,
    /// [`fragment`].
    pub fragment: u32,
    /// Next header of the fragment header.
    pub train: u32,
    /// 1 for a jumbogram, which is never a fragment.
    pub jumbo: u32,
}

impl Chain {
    /// A chain that begins with `next` at `at`.
    #[inline(always)]
    pub const fn new(next: u8, at: u32, end: u32) -> Self {
        Self {
            next: next as u32,
            at,
            end,
            id: 0,
            offset: 0,
            fragment: fragment::WHOLE as u32,
            train: 0,
            jumbo: 0,
        }
    }

    /// The protocol at its end.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "it was read as one byte")]
    pub const fn protocol(&self) -> u8 {
        self.next as u8
    }

    /// Whether it ends in a later fragment.
    #[inline(always)]
    pub const fn is_later(&self) -> bool {
        self.fragment == fragment::LATER as u32
    }

    /// What is cut short in a first fragment breaks the fragments' rule, elsewhere the chain's.
    #[inline(always)]
    const fn cut_short(&self) -> u32 {
        if self.fragment == fragment::FIRST as u32 {
            reason::FRAGMENT
        } else {
            reason::EXTENSION_CHAIN
        }
    }
}

/// Whether a next header is an extension that is walked.
#[inline(always)]
pub const fn is_extension(next: u32) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION)
}

/// Walks to the transport header or, in a later fragment, to what follows the fragment header. Answers [`FINE`] or the
/// reason of a refusal.
#[inline(never)]
pub fn walk<P: Packet>(packet: P, chain: &mut Chain) -> u32 {
    let mut fragmented = 0;
    for index in 0..=EXTENSION_HEADERS {
        chain.next = packet.forget(chain.next);
        chain.at = packet.forget(chain.at);
        chain.end = packet.forget(chain.end);
        // What one turn found is not followed into the next: every way through it would be.
        chain.fragment = packet.forget(chain.fragment);
        chain.id = packet.forget(chain.id);
        chain.offset = packet.forget(chain.offset);
        chain.train = packet.forget(chain.train);
        fragmented = packet.forget(fragmented);
        if !is_extension(chain.next) {
            return FINE;
        }
        if index == EXTENSION_HEADERS {
            return reason::EXTENSION_CHAIN;
        }
        if chain.at + 8 > chain.end {
            return chain.cut_short();
        }
        let Some([word, id]) = packet.words::<2>(chain.at) else {
            return chain.cut_short();
        };
        let length = u32::from(octet(word, 1));
        let mut size = (length + 1) * 8;
        match chain.next {
            HOP_BY_HOP if index != 0 => return reason::EXTENSION_CHAIN,
            // Segments left: the packet goes on to somewhere else than its destination.
            ROUTING if octet(word, 3) != 0 => return reason::MALFORMED,
            AUTHENTICATION => size = (length + 2) * 4,
            FRAGMENT => {
                if fragmented != 0 {
                    return reason::EXTENSION_CHAIN;
                }
                if chain.jumbo != 0 {
                    return reason::MALFORMED;
                }
                fragmented = 1;
                size = 8;
                let place = u32::from(low(word));
                chain.id = id;
                chain.offset = place >> 3;
                chain.train = u32::from(octet(word, 0));
                if chain.offset != 0 {
                    chain.fragment = u32::from(fragment::LATER);
                    chain.at += 8;
                    chain.next = chain.train;
                    return FINE;
                }
                if place & 1 != 0 {
                    chain.fragment = u32::from(fragment::FIRST);
                }
            }
            _ => {}
        }
        if chain.at + size > chain.end {
            return chain.cut_short();
        }
        chain.at += size;
        chain.next = u32::from(octet(word, 0));
    }
    reason::EXTENSION_CHAIN
}
