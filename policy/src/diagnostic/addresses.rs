//! Addresses with two owners, and pods that cannot be guarded.

use std::collections::BTreeMap;

use super::{Diagnostic, Problem, Severity, list};
use crate::model::{Address, Pod};
use crate::world::World;

fn full_name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

/// Addresses that several live pods have, or a pod and a node, or that a Service lists though they are another's.
pub(super) fn conflicts(world: &World, found: &mut Vec<Diagnostic>) {
    let mut pods: BTreeMap<Address, Vec<&Pod>> = BTreeMap::new();
    let mut nodes: BTreeMap<Address, String> = BTreeMap::new();
    for pod in world.pods().filter(|pod| pod.phase.is_live()) {
        for address in &pod.addresses {
            if pod.host_network {
                nodes.insert(*address, world.node_of(pod).to_string());
            } else {
                pods.entry(*address).or_default().push(pod);
            }
        }
    }
    for node in world.nodes() {
        nodes.extend(node.addresses.iter().map(|address| (*address, node.name.to_string())));
    }
    for (address, owners) in &mut pods {
        owners.sort_by(|one, other| (other.created, &other.uid).cmp(&(one.created, &one.uid)));
        owners.dedup_by(|one, other| one.uid == other.uid);
        if owners.len() > 1 {
            found.push(several_pods(*address, owners));
        }
        if let (Some(node), Some(pod)) = (nodes.get(address), owners.first()) {
            found.push(conflict("Pod", full_name(pod), "status.podIPs", format!(
                "{address} is also an address of the node {node:?}: it counts as the pod's; find out why the network gave it out twice"
            )));
        }
    }
    for service in world.services() {
        for address in service.cluster_ips.iter().chain(&service.external_ips) {
            let owner = match (pods.get(address).and_then(|owners| owners.first()), nodes.get(address)) {
                (Some(pod), _) => format!("the pod {:?}", full_name(pod)),
                (None, Some(node)) => format!("the node {node:?}"),
                (None, None) => continue,
            };
            let name = format!("{}/{}", service.namespace, service.name);
            found.push(conflict("Service", name, "spec", format!(
                "{address} is an address of {owner} and counts as such, not as this Service's; judge it by rules about {owner}"
            )));
        }
    }
}

fn several_pods(address: Address, owners: &[&Pod]) -> Diagnostic {
    let name = owners.first().map(|pod| full_name(pod)).unwrap_or_default();
    let message = format!(
        "{address} is the address of several live pods, {}: the first of them, created last, has it; delete the others or find out why the network gave it out twice",
        list(owners.iter().map(|pod| full_name(pod)))
    );
    Diagnostic {
        severity: Severity::Error,
        ..conflict("Pod", name, "status.podIPs", message)
    }
}

fn conflict(kind: &'static str, name: String, field: &'static str, message: String) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        problem: Problem::AddressConflict,
        kind,
        name,
        field,
        message,
    }
}

/// Live pods on the host's network.
pub(super) fn not_enforceable(world: &World, found: &mut Vec<Diagnostic>) {
    for pod in world.pods().filter(|pod| pod.host_network && pod.phase.is_live()) {
        found.push(Diagnostic {
            severity: Severity::Warning,
            problem: Problem::NotEnforceable,
            kind: "Pod",
            name: full_name(pod),
            field: "spec.hostNetwork",
            message: "it uses the host's network and cannot be guarded: it is matched by no object and counts as its node; speak of it with the entity Node".to_owned(),
        });
    }
}
