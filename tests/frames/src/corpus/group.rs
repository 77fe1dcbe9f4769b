//! Groups and routers: memberships, multicast destinations, router messages however they are wrapped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{FREE, Places, REFUSED, Shot};
use crate::make;

/// An IPv6 group of the link.
const fn group(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, number)
}

impl Places {
    /// Memberships, and packets to groups and to everybody: at the pod they are judged as if they were for the pod.
    pub fn groups(&mut self) -> Vec<Shot> {
        let mut shots = Vec::new();
        for kind in [0x11, 0x12, 0x16, 0x17, 0x22] {
            for to in [Ipv4Addr::new(224, 0, 0, 1), Ipv4Addr::new(224, 0, 0, 22), self.to.v4] {
                let segment = [&[kind, 0, 0, 0, 239, 0, 0, 1][..], &self.stamp()].concat();
                shots.push(Shot {
                    name: format!("IGMP {kind:#04x} to {to}"),
                    frame: self.between(self.own.v4.into(), to.into(), 2, &segment),
                });
            }
        }
        for kind in [130, 131, 132, 143] {
            for source in [self.own.link_local, self.own.v6, Ipv6Addr::UNSPECIFIED] {
                let id = self.fresh();
                let message = make::icmp(kind, 0, id, &[&[0xff; 16][..], &self.stamp()].concat());
                let chain = [&[0, 0, 5, 2, 0, 0, 1, 0][..], &[]];
                for chain in chain {
                    shots.push(Shot {
                        name: format!("MLD {kind} from {source}"),
                        frame: self.behind(source, chain, &message),
                    });
                }
            }
        }
        let groups: [IpAddr; 6] = [
            Ipv4Addr::new(224, 0, 0, 251).into(),
            Ipv4Addr::new(239, 1, 2, 3).into(),
            Ipv4Addr::BROADCAST.into(),
            group(1).into(),
            group(0xfb).into(),
            Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, 3).into(),
        ];
        for to in groups {
            let own = self.ends(to.is_ipv4()).0;
            for port in [FREE, REFUSED] {
                for protocol in [17, 132, super::headers::icmp(to.is_ipv4()), 50, 89] {
                    let segment = self.transport(protocol, port);
                    shots.push(Shot {
                        name: format!("to the group {to}, protocol {protocol} to {port}"),
                        frame: self.between(own, to, protocol, &segment),
                    });
                }
            }
        }
        shots
    }

    /// Router messages of both families, bare and behind extension headers and Fragment headers.
    pub fn routers(&mut self) -> Vec<Shot> {
        let mut shots = Vec::new();
        let chains: [&[u8]; 7] = [
            &[],
            &[0, 0, 1, 4, 0, 0, 0, 0],
            &[60, 0, 1, 4, 0, 0, 0, 0],
            &[60, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[51, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[44, 0, 0, 0, 0, 0, 0, 7],
            // A first fragment: the message is in it.
            &[44, 0, 0, 1, 0, 0, 1, 7],
        ];
        for chain in chains {
            for kind in [133, 134, 137] {
                for source in [self.own.link_local, self.own.v6] {
                    let mut chain = chain.to_vec();
                    if let [44, .., id] = &mut chain[..] {
                        *id = self.stamp()[11];
                    }
                    let message = make::icmp(kind, 0, 0x4000, &[&[0; 32][..], &self.stamp()].concat());
                    shots.push(Shot {
                        name: format!("ICMPv6 {kind} from {source} behind {chain:?}"),
                        frame: self.behind(source, &chain, &message),
                    });
                }
            }
        }
        for kind in [5, 9, 10] {
            for options in [&[][..], &[148, 4, 0, 0]] {
                let message = make::icmp(kind, 0, 0, &[&[0x45, 0, 0, 28][..], &[0; 24], &self.stamp()].concat());
                let body = make::v4_with(self.own.v4, self.to.v4, 1, options, &message);
                shots.push(Shot {
                    name: format!("ICMP {kind} behind options {options:?}"),
                    frame: self.frame(make::IPV4, &body),
                });
            }
        }
        shots
    }
}
