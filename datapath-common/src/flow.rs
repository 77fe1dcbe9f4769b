//! Flows and fragment trains. One canonical key serves both directions.

/// Key of an IPv4 flow: the lower (address, port) end comes first, compared as the bytes lie in memory.
/// Echo and other ICMP queries with an identifier have it as the port of the asking end; the other end's is 0 for
/// echo and the number of the request's type for the others, so that one query never rides on another's flow.
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
    /// Peer that `cell` was judged for, as records name it.
    pub peer: u32,
}

/// Bits of [`FlowValue::flags`]. Each byte has one kind of writer, so that two CPUs never undo each other's mark
/// without needing an atomic "or", which kernels before 5.12 lack.
pub mod flow_flags {
    /// The initiator is the lower end. Byte 0, written when the flow is opened.
    pub const FROM_LO: u32 = 1;
    /// Entered in mid-stream: the direction is a guess.
    pub const ADOPTED: u32 = 2;
    /// Opened at to-pod by a pod of this node, whose own hook saw another destination (a Service): counted at to-pod.
    pub const LATE: u32 = 4;
    /// The responder has answered. Byte 1, written by the responder's packets.
    pub const ANSWERED: u32 = 1 << 8;
    /// A FIN was seen from the lower end. Byte 2, written by the lower end's packets.
    pub const FIN_LO: u32 = 1 << 16;
    /// A RST was seen from the lower end.
    pub const RESET_LO: u32 = 2 << 16;
    /// A FIN was seen from the higher end. Byte 3, written by the higher end's packets.
    pub const FIN_HI: u32 = 1 << 24;
    /// A RST was seen from the higher end.
    pub const RESET_HI: u32 = 2 << 24;
    /// Either RST: a mask.
    pub const RESET: u32 = RESET_LO | RESET_HI;
}

impl FlowValue {
    /// The pod on whose account the flow is, by interface: the one that opened it, else the one that answered.
    #[inline(always)]
    pub const fn account(flags: u32, lo_ifindex: u32, hi_ifindex: u32) -> u32 {
        let (opener, other) = if flags & flow_flags::FROM_LO != 0 {
            (lo_ifindex, hi_ifindex)
        } else {
            (hi_ifindex, lo_ifindex)
        };
        if opener != 0 { opener } else { other }
    }

    /// Whether TCP is over: a RST, or a FIN of both ends.
    #[inline(always)]
    pub const fn is_closing(flags: u32) -> bool {
        flags & flow_flags::RESET != 0 || flags & FINS == FINS
    }

    /// Ticks without a packet after which a flow of `protocol` with these `flags` is no more. Both the programs
    /// (which then take it for absent) and the sweep (which deletes it) ask here.
    #[inline(always)]
    pub const fn idle_ticks(protocol: u8, flags: u32) -> u32 {
        let answered = flags & flow_flags::ANSWERED != 0;
        match (protocol == 6, answered) {
            (true, _) if Self::is_closing(flags) => crate::ticks(idle::TCP_CLOSING),
            (true, true) => crate::ticks(idle::TCP),
            (true, false) => crate::ticks(idle::TCP_OPENING),
            (false, true) => crate::ticks(idle::ANSWERED),
            (false, false) => crate::ticks(idle::UNANSWERED),
        }
    }

    /// Whether the flow is no more at tick `now`. A `last_seen` ahead of `now` (another CPU's newer clock) is alive.
    #[inline(always)]
    pub const fn is_expired(protocol: u8, flags: u32, last_seen: u32, now: u32) -> bool {
        let idle = now.wrapping_sub(last_seen);
        idle < 0x8000_0000 && idle > Self::idle_ticks(protocol, flags)
    }
}

const FINS: u32 = flow_flags::FIN_LO | flow_flags::FIN_HI;

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
    /// [`fragment_flags`].
    pub flags: u32,
}

/// Bits of [`FragmentValue::flags`].
pub mod fragment_flags {
    /// First fragments differed: everything is refused from then on.
    pub const POISONED: u32 = 1;
    /// Counted at the sender's hook on this node.
    pub const SILENT: u32 = 2;
}
