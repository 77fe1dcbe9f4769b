//! Encapsulation: from a pod to a node it would hide another packet from the hooks.

use std::net::IpAddr;

use super::{FREE, Places, Shot};
use crate::make;

impl Places {
    /// Tunnels of every kind to the node, to the receiver and to somewhere outside, and their neighbours among the
    /// ports; each carries a packet in another pod's name.
    pub fn tunnels(&mut self) -> Vec<Shot> {
        let mut shots = Vec::new();
        for v4 in [true, false] {
            let (own, to) = self.ends(v4);
            let outside: IpAddr = if v4 {
                std::net::Ipv4Addr::new(203, 0, 113, 9).into()
            } else {
                std::net::Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9).into()
            };
            let node: IpAddr = if v4 { self.node.0.into() } else { self.node.1.into() };
            for to in [node, to, outside] {
                for protocol in [4, 41, 47, 97, 115] {
                    let inner = self.inner();
                    shots.push(Shot {
                        name: format!("protocol {protocol} to {to}"),
                        frame: self.between(own, to, protocol, &inner),
                    });
                }
                for port in [4788, 4789, 4790, 8471, 8472, 8473, 6080, 6081, 6082, FREE] {
                    let (source, inner) = (self.fresh(), self.inner());
                    let segment = make::udp(source, port, &[&[8, 0, 0, 0, 0, 0, 1, 0][..], &inner].concat());
                    shots.push(Shot {
                        name: format!("UDP to {to} at {port}"),
                        frame: self.between(own, to, 17, &segment),
                    });
                    let segment = make::tcp(source, port, 2, &self.stamp());
                    shots.push(Shot {
                        name: format!("TCP to {to} at {port}"),
                        frame: self.between(own, to, 6, &segment),
                    });
                }
            }
        }
        shots
    }

    fn inner(&mut self) -> Vec<u8> {
        let segment = self.datagram(FREE);
        make::v4(self.other.v4, self.to.v4, 17, &segment)
    }
}
