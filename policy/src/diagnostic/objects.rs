//! Objects that select nothing, and namespaces that say another name.

use super::{Diagnostic, Problem, Severity, list};
use crate::compile::Reach;
use crate::world::World;

const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Objects that select nothing now, or that host-network pods alone would be in (case 19).
pub(super) fn selecting_nothing(world: &World, reach: &Reach, found: &mut Vec<Diagnostic>) {
    for object in world.objects() {
        let Some(own) = reach.object(&object.name) else {
            continue;
        };
        if !own.is_empty() {
            continue;
        }
        let (problem, message) = if own.waiting.is_empty() && !own.host_network.is_empty() {
            let pods = own
                .host_network
                .iter()
                .map(|pod| format!("{}/{}", pod.namespace, pod.name));
            let message = format!(
                "it fits pods on the host's network alone ({}), and these are matched by no object; speak of them with the entity Node",
                list(pods)
            );
            (Problem::OnlyHostNetwork, message)
        } else if own.waiting.is_empty() {
            let message = "it selects nothing now: rules that name it match nothing on that side; look for a misspelt name, label or image";
            (Problem::SelectsNothing, message.to_owned())
        } else {
            // Pods on their way are not worth a word.
            continue;
        };
        found.push(Diagnostic {
            severity: Severity::Warning,
            problem,
            kind: "NetworkObject",
            name: object.name.to_string(),
            field: "spec",
            message,
        });
    }
}

/// Namespaces whose name label says something else: it is not what selectors see.
pub(super) fn namespace_labels(world: &World, found: &mut Vec<Diagnostic>) {
    for namespace in world.namespaces() {
        let Some(given) = namespace
            .labels
            .get(NAME_LABEL)
            .filter(|given| *given != &*namespace.name)
        else {
            continue;
        };
        found.push(Diagnostic {
            severity: Severity::Warning,
            problem: Problem::NamespaceLabel,
            kind: "Namespace",
            name: namespace.name.to_string(),
            field: "metadata.labels",
            message: format!(
                "the label {NAME_LABEL} says {given:?}, but selectors always see the namespace's own name; remove the label"
            ),
        });
    }
}
