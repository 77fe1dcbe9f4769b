//! The leader's writes: by server-side apply, each when it differs from the one before, at a bounded rate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cellwall_crds::{Condition, ConditionStatus, ConditionType, set_condition};
use cellwall_policy::model::Name;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, DynamicObject, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::events::Events;
use super::lease::Leadership;
use super::outlook::View;
use super::overview::{History, Overview, Status, overview};
use super::{Outlook, PACE, pace};
use crate::cluster::Kind;
use crate::cluster::watch::resource;

/// Field manager of what the leader writes: whoever leads writes the same fields.
const MANAGER: &str = "cellwall-leader";
/// Writes of one round, each [`PACE`], in a small cluster: what is left over is written in the next.
const MOST: usize = 20;
/// A cluster of this many nodes is no small one any more: every node's agent hears of each write.
const SMALL: usize = 100;
/// What is worked out anew takes at most this part of the time.
const SHARE: u32 = 10;
/// A report without a Node is deleted after it was seen so for this long: the two arrive by different watches.
const ORPHANED: Duration = Duration::from_secs(10);

/// What was written is heard of again within this time; until then it is not written once more.
const ECHO: Duration = Duration::from_secs(5);

/// What the leader has written.
struct Writer {
    client: Client,
    events: Events,
    /// Written lately, and perhaps not heard of yet.
    written: BTreeMap<(Kind, Name), (Status, Instant)>,
    orphans: BTreeMap<Name, Instant>,
}

/// Leads when it is this node's turn, for as long as the loop runs.
pub(super) async fn follow(
    client: Client,
    mut outlook: watch::Receiver<Option<Arc<Outlook>>>,
    leads: watch::Sender<bool>,
) {
    // Only an agent that knows everything may say how things stand.
    let Ok(node) = outlook
        .wait_for(|now| now.as_ref().is_some_and(|now| now.whole))
        .await
        .map(|now| now.as_ref().map(|now| now.node.clone()).unwrap_or_default())
    else {
        return;
    };
    let mut leadership = Leadership::new(&client, &node);
    let mut writer: Option<Writer> = None;
    let mut history = History::default();
    let mut look = Instant::now();
    let mut due = Instant::now();
    loop {
        let now = outlook.borrow().clone();
        let nodes = now.as_ref().map_or(1, |now| now.nodes);
        if look <= Instant::now() {
            let led = leadership.leads();
            let leading = leadership.look().await;
            if leading != led {
                tracing::info!(leading, "leadership of the cluster's statuses");
            }
            leads.send_replace(leading);
            look = Instant::now() + leadership.rest(nodes);
        }
        if !leadership.leads() {
            writer = None;
        } else if let Some(view) = now.and_then(|now| now.view.clone())
            && due <= Instant::now()
        {
            let began = Instant::now();
            let writer = writer.get_or_insert_with(|| Writer::new(&client, &node));
            history.enter(view.policy());
            let wanted = overview(&view, &history);
            due = Instant::now() + PACE.max(began.elapsed() * SHARE);
            writer.write(&view, &wanted, &leadership, nodes).await;
        }
        tokio::select! {
            () = tokio::time::sleep_until(look.min(Instant::now() + PACE).into()) => {}
            () = outlook_closed(&outlook) => return,
        }
    }
}

/// Writes of one round.
fn most(nodes: usize) -> usize {
    (MOST * SMALL / nodes.max(SMALL)).max(1)
}

/// Ends when nobody tells any more.
async fn outlook_closed(outlook: &watch::Receiver<Option<Arc<Outlook>>>) {
    let mut own = outlook.clone();
    while own.changed().await.is_ok() {}
}

impl Writer {
    fn new(client: &Client, node: &str) -> Self {
        Self {
            client: client.clone(),
            events: Events::new(client, node),
            written: BTreeMap::new(),
            orphans: BTreeMap::new(),
        }
    }

    fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &resource(kind))
    }

    async fn write(&mut self, view: &View, wanted: &Overview, leadership: &Leadership, nodes: usize) {
        let rest = pace(nodes);
        self.written.retain(|_, (_, at)| at.elapsed() < ECHO.max(rest));
        let mut left = most(nodes);
        // What holds or frees objects goes first.
        for (name, hold) in &wanted.finalizers {
            if left == 0 || !leadership.leads() {
                return;
            }
            left -= 1;
            let uid = view
                .objects
                .get(&(Kind::NetworkObject, name.clone()))
                .map(|standing| standing.about.uid.as_str());
            self.hold(name, uid.unwrap_or_default(), *hold).await;
        }
        for (key, status) in &wanted.statuses {
            let seen = view
                .objects
                .get(key)
                .and_then(|standing| standing.about.status.as_deref());
            let is_told = |(written, at): &(Status, Instant)| at.elapsed() < rest || written == status;
            if self.written.get(key).is_some_and(is_told) {
                continue;
            }
            let before = conditions_of(seen);
            let Some(now) = merged(status, seen, &before) else {
                continue;
            };
            if left == 0 || !leadership.leads() {
                return;
            }
            left -= 1;
            if self.apply(key, status, now).await {
                self.tell(key, status, &before).await;
                self.written.insert(key.clone(), (status.clone(), Instant::now()));
            }
        }
        self.delete_orphans(view, &wanted.orphans).await;
    }

    async fn apply(&self, (kind, name): &(Kind, Name), status: &Status, fields: Value) -> bool {
        let object = json!({
            "apiVersion": cellwall_crds::API_VERSION,
            "kind": kind.name(),
            // The uid goes along: an object made anew under the name is another one.
            "metadata": { "name": &**name, "uid": status.uid },
            "status": fields,
        });
        let parameters = PatchParams::apply(MANAGER).force();
        match super::apply_status(&self.api(*kind), name, &parameters, &object).await {
            Ok(_) => true,
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => false,
            Err(error) => {
                tracing::warn!(%error, "{kind} {name}: its status is not written");
                false
            }
        }
    }

    /// Tells what became false, and what became true again.
    async fn tell(&self, (kind, name): &(Kind, Name), status: &Status, before: &[Condition]) {
        for condition in &status.conditions {
            if !matches!(condition.r#type, ConditionType::Accepted | ConditionType::Resolved) {
                continue;
            }
            let old = before.iter().find(|old| old.r#type == condition.r#type);
            let holds = condition.status == ConditionStatus::True;
            let same = old.map_or(holds, |old| {
                old.status == condition.status && (holds || old.message == condition.message)
            });
            if !same {
                let reason = condition.reason.as_str();
                self.events
                    .about(*kind, name, &status.uid, !holds, reason, &condition.message)
                    .await;
            }
        }
    }

    async fn hold(&self, name: &Name, uid: &str, hold: bool) {
        match super::finalizer::hold(&self.api(Kind::NetworkObject), name, uid, hold).await {
            Ok(()) => tracing::debug!(%name, hold, "finalizer of a NetworkObject"),
            Err(error) => tracing::warn!(%error, "NetworkObject {name}: its finalizer is not written"),
        }
    }

    async fn delete_orphans(&mut self, view: &View, orphans: &[Name]) {
        self.orphans.retain(|name, _| orphans.contains(name));
        for name in orphans {
            let since = *self.orphans.entry(name.clone()).or_insert_with(Instant::now);
            let Some((uid, _)) = view.reports.get(name).filter(|_| since.elapsed() >= ORPHANED) else {
                continue;
            };
            let only = Preconditions {
                uid: Some(uid.clone()),
                resource_version: None,
            };
            let parameters = DeleteParams::default().preconditions(only);
            match self.api(Kind::InterceptStatus).delete(name, &parameters).await {
                Ok(_) => tracing::info!(node = %name, "its Node is gone: the InterceptStatus was deleted"),
                Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => {}
                Err(error) => tracing::warn!(%error, "InterceptStatus {name} of a node that is gone is not deleted"),
            }
        }
    }
}

fn conditions_of(status: Option<&Value>) -> Vec<Condition> {
    let written = status
        .and_then(|status| status.get("conditions"))
        .cloned()
        .unwrap_or_default();
    serde_json::from_value(written).unwrap_or_default()
}

/// What is to be written where the server has `seen`, of which `before` are the conditions: those that did not change
/// keep their times. None: it says so already.
fn merged(status: &Status, seen: Option<&Value>, before: &[Condition]) -> Option<Value> {
    let mut conditions = before.to_vec();
    conditions.retain(|old| status.conditions.iter().any(|new| new.r#type == old.r#type));
    for condition in &status.conditions {
        let mut condition = condition.clone();
        condition.last_transition_time = Time(jiff::Timestamp::now());
        let same = |old: &&Condition| old.r#type == condition.r#type && old.status == condition.status;
        if let Some(old) = before.iter().find(same) {
            condition.last_transition_time = old.last_transition_time.clone();
        }
        set_condition(&mut conditions, condition);
    }
    let mut rest = seen.cloned().unwrap_or_else(|| json!({}));
    if let Some(fields) = rest.as_object_mut() {
        fields.remove("conditions");
    }
    if conditions == before && rest == status.fields {
        return None;
    }
    let mut now = status.fields.clone();
    now["conditions"] = json!(conditions);
    Some(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cellwall_crds::Reason;

    fn status(holds: ConditionStatus, pods: i64) -> Status {
        let condition = Condition {
            r#type: ConditionType::Accepted,
            status: holds,
            reason: Reason::Valid,
            message: String::new(),
            observed_generation: Some(1),
            last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
        };
        Status {
            uid: "uid".into(),
            fields: json!({ "selectedPods": pods }),
            conditions: vec![condition],
        }
    }

    #[test]
    fn the_more_nodes_hear_of_a_write_the_fewer_there_are() {
        assert_eq!([1, 100, 1_000, 100_000].map(most), [20, 20, 2, 1]);
    }

    #[test]
    fn what_the_server_has_already_is_not_written_again_and_times_stay_until_a_condition_turns() {
        let first = merged(&status(ConditionStatus::True, 1), None, &[]).unwrap();
        let before = conditions_of(Some(&first));
        assert!(merged(&status(ConditionStatus::True, 1), Some(&first), &before).is_none());
        let second = merged(&status(ConditionStatus::True, 2), Some(&first), &before).unwrap();
        assert_eq!(conditions_of(Some(&second)), before);
        let third = merged(&status(ConditionStatus::False, 2), Some(&second), &before).unwrap();
        let turned = conditions_of(Some(&third));
        assert!(turned[0].last_transition_time.0 >= before[0].last_transition_time.0);
        assert_eq!(turned[0].status, ConditionStatus::False);
    }

    #[test]
    fn what_somebody_else_wrote_into_a_status_is_put_right() {
        let first = merged(&status(ConditionStatus::True, 1), None, &[]).unwrap();
        let mut changed = first.clone();
        changed["selectedPods"] = json!(99);
        let before = conditions_of(Some(&changed));
        assert_eq!(
            merged(&status(ConditionStatus::True, 1), Some(&changed), &before),
            Some(first)
        );
    }
}
