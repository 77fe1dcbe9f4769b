//! Fragments: in order, reversed, interleaved, tiny, overlapping, without their first, atomic.

use super::{FREE, Places, REFUSED, Seeded, Shot, family};
use crate::make::{self, IPV4, IPV6};

/// A datagram that is to be sent in pieces.
struct Pieces<'a> {
    v4: bool,
    protocol: u8,
    id: u16,
    segment: &'a [u8],
}

impl Places {
    fn piece(&self, whole: &Pieces<'_>, from: usize, to: usize, more: bool) -> Vec<u8> {
        let Pieces {
            v4,
            protocol,
            id,
            segment,
        } = *whole;
        let part = &segment[from..to.min(segment.len())];
        if v4 {
            let packet = make::v4(self.own.v4, self.to.v4, protocol, part);
            return self.frame(IPV4, &make::v4_fragment(&packet, id, from, more));
        }
        let rest = [&make::fragment_header(protocol, id.into(), from, more)[..], part].concat();
        self.frame(IPV6, &make::v6(self.own.v6, self.to.v6, 44, &rest))
    }

    /// The pieces of a datagram: each 16 bytes, but the first.
    fn train(&mut self, v4: bool, protocol: u8, port: u16, first: usize) -> Vec<Shot> {
        let mut segment = self.transport(protocol, port);
        while segment.len() < first + 48 {
            segment.extend(self.stamp());
        }
        if protocol == 17 {
            let length = u16::try_from(segment.len()).expect("a short datagram");
            segment[4..6].copy_from_slice(&length.to_be_bytes());
        }
        let whole = Pieces {
            v4,
            protocol,
            id: self.fresh(),
            segment: &segment,
        };
        let mut shots = Vec::new();
        let (mut from, mut to) = (0, first);
        while from < segment.len() {
            let more = to < segment.len();
            shots.push(Shot {
                name: format!(
                    "{} protocol {protocol} to {port}, id {}: {from} to {to}, first of {first}",
                    family(v4),
                    whole.id
                ),
                frame: self.piece(&whole, from, to, more),
            });
            (from, to) = (to, to + 16);
        }
        shots
    }

    /// Trains in order, reversed, and without their first fragment, of every protocol that has ports or types and of
    /// some that have not.
    pub fn trains(&mut self) -> Vec<Shot> {
        let mut shots = Vec::new();
        for v4 in [true, false] {
            for protocol in [17, 6, 132, super::headers::icmp(v4), 47, 50, 2, 58, 1] {
                for port in [FREE, REFUSED] {
                    for order in 0..3 {
                        let mut train = self.train(v4, protocol, port, 40);
                        match order {
                            0 => {}
                            1 => train.reverse(),
                            _ => {
                                train.remove(0);
                            }
                        }
                        shots.extend(train);
                    }
                }
            }
        }
        shots
    }

    /// Several trains at once, free and refused ones, their fragments mixed by chance.
    pub fn interleaved(&mut self) -> Vec<Shot> {
        let mut chance = Seeded::new(7);
        let mut shots = Vec::new();
        for _ in 0..20 {
            let mut mixed = Vec::new();
            for number in 0..8_u16 {
                let port = if number % 3 == 0 { REFUSED } else { FREE };
                mixed.push(self.train(number % 2 == 0, [17, 6][usize::from(number / 4)], port, 24));
            }
            while !mixed.is_empty() {
                let one = chance.below(mixed.len());
                shots.push(mixed[one].remove(0));
                mixed.retain(|train| !train.is_empty());
            }
        }
        shots
    }

    /// First fragments of every length, so that some do not hold the whole header.
    pub fn tiny(&mut self) -> Vec<Shot> {
        let mut shots = Vec::new();
        for v4 in [true, false] {
            for protocol in [17, 6, 132, super::headers::icmp(v4), 47] {
                for port in [FREE, REFUSED] {
                    for first in (8..=40).step_by(8) {
                        // What follows a first fragment that is no first one, is nobody's.
                        shots.extend(self.train(v4, protocol, port, first).into_iter().take(1));
                    }
                }
            }
        }
        // An IPv6 chain that goes on behind the first fragment.
        for length in (8..=48).step_by(8) {
            let segment = self.datagram(FREE);
            let inner = [&[60, 1][..], &[1, 12], &[0; 12], &[17, 0, 1, 4, 0, 0, 0, 0], &segment].concat();
            let id = self.fresh();
            let rest = [
                &make::fragment_header(60, id.into(), 0, true)[..],
                &inner[..length.min(inner.len())],
            ]
            .concat();
            shots.push(Shot {
                name: format!("a chain cut after {length} bytes of the first fragment"),
                frame: self.frame(IPV6, &make::v6(self.own.v6, self.to.v6, 44, &rest)),
            });
        }
        shots
    }

    /// Fragments over one another: a second first one with other ports, the middle of a TCP header again.
    pub fn overlapping(&mut self) -> Vec<Shot> {
        let mut shots = Vec::new();
        for v4 in [true, false] {
            for protocol in [17, 6, 132] {
                for (earlier, later) in [(FREE, REFUSED), (REFUSED, FREE), (FREE, FREE + 1)] {
                    let id = self.fresh();
                    let (one, two) = (self.transport(protocol, earlier), self.transport(protocol, later));
                    let long = |segment: &[u8]| [segment, &[0; 32]].concat();
                    let (one, mut two) = (long(&one), long(&two));
                    two[..2].copy_from_slice(&one[..2]);
                    for (name, segment, from, to) in [
                        ("first", &one, 0, 24),
                        ("the same again", &one, 0, 24),
                        ("another first", &two, 0, 24),
                        ("a later one", &one, 24, 32),
                        ("the first again", &one, 0, 24),
                        ("the last", &one, 32, 40),
                    ] {
                        let pieces = Pieces {
                            v4,
                            protocol,
                            id,
                            segment,
                        };
                        shots.push(Shot {
                            name: format!("{} {protocol} {earlier}, {later}, id {id}: {name}", family(v4)),
                            frame: self.piece(&pieces, from, to, to < 40),
                        });
                    }
                }
            }
            for offset in (8..=32).step_by(8) {
                let mut train = self.train(v4, 6, FREE, 40);
                let id = self.fresh();
                let segment = self.transport(6, FREE);
                let pieces = Pieces {
                    v4,
                    protocol: 6,
                    id,
                    segment: &[&segment[..], &[0; 40]].concat(),
                };
                train.truncate(1);
                train[0].frame = self.piece(&pieces, 0, 40, true);
                shots.extend(train);
                shots.push(Shot {
                    name: format!("{} TCP again from {offset} on", family(v4)),
                    frame: self.piece(&pieces, offset, offset + 16, false),
                });
            }
        }
        shots
    }

    /// IPv6 packets with a Fragment header that are whole; trains whose fragments name different next headers; and
    /// fragments that end behind the longest packet.
    pub fn oddities(&mut self) -> Vec<Shot> {
        let mut shots = Vec::new();
        for port in [FREE, REFUSED] {
            for protocol in [17, 6, 58, 132] {
                let segment = self.transport(protocol, port);
                let id = self.fresh();
                let rest = [&make::fragment_header(protocol, id.into(), 0, false)[..], &segment].concat();
                shots.push(Shot {
                    name: format!("atomic, protocol {protocol} to {port}"),
                    frame: self.frame(IPV6, &make::v6(self.own.v6, self.to.v6, 44, &rest)),
                });
            }
            for later in [17, 6, 47, 60, 59, 50] {
                let mut segment = self.datagram(port);
                segment.extend([0; 36]);
                segment[5] = 56;
                let id = self.fresh();
                for (next, from, to) in [(17, 0, 24), (later, 24, 40), (17, 40, 56)] {
                    let pieces = Pieces {
                        v4: false,
                        protocol: next,
                        id,
                        segment: &segment,
                    };
                    shots.push(Shot {
                        name: format!("UDP to {port}, later as {later}, id {id}: {next} from {from}"),
                        frame: self.piece(&pieces, from, to, to < 56),
                    });
                }
            }
        }
        // First fragments of one id that differ by what stands before the ports.
        let id = self.fresh();
        for (name, next, inner) in [
            ("bare", 17, vec![]),
            ("behind options", 60, vec![17, 0, 1, 4, 0, 0, 0, 0]),
        ] {
            let segment = self.datagram(FREE);
            let rest = [
                &make::fragment_header(next, id.into(), 0, true)[..],
                &inner,
                &segment,
                &[0; 4],
            ]
            .concat();
            shots.push(Shot {
                name: format!("first fragments of one id, {name}"),
                frame: self.frame(IPV6, &make::v6(self.own.v6, self.to.v6, 44, &rest)),
            });
        }
        for v4 in [true, false] {
            for last in [65_504, 65_512, 65_520, 65_528] {
                let stamp = self.stamp();
                let segment = [&vec![0; last][..], &stamp, &[0; 4]].concat();
                let pieces = Pieces {
                    v4,
                    protocol: 47,
                    id: self.fresh(),
                    segment: &segment,
                };
                shots.push(Shot {
                    name: format!("{} fragment that ends at {}", family(v4), last + 16),
                    frame: self.piece(&pieces, last, last + 16, false),
                });
            }
        }
        shots
    }
}
