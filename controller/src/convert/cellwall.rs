//! Our own kinds.

use cellwall_crds as crds;
use cellwall_crds::Violation;
use cellwall_policy::model::{
    self, Action, CidrEntry, Defense, DefenseRule, Entity, Glob, LabelSelector, LocalNodeMode, Mode, Name,
    NetworkObject, NodeReport, Operator, PortEntry, PortMatch, ProtocolMatch, Recovery, Requirement, Selector, Side,
    Startup, WorkloadSelector,
};
use cellwall_policy::world::Document;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{fault, name_of, uid_of};

type Faults = Vec<Violation>;

pub(super) fn convert(document: &crds::Document) -> Result<Document, Faults> {
    match document {
        crds::Document::NetworkObject(object) => network_object(object).map(Document::NetworkObject),
        crds::Document::DefenseRule(object) => rule(object).map(Document::DefenseRule),
        crds::Document::ClusterDefense(object) => defense(object).map(Document::Defense),
        crds::Document::InterceptStatus(object) => node_report(object).map(Document::NodeReport),
    }
}

fn named(metadata: &ObjectMeta, kind: &str) -> Result<(Name, Name), Faults> {
    let name = name_of(metadata)?;
    let uid = uid_of(metadata, kind, "", &name);
    Ok((name, uid))
}

/// A NetworkObject that passed validation; what validation would have refused matches nothing.
pub fn network_object(object: &crds::NetworkObject) -> Result<NetworkObject, Faults> {
    let (name, uid) = named(&object.metadata, "NetworkObject")?;
    let spec = &object.spec;
    let selector = match &spec.cidrs {
        Some(blocks) => Selector::Cidrs(blocks.iter().enumerate().map(cidr_entry).collect::<Result<_, _>>()?),
        None => Selector::Workloads(WorkloadSelector {
            namespaces: globs("spec.namespaces", spec.namespaces.as_deref())?,
            apps: globs("spec.apps", spec.apps.as_deref())?,
            images: globs("spec.images", spec.images.as_deref())?,
            pod_selector: spec.pod_selector.as_ref().map(label_selector),
            namespace_selector: spec.namespace_selector.as_ref().map(label_selector),
        }),
    };
    Ok(NetworkObject { name, uid, selector })
}

fn globs(path: &str, texts: Option<&[String]>) -> Result<Option<Vec<Glob>>, Faults> {
    let Some(texts) = texts else { return Ok(None) };
    let read = |(i, text): (usize, &String)| {
        Glob::new(text).map_err(|e| vec![fault(&format!("{path}[{i}]"), Some(text), &e.to_string(), "shorten it")])
    };
    texts.iter().enumerate().map(read).collect::<Result<_, _>>().map(Some)
}

fn label_selector(selector: &crds::LabelSelector) -> LabelSelector {
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| Requirement {
        key: key.as_str().into(),
        operator: Operator::In,
        values: vec![value.as_str().into()],
    });
    let expressions = selector
        .match_expressions
        .iter()
        .flatten()
        .map(|requirement| Requirement {
            key: requirement.key.as_str().into(),
            operator: match requirement.operator {
                crds::Operator::In => Operator::In,
                crds::Operator::NotIn => Operator::NotIn,
                crds::Operator::Exists => Operator::Exists,
                crds::Operator::DoesNotExist => Operator::DoesNotExist,
            },
            values: requirement.values.iter().flatten().map(|v| v.as_str().into()).collect(),
        });
    LabelSelector {
        requirements: labels.chain(expressions).collect(),
    }
}

fn cidr(path: &str, text: &str) -> Result<model::Cidr, Faults> {
    text.parse().map_err(|e: model::CidrError| {
        vec![fault(
            path,
            Some(text),
            &cellwall_crds::escaped(&e.to_string()),
            "write the canonical range",
        )]
    })
}

fn cidr_entry((i, block): (usize, &crds::CidrBlock)) -> Result<CidrEntry, Faults> {
    let holes = block.except.iter().flatten().enumerate();
    Ok(CidrEntry {
        cidr: cidr(&format!("spec.cidrs[{i}].cidr"), &block.cidr)?,
        except: holes
            .map(|(j, text)| cidr(&format!("spec.cidrs[{i}].except[{j}]"), text))
            .collect::<Result<_, _>>()?,
    })
}

/// A DefenseRule that passed validation.
pub fn rule(object: &crds::DefenseRule) -> Result<DefenseRule, Faults> {
    let (name, uid) = named(&object.metadata, "DefenseRule")?;
    let spec = &object.spec;
    let ports = spec
        .ports
        .as_ref()
        .map(|entries| entries.iter().enumerate().map(port_entry).collect());
    Ok(DefenseRule {
        name,
        uid,
        source: side("spec.source", &spec.source)?,
        destination: side("spec.destination", &spec.destination)?,
        ports: ports.transpose()?,
        action: match spec.action {
            crds::Action::Pass => Action::Pass,
            crds::Action::Alert => Action::Alert,
            crds::Action::Drop => Action::Drop,
        },
        priority: u16::try_from(spec.priority)
            .ok()
            .filter(|p| (1..=1000).contains(p))
            .ok_or_else(|| {
                vec![fault(
                    "spec.priority",
                    Some(&spec.priority.to_string()),
                    "out of range",
                    "write 1 to 1000",
                )]
            })?,
        enabled: spec.enabled,
    })
}

fn side(path: &str, peer: &crds::Peer) -> Result<Side, Faults> {
    match (&peer.object, peer.entity) {
        (Some(object), None) => Ok(Side::Object(object.as_str().into())),
        (None, Some(entity)) => Ok(Side::Entity(match entity {
            crds::Entity::Any => Entity::Any,
            crds::Entity::Cluster => Entity::Cluster,
            crds::Entity::World => Entity::World,
            crds::Entity::Node => Entity::Node,
            crds::Entity::LocalNode => Entity::LocalNode,
        })),
        _ => Err(vec![fault(
            path,
            None,
            "not exactly one of object and entity",
            "give one of the two",
        )]),
    }
}

fn port_entry((i, entry): (usize, &crds::PortEntry)) -> Result<PortEntry, Faults> {
    let protocol = match entry.protocol {
        crds::Protocol::Tcp => ProtocolMatch::Tcp,
        crds::Protocol::Udp => ProtocolMatch::Udp,
        crds::Protocol::Sctp => ProtocolMatch::Sctp,
        crds::Protocol::Icmp => ProtocolMatch::Icmp,
        crds::Protocol::Icmpv6 => ProtocolMatch::Icmpv6,
        crds::Protocol::Any => ProtocolMatch::Any,
        crds::Protocol::Number(number) => ProtocolMatch::Number(number),
    };
    let number = |field: &str, value: i64| {
        u16::try_from(value).map_err(|_| {
            let path = format!("spec.ports[{i}].{field}");
            vec![fault(
                &path,
                Some(&value.to_string()),
                "not a port",
                "write a number from 1 to 65535",
            )]
        })
    };
    let ports = match (entry.port, entry.end_port) {
        (None, _) => PortMatch::All,
        (Some(port), end) => {
            let first = number("port", port)?;
            PortMatch::Range(first, end.map_or(Ok(first), |end| number("endPort", end))?)
        }
    };
    Ok(PortEntry { protocol, ports })
}

/// A ClusterDefense that passed validation.
pub fn defense(object: &crds::ClusterDefense) -> Result<Defense, Faults> {
    let spec = &object.spec;
    let ranges = spec.pod_cidrs.iter().flatten().enumerate();
    Ok(Defense {
        mode: match spec.mode {
            crds::Mode::Enforce => Mode::Enforce,
            crds::Mode::AlertOnly => Mode::AlertOnly,
            crds::Mode::Off => Mode::Off,
        },
        recovery: match spec.recovery {
            crds::Recovery::Automatic => Recovery::Automatic,
            crds::Recovery::Manual => Recovery::Manual,
        },
        local_node: match spec.local_node {
            crds::LocalNode::Probes => LocalNodeMode::Probes,
            crds::LocalNode::Pass => LocalNodeMode::Pass,
            crds::LocalNode::Enforce => LocalNodeMode::Enforce,
        },
        startup: match spec.startup {
            crds::Startup::Open => Startup::Open,
            crds::Startup::Guarded => Startup::Guarded,
            crds::Startup::Closed => Startup::Closed,
        },
        pod_cidrs: ranges
            .map(|(i, text)| cidr(&format!("spec.podCIDRs[{i}]"), text))
            .collect::<Result<_, _>>()?,
        confirmed: spec.confirmed_generation,
    })
}

/// What another node's agent reports.
pub fn node_report(object: &crds::InterceptStatus) -> Result<NodeReport, Faults> {
    let node = name_of(&object.metadata)?;
    let report = object.status.clone().unwrap_or_default();
    // Addresses are what another agent wrote; one that is none says nothing.
    let addresses = report.addresses.iter().filter_map(|text| text.parse().ok()).collect();
    Ok(NodeReport {
        node,
        enforcing: report.enforcing,
        addresses,
    })
}
