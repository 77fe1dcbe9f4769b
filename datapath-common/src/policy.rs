//! Who is who, and which table answers: everything that a generation change flips.

/// A value with its predecessor: `new` counts once the active generation has reached `generation`, until then
/// `previous` does. One write of [`Active`] therefore flips every map at once.
///
/// `check` ties the value to its key and to itself: a reader that meets an element being recycled, or a value half
/// written, sees it and reads again ([`Versioned::read`]).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Versioned {
    /// Generation from which `new` counts.
    pub generation: u32,
    /// Value from then on.
    pub new: u32,
    /// Value until then.
    pub previous: u32,
    /// [`Versioned::seal`] of the other three and the key's digest.
    pub check: u32,
}

impl Versioned {
    /// A sealed value.
    #[inline(always)]
    pub const fn sealed(generation: u32, new: u32, previous: u32, digest: u32) -> Self {
        Self {
            generation,
            new,
            previous,
            check: Self::seal(generation, new, previous, digest),
        }
    }

    /// The seal.
    #[inline(always)]
    pub const fn seal(generation: u32, new: u32, previous: u32, digest: u32) -> u32 {
        let a = generation.wrapping_mul(0x9e37_79b1) ^ new.rotate_left(7) ^ 0x5bd1_e995;
        let b = previous.wrapping_mul(0x85eb_ca6b) ^ digest.rotate_left(13);
        a ^ b.rotate_left(16)
    }

    /// The value at generation `active`, or none where the seal does not fit (being written, or another key's).
    /// Generations are compared by distance, so that the number may wrap.
    #[inline(always)]
    pub const fn read(&self, active: u32, digest: u32) -> Option<u32> {
        if Self::seal(self.generation, self.new, self.previous, digest) != self.check {
            return None;
        }
        if active.wrapping_sub(self.generation) < 0x8000_0000 {
            Some(self.new)
        } else {
            Some(self.previous)
        }
    }
}

/// Digest of a key made of 32-bit words, for [`Versioned`].
#[inline(always)]
pub const fn digest2(a: u32, b: u32) -> u32 {
    a.wrapping_mul(0x9e37_79b1) ^ b.wrapping_mul(0xc2b2_ae35).rotate_left(15)
}

/// Digest of a 16-byte key.
#[inline(always)]
pub const fn digest16(words: [u32; 4]) -> u32 {
    digest2(digest2(words[0], words[1]), digest2(words[2], words[3]))
}

/// The one value that every packet reads first.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Active {
    /// Generation that decides. 0: none was ever realised.
    pub generation: u32,
    /// [`switches`].
    pub switches: u32,
    /// One in this many passing flows is recorded; 0: none, 1: all.
    pub pass_sample: u32,
    /// Seal of the other three, so that a half-written value is seen and read again.
    pub check: u32,
}

impl Active {
    /// A sealed value.
    #[inline(always)]
    pub const fn sealed(generation: u32, switches: u32, pass_sample: u32) -> Self {
        Self {
            generation,
            switches,
            pass_sample,
            check: Versioned::seal(generation, switches, pass_sample, 0),
        }
    }

    /// Whether the seal fits.
    #[inline(always)]
    pub const fn is_whole(&self) -> bool {
        Versioned::seal(self.generation, self.switches, self.pass_sample, 0) == self.check
    }
}

/// Bits of [`Active::switches`].
pub mod switches {
    /// Nothing is evaluated.
    pub const OFF: u32 = 1;
    /// A policy's Drop is let through and logged as what it would have been.
    pub const ALERT_ONLY: u32 = 2;
    /// An interface with a program but no endpoint entry passes (startup: Open); otherwise it drops.
    pub const STARTUP_OPEN: u32 = 4;
}

/// A pod's interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointRecord {
    /// When the hooks were attached, `CLOCK_MONOTONIC` nanoseconds: TCP in mid-stream is taken over within 60 s.
    pub attached: u64,
    /// Interface index: the check behind the index's low bits.
    pub ifindex: u32,
    /// Bridge or other master of the interface, 0 without.
    pub master: u32,
    /// Policy of what the pod opens.
    pub egress: u32,
    /// Policy of what is opened to it.
    pub ingress: u32,
    /// [`endpoint_flags`].
    pub flags: u32,
    /// First IPv4 address in network byte order as read from memory (`u32::from_ne_bytes(octets)`), 0 without.
    pub v4: u32,
    /// First global IPv6 address, unspecified without.
    pub v6: [u8; 16],
    /// Link-local address, unspecified without.
    pub v6_link: [u8; 16],
    /// MAC of the pod's end.
    pub mac: [u8; 6],
    /// Zero.
    pub pad: [u8; 2],
}

/// Bits of [`EndpointRecord::flags`].
pub mod endpoint_flags {
    /// The pod is not known yet; verdicts carry the reason STARTUP, and no source address is held against it but
    /// forged classes (loopback, multicast, unspecified) and addresses that are another's.
    pub const STARTUP: u32 = 1;
    /// More addresses are in `OWN_ADDRESSES`.
    pub const MORE_ADDRESSES: u32 = 2;
}

/// Key of `OWN_ADDRESSES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnAddressKey {
    /// Address; IPv4 as IPv4-mapped.
    pub address: [u8; 16],
    /// Interface index.
    pub ifindex: u32,
}

/// What an exact address is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AddressValue {
    /// The peer (class in the top four bits), [`PEER_NONE`] where there is no entry in that version.
    pub peer: Versioned,
    /// Generation at which the address was last taken from another owner; counts once that generation is active.
    pub since: u32,
    /// Interface of a local pod, 0 otherwise.
    pub ifindex: u32,
}

/// "No entry" in versioned peers: the lookup goes on as if the key were absent.
pub const PEER_NONE: u32 = 0xffff_ffff;

/// Low 28 bits of a peer that is judged by its class alone.
pub const PEER_PLAIN: u32 = 0x0fff_ffff;

/// Peer classes: the top four bits of a peer.
pub mod class {
    #![allow(missing_docs, reason = "documented at PeerClass in the policy crate")]
    pub const WORLD: u32 = 0;
    pub const LOCAL_POD: u32 = 1;
    pub const REMOTE_POD: u32 = 2;
    pub const UNGUARDED_POD: u32 = 3;
    pub const NODE: u32 = 4;
    pub const LOCAL_NODE: u32 = 5;
    pub const CLUSTER_IP: u32 = 6;
    pub const EXTERNAL_IP: u32 = 7;
    pub const MULTICAST: u32 = 8;
    pub const UNRESOLVED: u32 = 9;
    pub const SERVICE_PORT: u32 = 10;
}

/// Key of `PREFIXES4`: as the kernel wants it, prefix length first.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrefixKey4 {
    /// Bits that count.
    pub prefix: u32,
    /// Address, network byte order.
    pub address: [u8; 4],
}

/// Key of `PREFIXES6`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrefixKey6 {
    /// Bits that count.
    pub prefix: u32,
    /// Address, network byte order.
    pub address: [u8; 16],
}

/// Key of `SERVICE_PORTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceKey {
    /// The address (IPv4 as IPv4-mapped), or for nodes at a node port 12 zero bytes and the peer, little endian.
    pub scope: [u8; 16],
    /// Port in host byte order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// 4 or 6: family of the packet; plus 16 where the scope is a peer.
    pub kind: u8,
}

/// Key of `POLICY`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerKey {
    /// Policy.
    pub policy: u32,
    /// Peer.
    pub peer: u32,
}

/// A verdict in 32 bits: bits 0-1 three less the action (so that zeroed memory is no verdict), 2-7 reason, 8-10
/// [`cell_flags`], 11-30 rule slot ([`Cell::NO_RULE`] without), 31 always zero (in a [`TableValue`] it marks a list).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell(pub u32);

/// Bits 8 to 10 of a [`Cell`].
pub mod cell_flags {
    /// An Alert here is logged by another node.
    pub const QUIET_ALERT: u32 = 1;
    /// Under alert-only, a Drop here is logged by another node.
    pub const QUIET_DROP: u32 = 2;
    /// The rule credited passes or alerts, and one of its port entries names this very protocol or port: encapsulation
    /// from a pod to a node, otherwise refused, is meant here.
    pub const NAMED: u32 = 4;
}

impl Cell {
    /// Slot of a cell that no rule is credited with.
    pub const NO_RULE: u32 = 0xf_ffff;

    /// Packs a cell.
    #[inline(always)]
    pub const fn new(action: u32, reason: u32, flags: u32, slot: u32) -> Self {
        Self((action & 3 ^ 3) | (reason & 63) << 2 | (flags & 7) << 8 | (slot & Self::NO_RULE) << 11)
    }

    /// 0 Pass, 1 Alert, 2 Drop; 3 where nobody wrote one.
    #[inline(always)]
    pub const fn action(self) -> u32 {
        self.0 & 3 ^ 3
    }

    /// Whether somebody wrote a verdict here.
    #[inline(always)]
    pub const fn is_written(self) -> bool {
        self.0 & 3 != 0
    }

    /// Reason number.
    #[inline(always)]
    pub const fn reason(self) -> u32 {
        self.0 >> 2 & 63
    }

    /// [`cell_flags`].
    #[inline(always)]
    pub const fn flags(self) -> u32 {
        self.0 >> 8 & 7
    }

    /// Rule slot, [`Cell::NO_RULE`] without.
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.0 >> 11 & Self::NO_RULE
    }
}

/// A table: for TCP, UDP, SCTP, ICMP, ICMPv6 and the rest (by protocol number) either a [`Cell`] (bit 31 clear) or
/// bit 31 and the index in `SPANS` of a list's header.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TableValue {
    /// By [`table_index`].
    pub refs: [u32; 6],
}

/// Indices of [`TableValue::refs`].
pub mod table_index {
    #![allow(missing_docs, reason = "protocol names")]
    pub const TCP: usize = 0;
    pub const UDP: usize = 1;
    pub const SCTP: usize = 2;
    pub const ICMP: usize = 3;
    pub const ICMPV6: usize = 4;
    pub const OTHER: usize = 5;
}

/// Bit 31 of a table reference: the rest is the index of a list's header in `SPANS`.
pub const LIST: u32 = 0x8000_0000;

/// An element of `SPANS`. A list is a header (`start` = number of spans that follow, at most 65,536; `cell` =
/// [`NEVER_DROPS`] where none of their cells is a Drop, else 0) and then spans in ascending order of `start`, the first
/// at 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// First port, type or protocol number; in a header the number of spans.
    pub start: u32,
    /// The cell from here to the next start.
    pub cell: u32,
}

/// In [`Span::cell`] of a list's header: no cell of the list is a Drop. A later fragment whose first was never seen
/// passes only then.
pub const NEVER_DROPS: u32 = 1;

/// A rule's name card.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleCardValue {
    /// Name, padded with zeros; all zero: the slot is free.
    pub name: [u8; crate::limits::RULE_NAME],
    /// UID, padded with zeros (a longer one is cut).
    pub uid: [u8; 64],
    /// Priority.
    pub priority: u16,
    /// 0 Pass, 1 Alert, 2 Drop.
    pub action: u8,
    /// Zero.
    pub pad: [u8; 5],
}
