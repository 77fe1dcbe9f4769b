//! Rows of `rules` and `objects`.

use std::collections::HashMap;
use std::sync::Arc;

use cellwall_datapath::abi::Counter;
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
