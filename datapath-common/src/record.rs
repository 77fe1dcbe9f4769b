//! Records, counters, refusals.

/// Hooks, as numbers.
pub mod hook {
    /// Packets the pod sent.
    pub const FROM_POD: u8 = 0;
    /// Packets on their way to the pod.
    pub const TO_POD: u8 = 1;
}

/// One verdict that is to be told: an Alert, a Drop, or a Pass that was asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// `CLOCK_MONOTONIC` nanoseconds, coarse.
    pub time: u64,
    /// Generation that judged.
    pub generation: u32,
    /// [`crate::Cell`].
    pub cell: u32,
    /// Interface index of the hook.
    pub ifindex: u32,
    /// Peer (0xffff_ffff where none was looked up: parsing failures, forged addresses).
    pub peer: u32,
    /// Packet length in bytes.
    pub bytes: u32,
    /// EtherType as read, host byte order.
    pub ethertype: u16,
    /// Source port (ICMP: 0), host byte order.
    pub source_port: u16,
    /// Destination port (ICMP: type), host byte order.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// TCP flags, or the ICMP type.
    pub detail: u8,
    /// [`hook`].
    pub hook: u8,
    /// 0: passed on, 1: dropped.
    pub dropped: u8,
    /// [`record_flags`].
    pub flags: u8,
    /// 4, 6, or 0 where the frame was not understood.
    pub family: u8,
    /// Source (IPv4 as IPv4-mapped).
    pub source: [u8; 16],
    /// Destination.
    pub destination: [u8; 16],
}

/// Bits of [`Record::flags`].
pub mod record_flags {
    /// The initiator is the packet's destination (a reply was judged anew and cut).
    pub const REPLY: u8 = 1;
    /// The protocol has ports and they were read.
    pub const PORTS: u8 = 2;
}

/// A refusal kept for its pod, whatever becomes of the record.
pub type Refused = Record;

/// Flows, packets, bytes, last hit.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counter {
    /// Flows (for drops: refused packets).
    pub flows: u64,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// `CLOCK_MONOTONIC` nanoseconds of the last packet, coarse.
    pub last: u64,
}

/// Number of reasons that a [`reason_index`] has room for.
pub const REASONS: u32 = 64;

/// Entries of `REASON_COUNTERS`.
pub const REASON_COUNTERS: u32 = 2 * 2 * 4 * REASONS;

/// Index of `REASON_COUNTERS`: hook, action (0..=2), dropped, reason.
#[inline(always)]
pub const fn reason_index(hook: u32, action: u32, dropped: u32, reason: u32) -> u32 {
    ((hook & 1) << 3 | (action & 3) << 1 | (dropped & 1)) * REASONS + (reason & (REASONS - 1))
}

/// Indices of `EVENT_COUNTERS`.
pub mod event {
    use super::REASONS;

    /// Records that found the ring full, by [`kind`] and reason: see [`lost`].
    pub const LOST: u32 = 16;
    /// Answered flows that found their table full.
    pub const FLOWS_FULL: u32 = 4;
    /// Unanswered flows that could not be entered.
    pub const OPENING_FULL: u32 = 5;
    /// Values whose seal never fitted.
    pub const TORN: u32 = 6;
    /// Packets on an interface without an endpoint entry.
    pub const NO_ENDPOINT: u32 = 7;
    /// Fragment trains that could not be entered.
    pub const FRAGMENTS_FULL: u32 = 8;
    /// Records sent, by action: this plus 0..=2.
    pub const SENT: u32 = 9;
    /// Unanswered flows entered into their table.
    pub const OPENED: u32 = 12;
    /// Flows that left the table of the unanswered because they were answered.
    pub const ANSWERED: u32 = 13;
    /// Answered flows whose pod holds [`crate::limits::FLOW_QUOTA`] already.
    pub const FLOWS_QUOTA: u32 = 14;
    /// Number of indices.
    pub const COUNT: u32 = LOST + 4 * REASONS;

    /// What a record is counted under: its action (0..=2), or 3 for a Drop that was let through.
    #[inline(always)]
    pub const fn kind(action: u32, dropped: bool) -> u32 {
        if action == 2 && !dropped { 3 } else { action & 3 }
    }

    /// Index of the records of a [`kind`] and a reason that found the ring full.
    #[inline(always)]
    pub const fn lost(kind: u32, reason: u32) -> u32 {
        LOST + (kind & 3) * REASONS + (reason & (REASONS - 1))
    }
}
