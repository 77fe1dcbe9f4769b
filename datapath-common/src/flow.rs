//! Flows and fragment trains. One canonical key serves both directions.

/// Key of an IPv4 flow: the lower (address, port) end comes first, compared as the bytes lie in memory.
/// Echo and other ICMP queries with an identifier have it as the port of the asking end and 0 at the other.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FlowKey4 {
    /// Lower end's address, network byte order.
    pub lo: [u8; 4],
    /// Higher end's address.
    pub hi: [u8; 4],
    /// Lower end's port, network byte order.
    pub lo_port: [u8; 2],
    /// Higher end's port.
    pub hi_port: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: [u8; 3],
}

/// Key of an IPv6 flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FlowKey6 {
    /// Lower end's address.
    pub lo: [u8; 16],
    /// Higher end's address.
    pub hi: [u8; 16],
    /// Lower end's port, network byte order.
    pub lo_port: [u8; 2],
    /// Higher end's port.
    pub hi_port: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: [u8; 3],
}

/// State of a flow: 32 bytes, written in place by the kernel side alone; the user side only reads and deletes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FlowValue {
    /// Generation by which `cell` was judged; a packet that sees another active generation judges again.
    pub revision: u32,
    /// [`crate::Cell`] of the verdict, in the original direction.
    pub cell: u32,
    /// Tick of the last packet.
    pub last_seen: u32,
    /// Generation at which the flow was opened.
    pub born: u32,
    /// Interface of the lower end where that is a local pod, else 0.
    pub lo_ifindex: u32,
    /// Interface of the higher end where that is a local pod, else 0.
    pub hi_ifindex: u32,
    /// [`flow_flags`].
    pub flags: u32,
    /// Packets, both directions, wrapping.
    pub packets: u32,
}

/// Bits of [`FlowValue::flags`].
pub mod flow_flags {
    /// The initiator is the lower end.
    pub const FROM_LO: u32 = 1;
    /// The responder has answered.
    pub const ANSWERED: u32 = 2;
    /// A FIN was seen from the lower end.
    pub const FIN_LO: u32 = 4;
    /// A FIN was seen from the higher end.
    pub const FIN_HI: u32 = 8;
    /// A RST was seen.
    pub const RESET: u32 = 16;
    /// Entered in mid-stream.
    pub const ADOPTED: u32 = 32;
}

/// Seconds without a packet after which a flow is no more, by protocol and state.
pub mod idle {
    /// UDP, SCTP and others, unanswered.
    pub const UNANSWERED: u64 = 60;
    /// UDP, SCTP and others, answered.
    pub const ANSWERED: u64 = 180;
    /// TCP, established.
    pub const TCP: u64 = 86_400;
    /// TCP, not answered yet.
    pub const TCP_OPENING: u64 = 120;
    /// TCP after both FINs or a RST.
    pub const TCP_CLOSING: u64 = 120;
    /// Fragment trains.
    pub const FRAGMENTS: u64 = 60;
}

/// A fragment train at one hook of one interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct FragmentKey {
    /// Source (IPv4 as IPv4-mapped).
    pub source: [u8; 16],
    /// Destination.
    pub destination: [u8; 16],
    /// Identification (IPv4: 16 bits), as it lies in memory.
    pub id: u32,
    /// Interface index of the hook.
    pub ifindex: u32,
    /// IP protocol number (IPv6: of the fragment header's next header).
    pub protocol: u8,
    /// [`crate::hook`].
    pub hook: u8,
    /// Zero.
    pub pad: [u8; 2],
}

/// Verdict of a train's first fragment.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FragmentValue {
    /// [`crate::Cell`] applied to the whole train.
    pub cell: u32,
    /// Tick at which the first fragment was seen.
    pub seen: u32,
    /// Digest of the first fragment's headers: a first fragment that differs poisons the train.
    pub digest: u32,
    /// 1: poisoned, everything is refused from then on.
    pub poisoned: u32,
}
