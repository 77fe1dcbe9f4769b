//! The ABI's structs as the kernel side handles them: the same bytes, in words instead of arrays of bytes, and flow
//! state in place. That the bytes are the same is tested.

use core::cell::Cell as Slot;

use cellwall_datapath_common::{Cell, FlowValue};

/// [`cellwall_datapath_common::FlowKey4`].
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs, reason = "documented at the ABI's type")]
pub struct Key4 {
    pub lo: u32,
    pub hi: u32,
    pub ports: u32,
    pub protocol: u32,
}

/// [`cellwall_datapath_common::FlowKey6`].
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs, reason = "documented at the ABI's type")]
pub struct Key6 {
    pub lo: [u32; 4],
    pub hi: [u32; 4],
    pub ports: u32,
    pub protocol: u32,
}

/// Both ports of a key as they lie in memory, the lower end's first: written as the kernel reads them, as one word, since
/// a processor that reads at once what was just written in two pieces waits for both.
#[inline(always)]
pub fn both(lo_port: u16, hi_port: u16) -> u32 {
    (u32::from(lo_port) << 16 | u32::from(hi_port)).to_be()
}

/// [`cellwall_datapath_common::FragmentKey`]; `tail` is protocol, hook and two zeros.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs, reason = "documented at the ABI's type")]
pub struct TrainKey {
    pub source: [u32; 4],
    pub destination: [u32; 4],
    pub id: u32,
    pub ifindex: u32,
    pub tail: u32,
}

/// [`cellwall_datapath_common::policy::OwnAddressKey`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "documented at the ABI's type")]
pub struct OwnKey {
    pub address: [u32; 4],
    pub ifindex: u32,
}

/// [`cellwall_datapath_common::PrefixKey6`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "documented at the ABI's type")]
pub struct Range6 {
    pub prefix: u32,
    pub address: [u32; 4],
}

/// [`cellwall_datapath_common::PrefixKey4`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "documented at the ABI's type")]
pub struct Range4 {
    pub prefix: u32,
    pub address: u32,
}

/// [`cellwall_datapath_common::ServiceKey`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "documented at the ABI's type")]
pub struct PortKey {
    pub scope: [u32; 4],
    pub port: u16,
    pub protocol: u8,
    pub kind: u8,
}

/// [`cellwall_datapath_common::EndpointRecord`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "documented at the ABI's type")]
pub struct Endpoint {
    pub attached: u64,
    pub ifindex: u32,
    pub master: u32,
    pub egress: u32,
    pub ingress: u32,
    pub flags: u32,
    pub v4: u32,
    pub v6: [u32; 4],
    pub v6_link: [u32; 4],
    pub mac: [u32; 2],
}

/// [`FlowValue`] in place, while other CPUs read and write it: each field is read and written whole, by one
/// instruction (the target has no atomic types below 64 bits, and its plain loads and stores of a word are whole).
#[repr(C)]
#[derive(Debug)]
pub struct LiveFlow {
    /// Revision and cell, written as one: a cell never bears another one's revision.
    verdict: Slot<u64>,
    last_seen: Slot<u32>,
    born: Slot<u32>,
    lo_ifindex: Slot<u32>,
    hi_ifindex: Slot<u32>,
    flags: [Slot<u8>; 4],
    peer: Slot<u32>,
}

#[inline(always)]
const fn joined(revision: u32, cell: u32) -> u64 {
    if cfg!(target_endian = "little") {
        revision as u64 | (cell as u64) << 32
    } else {
        (revision as u64) << 32 | cell as u64
    }
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "taken apart on purpose")]
const fn parted(verdict: u64) -> (u32, u32) {
    if cfg!(target_endian = "little") {
        (verdict as u32, (verdict >> 32) as u32)
    } else {
        ((verdict >> 32) as u32, verdict as u32)
    }
}

/// Byte of a mark's number in memory order.
#[inline(always)]
const fn place(byte: usize) -> usize {
    if cfg!(target_endian = "little") {
        byte & 3
    } else {
        3 - (byte & 3)
    }
}

impl LiveFlow {
    /// A live flow of this value.
    pub const fn new(value: &FlowValue) -> Self {
        let flags = value.flags.to_ne_bytes();
        Self {
            verdict: Slot::new(joined(value.revision, value.cell)),
            last_seen: Slot::new(value.last_seen),
            born: Slot::new(value.born),
            lo_ifindex: Slot::new(value.lo_ifindex),
            hi_ifindex: Slot::new(value.hi_ifindex),
            flags: [
                Slot::new(flags[0]),
                Slot::new(flags[1]),
                Slot::new(flags[2]),
                Slot::new(flags[3]),
            ],
            peer: Slot::new(value.peer),
        }
    }

    /// Revision and cell.
    #[inline(always)]
    pub fn verdict(&self) -> (u32, Cell) {
        let (revision, cell) = parted(self.verdict.get());
        (revision, Cell(cell))
    }

    /// Writes revision and cell at once.
    #[inline(always)]
    pub fn judged(&self, revision: u32, cell: Cell, peer: u32) {
        self.peer.set(peer);
        self.verdict.set(joined(revision, cell.0));
    }

    /// [`cellwall_datapath_common::flow_flags`].
    #[inline(always)]
    pub fn flags(&self) -> u32 {
        let byte = |index: usize| u32::from(self.flags[place(index)].get());
        byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24
    }

    /// Adds marks; all bits of `mark` are in one byte.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "a byte each")]
    pub fn mark(&self, mark: u32) {
        let add = |index: usize, bits: u8| {
            let byte = &self.flags[place(index)];
            let old = byte.get();
            if old | bits != old {
                byte.set(old | bits);
            }
        };
        add(1, (mark >> 8) as u8);
        add(2, (mark >> 16) as u8);
        add(3, (mark >> 24) as u8);
    }

    /// Tick of the last packet.
    #[inline(always)]
    pub fn last_seen(&self) -> u32 {
        self.last_seen.get()
    }

    /// Notes a packet at `tick`; writes only where that changes something.
    #[inline(always)]
    pub fn seen(&self, tick: u32) {
        if self.last_seen() != tick {
            self.last_seen.set(tick);
        }
    }

    /// Generation of the opening.
    #[inline(always)]
    pub fn born(&self) -> u32 {
        self.born.get()
    }

    /// Peer the cell was judged for.
    #[inline(always)]
    pub fn peer(&self) -> u32 {
        self.peer.get()
    }

    /// Interfaces of the (first, other) end, the first being the lower one where `lo`.
    #[inline(always)]
    pub fn interfaces(&self, lo: bool) -> (u32, u32) {
        let (low, high) = (self.lo_ifindex.get(), self.hi_ifindex.get());
        if lo { (low, high) } else { (high, low) }
    }

    /// Writes the interfaces, in the order of [`Self::interfaces`].
    #[inline(always)]
    pub fn set_interfaces(&self, lo: bool, first: u32, other: u32) {
        let (low, high) = if lo { (first, other) } else { (other, first) };
        self.lo_ifindex.set(low);
        self.hi_ifindex.set(high);
    }

    /// The whole value, word by word.
    #[inline(always)]
    pub fn value(&self) -> FlowValue {
        let (revision, cell) = self.verdict();
        let (lo_ifindex, hi_ifindex) = self.interfaces(true);
        FlowValue {
            revision,
            cell: cell.0,
            last_seen: self.last_seen(),
            born: self.born(),
            lo_ifindex,
            hi_ifindex,
            flags: self.flags(),
            peer: self.peer(),
        }
    }

    /// Makes this entry another flow's: whoever reads in between sees an older revision, and judges for himself.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "a byte each")]
    pub fn replace(&self, value: &FlowValue) {
        self.verdict.set(joined(value.revision.wrapping_sub(1), value.cell));
        self.set_interfaces(true, value.lo_ifindex, value.hi_ifindex);
        for index in 0..4 {
            self.flags[place(index)].set((value.flags >> (8 * index)) as u8);
        }
        self.born.set(value.born);
        self.last_seen.set(value.last_seen);
        self.judged(value.revision, Cell(value.cell), value.peer);
    }
}

#[cfg(test)]
mod tests {
    use core::mem::{offset_of, size_of};

    use cellwall_datapath_common as abi;

    use super::*;

    macro_rules! same {
        ($inner:ty, $outer:ty, $($field:ident = $theirs:ident),*) => {
            assert_eq!(size_of::<$inner>(), size_of::<$outer>(), stringify!($inner));
            $(assert_eq!(offset_of!($inner, $field), offset_of!($outer, $theirs), stringify!($inner.$field));)*
        };
    }

    #[test]
    fn every_type_lies_in_memory_as_the_abi_says() {
        same!(
            Key4,
            abi::FlowKey4,
            lo = lo,
            hi = hi,
            ports = lo_port,
            protocol = protocol
        );
        same!(
            Key6,
            abi::FlowKey6,
            lo = lo,
            hi = hi,
            ports = lo_port,
            protocol = protocol
        );
        same!(
            TrainKey,
            abi::FragmentKey,
            source = source,
            destination = destination,
            id = id,
            ifindex = ifindex,
            tail = protocol
        );
        same!(OwnKey, abi::policy::OwnAddressKey, address = address, ifindex = ifindex);
        same!(Range4, abi::PrefixKey4, prefix = prefix, address = address);
        same!(Range6, abi::PrefixKey6, prefix = prefix, address = address);
        same!(
            PortKey,
            abi::ServiceKey,
            scope = scope,
            port = port,
            protocol = protocol,
            kind = kind
        );
        same!(
            Endpoint,
            abi::EndpointRecord,
            attached = attached,
            ifindex = ifindex,
            master = master,
            egress = egress,
            ingress = ingress,
            flags = flags,
            v4 = v4,
            v6 = v6,
            v6_link = v6_link,
            mac = mac
        );
        same!(
            LiveFlow,
            FlowValue,
            verdict = revision,
            last_seen = last_seen,
            born = born,
            lo_ifindex = lo_ifindex,
            hi_ifindex = hi_ifindex,
            flags = flags,
            peer = peer
        );
    }

    #[test]
    fn a_live_flow_gives_back_the_value_it_was_given() {
        let value = FlowValue {
            revision: 1,
            cell: 2,
            last_seen: 3,
            born: 4,
            lo_ifindex: 5,
            hi_ifindex: 6,
            flags: 0x0102_0304,
            peer: 8,
        };
        assert_eq!(LiveFlow::new(&value).value(), value);
        let other = LiveFlow::new(&FlowValue::default());
        other.replace(&value);
        assert_eq!(other.value(), value);
        other.mark(abi::flow_flags::FIN_HI);
        assert_eq!(other.flags(), 0x0102_0304 | abi::flow_flags::FIN_HI);
    }
}
