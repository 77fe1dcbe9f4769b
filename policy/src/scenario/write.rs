//! Scenarios as text.
// Long because: one short function for each kind of document.

use std::fmt::{self, Display, Formatter};

use super::text::{encode, encode_part};
use super::{Ask, Case, Line, Scenario};
use crate::evaluate::{AskedProtocol, End};
use crate::model::{
    Action, CidrEntry, Defense, DefenseRule, EndpointSlice, Glob, LabelSelector, Labels, LocalNodeMode, Mode,
    NetworkObject, Operator, Phase, Pod, PortEntry, PortMatch, Protocol, ProtocolMatch, Recovery, Selector, Service,
    Side, Startup,
};
use crate::world::Document;

pub(super) fn scenario(f: &mut Formatter<'_>, scenario: &Scenario) -> fmt::Result {
    writeln!(f, "scenario {}", scenario.title)?;
    write!(f, "local {}", encode(&scenario.local))?;
    writeln!(f, "{}", if scenario.silence_enforces { "" } else { " silence=open" })?;
    for line in &scenario.lines {
        match line {
            Line::Note(note) => writeln!(f, "# {note}")?,
            Line::Document(document) => writeln!(f, "{}", words(document).join(" "))?,
            Line::Case(one) => writeln!(f, "{one}")?,
        }
    }
    Ok(())
}

pub(super) fn case(f: &mut Formatter<'_>, case: &Case) -> fmt::Result {
    match &case.ask {
        Ask::Flow(question) => {
            write!(f, "ask {} {}", end(&question.from), end(&question.to))?;
            match (question.protocol, question.port) {
                (AskedProtocol::Unnamed, _) => {}
                (protocol, None) => write!(f, " /{protocol}")?,
                (protocol, Some(port)) => write!(f, " {port}/{protocol}")?,
            }
        }
        Ask::Hook(question) => {
            let pod = question.pod.as_ref().map_or_else(|| "?".to_owned(), |uid| encode(uid));
            write!(f, "hook {} {pod} {} ", question.hook, question.peer)?;
            if let Some(port) = question.port {
                write!(f, "{port}")?;
            }
            write!(f, "/{}", question.protocol)?;
        }
    }
    let Some(expected) = &case.expected else {
        return f.write_str(" = error");
    };
    write!(f, " = {} {}", expected.verdict.verdict(), expected.reason)?;
    if let Some(rule) = &expected.rule {
        write!(f, " {}", encode(rule))?;
    }
    if (expected.verdict == Action::Drop) == (expected.applied == Action::Drop) {
        return Ok(());
    }
    write!(f, " applied={}", expected.applied.verdict())
}

fn end(end: &End) -> String {
    match end {
        End::Pod(namespace, name) => format!("{}/{}", encode_part(namespace), encode_part(name)),
        End::Address(address) => address.to_string(),
        End::Member(entity) => entity.to_string(),
    }
}

/// `key=value`, for each value.
fn each<T: Display>(words: &mut Vec<String>, key: &str, values: impl IntoIterator<Item = T>) {
    words.extend(values.into_iter().map(|value| format!("{key}={value}")));
}

fn labels(words: &mut Vec<String>, labels: &Labels) {
    words.extend(
        labels
            .iter()
            .map(|(key, value)| format!("label:{}={}", encode(key), encode(value))),
    );
}

fn words(document: &Document) -> Vec<String> {
    let mut words;
    match document {
        Document::Namespace(d) => {
            words = vec!["namespace".to_owned(), encode(&d.name)];
            labels(&mut words, &d.labels);
        }
        Document::Pod(d) => words = pod(d),
        Document::Node(d) => {
            words = vec!["node".to_owned(), encode(&d.name)];
            each(&mut words, "at", &d.addresses);
            each(&mut words, "range", &d.pod_cidrs);
        }
        Document::NodeReport(d) => {
            let state = if d.enforcing { "enforcing" } else { "open" };
            words = vec!["report".to_owned(), encode(&d.node), state.to_owned()];
            each(&mut words, "at", &d.addresses);
        }
        Document::Service(d) => words = service(d),
        Document::EndpointSlice(d) => words = slice(d),
        Document::NetworkObject(d) => words = object(d),
        Document::DefenseRule(d) => words = rule(d),
        Document::Defense(d) => words = defense(d),
    }
    words
}

fn pod(pod: &Pod) -> Vec<String> {
    let name = format!("{}/{}", encode_part(&pod.namespace), encode_part(&pod.name));
    let mut words = vec!["pod".to_owned(), name];
    if *pod.uid != *format!("{}/{}", pod.namespace, pod.name) {
        words.push(format!("uid={}", encode(&pod.uid)));
    }
    each(&mut words, "on", pod.node.iter().map(|node| encode(node)));
    each(&mut words, "at", &pod.addresses);
    each(&mut words, "link", &pod.link_local);
    labels(&mut words, &pod.labels);
    each(&mut words, "image", pod.images.iter().map(|image| encode(image)));
    let phase = match pod.phase {
        Phase::Running => None,
        Phase::Pending => Some("Pending"),
        Phase::Succeeded => Some("Succeeded"),
        Phase::Failed => Some("Failed"),
        Phase::Unknown => Some("Unknown"),
    };
    each(&mut words, "phase", phase);
    if pod.host_network {
        words.push("host".to_owned());
    }
    each(&mut words, "created", (pod.created != 0).then_some(pod.created));
    each(&mut words, "probe", &pod.probe_ports);
    for port in &pod.host_ports {
        let bound = port.address.map_or_else(String::new, |address| format!("{address}@"));
        let transport = port.transport.name();
        words.push(format!(
            "hostport={bound}{}/{transport}>{}",
            port.port, port.container_port
        ));
    }
    each(&mut words, "owner", pod.owner.iter().map(|owner| encode(owner)));
    words
}

fn service(service: &Service) -> Vec<String> {
    let name = format!("{}/{}", encode_part(&service.namespace), encode_part(&service.name));
    let mut words = vec!["service".to_owned(), name];
    each(&mut words, "cluster", &service.cluster_ips);
    each(&mut words, "external", &service.external_ips);
    for port in &service.ports {
        let node_port = port.node_port.map_or_else(String::new, |number| format!("@{number}"));
        let (name, transport) = (encode_part(&port.name), port.transport.name());
        words.push(format!("port={name}:{}/{transport}{node_port}", port.port));
    }
    words
}

fn slice(slice: &EndpointSlice) -> Vec<String> {
    let name = format!("{}/{}", encode_part(&slice.namespace), encode_part(&slice.name));
    let mut words = vec!["slice".to_owned(), name];
    each(&mut words, "for", slice.service.iter().map(|service| encode(service)));
    for port in &slice.ports {
        let (name, transport) = (encode_part(&port.name), port.transport.name());
        words.push(format!("target={name}:{}/{transport}", port.port));
    }
    for endpoint in &slice.endpoints {
        let state = match (endpoint.ready, endpoint.serving) {
            (true, true) => "ready",
            (true, false) => "ready-not-serving",
            (false, true) => "serving",
            (false, false) => "down",
        };
        words.push(format!("{state}={}", endpoint.address));
    }
    words
}

fn object(object: &NetworkObject) -> Vec<String> {
    let mut words = vec!["object".to_owned(), encode(&object.name)];
    if object.uid != object.name {
        words.push(format!("uid={}", encode(&object.uid)));
    }
    match &object.selector {
        Selector::Workloads(selector) => {
            globs(&mut words, "namespaces", selector.namespaces.as_deref());
            globs(&mut words, "apps", selector.apps.as_deref());
            globs(&mut words, "images", selector.images.as_deref());
            selected(&mut words, "pods", selector.pod_selector.as_ref());
            selected(&mut words, "nss", selector.namespace_selector.as_ref());
        }
        Selector::Cidrs(entries) if entries.is_empty() => words.push("cidr".to_owned()),
        Selector::Cidrs(entries) => each(&mut words, "cidr", entries.iter().map(cidr)),
    }
    words
}

fn cidr(entry: &CidrEntry) -> String {
    let ranges: Vec<String> = [entry.cidr]
        .iter()
        .chain(&entry.except)
        .map(ToString::to_string)
        .collect();
    ranges.join("-")
}

fn globs(words: &mut Vec<String>, key: &str, list: Option<&[Glob]>) {
    match list {
        None => {}
        Some([]) => words.push(key.to_owned()),
        Some(list) => each(words, key, list.iter().map(|glob| encode_glob(glob.as_str()))),
    }
}

/// A glob of one `?` may stay as it is.
fn encode_glob(glob: &str) -> String {
    if glob == "?" { glob.to_owned() } else { encode(glob) }
}

fn selected(words: &mut Vec<String>, key: &str, selector: Option<&LabelSelector>) {
    let Some(selector) = selector else { return };
    if selector.requirements.is_empty() {
        words.push(key.to_owned());
    }
    for requirement in &selector.requirements {
        let values: Vec<String> = requirement.values.iter().map(|value| encode(value)).collect();
        let values = if values.is_empty() {
            "()".to_owned()
        } else {
            values.join("|")
        };
        let name = encode(&requirement.key);
        words.push(match requirement.operator {
            Operator::In => format!("{key}:{name}={values}"),
            Operator::NotIn => format!("{key}:{name}!={values}"),
            Operator::Exists => format!("{key}:{name}"),
            Operator::DoesNotExist => format!("{key}:!{name}"),
        });
    }
}

fn rule(rule: &DefenseRule) -> Vec<String> {
    let mut words = vec![
        "rule".to_owned(),
        encode(&rule.name),
        rule.priority.to_string(),
        rule.action.to_string(),
        side(&rule.source),
        "->".to_owned(),
        side(&rule.destination),
    ];
    if rule.uid != rule.name {
        words.push(format!("uid={}", encode(&rule.uid)));
    }
    if !rule.enabled {
        words.push("disabled".to_owned());
    }
    if let Some(entries) = &rule.ports {
        words.push("on".to_owned());
        words.extend(entries.iter().copied().map(entry));
    }
    words
}

fn side(side: &Side) -> String {
    match side {
        Side::Object(name) => format!("@{}", encode(name)),
        Side::Entity(entity) => entity.to_string(),
    }
}

fn entry(entry: PortEntry) -> String {
    let protocol = match entry.protocol {
        ProtocolMatch::Tcp => Protocol::Tcp.to_string(),
        ProtocolMatch::Udp => Protocol::Udp.to_string(),
        ProtocolMatch::Sctp => Protocol::Sctp.to_string(),
        ProtocolMatch::Icmp => Protocol::Icmp.to_string(),
        ProtocolMatch::Icmpv6 => Protocol::Icmpv6.to_string(),
        ProtocolMatch::Any => "Any".to_owned(),
        ProtocolMatch::Number(number) => number.to_string(),
    };
    match entry.ports {
        PortMatch::All => protocol,
        PortMatch::Range(first, last) if first == last => format!("{protocol}/{first}"),
        PortMatch::Range(first, last) => format!("{protocol}/{first}-{last}"),
    }
}

fn defense(defense: &Defense) -> Vec<String> {
    let mode = match defense.mode {
        Mode::Enforce => "Enforce",
        Mode::AlertOnly => "AlertOnly",
        Mode::Off => "Off",
    };
    let recovery = match defense.recovery {
        Recovery::Automatic => "Automatic",
        Recovery::Manual => "Manual",
    };
    let local_node = match defense.local_node {
        LocalNodeMode::Probes => "Probes",
        LocalNodeMode::Pass => "Pass",
        LocalNodeMode::Enforce => "Enforce",
    };
    let startup = match defense.startup {
        Startup::Open => "Open",
        Startup::Guarded => "Guarded",
        Startup::Closed => "Closed",
    };
    let mut words = vec!["defense".to_owned()];
    // Defaults need no word.
    let switches = [
        ("mode", mode, "Enforce"),
        ("recovery", recovery, "Automatic"),
        ("local-node", local_node, "Probes"),
        ("startup", startup, "Guarded"),
    ];
    for (key, value, default) in switches {
        each(&mut words, key, (value != default).then_some(value));
    }
    each(&mut words, "range", &defense.pod_cidrs);
    each(&mut words, "confirmed", defense.confirmed);
    words
}
