//! Transports: flags, protocols, types.

use super::{FREE, Places, REFUSED, Shot, family};
use crate::make;

impl Places {
    /// Every byte of TCP flags, to a free and to a refused port, from a port of its own and from a refused one.
    pub fn flags(&mut self) -> Vec<Shot> {
        let mut shots = Vec::new();
        for v4 in [true, false] {
            for flags in 0..=255_u8 {
                for port in [FREE, REFUSED] {
                    let (source, stamp) = (self.fresh(), self.stamp());
                    let segment = make::tcp(source, port, flags, &stamp);
                    shots.push(Shot {
                        name: format!("{} TCP flags {flags:02x} to {port}", family(v4)),
                        frame: self.packet(v4, 6, &segment),
                    });
                }
                // Refused in both orientations; all in one flow, so that none of them may open it.
                if flags & 0x12 == 2 {
                    continue;
                }
                let segment = make::tcp(REFUSED, REFUSED, flags, &self.stamp());
                shots.push(Shot {
                    name: format!("{} TCP flags {flags:02x} between refused ports", family(v4)),
                    frame: self.packet(v4, 6, &segment),
                });
            }
        }
        shots
    }

    /// Every IP protocol, with bytes that are ports, free or refused, and with none.
    pub fn protocols(&mut self) -> Vec<Shot> {
        let mut shots = Vec::new();
        for v4 in [true, false] {
            for protocol in 0..=255_u8 {
                for port in [FREE, REFUSED] {
                    let segment = self.datagram(port);
                    shots.push(Shot {
                        name: format!("{} protocol {protocol}, bytes as of UDP to {port}", family(v4)),
                        frame: self.packet(v4, protocol, &segment),
                    });
                    let segment = self.transport(protocol, port);
                    shots.push(Shot {
                        name: format!("{} protocol {protocol} as it should be, to {port}", family(v4)),
                        frame: self.packet(v4, protocol, &segment),
                    });
                }
            }
        }
        shots
    }

    /// Every type of ICMP and ICMPv6, in the family where it belongs and in the other one, whole and cut short.
    pub fn types(&mut self) -> Vec<Shot> {
        let mut shots = Vec::new();
        for v4 in [true, false] {
            for protocol in [1, 58] {
                for kind in 0..=255_u8 {
                    for rest in [0, 4, 20] {
                        let (id, stamp) = (self.fresh(), self.stamp());
                        let body = [&stamp[..], &[0x55; 8]].concat();
                        let mut segment = make::icmp(kind, 0, id, &body[..rest]);
                        // A stamp in the header's own bytes where there is no room behind.
                        segment[2..4].copy_from_slice(&stamp[10..12]);
                        let cut = if rest == 4 { segment.len() - 5 } else { segment.len() };
                        shots.push(Shot {
                            name: format!("{} protocol {protocol} type {kind}, {cut} bytes", family(v4)),
                            frame: self.packet(v4, protocol, &segment[..cut]),
                        });
                    }
                }
            }
        }
        shots
    }
}
