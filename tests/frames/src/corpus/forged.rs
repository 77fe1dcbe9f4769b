//! Addresses that are somebody else's, or nobody's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{FREE, Places, Seeded, Shot};
use crate::make::{self, ARP, IPV6};

impl Places {
    /// Packets that say to come from elsewhere, of several protocols.
    pub fn sources(&mut self) -> Vec<Shot> {
        let mut sources: Vec<(String, IpAddr)> = self.named_sources();
        let mut chance = Seeded::new(17);
        for number in 0..60 {
            let bits = chance.next();
            let v4 = Ipv4Addr::from(u32::try_from(bits >> 32).expect("32 bits"));
            let v6 = Ipv6Addr::from(u128::from(bits) << 64 | u128::from(chance.next()));
            sources.push((format!("by chance {number}"), v4.into()));
            sources.push((format!("by chance {number}"), v6.into()));
            // One bit beside the true one.
            let near = u32::from(self.own.v4) ^ 1 << chance.below(32);
            sources.push(("one bit off".to_owned(), Ipv4Addr::from(near).into()));
            let near = u128::from(self.own.v6) ^ 1 << chance.below(128);
            sources.push(("one bit off".to_owned(), Ipv6Addr::from(near).into()));
        }
        let mut shots = Vec::new();
        for (name, source) in sources {
            let to = self.ends(source.is_ipv4()).1;
            for protocol in [17, 6, super::headers::icmp(source.is_ipv4()), 132, 47] {
                let segment = self.transport(protocol, FREE);
                shots.push(Shot {
                    name: format!("from {source} ({name}), protocol {protocol}"),
                    frame: self.between(source, to, protocol, &segment),
                });
            }
        }
        shots
    }

    fn named_sources(&self) -> Vec<(String, IpAddr)> {
        let mapped = |v4: Ipv4Addr| IpAddr::V6(v4.to_ipv6_mapped());
        let named: [(&str, IpAddr); 24] = [
            ("its own", self.own.v4.into()),
            ("its own", self.own.v6.into()),
            ("its own link-local", self.own.link_local.into()),
            ("the receiver", self.to.v4.into()),
            ("the receiver", self.to.v6.into()),
            ("the receiver's link-local", self.to.link_local.into()),
            ("another pod", self.other.v4.into()),
            ("another pod", self.other.v6.into()),
            ("another pod's link-local", self.other.link_local.into()),
            ("the node", self.node.0.into()),
            ("the node", self.node.1.into()),
            ("outside", Ipv4Addr::new(203, 0, 113, 7).into()),
            ("outside", Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 7).into()),
            ("loopback", Ipv4Addr::LOCALHOST.into()),
            ("loopback", Ipv4Addr::new(127, 255, 255, 254).into()),
            ("loopback", Ipv6Addr::LOCALHOST.into()),
            ("unspecified", Ipv4Addr::UNSPECIFIED.into()),
            ("unspecified", Ipv6Addr::UNSPECIFIED.into()),
            ("multicast", Ipv4Addr::new(224, 0, 0, 1).into()),
            ("broadcast", Ipv4Addr::BROADCAST.into()),
            ("multicast", Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into()),
            ("its own, mapped", mapped(self.own.v4)),
            ("another pod, mapped", mapped(self.other.v4)),
            (
                "link-local of nobody",
                Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9).into(),
            ),
        ];
        named.map(|(name, address)| (name.to_owned(), address)).to_vec()
    }

    /// A train of fragments in the name of the third pod: the first, or a later one to join the first.
    pub fn train_of_another(&mut self, id: u16, source: Ipv4Addr, later: bool) -> Vec<Shot> {
        let mut segment = self.datagram(FREE);
        segment.extend([0; 12]);
        let part = if later { &segment[24..] } else { &segment[..24] };
        let packet = make::v4(source, self.to.v4, 17, part);
        vec![Shot {
            name: format!("fragment of {source}, id {id}, later {later}"),
            frame: self.frame(
                make::IPV4,
                &make::v4_fragment(&packet, id, if later { 24 } else { 0 }, !later),
            ),
        }]
    }

    /// Packets to and from the addresses that mean the host itself.
    pub fn loopback(&mut self) -> Vec<Shot> {
        let mut shots = Vec::new();
        let places = [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv4Addr::new(127, 0, 0, 53).into(),
            Ipv4Addr::new(127, 255, 255, 255).into(),
            Ipv6Addr::LOCALHOST.into(),
        ];
        for place in places {
            let (own, to) = self.ends(place.is_ipv4());
            for (source, destination) in [(own, place), (place, to), (place, place)] {
                for protocol in [17, 6, super::headers::icmp(place.is_ipv4()), 89] {
                    let segment = self.transport(protocol, FREE);
                    shots.push(Shot {
                        name: format!("{source} to {destination}, protocol {protocol}"),
                        frame: self.between(source, destination, protocol, &segment),
                    });
                }
            }
        }
        // Next to it, and outside of it.
        for near in [Ipv4Addr::new(126, 255, 255, 255), Ipv4Addr::new(128, 0, 0, 1)] {
            let segment = self.datagram(FREE);
            shots.push(Shot {
                name: format!("to {near}, beside loopback"),
                frame: self.between(self.own.v4.into(), near.into(), 17, &segment),
            });
        }
        shots
    }

    /// ARP that asks and answers for the sender's own address and for others'.
    pub fn arps(&mut self) -> Vec<Shot> {
        let addresses = [
            self.own.v4,
            self.to.v4,
            self.other.v4,
            self.node.0,
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::new(192, 0, 2, 99),
            Ipv4Addr::BROADCAST,
            Ipv4Addr::LOCALHOST,
        ];
        let mut shots = Vec::new();
        for operation in [1, 2, 3, 4, 8, 9] {
            for says in addresses {
                for asks in addresses {
                    let mut packet = make::arp(operation, self.source_mac, says, asks);
                    packet.extend(self.stamp());
                    shots.push(Shot {
                        name: format!("ARP {operation}: {says} for {asks}"),
                        frame: self.frame(ARP, &packet),
                    });
                }
            }
        }
        for byte in 0..6 {
            for wrong in [0, 1, 4, 5, 6, 7, 8, 0xff] {
                let mut packet = make::arp(1, self.source_mac, self.own.v4, self.to.v4);
                packet[byte] = wrong;
                packet.extend(self.stamp());
                shots.push(Shot {
                    name: format!("ARP with {wrong} at {byte}"),
                    frame: self.frame(ARP, &packet),
                });
            }
        }
        for length in 0..28 {
            let packet = make::arp(1, self.source_mac, self.own.v4, self.to.v4);
            shots.push(Shot {
                name: format!("ARP of {length} bytes"),
                frame: self.frame(ARP, &packet[..length]),
            });
        }
        shots
    }

    /// Neighbour solicitations and advertisements for the sender's own addresses and for others', from its own
    /// addresses and from none, whole and cut off.
    pub fn neighbours(&mut self) -> Vec<Shot> {
        let targets = [
            self.own.v6,
            self.own.link_local,
            self.to.v6,
            self.to.link_local,
            self.other.v6,
            self.node.1,
            Ipv6Addr::UNSPECIFIED,
            Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
            Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x99),
        ];
        let mut shots = Vec::new();
        for kind in [135, 136] {
            for source in [self.own.v6, self.own.link_local, Ipv6Addr::UNSPECIFIED, self.other.v6] {
                for target in targets {
                    for chain in [&[][..], &[60, 0, 1, 4, 0, 0, 0, 0], &[44, 0, 0, 0, 0, 0, 0, 1]] {
                        let message = make::neighbour(kind, target, &self.stamp());
                        shots.push(Shot {
                            name: format!("{kind} from {source} for {target} behind {chain:?}"),
                            frame: self.behind(source, chain, &message),
                        });
                    }
                }
            }
            for length in 0..24 {
                let message = make::neighbour(kind, self.own.v6, &[]);
                shots.push(Shot {
                    name: format!("{kind} of {length} bytes"),
                    frame: self.behind(self.own.v6, &[], &message[..length]),
                });
            }
        }
        shots
    }

    /// An ICMPv6 message behind extension headers, of which the first byte is to name the kind of the first one.
    pub(super) fn behind(&self, source: Ipv6Addr, chain: &[u8], message: &[u8]) -> Vec<u8> {
        let mut rest = chain.to_vec();
        let next = match rest.first_mut() {
            Some(first) => std::mem::replace(first, 58),
            None => 58,
        };
        rest.extend(message);
        self.frame(IPV6, &make::v6(source, self.to.v6, next, &rest))
    }
}
