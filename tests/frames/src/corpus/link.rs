//! Envelopes: EtherTypes, lengths, tags.

use super::{FREE, Places, REFUSED, Shot, family};
use crate::make::{self, ARP, IPV4, IPV6};

impl Places {
    /// The same three packets, which pass, under every stack of up to four tags of both kinds, with and without a
    /// number in them.
    pub fn tags(&mut self) -> Vec<Shot> {
        let mut shots = Vec::new();
        for depth in 0..=4 {
            for kinds in 0..1_u32 << depth {
                for number in [0, 5] {
                    let stack = tag_stack(depth, kinds, number);
                    for (name, inner, body) in self.innocent() {
                        let mut frame = self.frame(inner, &body);
                        frame.splice(12..12, stack.iter().copied());
                        shots.push(Shot {
                            name: format!("{name} under {depth} tags, kinds {kinds:04b}, number {number}"),
                            frame,
                        });
                    }
                }
            }
        }
        shots
    }

    /// Bodies that pass when they come in their own envelope.
    fn innocent(&mut self) -> Vec<(&'static str, u16, Vec<u8>)> {
        let mut bodies = Vec::new();
        for v4 in [true, false] {
            let (source, destination) = self.ends(v4);
            let segment = self.datagram(FREE);
            let body = make::ip(source, destination, 17, &segment);
            bodies.push((family(v4), make::ethertype(source), body));
        }
        let mut arp = make::arp(1, self.source_mac, self.own.v4, self.to.v4);
        arp.extend(self.stamp());
        bodies.push(("ARP", ARP, arp));
        bodies
    }

    /// Every kind of envelope around packets of both families, to a port that is free and to one that is refused.
    pub fn envelopes(&mut self) -> Vec<Shot> {
        let kinds: Vec<u16> = (0..=1500)
            .step_by(50)
            .chain([1535, 1536, 0x0801, 0x0805, 0x0807, 0x0842, 0x8035, 0x80f3, 0x8137])
            .chain([0x86dc, 0x86de, 0x8808, 0x8809, 0x8847, 0x8848, 0x8863, 0x8864, 0x888e])
            .chain([0x88b5, 0x88b6, 0x88b7, 0x88cc, 0x88e5, 0x88e7, 0x8906, 0x893a, 0x9000])
            .chain([0x9100, 0x9200, 0x9300, 0xa8c8, 0xcafe, 0xffff, IPV4, IPV6])
            .collect();
        let mut shots = Vec::new();
        for kind in kinds {
            for v4 in [true, false] {
                for port in [FREE, REFUSED] {
                    let (source, destination) = self.ends(v4);
                    let segment = self.datagram(port);
                    let body = make::ip(source, destination, 17, &segment);
                    for (wrapped, prefix) in wrappings(kind, make::ethertype(source)) {
                        let body = [&prefix[..], &body].concat();
                        shots.push(Shot {
                            name: format!("{} to {port} as {kind:#06x}{wrapped}", family(v4)),
                            frame: self.frame(kind, &body),
                        });
                    }
                }
            }
        }
        shots
    }
}

/// What may stand between such an envelope and a packet.
fn wrappings(kind: u16, inner: u16) -> Vec<(&'static str, Vec<u8>)> {
    let mut snap = vec![0xaa, 0xaa, 3, 0, 0, 0];
    snap.extend(inner.to_be_bytes());
    match kind {
        0..1536 => vec![(", LLC", vec![6, 6, 3]), (", SNAP", snap), ("", Vec::new())],
        // One label, at the bottom of the stack.
        0x8847 | 0x8848 => vec![(", one label", vec![0, 0, 0x11, 64])],
        // PPPoE session, then PPP's number for IPv4 or IPv6.
        0x8864 => vec![(", session", vec![0x11, 0, 0, 1, 0, 40, 0, 0x21])],
        _ => vec![("", Vec::new())],
    }
}

fn tag_stack(depth: u32, kinds: u32, number: u16) -> Vec<u8> {
    let mut stack = Vec::new();
    for level in 0..depth {
        let kind: u16 = if kinds >> level & 1 == 0 { 0x8100 } else { 0x88a8 };
        stack.extend(kind.to_be_bytes());
        stack.extend(number.to_be_bytes());
    }
    stack
}
