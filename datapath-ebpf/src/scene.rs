//! What is known about a packet: where and when it was met, and its headers.

use cellwall_datapath_common::{FragmentValue, Record, hook, policy::endpoint_flags, switches};

use crate::family::Quoted;
use crate::judge::Question;
use crate::layout::{Endpoint, Key4, Key6, TrainKey};
use crate::passed::{NOTES, Passed};
use crate::who::Found;

/// Where, when and under which generation a packet was met.
#[repr(C)]
#[derive(Debug)]
pub struct Scene {
    /// The pod's endpoint.
    pub endpoint: &'static Endpoint,
    /// Time, nanoseconds.
    pub now: u64,
    /// The endpoint's slot.
    pub slot: u32,
    /// Active generation.
    pub generation: u32,
    /// [`switches`].
    pub switches: u32,
    /// One in this many passing flows is recorded.
    pub sample: u32,
    /// Interface of the hook.
    pub ifindex: u32,
    /// Interface by which the packet came in, 0 where it was made on this node or the kernel does not show it.
    pub ingress: u32,
    /// Bytes of the frame.
    pub bytes: u32,
    /// Time in ticks.
    pub tick: u32,
    /// EtherType, host byte order.
    pub ethertype: u16,
    /// [`hook`].
    pub hook: u8,
    /// 4, 6, or 0 where the frame is neither.
    pub family: u8,
}

/// Where the packet path keeps what it knows of the packet at hand: one for each CPU. Not on the stack, which is short;
/// and the verifier takes what is read from here for any number, so that it looks at code once and not once for every
/// way that leads there. Each field has one user at a time.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Scratch {
    /// Headers of an IPv4 packet.
    pub headers4: Headers<u32>,
    /// Headers of an IPv6 packet, or of a frame that is neither.
    pub headers6: Headers<[u32; 4]>,
    /// The question asked about an IPv4 packet, and the one the other way round.
    pub questions4: [Question<u32>; 2],
    /// The same for IPv6.
    pub questions6: [Question<[u32; 4]>; 2],
    /// An address asked about beside a question.
    pub found: Found,
    /// What was found out about the packet.
    pub outcome: Outcome,
    /// A quoted IPv4 packet.
    pub quoted4: Quoted<u32>,
    /// A quoted IPv6 packet.
    pub quoted6: Quoted<[u32; 4]>,
    /// Key of an IPv4 flow.
    pub key4: Key4,
    /// Key of an IPv6 flow.
    pub key6: Key6,
    /// The record being written.
    pub record: Telling,
    /// The key of a fragment train.
    pub train: TrainKey,
    /// Its value.
    pub train_value: FragmentValue,
    /// Packets that from-pod let through last, by the low bits of their numbers.
    pub passed: [Passed; NOTES],
    /// The last of these numbers.
    pub passed_last: u32,
}

/// A record, of which there is one in every scratch memory from the start.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Telling(pub Record);

impl Default for Telling {
    fn default() -> Self {
        Self(Record {
            time: 0,
            generation: 0,
            cell: 0,
            ifindex: 0,
            peer: 0,
            bytes: 0,
            ethertype: 0,
            source_port: 0,
            destination_port: 0,
            protocol: 0,
            detail: 0,
            hook: 0,
            dropped: 0,
            flags: 0,
            family: 0,
            source: [0; 16],
            destination: [0; 16],
        })
    }
}

/// The verdict on a packet, before it is counted and told.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// The cell.
    pub cell: u32,
    /// The cell of the other orientation, for TCP in mid-stream.
    pub back: u32,
    /// Peer, for records.
    pub peer: u32,
    /// How it came about: [`crate::tell::how`].
    pub how: u32,
    /// Interface of the pod of this node that a flow let through by from-pod leads to, 0 without.
    pub toward: u32,
}

impl Scene {
    /// Whether the pod sent the packet.
    #[inline(always)]
    pub const fn is_from_pod(&self) -> bool {
        self.hook == hook::FROM_POD
    }

    /// Whether a policy's Drop is let through.
    #[inline(always)]
    pub const fn is_alert_only(&self) -> bool {
        self.switches & switches::ALERT_ONLY != 0
    }

    /// Whether the pod of this interface is not known yet.
    #[inline(always)]
    pub const fn is_startup(&self) -> bool {
        self.endpoint.flags & endpoint_flags::STARTUP != 0
    }
}

/// What a packet is to the flow table.
pub mod kind {
    /// The transport header was not reached.
    pub const UNREAD: u8 = 0;
    /// TCP; `detail` has the flags.
    pub const TCP: u8 = 1;
    /// UDP and SCTP.
    pub const PORTS: u8 = 2;
    /// A protocol without ports: one flow for two addresses.
    pub const OTHER: u8 = 3;
    /// An ICMP query with an identifier, `identifier`.
    pub const REQUEST: u8 = 4;
    /// The answer to one.
    pub const REPLY: u8 = 5;
    /// An ICMP error, which quotes a packet.
    pub const ERROR: u8 = 6;
    /// Any other ICMP message.
    pub const MESSAGE: u8 = 7;
}

/// Whether a packet is a fragment.
pub mod fragment {
    /// It is whole.
    pub const WHOLE: u8 = 0;
    /// The first one, with the headers.
    pub const FIRST: u8 = 1;
    /// A later one, without.
    pub const LATER: u8 = 2;
}

/// TCP flags.
#[allow(missing_docs, reason = "their own names")]
pub mod tcp {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const ACK: u8 = 16;
    /// The six classic ones.
    pub const ALL: u8 = 0x3f;
}

/// Headers as read. What was not reached is zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<A> {
    /// Source.
    pub source: A,
    /// Destination.
    pub destination: A,
    /// Offset of the transport header.
    pub at: u32,
    /// Offset behind the packet's last byte, as its own length says.
    pub end: u32,
    /// Fragment identification, as it lies in memory.
    pub id: u32,
    /// Source port, host byte order; 0 without.
    pub source_port: u16,
    /// Destination port, host byte order; for ICMP the type.
    pub destination_port: u16,
    /// Identifier of an ICMP query, host byte order.
    pub identifier: u16,
    /// Fragment offset in units of 8 bytes.
    pub offset: u16,
    /// IP protocol number, behind any extension headers.
    pub protocol: u8,
    /// TCP flags, or ICMP type.
    pub detail: u8,
    /// [`kind`].
    pub kind: u8,
    /// [`fragment`].
    pub fragment: u8,
    /// Protocol by which a fragment train goes: over IPv6 the fragment header's next header.
    pub train: u8,
    /// Zero.
    pub pad: [u8; 3],
}

impl<A> Headers<A> {
    /// A SYN without ACK: what opens a TCP flow.
    #[inline(always)]
    pub const fn is_syn(&self) -> bool {
        self.kind == kind::TCP && self.detail & (tcp::SYN | tcp::ACK) == tcp::SYN
    }

    /// Whether the transport has ports.
    #[inline(always)]
    pub const fn has_ports(&self) -> bool {
        matches!(self.kind, kind::TCP | kind::PORTS)
    }
}
