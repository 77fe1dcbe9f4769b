//! From what the leader knows to what it writes: statuses, finalizers, events, and reports to delete. Pure: the same
//! view gives the same writes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use cellwall_crds::{
    ClusterDefenseStatus, Condition, ConditionStatus, ConditionType, DefenseRuleStatus, InterceptState,
    NetworkObjectStatus, Reason,
};
use cellwall_policy::compile::Reach;
use cellwall_policy::diagnostic::{self, Diagnostic, Problem};
use cellwall_policy::model::{Name, Side};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::outlook::{Policy, Standing, View, digest};
use super::own::bounded;
use crate::cluster::Kind;

/// Pods that a NetworkObject's status names.
const SAMPLE: usize = 8;
/// Faults that a condition names.
const FAULTS: usize = 5;
/// Policies that are known again by their digest.
const KNOWN: usize = 32;

/// One object's status, without the times of its conditions.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The object's uid, for events.
    pub uid: String,
    /// Everything but the conditions.
    pub fields: Value,
    /// The conditions.
    pub conditions: Vec<Condition>,
}

/// What is to be written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Overview {
    /// Statuses, by kind and name.
    pub statuses: BTreeMap<(Kind, Name), Status>,
    /// Objects whose finalizer is to be put on (true) or taken off.
    pub finalizers: BTreeMap<Name, bool>,
    /// Reports of nodes that are gone.
    pub orphans: Vec<Name>,
}

/// Policies that were in force lately, so that a node that is a little behind is understood.
#[derive(Debug, Default)]
pub struct History(VecDeque<(String, Policy)>);

impl History {
    /// What counts now.
    pub fn enter(&mut self, policy: Policy) {
        let digest = digest(&policy);
        self.0.retain(|(known, _)| *known != digest);
        self.0.push_front((digest, policy));
        self.0.truncate(KNOWN);
    }

    fn of(&self, digest: &str) -> Option<&Policy> {
        self.0
            .iter()
            .find(|(known, _)| known == digest)
            .map(|(_, policy)| policy)
    }
}

/// Works out everything there is to write.
pub fn overview(view: &View, history: &History) -> Overview {
    let reach = Reach::of(&view.world);
    let found = diagnostic::examine(&view.world);
    let uses = uses(view);
    let mut overview = Overview::default();
    for ((kind, name), standing) in &view.objects {
        let (fields, mut conditions) = match kind {
            Kind::NetworkObject => object(name, standing, &reach, &uses),
            Kind::DefenseRule => rule(name, standing, view, history, &reach, &found),
            _ => defense(standing, view),
        };
        conditions.insert(0, accepted(standing));
        for condition in &mut conditions {
            condition.observed_generation = Some(standing.about.generation);
        }
        let status = Status {
            uid: standing.about.uid.clone(),
            fields,
            conditions,
        };
        overview.statuses.insert((*kind, name.clone()), status);
        if *kind == Kind::NetworkObject {
            let in_use = uses.contains_key(name);
            // A finalizer cannot be put on what is leaving already.
            if standing.about.held != in_use && (standing.about.held || !standing.about.leaving) {
                overview.finalizers.insert(name.clone(), in_use);
            }
        }
    }
    let there: BTreeSet<&Name> = view.world.nodes().map(|node| &node.name).collect();
    overview.orphans = view
        .reports
        .keys()
        .filter(|node| !there.contains(node))
        .cloned()
        .collect();
    overview
}

/// How many rules name each object; of a rule whose present version is refused, the one in force counts.
fn uses(view: &View) -> HashMap<Name, i64> {
    let mut uses = HashMap::new();
    for rule in view.world.rules() {
        let sides = [&rule.source, &rule.destination];
        let named: BTreeSet<&Name> = sides
            .into_iter()
            .filter_map(|side| match side {
                Side::Object(name) => Some(name),
                Side::Entity(_) => None,
            })
            .collect();
        for name in named {
            *uses.entry(name.clone()).or_insert(0) += 1;
        }
    }
    uses
}

fn condition(kind: ConditionType, holds: bool, reason: Reason, message: &str) -> Condition {
    Condition {
        r#type: kind,
        status: if holds {
            ConditionStatus::True
        } else {
            ConditionStatus::False
        },
        reason,
        message: bounded(message),
        observed_generation: None,
        last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
    }
}

fn accepted(standing: &Standing) -> Condition {
    let kind = ConditionType::Accepted;
    if standing.faults.is_empty() {
        return condition(kind, true, Reason::Valid, "in force as written");
    }
    let mut faults: Vec<String> = standing.faults.iter().take(FAULTS).map(ToString::to_string).collect();
    if standing.faults.len() > FAULTS {
        faults.push(format!("and {} more", standing.faults.len() - FAULTS));
    }
    let (reason, meanwhile) = if standing.in_force {
        (Reason::LastValidInForce, "the last valid version stays in force")
    } else {
        (Reason::Invalid, "it enforces nothing")
    };
    condition(kind, false, reason, &format!("{meanwhile}; {}", faults.join("; ")))
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn object(name: &Name, standing: &Standing, reach: &Reach, uses: &HashMap<Name, i64>) -> (Value, Vec<Condition>) {
    let selected = reach.object(name);
    let pods = selected.map(|selected| selected.pods.as_slice()).unwrap_or_default();
    let status = NetworkObjectStatus {
        observed_generation: Some(standing.about.generation),
        selected_pods: Some(count(pods.len())),
        sample: pods
            .iter()
            .take(SAMPLE)
            .map(|pod| format!("{}/{}", pod.namespace, pod.name))
            .collect(),
        used_by_rules: Some(uses.get(name).copied().unwrap_or_default()),
        conditions: Vec::new(),
    };
    (json!(status), Vec::new())
}

fn rule(
    name: &Name,
    standing: &Standing,
    view: &View,
    history: &History,
    reach: &Reach,
    found: &[Diagnostic],
) -> (Value, Vec<Condition>) {
    let enabled = view.world.rule(name).is_none_or(|rule| rule.enabled);
    let of_rule = |problem: Problem| {
        let all = found
            .iter()
            .filter(move |one| one.problem == problem && one.kind == "DefenseRule");
        all.filter(|one| *one.name == **name).map(|one| one.message.clone())
    };
    let dangling: Vec<String> = of_rule(Problem::DanglingObject).collect();
    let mut conditions = vec![resolved(name, view, &dangling)];
    let (programmed, nodes) = programmed(name, standing, view, history);
    conditions.push(match (enabled, programmed == nodes && nodes > 0) {
        (false, _) => condition(
            ConditionType::Programmed,
            false,
            Reason::Disabled,
            "switched off by `enabled: false`",
        ),
        (true, all) => condition(
            ConditionType::Programmed,
            all,
            if all { Reason::Realised } else { Reason::Pending },
            &format!("on {programmed} of {nodes} nodes"),
        ),
    });
    let sides = reach.rule(name);
    let status = DefenseRuleStatus {
        observed_generation: Some(standing.about.generation),
        source_pods: sides.map(|(source, _)| count(source)),
        destination_pods: sides.map(|(_, destination)| count(destination)),
        nodes: Some(count(nodes)),
        nodes_programmed: Some(count(programmed)),
        shadowed: of_rule(Problem::Shadowed).next().map(|text| bounded(&text)),
        conditions: Vec::new(),
    };
    (json!(status), conditions)
}

fn resolved(name: &Name, view: &View, dangling: &[String]) -> Condition {
    let kind = ConditionType::Resolved;
    let Some(rule) = view.world.rule(name) else {
        return condition(kind, false, Reason::Invalid, "no version of it is in force");
    };
    let missing: Vec<&Name> = [&rule.source, &rule.destination]
        .into_iter()
        .filter_map(|side| match side {
            Side::Object(name) => Some(name),
            Side::Entity(_) => None,
        })
        .filter(|name| view.world.object(name).is_none())
        .collect();
    if missing.is_empty() {
        return condition(kind, true, Reason::ObjectsFound, "every object that it names exists");
    }
    // An object of that name may be there that never was valid.
    let refused = |name: &Name| view.objects.contains_key(&(Kind::NetworkObject, name.clone()));
    let reason = if missing.iter().any(|name| refused(name)) {
        Reason::ObjectInvalid
    } else {
        Reason::ObjectMissing
    };
    let message = if dangling.is_empty() {
        let names: Vec<String> = missing.iter().map(|name| format!("{name:?}")).collect();
        format!("NetworkObject {} is not in force; make it valid", names.join(" and "))
    } else {
        dangling.join("; ")
    };
    condition(kind, false, reason, &message)
}

/// On how many nodes the rule is in force as written, and of how many that report.
fn programmed(name: &Name, standing: &Standing, view: &View, history: &History) -> (usize, usize) {
    let key = (Kind::DefenseRule, name.clone());
    let wanted = (standing.about.uid.clone(), standing.about.generation);
    let nodes = view.reports.len();
    let on = view.reports.values().filter(|(_, report)| {
        let policy = report.digest.as_deref().and_then(|digest| history.of(digest));
        report.enforcing && policy.is_some_and(|policy| policy.get(&key) == Some(&wanted))
    });
    (on.count(), nodes)
}

fn defense(standing: &Standing, view: &View) -> (Value, Vec<Condition>) {
    let reports = || view.reports.values().map(|(_, report)| report);
    let in_state = |state| count(reports().filter(|report| report.state == Some(state)).count());
    let worst = [
        InterceptState::Abnormal,
        InterceptState::NormalToBeConfirmed,
        InterceptState::Normal,
    ];
    let status = ClusterDefenseStatus {
        observed_generation: Some(standing.about.generation),
        state: worst.into_iter().find(|state| in_state(*state) > 0),
        nodes: Some(count(view.reports.len())),
        nodes_normal: Some(in_state(InterceptState::Normal)),
        nodes_abnormal: Some(in_state(InterceptState::Abnormal)),
        nodes_to_be_confirmed: Some(in_state(InterceptState::NormalToBeConfirmed)),
        pods_protected: Some(reports().map(|report| report.pods_protected).sum()),
        pods_not_enforceable: Some(reports().map(|report| report.pods_not_enforceable).sum()),
        rules_enabled: Some(count(view.world.rules().filter(|rule| rule.enabled).count())),
        conditions: Vec::new(),
    };
    (json!(status), Vec::new())
}

#[cfg(test)]
mod tests;
