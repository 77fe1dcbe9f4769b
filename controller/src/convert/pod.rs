//! Pods, reduced to what decides who they are.

use cellwall_crds::Violation;
use cellwall_policy::model::{self, Address, HostPort, Labels, Name, Phase};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{address, fault, name_of, namespace_of, port_number, transport, uid_of};

/// Names the pod's network namespace in a directory of manifests: a name under /run/netns, or a path.
pub const NETNS_ANNOTATION: &str = "cellwall.io/netns";

/// A pod and the network namespace that its annotation names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodDocument {
    /// The pod.
    pub pod: model::Pod,
    /// Name under /run/netns, or path.
    pub netns: Option<String>,
}

/// A Pod.
pub fn pod(object: &core::Pod) -> Result<PodDocument, Vec<Violation>> {
    let metadata = &object.metadata;
    let name = name_of(metadata)?;
    let namespace = namespace_of(metadata)?;
    let empty = core::PodSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&empty);
    let containers: Vec<Part<'_>> = parts(spec);
    let mut images: Vec<Name> = containers.iter().filter_map(|c| c.image).map(Name::from).collect();
    images.sort_unstable();
    images.dedup();
    let mut probe_ports: Vec<u16> = containers.iter().flat_map(probe_ports).collect();
    probe_ports.sort_unstable();
    probe_ports.dedup();
    let host_network = spec.host_network.unwrap_or(false);
    let owner = metadata
        .owner_references
        .iter()
        .flatten()
        .find(|o| o.controller == Some(true));
    Ok(PodDocument {
        netns: metadata
            .annotations
            .iter()
            .flatten()
            .find(|(k, _)| *k == NETNS_ANNOTATION)
            .map(|(_, v)| v.clone()),
        pod: model::Pod {
            uid: uid_of(metadata, "Pod", &namespace, &name),
            labels: Labels::new(metadata.labels.iter().flatten().map(|(k, v)| (k.as_str(), v.as_str()))),
            images,
            addresses: addresses(object.status.as_ref())?,
            link_local: Vec::new(),
            node: spec.node_name.as_deref().filter(|n| !n.is_empty()).map(Name::from),
            host_network,
            phase: phase(object.status.as_ref())?,
            created: metadata
                .creation_timestamp
                .as_ref()
                .map_or(0, |time| time.0.as_second()),
            probe_ports,
            // A host-network pod's host ports are its container ports: the node's own, nothing is translated.
            host_ports: if host_network {
                Vec::new()
            } else {
                host_ports(&containers)?
            },
            owner: owner.map(|o| format!("{}/{}", o.kind, o.name).into()),
            namespace,
            name,
        },
    })
}

/// What init, ordinary and ephemeral containers have in common.
struct Part<'a> {
    image: Option<&'a str>,
    ports: &'a [core::ContainerPort],
    probes: Vec<&'a core::Probe>,
    lifecycle: Option<&'a core::Lifecycle>,
}

fn parts(spec: &core::PodSpec) -> Vec<Part<'_>> {
    let ordinary = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .map(|c| Part {
            image: c.image.as_deref(),
            ports: c.ports.as_deref().unwrap_or_default(),
            probes: [&c.liveness_probe, &c.readiness_probe, &c.startup_probe]
                .into_iter()
                .flatten()
                .collect(),
            lifecycle: c.lifecycle.as_ref(),
        });
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| Part {
        image: c.image.as_deref(),
        ports: c.ports.as_deref().unwrap_or_default(),
        probes: Vec::new(),
        lifecycle: None,
    });
    ordinary.chain(ephemeral).collect()
}

/// Ports that the kubelet reaches on the pod itself: an action with a host of its own goes elsewhere.
fn probe_ports(part: &Part<'_>) -> Vec<u16> {
    let hooks = part
        .lifecycle
        .iter()
        .flat_map(|l| [&l.post_start, &l.pre_stop])
        .flatten();
    let http = part.probes.iter().filter_map(|p| p.http_get.as_ref());
    let http = http.chain(hooks.clone().filter_map(|h| h.http_get.as_ref()));
    let http = http
        .filter(|a| a.host.as_deref().is_none_or(str::is_empty))
        .map(|a| &a.port);
    let tcp = part.probes.iter().filter_map(|p| p.tcp_socket.as_ref());
    let tcp = tcp.chain(hooks.filter_map(|h| h.tcp_socket.as_ref()));
    let tcp = tcp
        .filter(|a| a.host.as_deref().is_none_or(str::is_empty))
        .map(|a| &a.port);
    let grpc = part
        .probes
        .iter()
        .filter_map(|p| p.grpc.as_ref())
        .filter_map(|g| u16::try_from(g.port).ok());
    let named = |port: &IntOrString| match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let found = part.ports.iter().find(|p| p.name.as_deref() == Some(name));
            found
                .and_then(|p| u16::try_from(p.container_port).ok())
                .or_else(|| name.parse().ok())
        }
    };
    http.chain(tcp)
        .filter_map(named)
        .chain(grpc)
        .filter(|port| *port > 0)
        .collect()
}

fn host_ports(containers: &[Part<'_>]) -> Result<Vec<HostPort>, Vec<Violation>> {
    let mut found = Vec::new();
    for port in containers.iter().flat_map(|c| c.ports) {
        let Some(number) = port.host_port.filter(|n| *n != 0) else {
            continue;
        };
        let path = "spec.containers[].ports[]";
        let host_ip = port.host_ip.as_deref().filter(|ip| !ip.is_empty());
        let host_ip = host_ip.map(|ip| address(&format!("{path}.hostIP"), ip)).transpose()?;
        found.push(HostPort {
            address: host_ip.filter(|a| !a.ip().is_unspecified()),
            transport: transport(&format!("{path}.protocol"), port.protocol.as_deref())?,
            port: port_number(&format!("{path}.hostPort"), i64::from(number))?,
            container_port: port_number(&format!("{path}.containerPort"), i64::from(port.container_port))?,
        });
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// All of `podIPs`; `podIP` where that list is absent.
fn addresses(status: Option<&core::PodStatus>) -> Result<Vec<Address>, Vec<Violation>> {
    let listed = status.and_then(|s| s.pod_ips.as_ref());
    let texts: Vec<(String, &str)> = match listed {
        Some(ips) => ips
            .iter()
            .enumerate()
            .map(|(i, ip)| (format!("status.podIPs[{i}].ip"), ip.ip.as_str()))
            .collect(),
        None => status
            .and_then(|s| s.pod_ip.as_deref())
            .map(|ip| ("status.podIP".to_owned(), ip))
            .into_iter()
            .collect(),
    };
    let mut found: Vec<Address> = Vec::new();
    for (path, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        let one = address(&path, text)?;
        if one.ip().is_unspecified() || one.is_multicast_or_broadcast() || one.is_loopback() {
            return Err(vec![fault(
                &path,
                Some(text),
                "no pod can have this address",
                "write the pod's own address",
            )]);
        }
        if !found.contains(&one) {
            found.push(one);
        }
    }
    Ok(found)
}

/// No phase is Running.
fn phase(status: Option<&core::PodStatus>) -> Result<Phase, Vec<Violation>> {
    Ok(match status.and_then(|s| s.phase.as_deref()) {
        None | Some("" | "Running") => Phase::Running,
        Some("Pending") => Phase::Pending,
        Some("Succeeded") => Phase::Succeeded,
        Some("Failed") => Phase::Failed,
        Some("Unknown") => Phase::Unknown,
        Some(other) => {
            let remedy = "write Pending, Running, Succeeded, Failed or Unknown";
            return Err(vec![fault("status.phase", Some(other), "not a phase of a pod", remedy)]);
        }
    })
}
