//! The little world that frames are judged in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A pod's addresses.
#[derive(Debug, Clone)]
pub struct PodAddresses {
    /// IPv4.
    pub v4: Ipv4Addr,
    /// IPv6.
    pub v6: Ipv6Addr,
    /// The address that its MAC yields.
    pub link_local: Ipv6Addr,
}

impl PodAddresses {
    pub(super) fn of_family(&self, other: IpAddr) -> IpAddr {
        if other.is_ipv4() {
            self.v4.into()
        } else {
            self.v6.into()
        }
    }

    pub(super) fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => v4 == self.v4,
            IpAddr::V6(v6) => v6 == self.v6 || v6 == self.link_local,
        }
    }
}

/// What a Drop rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// This destination port of TCP, UDP and SCTP.
    Port(u16),
    /// This type of ICMP.
    Icmp(u8),
    /// This type of ICMPv6.
    Icmpv6(u8),
    /// This protocol.
    Protocol(u8),
}

/// The little world that frames are judged in: whatever no Drop names passes.
#[derive(Debug, Clone)]
pub struct World {
    /// The node's pods.
    pub pods: Vec<PodAddresses>,
    /// The node's addresses.
    pub node: Vec<IpAddr>,
    /// Numbers of the pods that the Drop rule is about, as destinations.
    pub guarded: Vec<usize>,
    /// What is dropped on the way to them, whoever sends it.
    pub drops: Vec<What>,
}

impl World {
    pub(super) fn is_guarded(&self, address: IpAddr) -> bool {
        self.guarded.iter().any(|pod| self.pods[*pod].has(address))
    }

    /// Whether a pod talks to itself, which no rule is about.
    pub(super) fn is_one_pod(&self, source: IpAddr, destination: IpAddr) -> bool {
        self.pods.iter().any(|pod| pod.has(source) && pod.has(destination))
    }

    /// Whether a packet opened towards `responder` is dropped by the rule.
    pub(super) fn drops(&self, responder: IpAddr, what: impl Fn(What) -> bool) -> bool {
        self.is_guarded(responder) && self.drops.iter().any(|drop| what(*drop))
    }
}
