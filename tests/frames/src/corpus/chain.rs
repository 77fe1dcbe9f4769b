//! IPv6 extension headers in every order.

use super::{FREE, Places, REFUSED, Seeded, Shot};
use crate::make::{self, IPV6};

const KINDS: [u8; 5] = [0, 43, 44, 51, 60];

impl Places {
    /// Every order of up to four headers, and longer ones by chance up to nine, before ports that are free and refused.
    pub fn chains(&mut self) -> Vec<Shot> {
        let mut orders: Vec<Vec<u8>> = vec![Vec::new()];
        let mut all = orders.clone();
        for _ in 0..4 {
            orders = orders
                .iter()
                .flat_map(|order| KINDS.map(|kind| [&order[..], &[kind]].concat()))
                .collect();
            all.extend(orders.iter().cloned());
        }
        let mut chance = Seeded::new(4);
        for depth in 5..=9 {
            all.push(vec![60; depth]);
            all.push(vec![51; depth]);
            all.push([&[0], &vec![60; depth - 2][..], &[44]].concat());
            for _ in 0..120 {
                // Hop-by-hop and Fragment where they may be, mostly: other orders are over at their second header.
                let mut order: Vec<u8> = (0..depth).map(|_| [43, 51, 60][chance.below(3)]).collect();
                if chance.below(2) == 0 {
                    order[0] = 0;
                }
                if chance.below(2) == 0 {
                    order[1 + chance.below(depth - 1)] = 44;
                }
                if chance.below(8) == 0 {
                    order[chance.below(depth)] = KINDS[chance.below(5)];
                }
                all.push(order);
            }
        }
        let mut shots = Vec::new();
        for order in all {
            let port = if chance.below(3) == 0 { REFUSED } else { FREE };
            shots.push(self.chain(&order, port, &mut chance));
        }
        shots
    }

    /// A chain cut off at each byte, its payload length made to fit.
    pub fn cut_chains(&mut self) -> Vec<Shot> {
        let mut chance = Seeded::new(5);
        let mut shots = Vec::new();
        for order in [&[0, 60, 43, 44, 60][..], &[44, 60, 51], &[51, 51], &[60; 8], &[43]] {
            let whole = self.chain(order, FREE, &mut chance).frame.len();
            for length in 54..whole {
                let Shot { name, mut frame } = self.chain(order, FREE, &mut chance);
                frame.truncate(length.min(frame.len()));
                let payload = u16::try_from(frame.len() - 54).expect("frames here are short");
                frame[18..20].copy_from_slice(&payload.to_be_bytes());
                shots.push(Shot {
                    name: format!("{name}, {length} bytes"),
                    frame,
                });
            }
        }
        shots
    }

    fn chain(&mut self, order: &[u8], port: u16, chance: &mut Seeded) -> Shot {
        let mut rest = self.datagram(port);
        let mut next = 17;
        for kind in order.iter().rev() {
            rest = [&extension(*kind, next, chance)[..], &rest].concat();
            next = *kind;
        }
        let body = make::v6(self.own.v6, self.to.v6, next, &rest);
        Shot {
            name: format!("chain {order:?} to {port}"),
            frame: self.frame(IPV6, &body),
        }
    }
}

/// An extension header of this kind, of a length by chance; its bytes are such that they could be taken for ports.
fn extension(kind: u8, next: u8, chance: &mut Seeded) -> Vec<u8> {
    if kind == 44 {
        return make::fragment_header(next, 7, 0, false);
    }
    let units = u8::try_from(chance.below(3)).expect("below three");
    let length = match kind {
        51 => 8 + usize::from(units) * 8 + 8,
        _ => 8 + usize::from(units) * 8,
    };
    let said = match kind {
        51 => u8::try_from(length / 4 - 2).expect("a short header"),
        _ => units,
    };
    let mut header = vec![next, said];
    header.extend([9, 0, 0, 9].iter().copied().cycle().take(length - 2));
    if kind == 43 {
        // No segments left, mostly: else it is a source route.
        header[3] = u8::from(chance.below(8) == 0);
    }
    header
}
