//! Frames that were right until some of their bytes were changed by chance.

use super::{FREE, Places, REFUSED, Seeded, Shot};
use crate::make::{self, ARP, ETHERNET, IPV4, IPV6};

impl Places {
    /// One to three bytes changed behind the link addresses, sometimes cut off; the same ones in each run.
    pub fn changed(&mut self) -> Vec<Shot> {
        let mut chance = Seeded::new(9);
        let mut shots = Vec::new();
        for number in 0..1_500 {
            let port = if chance.below(4) == 0 { REFUSED } else { FREE };
            let mut frame = self.sound(chance.below(9), port);
            if frame[12..14] == IPV4.to_be_bytes() {
                // What becomes a fragment is of a train of its own.
                let id = self.fresh();
                frame[18..20].copy_from_slice(&id.to_be_bytes());
            }
            // Mostly in the headers.
            let reach = if chance.below(4) == 0 {
                frame.len()
            } else {
                frame.len().min(62)
            };
            let mut changed = Vec::new();
            for _ in 0..=chance.below(3) {
                let at = ETHERNET - 2 + chance.below(reach + 2 - ETHERNET);
                frame[at] = match chance.below(3) {
                    0 => frame[at] ^ 1 << chance.below(8),
                    1 => [0, 1, 4, 5, 6, 8, 17, 44, 58, 60, 0x7f, 0x80, 0xff][chance.below(13)],
                    _ => u8::try_from(chance.below(256)).expect("a byte"),
                };
                changed.push(at);
            }
            if chance.below(10) == 0 {
                frame.truncate(ETHERNET + chance.below(frame.len() - ETHERNET));
            }
            shots.push(Shot {
                name: format!("number {number}, changed at {changed:?}"),
                frame,
            });
        }
        shots
    }

    fn sound(&mut self, which: usize, port: u16) -> Vec<u8> {
        let id = self.fresh();
        match which {
            0 | 1 => {
                let segment = self.transport([17, 6][which], port);
                self.packet(true, [17, 6][which], &segment)
            }
            2 => {
                let segment = self.transport(6, port);
                let options = [7, 7, 4, 0, 0, 0, 0, 1];
                let packet = make::v4_with(self.own.v4, self.to.v4, 6, &options, &segment);
                self.frame(IPV4, &packet)
            }
            3 => {
                let segment = self.transport(1, port);
                self.packet(true, 1, &segment)
            }
            4 => {
                let segment = self.transport(58, port);
                self.packet(false, 58, &segment)
            }
            5 => {
                let chain = [
                    60, 0, 1, 4, 0, 0, 0, 0, 43, 0, 1, 4, 0, 0, 0, 0, 17, 0, 4, 0, 0, 0, 0, 0,
                ];
                let rest = [&chain[..], &self.transport(17, port)].concat();
                self.frame(IPV6, &make::v6(self.own.v6, self.to.v6, 0, &rest))
            }
            6 => {
                let rest = [
                    &make::fragment_header(17, id.into(), 0, false)[..],
                    &self.transport(17, port),
                ]
                .concat();
                self.frame(IPV6, &make::v6(self.own.v6, self.to.v6, 44, &rest))
            }
            7 => {
                let message = make::neighbour(136, self.own.v6, &self.stamp());
                self.behind(self.own.v6, &[], &message)
            }
            _ => {
                let mut packet = make::arp(1, self.source_mac, self.own.v4, self.to.v4);
                packet.extend(self.stamp());
                self.frame(ARP, &packet)
            }
        }
    }
}
