//! From documents as written to documents as the world holds them: one conversion for files and for the API server.
//!
//! A document that cannot be understood in full is refused with the field and the remedy; nothing is guessed.

mod cellwall;
mod network;
mod pod;

use cellwall_crds::Violation;
use cellwall_policy::model::{Address, Name};
use cellwall_policy::world::Document;

pub use cellwall::{defense, network_object, node_report, rule};
pub use network::{endpoint_slice, namespace, node, service};
pub use pod::{NETNS_ANNOTATION, PodDocument, pod};

/// A document, and for a pod in a file the network namespace it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// The document.
    pub document: Document,
    /// Name under /run/netns, or path, from the pod's annotation.
    pub netns: Option<String>,
}

impl From<PodDocument> for Converted {
    fn from(PodDocument { pod, netns }: PodDocument) -> Self {
        Self {
            document: Document::Pod(pod),
            netns,
        }
    }
}

impl From<Document> for Converted {
    fn from(document: Document) -> Self {
        Self { document, netns: None }
    }
}

/// A document of ours that passed validation.
pub fn ours(document: &cellwall_crds::Document) -> Result<Converted, Vec<Violation>> {
    cellwall::convert(document).map(Converted::from)
}

fn fault(path: &str, found: Option<&str>, message: &str, remedy: &str) -> Violation {
    Violation {
        path: cellwall_crds::escaped(path),
        found: found.map(cellwall_crds::escaped),
        message: message.to_owned(),
        remedy: remedy.to_owned(),
    }
}

/// `metadata.name` of a Kubernetes object; without one there is nothing to key it by.
fn name_of(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Result<Name, Vec<Violation>> {
    match metadata.name.as_deref() {
        None | Some("") => Err(vec![fault(
            "metadata.name",
            None,
            "the name is missing",
            "give the object a name",
        )]),
        Some(name) => checked_name("metadata.name", name),
    }
}

/// The namespace, `default` where it is not given.
fn namespace_of(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Result<Name, Vec<Violation>> {
    match metadata.namespace.as_deref() {
        None | Some("") => Ok("default".into()),
        Some(name) => checked_name("metadata.namespace", name),
    }
}

/// Names are DNS-1123 sub-domains (at most 253 characters): an API server gives no others, a file may.
fn checked_name(path: &str, name: &str) -> Result<Name, Vec<Violation>> {
    let label_ok = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= 253 && name.split('.').all(label_ok) {
        return Ok(name.into());
    }
    let remedy = "use at most 253 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit";
    Err(vec![fault(
        path,
        Some(name),
        "not a name that Kubernetes accepts",
        remedy,
    )])
}

fn address(path: &str, text: &str) -> Result<Address, Vec<Violation>> {
    text.parse().map_err(|_| {
        vec![fault(
            path,
            Some(text),
            "not an IP address",
            "write it like 192.0.2.1 or 2001:db8::1, without a prefix",
        )]
    })
}

fn transport(path: &str, text: Option<&str>) -> Result<cellwall_policy::model::Transport, Vec<Violation>> {
    use cellwall_policy::model::Transport;
    match text {
        None | Some("TCP") => Ok(Transport::Tcp),
        Some("UDP") => Ok(Transport::Udp),
        Some("SCTP") => Ok(Transport::Sctp),
        Some(other) => Err(vec![fault(
            path,
            Some(other),
            "not a protocol that has ports",
            "write TCP, UDP or SCTP",
        )]),
    }
}

fn port_number(path: &str, number: i64) -> Result<u16, Vec<Violation>> {
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(vec![fault(
            path,
            Some(&number.to_string()),
            "not a port",
            "write a number from 1 to 65535",
        )]),
    }
}

/// The UID as given, else one derived from kind, namespace and name; neither part can hold a slash, so that two
/// objects never share one.
fn uid_of(
    metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Name {
    match metadata.uid.as_deref() {
        None | Some("") => format!("{kind}/{namespace}/{name}").into(),
        Some(uid) => uid.into(),
    }
}
