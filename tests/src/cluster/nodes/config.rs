//! The configuration files of a node's programs, and why each line that is not the default is there.

use super::Plugin;

/// containerd's.
pub(super) fn containerd(sandbox_image: &str) -> String {
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
# Lowering the score of a process needs CAP_SYS_RESOURCE, which a machine that is a container itself may lack.
oom_score = 0
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  # No registry is asked for anything.
  sandbox_image = "{sandbox_image}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#
    )
}

/// The pod network's.
pub(super) fn cni(plugin: Plugin, number: u8) -> String {
    let ipam = format!(
        r#""ipam": {{ "type": "host-local",
      "ranges": [[{{ "subnet": "10.244.{number}.0/24" }}], [{{ "subnet": "2001:db8:{number:x}4::/64" }}]],
      "routes": [{{ "dst": "0.0.0.0/0" }}, {{ "dst": "::/0" }}],
      "dataDir": "/run/cni" }}"#
    );
    let network = match plugin {
        Plugin::Bridge => format!(
            r#"{{ "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false,
    {ipam} }}"#
        ),
        Plugin::Ptp => format!(r#"{{ "type": "ptp", "ipMasq": false, {ipam} }}"#),
    };
    format!(
        r#"{{ "cniVersion": "0.4.0", "name": "pods", "plugins": [
  {network},
  {{ "type": "portmap", "capabilities": {{ "portMappings": true }} }}
] }}"#
    )
}

/// kubelet's.
pub(super) fn kubelet(address: &str, ca: &str, cgroup: &str) -> String {
    format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {address}
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: false}}, x509: {{clientCAFile: "{ca}"}}}}
authorization: {{mode: AlwaysAllow}}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
failCgroupV1: false
enforceNodeAllocatable: []
failSwapOn: false
# The machine's disk may be as full as it likes.
evictionHard: {{"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%", "imagefs.inodesFree": "0%"}}
imageGCHighThresholdPercent: 100
localStorageCapacityIsolation: false
resolvConf: ""
readOnlyPort: 0
oomScoreAdj: 0
# A test does not wait for what a cluster takes its time for.
nodeStatusUpdateFrequency: 2s
syncFrequency: 5s
logging: {{verbosity: 2}}
"#
    )
}
