//! The frames, category by category.

mod chain;
mod chance;
mod contents;
mod forged;
mod fragments;
mod group;
mod headers;
mod link;
mod tunnels;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::make;
use super::reference::PodAddresses;

/// One frame and what it is.
#[derive(Debug, Clone)]
pub struct Shot {
    /// For the message when something is wrong.
    pub name: String,
    /// From the Ethernet header on.
    pub frame: Vec<u8>,
}

pub use super::REFUSED;
/// A port that no rule is about.
pub const FREE: u16 = 1000;

/// Where frames come from and go to, and numbers that were not given yet.
#[derive(Debug, Clone)]
pub struct Places {
    /// Link address of the interface that sends.
    pub source_mac: [u8; 6],
    /// Link address that leads to the receiver and is nobody's, so that no network stack answers.
    pub destination_mac: [u8; 6],
    /// The sender's own addresses.
    pub own: PodAddresses,
    /// The receiver's addresses.
    pub to: PodAddresses,
    /// A third pod's addresses.
    pub other: PodAddresses,
    /// The node's addresses, one of each family.
    pub node: (Ipv4Addr, Ipv6Addr),
    /// How many numbers were given.
    pub given: u32,
}

impl Places {
    /// Places with all numbers still to be given.
    pub fn new(macs: ([u8; 6], [u8; 6]), pods: [&PodAddresses; 3], node: (Ipv4Addr, Ipv6Addr)) -> Self {
        Self {
            source_mac: macs.0,
            destination_mac: macs.1,
            own: pods[0].clone(),
            to: pods[1].clone(),
            other: pods[2].clone(),
            node,
            given: 0,
        }
    }

    /// A payload that no other frame has.
    pub fn stamp(&mut self) -> [u8; 12] {
        self.given += 1;
        let mut stamp = *b"cellwall----";
        stamp[8..].copy_from_slice(&self.given.to_be_bytes());
        stamp
    }

    /// A source port or an identifier, so that no two frames belong to one flow; above every port that means something.
    pub fn fresh(&mut self) -> u16 {
        self.given += 1;
        u16::try_from(10_000 + self.given % 50_000).expect("below 60000")
    }

    /// Source and destination of one family.
    pub fn ends(&self, v4: bool) -> (IpAddr, IpAddr) {
        if v4 {
            (self.own.v4.into(), self.to.v4.into())
        } else {
            (self.own.v6.into(), self.to.v6.into())
        }
    }

    /// A frame of this EtherType.
    pub fn frame(&self, ethertype: u16, body: &[u8]) -> Vec<u8> {
        make::ethernet(self.destination_mac, self.source_mac, ethertype, body)
    }

    /// A frame with an IP packet from the sender to the receiver.
    pub fn packet(&self, v4: bool, protocol: u8, segment: &[u8]) -> Vec<u8> {
        let (source, destination) = self.ends(v4);
        self.between(source, destination, protocol, segment)
    }

    /// A frame with an IP packet between these two.
    pub fn between(&self, source: IpAddr, destination: IpAddr, protocol: u8, segment: &[u8]) -> Vec<u8> {
        self.frame(
            make::ethertype(source),
            &make::ip(source, destination, protocol, segment),
        )
    }

    /// A UDP datagram to this port with a payload of its own.
    pub fn datagram(&mut self, port: u16) -> Vec<u8> {
        let (source, payload) = (self.fresh(), self.stamp());
        make::udp(source, port, &payload)
    }

    /// A frame that arrives wherever anything does: the end of a batch.
    pub fn marker(&mut self) -> Shot {
        let segment = self.datagram(FREE);
        Shot {
            name: "marker".to_owned(),
            frame: self.packet(true, 17, &segment),
        }
    }
}

/// Names of the two families.
fn family(v4: bool) -> &'static str {
    if v4 { "IPv4" } else { "IPv6" }
}

/// Numbers by chance, the same ones for the same seed (splitmix64).
#[derive(Debug)]
struct Seeded(u64);

impl Seeded {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number from 0 to `end` - 1.
    fn below(&mut self, end: usize) -> usize {
        let end = end as u64;
        usize::try_from(self.next() % end).expect("a small number")
    }
}
