//! This node's InterceptStatus: written when its state changes, and now and then though nothing did.

use std::sync::Arc;
use std::time::Duration;

use cellwall_crds::{
    Condition, ConditionStatus, InterceptState, InterceptStatus, InterceptStatusReport, MapFill, Reason, Transition,
    set_condition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::events::Events;
use super::{Outlook, apply_status, manager, pace};
use crate::status::{self, State};

/// A report whose numbers alone changed is written this often.
const NUMBERS: Duration = Duration::from_mins(1);
/// A report is written this often whatever happens.
const HEARTBEAT: Duration = Duration::from_mins(5);
/// How long the first lists are waited for before something is written all the same.
const PATIENCE: Duration = Duration::from_secs(10);
/// What was written is heard of again within this time.
const ECHO: Duration = Duration::from_secs(5);
/// Longest text of a condition or a message, in characters.
const LONGEST: usize = 1_024;
/// Most addresses that are told.
const ADDRESSES: usize = 256;

/// Writes the report of this node for as long as the loop runs.
pub(super) async fn follow(client: Client, mut outlook: watch::Receiver<Option<Arc<Outlook>>>) {
    let api: Api<InterceptStatus> = Api::all(client.clone());
    let mut events: Option<Events> = None;
    let mut written: Option<(InterceptStatusReport, Instant)> = None;
    let mut failed = 0_u32;
    let began = Instant::now();
    loop {
        let Some(now) = outlook.borrow_and_update().clone() else {
            if outlook.changed().await.is_err() {
                return;
            }
            continue;
        };
        if !now.whole && began.elapsed() < PATIENCE {
            // What an earlier process wrote is about to be known.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        if written.is_none()
            && let Some(own) = &now.own
        {
            // It keeps its times.
            let before = serde_json::from_value(Value::clone(own)).unwrap_or_default();
            written = Some((before, Instant::now()));
        }
        // Somebody deleted it.
        if now.whole && now.own.is_none() && written.as_ref().is_some_and(|(_, at)| at.elapsed() > ECHO) {
            written = None;
        }
        let before = written.as_ref().map(|(report, _)| report);
        let report = report_of(&now, before);
        let due = due(&report, written.as_ref());
        if due > Instant::now() {
            tokio::select! {
                changed = outlook.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(due) => {}
            }
            continue;
        }
        match write(&api, &now.node, &report).await {
            Ok(object) => {
                let turns = turns(before, &report);
                if !turns.is_empty() || before.and_then(|report| report.state) != report.state {
                    let events = events.get_or_insert_with(|| Events::new(&client, &now.node));
                    for turn in &turns {
                        events.turned(&object, turn).await;
                    }
                    if turns.is_empty() {
                        events.state_changed(&object, &report).await;
                    }
                }
                failed = 0;
                written = Some((report, Instant::now()));
            }
            Err(error) => {
                failed = failed.saturating_add(1);
                let level = if failed == 1 { "first" } else { "again" };
                tracing::warn!(%error, level, "this node's InterceptStatus is not written");
                tokio::time::sleep(Duration::from_secs(1 << failed.min(5))).await;
            }
        }
        tokio::time::sleep(pace(now.nodes)).await;
    }
}

/// The changes of state that a report tells and the one before did not.
fn turns<'a>(before: Option<&InterceptStatusReport>, report: &'a InterceptStatusReport) -> Vec<&'a Transition> {
    let told = before
        .and_then(|before| before.transitions.last())
        .map(|last| last.time.0);
    let all = report.transitions.iter();
    all.filter(|one| told.is_none_or(|told| one.time.0 > told)).collect()
}

/// When a report is to be written that stands beside the one written last.
fn due(report: &InterceptStatusReport, written: Option<&(InterceptStatusReport, Instant)>) -> Instant {
    let Some((before, at)) = written else {
        return Instant::now();
    };
    if *at + HEARTBEAT <= Instant::now() || telling(before) != telling(report) {
        return Instant::now();
    }
    let same = InterceptStatusReport {
        heartbeat_time: before.heartbeat_time.clone(),
        policy_time: before.policy_time.clone(),
        ..report.clone()
    };
    if same == *before {
        *at + HEARTBEAT
    } else {
        *at + NUMBERS
    }
}

/// What others act on: not the numbers that go up with every pod that starts anywhere, nor texts that hold them.
fn telling(report: &InterceptStatusReport) -> impl PartialEq + use<> {
    let conditions: Vec<_> = report
        .conditions
        .iter()
        .map(|one| (one.r#type, one.status, one.reason))
        .collect();
    let counts = (report.pods_protected, report.pods_not_enforceable, report.rules_enabled);
    let policy = (report.policy_digest.clone(), report.enforcing, report.addresses.clone());
    (
        report.state,
        report.reason,
        report.transitions.last().map(|one| one.time.clone()),
        conditions,
        counts,
        policy,
        report.agent_version.clone(),
    )
}

/// The report as the API server has it.
fn report_of(outlook: &Outlook, before: Option<&InterceptStatusReport>) -> InterceptStatusReport {
    let now = Time(jiff::Timestamp::now());
    let report = &outlook.report;
    let mut conditions = before.map(|before| before.conditions.clone()).unwrap_or_default();
    conditions.retain(|old| report.conditions.iter().any(|new| new.kind == old.r#type.as_str()));
    for one in &report.conditions {
        let (Ok(kind), Ok(status)) = (one.kind.parse(), one.status.parse::<ConditionStatus>()) else {
            continue;
        };
        let condition = Condition {
            r#type: kind,
            status,
            reason: one.reason.parse().unwrap_or(Reason::Unrecognised),
            message: bounded(&one.message),
            observed_generation: None,
            last_transition_time: now.clone(),
        };
        set_condition(&mut conditions, condition);
    }
    let count = |number: usize| i64::try_from(number).ok();
    InterceptStatusReport {
        state: Some(state_of(report.state)),
        reason: report.reason.parse().ok(),
        message: Some(bounded(&report.message)),
        enforcing: outlook.enforcing,
        addresses: outlook.addresses.iter().take(ADDRESSES).cloned().collect(),
        generation_wanted: Some(report.generation_wanted.into()),
        generation_realised: Some(report.generation_realised.into()),
        policy_time: Some(Time(outlook.current)),
        policy_digest: outlook.digest.clone(),
        maps_digest: report.policy_hash.clone(),
        pods_protected: count(report.pods_protected),
        pods_not_enforceable: count(report.pods_not_enforceable),
        rules_enabled: count(report.rules_enabled),
        agent_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        heartbeat_time: Some(now),
        maps: report.maps.iter().filter_map(fill_of).collect(),
        transitions: report.transitions.iter().map(transition_of).collect(),
        conditions,
    }
}

fn state_of(state: State) -> InterceptState {
    match state {
        State::Normal => InterceptState::Normal,
        State::Abnormal => InterceptState::Abnormal,
        State::NormalToBeConfirmed => InterceptState::NormalToBeConfirmed,
    }
}

fn fill_of(map: &status::MapFill) -> Option<MapFill> {
    Some(MapFill {
        name: map.map.clone(),
        used: map.used.try_into().ok()?,
        capacity: map.capacity.try_into().ok()?,
    })
}

fn transition_of(one: &status::Transition) -> Transition {
    Transition {
        // As the server keeps it, so that it is known again.
        time: Time(jiff::Timestamp::from_second(one.time.as_second()).unwrap_or(one.time)),
        from: state_of(one.from),
        to: state_of(one.to),
        by: bounded(&one.by),
        reason: one.reason.parse().unwrap_or(Reason::Unrecognised),
        message: bounded(&one.message),
        generation: one.generation.into(),
    }
}

/// A text that fits a status.
pub(super) fn bounded(text: &str) -> String {
    let mut text = cellwall_crds::escaped(text);
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push_str(" ...");
    }
    text
}

async fn write(
    api: &Api<InterceptStatus>,
    node: &str,
    report: &InterceptStatusReport,
) -> kube::Result<InterceptStatus> {
    let parameters = PatchParams::apply(&manager(node)).force();
    let object = |status: Option<&InterceptStatusReport>| {
        let mut object = json!({
            "apiVersion": cellwall_crds::API_VERSION,
            "kind": "InterceptStatus",
            "metadata": { "name": node },
        });
        if let Some(status) = status {
            object["status"] = json!(status);
        }
        object
    };
    match apply_status(api, node, &parameters, &object(Some(report))).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let made = api.patch(node, &parameters, &Patch::Apply(object(None))).await?;
            tracing::info!(name = made.name_any(), "InterceptStatus made");
            apply_status(api, node, &parameters, &object(Some(report))).await
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(generation: i64, digest: &str) -> InterceptStatusReport {
        InterceptStatusReport {
            generation_realised: Some(generation),
            policy_digest: Some(digest.to_owned()),
            heartbeat_time: Some(Time(jiff::Timestamp::from_second(generation).unwrap())),
            ..InterceptStatusReport::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_act_on_is_written_at_once_and_numbers_now_and_then() {
        let at = Instant::now();
        let written = (report(1, "a"), at);
        assert_eq!(due(&report(1, "a"), Some(&written)), at + HEARTBEAT, "nothing changed");
        assert_eq!(due(&report(2, "a"), Some(&written)), at + NUMBERS, "a number did");
        assert!(due(&report(2, "b"), Some(&written)) <= Instant::now(), "the policy did");
        assert!(due(&report(1, "a"), None) <= Instant::now(), "nothing was written yet");
        tokio::time::advance(HEARTBEAT).await;
        assert!(due(&report(1, "a"), Some(&written)) <= Instant::now(), "long ago");
    }

    #[test]
    fn each_change_of_state_is_told_once() {
        let turn = |second| Transition {
            time: Time(jiff::Timestamp::from_second(second).unwrap()),
            from: InterceptState::Normal,
            to: InterceptState::Abnormal,
            by: "agent".to_owned(),
            reason: Reason::Repaired,
            message: String::new(),
            generation: 1,
        };
        let with = |seconds: &[i64]| InterceptStatusReport {
            transitions: seconds.iter().map(|second| turn(*second)).collect(),
            ..report(1, "a")
        };
        assert_eq!(turns(None, &with(&[1, 2])).len(), 2);
        assert_eq!(turns(Some(&with(&[1])), &with(&[1, 2, 3])), [&turn(2), &turn(3)]);
        assert_eq!(turns(Some(&with(&[1, 2])), &with(&[1, 2])), Vec::<&Transition>::new());
    }

    #[test]
    fn a_text_is_bounded_in_characters() {
        let text = "é".repeat(5_000);
        assert_eq!(bounded(&text).chars().count(), LONGEST + 4);
        assert_eq!(bounded("short"), "short");
    }
}
