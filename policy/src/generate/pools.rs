//! The pools that generated worlds draw from. Addresses are those set aside for documentation.

pub(super) const NAMESPACES: &[&str] = &["shop", "pay", "pay-prod", "web-prod"];
pub(super) const NODES: &[&str] = &["node-a", "node-b", "node-c"];

/// Per node: addresses of the status.
pub(super) const NODE_ADDRESSES: &[&[&str]] = &[
    &["192.0.2.1", "2001:db8::1"],
    &["192.0.2.2", "2001:db8::2"],
    &["192.0.2.3"],
];
/// Per node: ranges of its pods.
pub(super) const NODE_RANGES: &[&[&str]] = &[
    &["198.51.100.0/26", "2001:db8:a::/64"],
    &["198.51.100.64/26", "2001:db8:b::/64"],
    &["198.51.100.128/26"],
];
/// Further addresses on nodes' interfaces: gateways inside pod ranges, a bridge that every node has, link-local ones.
pub(super) const INTERFACE_ADDRESSES: &[&str] = &[
    "198.51.100.1",
    "198.51.100.65",
    "192.0.2.129",
    "2001:db8:a::1",
    "fe80::1",
    "169.254.1.1",
];

/// Pods' addresses, few enough that two pods often want the same; some outside the pod ranges, some that a node or a
/// Service has as well.
pub(super) const POD_V4: &[&str] = &[
    "198.51.100.2",
    "198.51.100.3",
    "198.51.100.4",
    "198.51.100.5",
    "198.51.100.6",
    "198.51.100.7",
    "198.51.100.66",
    "198.51.100.67",
    "198.51.100.68",
    "198.51.100.130",
    "198.51.100.131",
    "198.51.100.200",
    "203.0.113.5",
    "203.0.113.10",
    "192.0.2.129",
];
pub(super) const POD_V6: &[&str] = &[
    "2001:db8:a::2",
    "2001:db8:a::3",
    "2001:db8:a::4",
    "2001:db8:b::2",
    "2001:db8:b::3",
    "2001:db8:5::10",
];
pub(super) const POD_LINK_LOCAL: &[&str] = &["fe80::a1", "fe80::a2", "169.254.7.7"];

pub(super) const CLUSTER_IPS: &[&str] = &["203.0.113.10", "203.0.113.11", "2001:db8:5::10", "2001:db8:5::11"];
pub(super) const EXTERNAL_IPS: &[&str] = &["203.0.113.129", "203.0.113.130", "2001:db8:e::10", "192.0.2.2"];

/// Cluster IPs of the Services of a crowded world, and their node ports.
pub(super) const FRONTS: &[&[&str]] = &[
    &["203.0.113.20", "2001:db8:5::20"],
    &["203.0.113.21"],
    &["2001:db8:5::22", "203.0.113.22"],
    &["203.0.113.23"],
];
pub(super) const FRONT_NODE_PORTS: &[u16] = &[30100, 30101, 30102, 30103];

/// Addresses that questions and endpoints add to those of the documents.
pub(super) const STRAY: &[&str] = &[
    "198.51.100.40",
    "198.51.100.199",
    "198.51.100.255",
    "2001:db8:a::99",
    "203.0.113.1",
    "203.0.113.64",
    "203.0.113.127",
    "203.0.113.128",
    "203.0.113.200",
    "192.0.2.0",
    "192.0.2.200",
    "2001:db8:ffff::1",
    "224.0.0.251",
    "239.1.2.3",
    "255.255.255.255",
    "ff02::1",
    "ff05::2",
    "169.254.169.254",
    "fe80::99",
];

pub(super) const RANGES: &[&str] = &[
    "0.0.0.0/0",
    "::/0",
    "192.0.2.0/24",
    "192.0.2.2/32",
    "198.51.100.0/24",
    "198.51.100.128/25",
    "203.0.113.0/24",
    "203.0.113.0/25",
    "203.0.113.128/25",
    "203.0.113.129/32",
    "224.0.0.0/4",
    "239.1.0.0/16",
    "169.254.0.0/16",
    "2001:db8::/32",
    "2001:db8::/64",
    "2001:db8:e::/48",
    "fe80::/10",
    "ff02::/16",
];
pub(super) const HOLES: &[&str] = &[
    "203.0.113.64/26",
    "203.0.113.129/32",
    "203.0.113.200/29",
    "192.0.2.128/25",
    "192.0.2.1/32",
    "198.51.100.192/26",
    "224.0.0.0/24",
    "2001:db8:e::/64",
    "2001:db8::2/128",
    "fe80::1/128",
];

pub(super) const APPS: &[&str] = &["web", "db", "cache", ""];
pub(super) const TIERS: &[&str] = &["front", "back"];
pub(super) const IMAGES: &[&str] = &[
    "nginx",
    "nginx:1.27",
    "docker.io/library/redis:latest",
    "index.docker.io/team/web",
    "redis@sha256:00",
    "registry.example:5000/team/web:1",
];
pub(super) const NAMESPACE_GLOBS: &[&str] = &["*", "shop", "pay*", "*-prod", "p?y", "nowhere"];
pub(super) const APP_GLOBS: &[&str] = &["*", "web", "d?", "*a*", "nothing"];
pub(super) const IMAGE_GLOBS: &[&str] = &[
    "nginx",
    "docker.io/library/*",
    "*:latest",
    "*/team/web*",
    "*sha256*",
    "docker.io/library/nginx:latest",
];

/// Ports of probes, host ports and targets; rules' edges lie around them.
pub(super) const PORTS: &[u16] = &[53, 80, 81, 443, 445, 446, 8080];
pub(super) const NODE_PORTS: &[u16] = &[30053, 30080];
pub(super) const PRIORITIES: &[u16] = &[1, 10, 10, 500, 1000];
