//! Records out of the kernel's ring.
//!
//! The programs wake nobody (a wakeup costs ten times the record), so the ring is drained on a timer of about
//! [`PERIOD`]. What the ring had no room for is counted by the programs themselves, by action.

use std::time::Duration;

use aya::maps::{Map, MapData, MapError, RingBuf};
use cellwall_datapath_common::{Record, maps};

use crate::kernel::{OpenError, Place};

/// How often to drain. Shorter ones cost throughput on the CPU that they run on.
pub const PERIOD: Duration = Duration::from_millis(10);

/// Bytes of a record.
const SIZE: usize = size_of::<Record>();

/// The reading end of an instance's ring. There is one reader: the position is the map's, not ours.
pub struct Records {
    ring: RingBuf<MapData>,
    id: u32,
    malformed: u64,
}

/// What a drain found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Records handed over.
    pub records: u64,
    /// The limit ended it: there may be more.
    pub more: bool,
}

impl Records {
    /// Opens the pinned ring. What the last reader left in it is still there.
    pub fn open(place: &Place) -> Result<Self, OpenError> {
        let failed = |source: MapError| OpenError::Map {
            name: maps::RECORDS,
            source,
        };
        let data = MapData::from_pin(place.map(maps::RECORDS)).map_err(failed)?;
        let id = data.info().map_err(failed)?.id();
        let ring = Map::from_map_data(data).and_then(RingBuf::try_from).map_err(failed)?;
        Ok(Self { ring, id, malformed: 0 })
    }

    /// Hands over what the ring has, oldest first, at most `limit` records. Never waits.
    pub fn drain(&mut self, limit: u64, mut each: impl FnMut(&Record)) -> Drained {
        let mut drained = Drained::default();
        while drained.records < limit {
            let Some(item) = self.ring.next() else { return drained };
            match decode(&item) {
                Some(record) => {
                    each(&record);
                    drained.records += 1;
                }
                None => self.malformed += 1,
            }
        }
        drained.more = true;
        drained
    }

    /// Number that the kernel gave the ring: no other map has had it since the machine started.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Records of a wrong size so far; they count as lost.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }
}

/// A record from its bytes; none where there are not exactly as many as a record has.
pub fn decode(bytes: &[u8]) -> Option<Record> {
    let bytes: &[u8; SIZE] = bytes.try_into().ok()?;
    let mut at = Reader(bytes);
    let record = Record {
        time: u64::from_ne_bytes(at.take()?),
        generation: u32::from_ne_bytes(at.take()?),
        cell: u32::from_ne_bytes(at.take()?),
        ifindex: u32::from_ne_bytes(at.take()?),
        peer: u32::from_ne_bytes(at.take()?),
        bytes: u32::from_ne_bytes(at.take()?),
        ethertype: u16::from_ne_bytes(at.take()?),
        source_port: u16::from_ne_bytes(at.take()?),
        destination_port: u16::from_ne_bytes(at.take()?),
        protocol: at.byte()?,
        detail: at.byte()?,
        hook: at.byte()?,
        dropped: at.byte()?,
        flags: at.byte()?,
        family: at.byte()?,
        source: at.take()?,
        destination: at.take()?,
    };
    at.0.is_empty().then_some(record)
}

/// Takes fields off the front, in the order in which they lie.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }
}

#[cfg(test)]
mod tests {
    use super::{Record, SIZE, decode};

    /// Every byte is its own offset, so that a field read at the wrong place shows.
    fn bytes() -> Vec<u8> {
        (0..SIZE).map(|offset| u8::try_from(offset).unwrap()).collect()
    }

    fn at<const N: usize>(offset: usize) -> [u8; N] {
        bytes()[offset..offset + N].try_into().unwrap()
    }

    #[test]
    fn every_field_is_read_where_the_programs_write_it() {
        let expected = Record {
            time: u64::from_ne_bytes(at(std::mem::offset_of!(Record, time))),
            generation: u32::from_ne_bytes(at(std::mem::offset_of!(Record, generation))),
            cell: u32::from_ne_bytes(at(std::mem::offset_of!(Record, cell))),
            ifindex: u32::from_ne_bytes(at(std::mem::offset_of!(Record, ifindex))),
            peer: u32::from_ne_bytes(at(std::mem::offset_of!(Record, peer))),
            bytes: u32::from_ne_bytes(at(std::mem::offset_of!(Record, bytes))),
            ethertype: u16::from_ne_bytes(at(std::mem::offset_of!(Record, ethertype))),
            source_port: u16::from_ne_bytes(at(std::mem::offset_of!(Record, source_port))),
            destination_port: u16::from_ne_bytes(at(std::mem::offset_of!(Record, destination_port))),
            protocol: bytes()[std::mem::offset_of!(Record, protocol)],
            detail: bytes()[std::mem::offset_of!(Record, detail)],
            hook: bytes()[std::mem::offset_of!(Record, hook)],
            dropped: bytes()[std::mem::offset_of!(Record, dropped)],
            flags: bytes()[std::mem::offset_of!(Record, flags)],
            family: bytes()[std::mem::offset_of!(Record, family)],
            source: at(std::mem::offset_of!(Record, source)),
            destination: at(std::mem::offset_of!(Record, destination)),
        };
        assert_eq!(decode(&bytes()), Some(expected));
    }

    #[test]
    fn bytes_of_another_size_are_no_record() {
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&bytes()[1..]), None);
        assert_eq!(decode(&[bytes(), vec![0]].concat()), None);
    }
}
