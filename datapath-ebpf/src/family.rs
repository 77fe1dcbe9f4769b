//! The two address families, so that everything else is written once.

use cellwall_datapath_common::policy::{digest2, digest16};
use cellwall_datapath_common::{AddressValue, FlowValue, Versioned};

use crate::chain::{Chain, walk};
use crate::judge::Question;
use crate::layout::{Endpoint, Key4, Key6, LiveFlow, both};
use crate::packet::{Packet, high, low, octet};
use crate::parse;
use crate::passed::{Plain, what};
use crate::scene::Headers;
use crate::tables::{Full, Tables};
use crate::verdict::FINE;

/// Protocol numbers.
#[allow(missing_docs, reason = "their own names")]
pub mod protocol {
    pub const ICMP: u8 = 1;
    pub const IGMP: u8 = 2;
    pub const IPIP: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const SIX_IN_FOUR: u8 = 41;
    pub const GRE: u8 = 47;
    pub const ICMPV6: u8 = 58;
    pub const SCTP: u8 = 132;
}

/// What is read of a packet quoted in an ICMP error.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Quoted<A> {
    /// Its source.
    pub source: A,
    /// Its destination.
    pub destination: A,
    /// Its protocol.
    pub protocol: u32,
    /// Offset of its transport header in the frame.
    pub at: u32,
    /// Ports of its flow's key, source end first.
    pub ports: [u16; 2],
    /// The number that its flow was judged by, where it travels forward, or back.
    pub numbers: [u16; 2],
    /// [`crate::scene::kind`].
    pub kind: u32,
}

/// IPv4 or IPv6. Addresses are words as they lie in memory.
#[allow(missing_docs, reason = "the table functions are those of Tables, by family")]
pub trait Family: Copy + 'static {
    /// An address.
    type Address: Copy + Default + PartialEq + core::fmt::Debug;
    /// A flow's key.
    type Key: Copy;
    /// 4 or 6.
    const NUMBER: u8;
    /// ICMP's protocol number.
    const ICMP: u8;
    /// Offset of the transport header where no options or extension headers lie before it.
    const PLAIN: usize;

    /// Reads the IP header and all that lies before the transport header.
    fn parse<P: Packet>(packet: P, h: &mut Headers<Self::Address>) -> Result<bool, u32>;
    /// Words of the transport header; straight where no options or extension headers lie before it.
    fn transport<P: Packet, const N: usize>(packet: P, at: u32) -> Option<[u32; N]>;
    /// Both ports where no options or extension headers lie before them.
    fn ports<P: Packet>(packet: P) -> Option<[u32; 1]>;
    /// What tells a whole packet without options or extension headers from others; none where it is not such a one.
    fn plain<P: Packet>(packet: P) -> Option<Plain<Self::Address>>;
    /// Writes an address into four words.
    fn put(address: &Self::Address, words: &mut [u32; 4]);
    /// Whether these words are the address.
    fn is(address: &Self::Address, words: &[u32; 4]) -> bool;
    /// Reads the header of a packet quoted at `at`; none where it is not whole or is of a later fragment.
    fn quoted<P: Packet>(packet: P, at: u32, end: u32, quoted: &mut Quoted<Self::Address>) -> Option<()>;
    /// This CPU's place for a quoted packet.
    fn quote<T: Tables>(tables: T) -> Option<&'static mut Quoted<Self::Address>>;
    /// The canonical key, in the scratch memory, and whether the source is the lower end. Ports in host byte order.
    fn key<T: Tables>(
        tables: T,
        source: &Self::Address,
        destination: &Self::Address,
        source_port: u16,
        destination_port: u16,
        protocol: u8,
    ) -> Option<(&'static Self::Key, bool)>;
    /// The address as 16 bytes, IPv4 as IPv4-mapped.
    fn mapped(address: &Self::Address) -> [u32; 4];
    /// Whether it is one of the addresses in the endpoint's record.
    fn is_own(endpoint: &Endpoint, address: &Self::Address) -> bool;
    fn is_loopback(address: &Self::Address) -> bool;
    /// Multicast or broadcast.
    fn is_multicast(address: &Self::Address) -> bool;
    fn is_unspecified(address: &Self::Address) -> bool;
    fn same(a: &Self::Address, b: &Self::Address) -> bool;
    /// Digest of the exact address, for seals.
    fn digest(address: &Self::Address) -> u32;

    /// This CPU's place for headers.
    fn headers<T: Tables>(tables: T) -> Option<&'static mut Headers<Self::Address>>;
    /// This CPU's place for a question: 0, or 1 for the same the other way round.
    fn question<T: Tables>(tables: T, index: usize) -> Option<&'static mut Question<Self::Address>>;
    fn address<T: Tables>(tables: T, address: &Self::Address) -> Option<AddressValue>;
    fn prefix<T: Tables>(tables: T, address: &Self::Address) -> Option<Versioned>;
    fn flow<T: Tables>(tables: T, key: &Self::Key) -> Option<&'static LiveFlow>;
    fn opening<T: Tables>(tables: T, key: &Self::Key) -> Option<&'static LiveFlow>;
    fn answer<T: Tables>(tables: T, key: &Self::Key, value: &FlowValue) -> Result<(), Full>;
    fn open<T: Tables>(tables: T, key: &Self::Key, value: &FlowValue) -> Result<(), Full>;
    fn opened<T: Tables>(tables: T, key: &Self::Key);
}

/// IPv4.
#[derive(Clone, Copy, Debug)]
pub enum V4 {}

/// IPv6.
#[derive(Clone, Copy, Debug)]
pub enum V6 {}

/// Offset of the transport header behind an IPv4 header without options.
const PLAIN_4: usize = 34;
/// Offset of the transport header behind an IPv6 header without extensions.
const PLAIN_6: usize = 54;

impl Family for V4 {
    type Address = u32;
    type Key = Key4;
    const NUMBER: u8 = 4;
    const ICMP: u8 = protocol::ICMP;
    const PLAIN: usize = PLAIN_4;

    #[inline(always)]
    fn parse<P: Packet>(packet: P, h: &mut Headers<u32>) -> Result<bool, u32> {
        parse::v4(packet, h)
    }

    #[inline(always)]
    fn transport<P: Packet, const N: usize>(packet: P, at: u32) -> Option<[u32; N]> {
        if at as usize == PLAIN_4 {
            packet.fixed::<PLAIN_4, N>()
        } else {
            packet.words::<N>(at)
        }
    }

    #[inline(always)]
    fn ports<P: Packet>(packet: P) -> Option<[u32; 1]> {
        packet.fixed::<PLAIN_4, 1>()
    }

    #[inline(always)]
    fn plain<P: Packet>(packet: P) -> Option<Plain<u32>> {
        // From the type of the frame on: words are read where the headers' own begin.
        let words = packet.fixed::<12, 7>()?;
        let (version, place) = (low(words[0]) >> 8, high(words[2]));
        if high(words[0]) != 0x0800 || version != 0x45 || place & 0x3fff != 0 {
            return None;
        }
        let rest = packet.fixed::<26, 3>()?;
        Some(Plain {
            what: what::<Self>(octet(words[2], 3)),
            ports: rest[2],
            source: rest[0],
            destination: rest[1],
        })
    }

    #[inline(always)]
    fn put(address: &u32, words: &mut [u32; 4]) {
        words[0] = *address;
    }

    #[inline(always)]
    fn is(address: &u32, words: &[u32; 4]) -> bool {
        words[0] == *address
    }

    #[inline(always)]
    fn quoted<P: Packet>(packet: P, at: u32, end: u32, quoted: &mut Quoted<u32>) -> Option<()> {
        if at + 20 > end {
            return None;
        }
        let words = packet.words::<5>(at)?;
        let first = octet(words[0], 0);
        let length = u32::from(first & 15) * 4;
        if first >> 4 != 4 || length < 20 || low(words[1]) & 0x1fff != 0 {
            return None;
        }
        quoted.source = words[3];
        quoted.destination = words[4];
        quoted.protocol = u32::from(octet(words[2], 1));
        quoted.at = at + length;
        Some(())
    }

    #[inline(always)]
    fn key<T: Tables>(
        tables: T,
        source: &u32,
        destination: &u32,
        source_port: u16,
        destination_port: u16,
        protocol: u8,
    ) -> Option<(&'static Key4, bool)> {
        let end = |address: u32, port: u16| u64::from(u32::from_be(address)) << 16 | u64::from(port);
        let from_lo = end(*source, source_port) <= end(*destination, destination_port);
        let (lo, hi, lo_port, hi_port) = if from_lo {
            (source, destination, source_port, destination_port)
        } else {
            (destination, source, destination_port, source_port)
        };
        let key = &mut tables.scratch()?.key4;
        (key.lo, key.hi) = (*lo, *hi);
        key.ports = both(lo_port, hi_port);
        key.protocol = u32::from(protocol).to_le();
        Some((key, from_lo))
    }

    #[inline(always)]
    fn mapped(address: &u32) -> [u32; 4] {
        [0, 0, 0xffff_u32.to_be(), *address]
    }

    #[inline(always)]
    fn is_own(endpoint: &Endpoint, address: &u32) -> bool {
        endpoint.v4 == *address && *address != 0
    }

    #[inline(always)]
    fn is_loopback(address: &u32) -> bool {
        octet(*address, 0) == 127
    }

    #[inline(always)]
    fn is_multicast(address: &u32) -> bool {
        octet(*address, 0) >> 4 == 14 || *address == u32::MAX
    }

    #[inline(always)]
    fn is_unspecified(address: &u32) -> bool {
        *address == 0
    }

    #[inline(always)]
    fn same(a: &u32, b: &u32) -> bool {
        a == b
    }

    #[inline(always)]
    fn digest(address: &u32) -> u32 {
        digest2(*address, 4)
    }

    #[inline(always)]
    fn quote<T: Tables>(tables: T) -> Option<&'static mut Quoted<u32>> {
        Some(&mut tables.scratch()?.quoted4)
    }

    #[inline(always)]
    fn headers<T: Tables>(tables: T) -> Option<&'static mut Headers<u32>> {
        Some(&mut tables.scratch()?.headers4)
    }

    #[inline(always)]
    fn question<T: Tables>(tables: T, index: usize) -> Option<&'static mut Question<u32>> {
        tables.scratch()?.questions4.get_mut(index)
    }

    #[inline(always)]
    fn address<T: Tables>(tables: T, address: &u32) -> Option<AddressValue> {
        tables.address4(address)
    }

    #[inline(always)]
    fn prefix<T: Tables>(tables: T, address: &u32) -> Option<Versioned> {
        tables.prefix4(*address)
    }

    #[inline(always)]
    fn flow<T: Tables>(tables: T, key: &Key4) -> Option<&'static LiveFlow> {
        tables.flow4(key)
    }

    #[inline(always)]
    fn opening<T: Tables>(tables: T, key: &Key4) -> Option<&'static LiveFlow> {
        tables.opening4(key)
    }

    #[inline(always)]
    fn answer<T: Tables>(tables: T, key: &Key4, value: &FlowValue) -> Result<(), Full> {
        tables.answer4(key, value)
    }

    #[inline(always)]
    fn open<T: Tables>(tables: T, key: &Key4, value: &FlowValue) -> Result<(), Full> {
        tables.open4(key, value)
    }

    #[inline(always)]
    fn opened<T: Tables>(tables: T, key: &Key4) {
        tables.opened4(key);
    }
}

impl Family for V6 {
    type Address = [u32; 4];
    type Key = Key6;
    const NUMBER: u8 = 6;
    const ICMP: u8 = protocol::ICMPV6;
    const PLAIN: usize = PLAIN_6;

    #[inline(always)]
    fn parse<P: Packet>(packet: P, h: &mut Headers<[u32; 4]>) -> Result<bool, u32> {
        parse::v6(packet, h)
    }

    #[inline(always)]
    fn transport<P: Packet, const N: usize>(packet: P, at: u32) -> Option<[u32; N]> {
        if at as usize == PLAIN_6 {
            packet.fixed::<PLAIN_6, N>()
        } else {
            packet.words::<N>(at)
        }
    }

    #[inline(always)]
    fn ports<P: Packet>(packet: P) -> Option<[u32; 1]> {
        packet.fixed::<PLAIN_6, 1>()
    }

    #[inline(always)]
    fn plain<P: Packet>(packet: P) -> Option<Plain<[u32; 4]>> {
        let [kind] = packet.fixed::<12, 1>()?;
        let words = packet.fixed::<14, 11>()?;
        if high(kind) != 0x86dd || octet(words[0], 0) >> 4 != 6 {
            return None;
        }
        Some(Plain {
            what: what::<Self>(octet(words[1], 2)),
            ports: words[10],
            source: [words[2], words[3], words[4], words[5]],
            destination: [words[6], words[7], words[8], words[9]],
        })
    }

    #[inline(always)]
    fn put(address: &[u32; 4], words: &mut [u32; 4]) {
        *words = *address;
    }

    #[inline(always)]
    fn is(address: &[u32; 4], words: &[u32; 4]) -> bool {
        Self::same(address, words)
    }

    #[inline(always)]
    fn quoted<P: Packet>(packet: P, at: u32, end: u32, quoted: &mut Quoted<[u32; 4]>) -> Option<()> {
        if at + 40 > end {
            return None;
        }
        let words = packet.words::<10>(at)?;
        if octet(words[0], 0) >> 4 != 6 {
            return None;
        }
        quoted.source = [words[2], words[3], words[4], words[5]];
        quoted.destination = [words[6], words[7], words[8], words[9]];
        let mut chain = Chain::new(octet(words[1], 2), at + 40, end);
        if walk(packet, &mut chain) != FINE || chain.is_later() {
            return None;
        }
        quoted.protocol = chain.next & 0xff;
        quoted.at = chain.at;
        Some(())
    }

    #[inline(always)]
    fn key<T: Tables>(
        tables: T,
        source: &[u32; 4],
        destination: &[u32; 4],
        source_port: u16,
        destination_port: u16,
        protocol: u8,
    ) -> Option<(&'static Key6, bool)> {
        let half = |a: u32, b: u32| u64::from(u32::from_be(a)) << 32 | u64::from(u32::from_be(b));
        let (s0, s1) = (half(source[0], source[1]), half(source[2], source[3]));
        let (d0, d1) = (
            half(destination[0], destination[1]),
            half(destination[2], destination[3]),
        );
        let from_lo = if s0 != d0 {
            s0 < d0
        } else if s1 != d1 {
            s1 < d1
        } else {
            source_port <= destination_port
        };
        let (lo, hi, lo_port, hi_port) = if from_lo {
            (source, destination, source_port, destination_port)
        } else {
            (destination, source, destination_port, source_port)
        };
        let key = &mut tables.scratch()?.key6;
        (key.lo, key.hi) = (*lo, *hi);
        key.ports = both(lo_port, hi_port);
        key.protocol = u32::from(protocol).to_le();
        Some((key, from_lo))
    }

    #[inline(always)]
    fn mapped(address: &[u32; 4]) -> [u32; 4] {
        *address
    }

    #[inline(always)]
    fn is_own(endpoint: &Endpoint, address: &[u32; 4]) -> bool {
        (Self::same(&endpoint.v6, address) || Self::same(&endpoint.v6_link, address)) && !Self::is_unspecified(address)
    }

    #[inline(always)]
    fn is_loopback(address: &[u32; 4]) -> bool {
        address[0] | address[1] | address[2] == 0 && address[3] == 1_u32.to_be()
    }

    #[inline(always)]
    fn is_multicast(address: &[u32; 4]) -> bool {
        octet(address[0], 0) == 0xff
    }

    #[inline(always)]
    fn is_unspecified(address: &[u32; 4]) -> bool {
        address[0] | address[1] | address[2] | address[3] == 0
    }

    #[inline(always)]
    fn same(a: &[u32; 4], b: &[u32; 4]) -> bool {
        (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) == 0
    }

    #[inline(always)]
    fn digest(address: &[u32; 4]) -> u32 {
        digest16(*address)
    }

    #[inline(always)]
    fn quote<T: Tables>(tables: T) -> Option<&'static mut Quoted<[u32; 4]>> {
        Some(&mut tables.scratch()?.quoted6)
    }

    #[inline(always)]
    fn headers<T: Tables>(tables: T) -> Option<&'static mut Headers<[u32; 4]>> {
        Some(&mut tables.scratch()?.headers6)
    }

    #[inline(always)]
    fn question<T: Tables>(tables: T, index: usize) -> Option<&'static mut Question<[u32; 4]>> {
        tables.scratch()?.questions6.get_mut(index)
    }

    #[inline(always)]
    fn address<T: Tables>(tables: T, address: &[u32; 4]) -> Option<AddressValue> {
        tables.address6(address)
    }

    #[inline(always)]
    fn prefix<T: Tables>(tables: T, address: &[u32; 4]) -> Option<Versioned> {
        tables.prefix6(address)
    }

    #[inline(always)]
    fn flow<T: Tables>(tables: T, key: &Key6) -> Option<&'static LiveFlow> {
        tables.flow6(key)
    }

    #[inline(always)]
    fn opening<T: Tables>(tables: T, key: &Key6) -> Option<&'static LiveFlow> {
        tables.opening6(key)
    }

    #[inline(always)]
    fn answer<T: Tables>(tables: T, key: &Key6, value: &FlowValue) -> Result<(), Full> {
        tables.answer6(key, value)
    }

    #[inline(always)]
    fn open<T: Tables>(tables: T, key: &Key6, value: &FlowValue) -> Result<(), Full> {
        tables.open6(key, value)
    }

    #[inline(always)]
    fn opened<T: Tables>(tables: T, key: &Key6) {
        tables.opened6(key);
    }
}
