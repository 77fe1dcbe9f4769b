//! Headers that are cut off, lie about lengths, or push the transport header along.

use super::{FREE, Places, REFUSED, Shot, family};
use crate::make::{self, ETHERNET, IPV4};

/// Where the fields of an IPv4 packet without options lie in a frame.
const TOTAL: usize = ETHERNET + 2;
const PAYLOAD: usize = ETHERNET + 4;
const SEGMENT4: usize = ETHERNET + 20;
const SEGMENT6: usize = ETHERNET + 40;

impl Places {
    /// Every length of options, filled with every kind of them, before ports that are free and refused.
    pub fn options(&mut self) -> Vec<Shot> {
        let mut shots = Vec::new();
        for length in (0..=40).step_by(4) {
            for (name, options) in fillings(length) {
                for port in [FREE, REFUSED] {
                    for protocol in [17, 6] {
                        let segment = self.transport(protocol, port);
                        let body = make::v4_with(self.own.v4, self.to.v4, protocol, &options, &segment);
                        shots.push(Shot {
                            name: format!("{length} bytes of options, {name}, protocol {protocol} to {port}"),
                            frame: self.frame(IPV4, &body),
                        });
                    }
                }
            }
        }
        shots
    }

    /// Every header length and version that four bits can say, with the segment where it would be without options:
    /// what stands there is read as ports or not at all.
    pub fn header_lengths(&mut self) -> Vec<Shot> {
        let mut shots = Vec::new();
        for nibbles in 0..=255_u8 {
            for port in [FREE, REFUSED] {
                // The payload repeats the header, so that it is found at every offset.
                let mut segment = self.datagram(port);
                let again = [&segment[..8]; 8].concat();
                segment.extend(again);
                let mut frame = self.packet(true, 17, &segment);
                frame[ETHERNET] = nibbles;
                shots.push(Shot {
                    name: format!("first byte {nibbles:02x} to {port}"),
                    frame,
                });
            }
        }
        for version in 0..16_u8 {
            let segment = self.datagram(FREE);
            let mut frame = self.packet(false, 17, &segment);
            frame[ETHERNET] = version << 4;
            shots.push(Shot {
                name: format!("version {version} as IPv6"),
                frame,
            });
        }
        shots
    }

    /// Packets cut off after each byte, their length fields as they were, and made to fit; and with bytes behind them.
    pub fn cuts(&mut self) -> Vec<Shot> {
        let mut shots = Vec::new();
        for v4 in [true, false] {
            for protocol in [17, 6, icmp(v4), 132, 47] {
                let segment = self.transport(protocol, FREE);
                let whole = self.packet(v4, protocol, &segment).len();
                for length in ETHERNET..=whole + 4 {
                    for fitting in [false, true] {
                        let segment = self.transport(protocol, FREE);
                        let mut frame = self.packet(v4, protocol, &segment);
                        frame.resize(length, 0xee);
                        if fitting {
                            fit(v4, &mut frame);
                        }
                        shots.push(Shot {
                            name: format!(
                                "{} protocol {protocol} of {length} bytes, fitting {fitting}",
                                family(v4)
                            ),
                            frame,
                        });
                    }
                }
            }
        }
        shots
    }

    /// Every total, payload and UDP length around the true one, every TCP data offset.
    pub fn lengths(&mut self) -> Vec<Shot> {
        let mut shots = Vec::new();
        for v4 in [true, false] {
            let start = if v4 { SEGMENT4 } else { SEGMENT6 };
            for said in (0..=100).chain([255, 256, 0x7fff, 0x8000, 0xfffe, 0xffff]) {
                for field in [if v4 { TOTAL } else { PAYLOAD }, start + 4] {
                    let segment = self.datagram(FREE);
                    let mut frame = self.packet(v4, 17, &segment);
                    frame[field..field + 2].copy_from_slice(&u16::to_be_bytes(said));
                    shots.push(Shot {
                        name: format!("{} says {said} at {field}", family(v4)),
                        frame,
                    });
                }
            }
            for offset in 0..16_u8 {
                for more in (0..=44).step_by(4) {
                    let segment = [make::tcp(self.fresh(), FREE, 2, &[1; 44][..more]), vec![]].concat();
                    let mut frame = self.packet(v4, 6, &segment);
                    frame[start + 12] = offset << 4;
                    shots.push(Shot {
                        name: format!("{} TCP data offset {offset} before {more} bytes", family(v4)),
                        frame,
                    });
                }
            }
        }
        shots
    }

    /// A segment of this protocol to this port, or an ICMP message of a type that passes or is refused, with bytes of
    /// its own.
    pub(super) fn transport(&mut self, protocol: u8, port: u16) -> Vec<u8> {
        self.segment(protocol, port).0
    }

    /// The same, and the stamp in it.
    pub fn segment(&mut self, protocol: u8, port: u16) -> (Vec<u8>, [u8; 12]) {
        let (source, stamp) = (self.fresh(), self.stamp());
        let segment = match protocol {
            6 => make::tcp(source, port, 2, &stamp),
            17 => make::udp(source, port, &stamp),
            132 => make::sctp(source, port, &stamp),
            1 => make::icmp(if port == REFUSED { 13 } else { 8 }, 0, source, &stamp),
            58 => make::icmp(if port == REFUSED { 139 } else { 128 }, 0, source, &stamp),
            _ => stamp.to_vec(),
        };
        (segment, stamp)
    }
}

/// ICMP of a family.
pub(super) fn icmp(v4: bool) -> u8 {
    if v4 { 1 } else { 58 }
}

/// Makes the length field say what is there, as far as there is a length field.
fn fit(v4: bool, frame: &mut [u8]) {
    let (field, before) = if v4 { (TOTAL, ETHERNET) } else { (PAYLOAD, SEGMENT6) };
    if let Some(length) = frame
        .len()
        .checked_sub(before)
        .and_then(|length| u16::try_from(length).ok())
        && let Some(bytes) = frame.get_mut(field..field + 2)
    {
        bytes.copy_from_slice(&length.to_be_bytes());
    }
}

/// What options of this length may be.
fn fillings(length: usize) -> Vec<(&'static str, Vec<u8>)> {
    let filled = |start: &[u8], rest: u8| {
        let mut options = start.to_vec();
        options.resize(length, rest);
        options.truncate(length);
        options
    };
    let most = u8::try_from(length).expect("at most 40");
    let mut all = vec![("nothing but no-operations", filled(&[], 1))];
    if length == 0 {
        return all;
    }
    all.extend([
        ("the end at once", filled(&[], 0)),
        ("the end, then a source route", filled(&[0, 131, 3, 4], 0)),
        ("a loose source route", filled(&[131, 3, 4], 0)),
        ("a strict source route", filled(&[137, 3, 4], 0)),
        ("a loose source route of all", filled(&[131, most, 4], 9)),
        ("no-operation, then a strict source route", filled(&[1, 137, 3], 4)),
        ("a record of the route", filled(&[7, most, 4], 0)),
        ("a timestamp", filled(&[68, most, 5], 0)),
        ("a router alert", filled(&[148, 4, 0, 0], 1)),
        ("security", filled(&[130, most, 0], 0)),
        (
            "an unknown option that looks like ports",
            filled(&[0x5e, most, 0, 9], 0),
        ),
        ("an option of length 0", filled(&[7, 0, 4], 0)),
        ("an option of length 1", filled(&[7, 1, 4], 0)),
        ("an option past the end", filled(&[7, most + 1, 4], 0)),
        ("an option without its length", [vec![1; length - 1], vec![7]].concat()),
        (
            "a source route as the last byte",
            [vec![1; length - 1], vec![131]].concat(),
        ),
        ("bytes without meaning", filled(&[], 0xff)),
    ]);
    all
}
