//! Rows of `rules` and `objects`, and rules that name what is not there.

use std::collections::HashMap;
use std::sync::Arc;

use cellwall_datapath::abi::Counter;
use cellwall_policy::diagnostic::{self, Diagnostic, Severity};
use cellwall_policy::evaluate::objects_of_pod;
use cellwall_policy::model::{DefenseRule, Entity, Name, NetworkObject, Pod, Selector, Side};
use cellwall_policy::world::World;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Names of pods that a row of `objects` shows.
const SHOWN: usize = 8;

/// Pods that count: live ones with an address of their own.
fn pods(world: &World) -> impl Iterator<Item = &Arc<Pod>> {
    world.pods().filter(|pod| pod.phase.is_live() && !pod.host_network)
}

/// Members of every object, by name.
fn members(world: &World) -> HashMap<Name, Vec<&Arc<Pod>>> {
    let mut members: HashMap<Name, Vec<&Arc<Pod>>> = HashMap::new();
    for pod in pods(world) {
        for object in objects_of_pod(world, pod) {
            members.entry(object).or_default().push(pod);
        }
    }
    members
}

/// Every rule in deciding order, with its counters.
pub(super) fn rules(world: &World, counters: &HashMap<Name, Counter>, wall: impl Fn(u64) -> Timestamp) -> Vec<Value> {
    let members = members(world);
    let all = pods(world).count();
    let side = |side: &Side| match side {
        Side::Object(name) => members.get(name).map_or(0, Vec::len),
        Side::Entity(Entity::Any | Entity::Cluster) => all,
        Side::Entity(Entity::World | Entity::Node | Entity::LocalNode) => 0,
    };
    let mut rules: Vec<&Arc<DefenseRule>> = world.rules().collect();
    rules.sort_by_cached_key(|rule| rule.order());
    let row = |rule: &&Arc<DefenseRule>| {
        let hits = counters.get(&rule.name).copied().unwrap_or_default();
        json!({
            "name": &*rule.name,
            "priority": rule.priority,
            "action": rule.action.to_string(),
            "enabled": rule.enabled,
            "source_pods": side(&rule.source),
            "destination_pods": side(&rule.destination),
            "flows": hits.flows,
            "packets": hits.packets,
            "bytes": hits.bytes,
            "last_hit": (hits.last > 0).then(|| wall(hits.last)),
        })
    };
    rules.iter().map(row).collect()
}

/// Every object with what it selects now.
pub(super) fn objects(world: &World) -> Vec<Value> {
    let members = members(world);
    let uses = |object: &NetworkObject| {
        let names = |side: &Side| matches!(side, Side::Object(name) if *name == object.name);
        world
            .rules()
            .filter(|rule| names(&rule.source) || names(&rule.destination))
            .count()
    };
    let row = |object: &Arc<NetworkObject>| {
        let empty = Vec::new();
        let selected = members.get(&object.name).unwrap_or(&empty);
        let (kind, selects): (&str, Vec<String>) = match &object.selector {
            Selector::Workloads(_) => {
                let mut names: Vec<String> = selected
                    .iter()
                    .map(|pod| format!("{}/{}", pod.namespace, pod.name))
                    .collect();
                names.sort_unstable();
                names.truncate(SHOWN);
                ("workloads", names)
            }
            Selector::Cidrs(entries) => (
                "cidrs",
                entries.iter().take(SHOWN).map(|e| e.cidr.to_string()).collect(),
            ),
        };
        json!({
            "name": &*object.name,
            "kind": kind,
            "pods": selected.len(),
            "rules": uses(object),
            "selects": selects,
        })
    };
    world.objects().map(row).collect()
}

/// Enabled rules that name an object that does not exist: they enforce nothing, and must not do so in silence.
pub(super) fn dangling(world: &World) -> impl Iterator<Item = Diagnostic> {
    diagnostic::dangling(world)
        .into_iter()
        .filter(|one| one.severity == Severity::Error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents;

    const MANIFESTS: &str = r"
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: web}
spec: {namespaces: [shop]}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: both-there}
spec: {source: {object: web}, destination: {entity: Any}, action: Pass, priority: 1}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: half-there}
spec: {source: {object: web}, destination: {object: absent}, action: Drop, priority: 2}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: switched-off}
spec: {source: {object: absent}, destination: {entity: Any}, action: Drop, priority: 3, enabled: false}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop}
spec: {containers: [{name: web, image: nginx}]}
status: {podIP: 192.0.2.10}
";

    fn world() -> World {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("all.yaml"), MANIFESTS).unwrap();
        let read = documents::read(&[directory.path().to_owned()]);
        assert!(read.problems.is_empty(), "{:?}", read.problems);
        documents::world(&read, "node-0")
    }

    #[test]
    fn a_rule_that_names_no_object_is_told_with_its_field() {
        let told: Vec<(String, &str)> = dangling(&world()).map(|one| (one.name, one.field)).collect();
        assert_eq!(told, [("half-there".to_owned(), "spec.destination.object")]);
    }

    #[test]
    fn rows_of_rules_have_the_keys_that_scripts_read_in_deciding_order() {
        let rows = rules(&world(), &HashMap::new(), |_| Timestamp::UNIX_EPOCH);
        let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
        assert_eq!(names, ["both-there", "half-there", "switched-off"]);
        let expected = json!({
            "name": "both-there", "priority": 1, "action": "Pass", "enabled": true, "source_pods": 1,
            "destination_pods": 1, "flows": 0, "packets": 0, "bytes": 0, "last_hit": null,
        });
        assert_eq!(rows[0], expected);
    }
}
