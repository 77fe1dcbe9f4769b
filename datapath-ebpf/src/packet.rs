//! How a packet is read: 32-bit words as they lie in memory, with the fixed places read straight.

/// A frame at a hook, from its Ethernet header on.
pub trait Packet: Copy {
    /// Bytes of the frame, those outside the linear part included.
    fn bytes(self) -> u32;

    /// Whether a tag was taken off, or lies ready to be put on, outside the frame's bytes.
    fn is_tagged(self) -> bool;

    /// The protocol that the kernel goes by, host byte order.
    fn ethertype(self) -> u16;

    /// Interface of the hook.
    fn ifindex(self) -> u32;

    /// Interface by which the packet came in, 0 where it was made on this node.
    fn ingress_ifindex(self) -> u32;

    /// Whether the packet stands for several that are cut later; only then may a length field be too small to hold
    /// its length.
    fn is_segmented(self) -> bool;

    /// The number that the packet bears within this node (`tc_index`).
    fn tag(self) -> u32 {
        0
    }

    /// Gives it another one.
    fn set_tag(self, _tag: u32) {}

    /// `N` words at the fixed offset `AT`, as they lie in memory: straight from the linear part where they are in it,
    /// else by a copy; none where the frame ends before.
    fn fixed<const AT: usize, const N: usize>(self) -> Option<[u32; N]>;

    /// `N` words at offset `at`, by a copy.
    fn words<const N: usize>(self, at: u32) -> Option<[u32; N]>;

    /// One byte at offset `at`.
    fn byte(self, at: u32) -> Option<u8>;

    /// The same number, of which the verifier has forgotten what it knew: in loops over a packet it would otherwise
    /// follow every combination of lengths.
    fn forget(self, number: u32) -> u32;
}

/// Bytes of an Ethernet header.
pub const ETHERNET: u32 = 14;

/// The first 16 bits of a word in memory, as a big-endian number.
#[inline(always)]
pub const fn high(word: u32) -> u16 {
    (u32::from_be(word) >> 16) as u16
}

/// The last 16 bits of a word in memory, as a big-endian number.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
pub const fn low(word: u32) -> u16 {
    u32::from_be(word) as u16
}

/// Byte `index` (0..=3) of a word in memory.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "one byte is what is asked for")]
pub const fn octet(word: u32, index: u32) -> u8 {
    (u32::from_be(word) >> (24 - 8 * (index & 3))) as u8
}
