//! A small cluster on one machine: a node and its pods as network namespaces with real veths, for the demo and for
//! the tests. Nothing outside the namespaces it makes is touched, and dropping the [`Lab`] removes them.
//!
//! Addresses are documentation ranges: pods 192.0.2.0/24 and 2001:db8:1::/64, the node's uplink 198.51.100.0/24 and
//! 2001:db8:2::/64, with one host outside.

mod namespace;
mod wire;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use namespace::{Namespace, inside};
pub use wire::{Outcome, Server, tcp_ask, udp_ask};

/// How pods reach each other: what the common network plugins do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wiring {
    /// Each pod has a veth with /32 and /128 routes to it; the node routes.
    Routed,
    /// All pods' veths are ports of a bridge that has the gateway address.
    Bridged,
}

/// Why a lab could not be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message says it")]
pub enum LabError {
    #[error("cannot run {program:?}; install it (Debian packages iproute2 and util-linux)")]
    Program { program: &'static str, source: io::Error },
    #[error("`{command}` failed: {output}")]
    Command { command: String, output: String },
    #[error("cannot enter network namespace {name:?}; network namespaces need root")]
    Enter { name: String, source: io::Error },
    #[error("cannot set {name} to {value} in network namespace {netns:?}")]
    Sysctl {
        netns: String,
        name: &'static str,
        value: &'static str,
        source: io::Error,
    },
}

/// A pod of the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabPod {
    /// Name given.
    pub name: String,
    /// Network namespace, a name under /run/netns.
    pub netns: String,
    /// Interface on the node's side.
    pub host_interface: String,
    /// IPv4 address.
    pub v4: Ipv4Addr,
    /// IPv6 address.
    pub v6: Ipv6Addr,
}

impl LabPod {
    /// The address of one family.
    pub fn address(&self, v4: bool) -> IpAddr {
        if v4 { self.v4.into() } else { self.v6.into() }
    }
}

/// A node, its pods, and a host outside.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    wiring: Wiring,
    node: Namespace,
    outside: Namespace,
    pods: Vec<(LabPod, Namespace)>,
}

/// The node's address on its uplink.
pub const NODE_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The node's IPv6 address on its uplink.
pub const NODE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1);
/// The host outside.
pub const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// The host outside, over IPv6.
pub const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2);
/// The bridge's address, and the pods' gateway.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The same over IPv6.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);

impl Lab {
    /// A node with its uplink and the host outside, no pods yet. `prefix` begins the name of every namespace and
    /// interface: at most 6 characters, and no other lab on this machine may use it.
    pub fn new(prefix: &str, wiring: Wiring) -> Result<Self, LabError> {
        let node = Namespace::create(&format!("{prefix}-node"))?;
        let outside = Namespace::create(&format!("{prefix}-out"))?;
        let (n, o) = (node.name(), outside.name());
        namespace::ip(&[
            format!("-n {n} link set lo up"),
            format!("-n {o} link set lo up"),
            format!("link add up0 netns {n} type veth peer name eth0 netns {o}"),
        ])?;
        for (name, value) in [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
        ] {
            node.sysctl(name, value)?;
        }
        namespace::ip(&[
            format!("-n {n} addr add {NODE_V4}/24 dev up0"),
            format!("-n {n} addr add {NODE_V6}/64 dev up0 nodad"),
            format!("-n {n} link set up0 up"),
            format!("-n {o} addr add {OUTSIDE_V4}/24 dev eth0"),
            format!("-n {o} addr add {OUTSIDE_V6}/64 dev eth0 nodad"),
            format!("-n {o} link set eth0 up"),
            format!("-n {o} route add 192.0.2.0/24 via {NODE_V4}"),
            format!("-n {o} -6 route add 2001:db8:1::/64 via {NODE_V6}"),
        ])?;
        if wiring == Wiring::Bridged {
            namespace::ip(&[
                format!("-n {n} link add br0 type bridge"),
                format!("-n {n} addr add {GATEWAY_V4}/24 dev br0"),
                format!("-n {n} addr add {GATEWAY_V6}/64 dev br0 nodad"),
                format!("-n {n} link set br0 up"),
            ])?;
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            wiring,
            node,
            outside,
            pods: Vec::new(),
        })
    }

    /// Adds a pod: 192.0.2.N and 2001:db8:1::N, N from 10 on, the smallest that is free.
    pub fn add_pod(&mut self, name: &str) -> Result<LabPod, LabError> {
        let is_free = |number: &u8| self.pods.iter().all(|(pod, _)| pod.v4.octets()[3] != *number);
        let number = (10..=u8::MAX).find(is_free).unwrap_or(u8::MAX);
        let netns = Namespace::create(&format!("{}-{name}", self.prefix))?;
        let pod = LabPod {
            name: name.to_owned(),
            netns: netns.name().to_owned(),
            host_interface: format!("{}v{number}", self.prefix),
            v4: Ipv4Addr::new(192, 0, 2, number),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, u16::from(number)),
        };
        self.wire(&pod)?;
        self.pods.push((pod.clone(), netns));
        Ok(pod)
    }

    fn wire(&self, pod: &LabPod) -> Result<(), LabError> {
        let (node, p, host) = (self.node.name(), pod.netns.as_str(), pod.host_interface.as_str());
        let (v4, v6) = (pod.v4, pod.v6);
        let mut commands = vec![
            format!("link add {host} netns {node} type veth peer name eth0 netns {p}"),
            format!("-n {p} link set lo up"),
        ];
        match self.wiring {
            Wiring::Routed => commands.extend([
                format!("-n {p} addr add {v4}/32 dev eth0"),
                format!("-n {p} addr add {v6}/128 dev eth0 nodad"),
                format!("-n {p} link set eth0 up"),
                format!("-n {node} link set {host} up"),
                format!("-n {node} addr add fe80::1/64 dev {host} nodad"),
                format!("-n {node} addr add 169.254.1.1/32 dev {host}"),
                format!("-n {node} route add {v4}/32 dev {host}"),
                format!("-n {node} -6 route add {v6}/128 dev {host}"),
                format!("-n {p} route add 169.254.1.1/32 dev eth0 scope link"),
                format!("-n {p} route add default via 169.254.1.1"),
                format!("-n {p} -6 route add default via fe80::1 dev eth0"),
            ]),
            Wiring::Bridged => commands.extend([
                format!("-n {p} addr add {v4}/24 dev eth0"),
                format!("-n {p} addr add {v6}/64 dev eth0 nodad"),
                format!("-n {node} link set {host} master br0 up"),
                format!("-n {p} link set eth0 up"),
                format!("-n {p} route add default via {GATEWAY_V4}"),
                format!("-n {p} -6 route add default via {GATEWAY_V6}"),
            ]),
        }
        namespace::ip(&commands)
    }

    /// The node's network namespace: where an agent runs.
    pub fn node(&self) -> &Namespace {
        &self.node
    }

    /// The network namespace of the host outside.
    pub fn outside(&self) -> &Namespace {
        &self.outside
    }

    /// The pods, in the order they were added.
    pub fn pods(&self) -> impl Iterator<Item = &LabPod> {
        self.pods.iter().map(|(pod, _)| pod)
    }

    /// Takes a pod away with its namespace and interfaces.
    pub fn remove_pod(&mut self, name: &str) {
        let gone = self.pods.iter().filter(|(pod, _)| pod.name == name);
        for (pod, _) in gone {
            // As a CNI plugin does: the kernel clears a namespace some time after it was deleted, and the name is to be
            // free at once. What is gone already need not go.
            let _gone = namespace::ip(&[format!("-n {} link del {}", self.node.name(), pod.host_interface)]);
        }
        self.pods.retain(|(pod, _)| pod.name != name);
    }

    /// Leaves everything in place; answers the names of the namespaces, to be removed by hand.
    pub fn keep(self) -> Vec<String> {
        let all = self
            .pods
            .into_iter()
            .map(|(_, netns)| netns)
            .chain([self.node, self.outside]);
        all.map(Namespace::keep).collect()
    }
}
