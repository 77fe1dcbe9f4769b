//! What the range is made of besides the lab: a host on the bridge that is no pod, link addresses that lead to pods and
//! are nobody's, and the rule.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;

use cellwall_controller::lab::Namespace;

use super::reference::PodAddresses;
use crate::Cluster;

/// The manifests besides the pods': [`cellwall_frames::DROPS`] as a rule.
pub(crate) const RULES: &str = r#"
apiVersion: cellwall.io/v1alpha1
kind: ClusterDefense
metadata: {name: default}
spec: {localNode: Enforce}
---
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: guarded}
spec: {apps: [a, b]}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: refuses}
spec:
  source: {entity: Any}
  destination: {object: guarded}
  ports:
  - {protocol: Any, port: 9}
  - {protocol: ICMP, port: 13}
  - {protocol: ICMPv6, port: 135}
  - {protocol: ICMPv6, port: 139}
  - {protocol: "2"}
  - {protocol: "50"}
  action: Drop
  priority: 10
"#;

/// The link address that leads to a pod and is nobody's.
pub(super) fn link_address(number: u8) -> [u8; 6] {
    [2, 0xce, 0x11, 0, 0, number]
}

/// The link-local address that a MAC yields.
pub(crate) fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let mut bytes = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 0];
    bytes[8..11].copy_from_slice(&mac[..3]);
    bytes[8] ^= 2;
    bytes[13..].copy_from_slice(&mac[3..]);
    Ipv6Addr::from(bytes)
}

/// What the stranger calls itself.
pub(super) fn stranger_addresses(mac: [u8; 6]) -> PodAddresses {
    PodAddresses {
        v4: Ipv4Addr::new(192, 0, 2, 200),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x200),
        link_local: link_local(mac),
    }
}

/// A host on the bridge that is no pod.
pub(super) fn join_stranger(cluster: &Cluster) -> Namespace {
    let node = cluster.netns("node");
    let prefix = node.trim_end_matches("-node");
    let stranger = Namespace::create(&format!("{prefix}-x")).expect("a namespace");
    let host = format!("{prefix}x");
    for command in [
        format!(
            "link add {host} netns {node} type veth peer name eth0 netns {}",
            stranger.name()
        ),
        format!("-n {} link set eth0 up", stranger.name()),
        format!("-n {node} link set {host} master br0 up"),
    ] {
        run("ip", &command);
    }
    stranger
}

/// Where the bridge hands packets to the IP layer's filters, or looks for memberships, it drops those whose headers are
/// wrong: that is to be the hooks' work here.
pub(super) fn forward_everything(cluster: &Cluster) {
    let node = cluster.netns("node");
    run("ip", &format!("-n {node} link set br0 type bridge mcast_snooping 0"));
    for name in ["iptables", "ip6tables", "arptables"] {
        let path = format!("/proc/sys/net/bridge/bridge-nf-call-{name}");
        let done = cluster.lab.node().inside(|| {
            if std::path::Path::new(&path).exists() {
                std::fs::write(&path, "0")
            } else {
                Ok(())
            }
        });
        done.expect("the node's namespace")
            .expect("the bridge's filters can be turned off");
    }
}

/// Has the bridge send what is for this link address to this port: nobody has the address, so nobody answers.
pub(super) fn lead(cluster: &Cluster, mac: [u8; 6], port: &str) {
    let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
    let node = cluster.netns("node");
    run("bridge", &format!("-n {node} fdb add {mac} dev {port} master static"));
}

/// Runs a program that has to succeed; `words` are its arguments.
pub(super) fn run(program: &str, words: &str) {
    let output = Command::new(program).args(words.split(' ')).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words}: {said}");
}
