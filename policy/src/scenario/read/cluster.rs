//! Lines about what Kubernetes tells.

use super::{Read, address, field, name_of, one_of, pair, parsed, port, range, text_of, unknown};
use crate::model::{
    Endpoint, EndpointSlice, HostPort, Labels, Name, Namespace, Node, NodeReport, Phase, Pod, Service, ServicePort,
    SlicePort, Transport,
};
use crate::world::Document;

fn transport(word: &str) -> Read<Transport> {
    one_of(
        word,
        &[
            ("TCP", Transport::Tcp),
            ("UDP", Transport::Udp),
            ("SCTP", Transport::Sctp),
        ],
    )
}

/// The labels among the words, and the other words.
fn labels<'a>(words: &[&'a str]) -> Read<(Labels, Vec<&'a str>)> {
    let mut labels: Vec<(String, String)> = Vec::new();
    let mut rest = Vec::new();
    for word in words {
        match word.strip_prefix("label:") {
            Some(label) => {
                let (key, value) = field(label);
                labels.push((text_of(key)?, text_of(value)?));
            }
            None => rest.push(*word),
        }
    }
    Ok((Labels::new(labels), rest))
}

pub(super) fn namespace(name: &str, words: &[&str]) -> Read<Document> {
    let (labels, rest) = labels(words)?;
    match rest.first() {
        Some(word) => Err(unknown(word)),
        None => Ok(Document::Namespace(Namespace {
            name: name_of(name)?,
            labels,
        })),
    }
}

pub(super) fn pod(name: &str, words: &[&str]) -> Read<Document> {
    let (labels, rest) = labels(words)?;
    let (namespace, name) = pair(name)?;
    let mut pod = Pod {
        uid: format!("{namespace}/{name}").into(),
        namespace,
        name,
        labels,
        images: Vec::new(),
        addresses: Vec::new(),
        link_local: Vec::new(),
        node: None,
        host_network: false,
        phase: Phase::Running,
        created: 0,
        probe_ports: Vec::new(),
        host_ports: Vec::new(),
        owner: None,
    };
    for word in rest {
        let (key, value) = field(word);
        match key {
            "uid" => pod.uid = name_of(value)?,
            "on" => pod.node = Some(name_of(value)?),
            "at" => pod.addresses.push(address(value)?),
            "link" => pod.link_local.push(address(value)?),
            "image" => pod.images.push(name_of(value)?),
            "phase" => pod.phase = phase(value)?,
            "host" => pod.host_network = true,
            "created" => pod.created = parsed(value, "a number of seconds")?,
            "probe" => pod.probe_ports.push(port(value)?),
            "hostport" => pod.host_ports.push(host_port(value)?),
            "owner" => pod.owner = Some(name_of(value)?),
            _ => return Err(unknown(word)),
        }
    }
    Ok(Document::Pod(pod))
}

fn phase(word: &str) -> Read<Phase> {
    one_of(
        word,
        &[
            ("Running", Phase::Running),
            ("Pending", Phase::Pending),
            ("Succeeded", Phase::Succeeded),
            ("Failed", Phase::Failed),
            ("Unknown", Phase::Unknown),
        ],
    )
}

/// `[ADDRESS@]PORT/PROTOCOL>PORT`.
fn host_port(word: &str) -> Read<HostPort> {
    let wrong = || format!("{word:?} is not [ADDRESS@]PORT/PROTOCOL>PORT");
    let (bound, rest) = match word.split_once('@') {
        Some((bound, rest)) => (Some(address(bound)?), rest),
        None => (None, word),
    };
    let (outside, inside) = rest.split_once('>').ok_or_else(wrong)?;
    let (number, protocol) = outside.split_once('/').ok_or_else(wrong)?;
    Ok(HostPort {
        address: bound,
        transport: transport(protocol)?,
        port: port(number)?,
        container_port: port(inside)?,
    })
}

pub(super) fn node(name: &str, words: &[&str]) -> Read<Document> {
    let mut node = Node {
        name: name_of(name)?,
        addresses: Vec::new(),
        pod_cidrs: Vec::new(),
    };
    for word in words {
        match field(word) {
            ("at", value) => node.addresses.push(address(value)?),
            ("range", value) => node.pod_cidrs.push(range(value)?),
            _ => return Err(unknown(word)),
        }
    }
    Ok(Document::Node(node))
}

pub(super) fn report(name: &str, state: &str, words: &[&str]) -> Read<Document> {
    let mut addresses = Vec::new();
    for word in words {
        match field(word) {
            ("at", value) => addresses.push(address(value)?),
            _ => return Err(unknown(word)),
        }
    }
    Ok(Document::NodeReport(NodeReport {
        node: name_of(name)?,
        enforcing: one_of(state, &[("enforcing", true), ("open", false)])?,
        addresses,
    }))
}

/// `NAME:PORT/PROTOCOL`.
fn named_port(word: &str) -> Read<(Name, u16, Transport)> {
    let wrong = || format!("{word:?} is not NAME:PORT/PROTOCOL");
    let (name, rest) = word.split_once(':').ok_or_else(wrong)?;
    let (number, protocol) = rest.split_once('/').ok_or_else(wrong)?;
    Ok((name_of(name)?, port(number)?, transport(protocol)?))
}

pub(super) fn service(name: &str, words: &[&str]) -> Read<Document> {
    let (namespace, name) = pair(name)?;
    let mut service = Service {
        namespace,
        name,
        cluster_ips: Vec::new(),
        external_ips: Vec::new(),
        ports: Vec::new(),
    };
    for word in words {
        match field(word) {
            ("cluster", value) => service.cluster_ips.push(address(value)?),
            ("external", value) => service.external_ips.push(address(value)?),
            ("port", value) => {
                let (front, node_port) = match value.split_once('@') {
                    Some((front, number)) => (front, Some(port(number)?)),
                    None => (value, None),
                };
                let (name, port, transport) = named_port(front)?;
                service.ports.push(ServicePort {
                    name,
                    transport,
                    port,
                    node_port,
                });
            }
            _ => return Err(unknown(word)),
        }
    }
    Ok(Document::Service(service))
}

pub(super) fn slice(name: &str, words: &[&str]) -> Read<Document> {
    let (namespace, name) = pair(name)?;
    let mut slice = EndpointSlice {
        namespace,
        name,
        service: None,
        endpoints: Vec::new(),
        ports: Vec::new(),
    };
    for word in words {
        let (key, value) = field(word);
        let (ready, serving) = match key {
            "for" => {
                slice.service = Some(name_of(value)?);
                continue;
            }
            "target" => {
                let (name, port, transport) = named_port(value)?;
                slice.ports.push(SlicePort { name, transport, port });
                continue;
            }
            "ready" => (true, true),
            "ready-not-serving" => (true, false),
            "serving" => (false, true),
            "down" => (false, false),
            _ => return Err(unknown(word)),
        };
        slice.endpoints.push(Endpoint {
            address: address(value)?,
            ready,
            serving,
        });
    }
    Ok(Document::EndpointSlice(slice))
}
