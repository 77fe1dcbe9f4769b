//! Namespaces, Nodes, Services and EndpointSlices.

use cellwall_crds::Violation;
use cellwall_policy::model::{self, Address, Cidr, Labels, Name};
use cellwall_policy::world::Document;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;

use super::{address, fault, name_of, namespace_of, port_number, transport};

type Faults = Vec<Violation>;

/// A Namespace.
pub fn namespace(object: &core::Namespace) -> Result<Document, Faults> {
    let name = name_of(&object.metadata)?;
    let labels = Labels::new(
        object
            .metadata
            .labels
            .iter()
            .flatten()
            .map(|(k, v)| (k.as_str(), v.as_str())),
    );
    Ok(Document::Namespace(model::Namespace { name, labels }))
}

/// A Node: InternalIP and ExternalIP addresses, pod ranges.
pub fn node(object: &core::Node) -> Result<Document, Faults> {
    let name = name_of(&object.metadata)?;
    let status = object
        .status
        .iter()
        .flat_map(|status| status.addresses.iter().flatten());
    let mut addresses = Vec::new();
    for (i, entry) in status.enumerate() {
        if matches!(entry.type_.as_str(), "InternalIP" | "ExternalIP") {
            addresses.push(address(&format!("status.addresses[{i}].address"), &entry.address)?);
        }
    }
    let spec = object.spec.as_ref();
    let listed: Vec<&String> = spec.iter().flat_map(|s| s.pod_cidrs.iter().flatten()).collect();
    let single = spec.and_then(|s| s.pod_cidr.as_ref());
    let ranges = if listed.is_empty() {
        single.into_iter().collect()
    } else {
        listed
    };
    let mut pod_cidrs = Vec::new();
    for (i, text) in ranges.into_iter().enumerate() {
        let path = format!("spec.podCIDRs[{i}]");
        let cidr: Cidr = text.parse().map_err(|e: model::CidrError| {
            vec![fault(
                &path,
                Some(text),
                &cellwall_crds::escaped(&e.to_string()),
                "write the canonical range",
            )]
        })?;
        pod_cidrs.push(cidr);
    }
    Ok(Document::Node(model::Node {
        name,
        addresses,
        pod_cidrs,
    }))
}

/// A Service; one of type ExternalName has no addresses of its own.
pub fn service(object: &core::Service) -> Result<Document, Faults> {
    let name = name_of(&object.metadata)?;
    let namespace = namespace_of(&object.metadata)?;
    let empty = core::ServiceSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&empty);
    let node_ports = matches!(spec.type_.as_deref(), Some("NodePort" | "LoadBalancer"));
    let external_name = spec.type_.as_deref() == Some("ExternalName");
    let listed: Vec<&String> = spec.cluster_ips.iter().flatten().collect();
    let single = spec.cluster_ip.iter().collect::<Vec<_>>();
    let given = if listed.is_empty() { single } else { listed };
    let mut cluster_ips = Vec::new();
    for (i, text) in given
        .into_iter()
        .enumerate()
        .filter(|(_, t)| !external_name && !matches!(t.as_str(), "" | "None"))
    {
        cluster_ips.push(address(&format!("spec.clusterIPs[{i}]"), text)?);
    }
    let mut external_ips = external(spec)?;
    let ingress = object
        .status
        .iter()
        .flat_map(|s| s.load_balancer.iter())
        .flat_map(|lb| lb.ingress.iter().flatten());
    for (i, entry) in ingress.enumerate() {
        if let Some(ip) = entry.ip.as_deref().filter(|ip| !ip.is_empty()) {
            external_ips.push(address(&format!("status.loadBalancer.ingress[{i}].ip"), ip)?);
        }
    }
    external_ips.sort_unstable();
    external_ips.dedup();
    let mut ports = Vec::new();
    for (i, port) in spec.ports.iter().flatten().enumerate() {
        let node_port = port.node_port.filter(|p| node_ports && *p != 0);
        ports.push(model::ServicePort {
            name: Name::from(port.name.as_deref().unwrap_or_default()),
            transport: transport(&format!("spec.ports[{i}].protocol"), port.protocol.as_deref())?,
            port: port_number(&format!("spec.ports[{i}].port"), i64::from(port.port))?,
            node_port: node_port
                .map(|p| port_number(&format!("spec.ports[{i}].nodePort"), i64::from(p)))
                .transpose()?,
        });
    }
    Ok(Document::Service(model::Service {
        namespace,
        name,
        cluster_ips,
        external_ips,
        ports,
    }))
}

fn external(spec: &core::ServiceSpec) -> Result<Vec<Address>, Faults> {
    let mut addresses = Vec::new();
    for (i, text) in spec.external_ips.iter().flatten().enumerate() {
        addresses.push(address(&format!("spec.externalIPs[{i}]"), text)?);
    }
    Ok(addresses)
}

/// An EndpointSlice. Slices of names have no addresses to judge.
pub fn endpoint_slice(object: &discovery::EndpointSlice) -> Result<Document, Faults> {
    let name = name_of(&object.metadata)?;
    let namespace = namespace_of(&object.metadata)?;
    let service = object
        .metadata
        .labels
        .iter()
        .flatten()
        .find(|(k, _)| *k == "kubernetes.io/service-name");
    let service = service.map(|(_, v)| Name::from(v.as_str())).filter(|v| !v.is_empty());
    let mut endpoints = Vec::new();
    let of_addresses = matches!(object.address_type.as_str(), "IPv4" | "IPv6");
    for (i, endpoint) in object.endpoints.iter().enumerate().filter(|_| of_addresses) {
        let Some(first) = endpoint.addresses.first() else {
            continue;
        };
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
        endpoints.push(model::Endpoint {
            address: address(&format!("endpoints[{i}].addresses[0]"), first)?,
            ready,
            serving: conditions.and_then(|c| c.serving).unwrap_or(ready),
        });
    }
    let mut ports = Vec::new();
    for (i, port) in object.ports.iter().flatten().enumerate() {
        let Some(number) = port.port else { continue };
        ports.push(model::SlicePort {
            name: Name::from(port.name.as_deref().unwrap_or_default()),
            transport: transport(&format!("ports[{i}].protocol"), port.protocol.as_deref())?,
            port: port_number(&format!("ports[{i}].port"), i64::from(number))?,
        });
    }
    Ok(Document::EndpointSlice(model::EndpointSlice {
        namespace,
        name,
        service,
        endpoints,
        ports,
    }))
}
