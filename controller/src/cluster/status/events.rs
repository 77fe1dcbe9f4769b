//! Kubernetes Events, so that `kubectl describe` and `kubectl get events` tell what happened.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cellwall_crds::{InterceptState, InterceptStatus, InterceptStatusReport, Transition};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client, Resource};

use super::own::bounded;
use crate::cluster::Kind;

/// The same event about the same object is told this often.
const AGAIN: Duration = Duration::from_mins(5);
/// Events of all kinds together within [`WINDOW`].
const MOST: usize = 60;
const WINDOW: Duration = Duration::from_mins(1);
/// Bytes of a note that an API server takes.
const NOTE: usize = 1_000;

/// Where events about what has no namespace go.
const NAMESPACE: &str = "default";
/// Who tells.
const CONTROLLER: &str = "cellwall.io/agent";

/// Tells events, and not too many.
pub(super) struct Events {
    api: Api<Event>,
    node: String,
    told: Mutex<Told>,
}

/// What was told lately.
#[derive(Default)]
struct Told {
    last: HashMap<(String, String, String), Instant>,
    recent: Vec<Instant>,
}

impl Told {
    /// Whether one more may be told now.
    fn may(&mut self, key: (String, String, String), now: Instant) -> bool {
        self.last.retain(|_, at| now.duration_since(*at) < AGAIN);
        self.recent.retain(|at| now.duration_since(*at) < WINDOW);
        if self.recent.len() >= MOST || self.last.contains_key(&key) {
            return false;
        }
        self.recent.push(now);
        self.last.insert(key, now);
        true
    }
}

impl Events {
    pub(super) fn new(client: &Client, node: &str) -> Self {
        Self {
            api: Api::namespaced(client.clone(), NAMESPACE),
            node: node.to_owned(),
            told: Mutex::default(),
        }
    }

    /// The node's state is another.
    pub(super) async fn state_changed(&self, object: &InterceptStatus, report: &InterceptStatusReport) {
        let Some(state) = report.state else { return };
        let note = report.message.clone().unwrap_or_default();
        let warning = state != InterceptState::Normal;
        self.tell(object.object_ref(&()), warning, state.as_str(), &note).await;
    }

    /// The node's state became another, and who brought it about.
    pub(super) async fn turned(&self, object: &InterceptStatus, turn: &Transition) {
        let note = format!(
            "{} after {}, generation {}, by {}: {}",
            turn.to.as_str(),
            turn.from.as_str(),
            turn.generation,
            turn.by,
            turn.message
        );
        let warning = turn.to != InterceptState::Normal;
        self.tell(object.object_ref(&()), warning, turn.to.as_str(), &note)
            .await;
    }

    /// Something about an object of ours.
    pub(super) async fn about(&self, kind: Kind, name: &str, uid: &str, warning: bool, reason: &str, note: &str) {
        let reference = ObjectReference {
            api_version: Some(cellwall_crds::API_VERSION.to_owned()),
            kind: Some(kind.name().to_owned()),
            name: Some(name.to_owned()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        self.tell(reference, warning, reason, note).await;
    }

    async fn tell(&self, reference: ObjectReference, warning: bool, reason: &str, note: &str) {
        let key = (
            reference.uid.clone().unwrap_or_default(),
            reason.to_owned(),
            note.to_owned(),
        );
        let may = match self.told.lock() {
            Ok(mut told) => told.may(key, Instant::now()),
            Err(_) => false,
        };
        if !may {
            return;
        }
        let mut note = bounded(note);
        while note.len() > NOTE {
            note.pop();
        }
        let now = jiff::Timestamp::now();
        let name = reference.name.clone().unwrap_or_default();
        let event = Event {
            metadata: ObjectMeta {
                // Names end at 253 characters.
                name: Some(format!("{:.220}.{:x}", name, now.as_nanosecond())),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            type_: Some(if warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(reason.to_owned()),
            note: Some(note),
            action: Some("Enforce".to_owned()),
            event_time: Some(MicroTime(now)),
            regarding: Some(reference),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(format!("{:.128}", self.node)),
            ..Event::default()
        };
        if let Err(error) = self.api.create(&PostParams::default(), &event).await {
            tracing::debug!(%error, "an event is not told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(note: usize) -> (String, String, String) {
        ("uid".into(), "Invalid".into(), note.to_string())
    }

    #[test]
    fn the_same_is_told_once_and_many_are_bounded() {
        let (mut told, now) = (Told::default(), Instant::now());
        assert!(told.may(key(0), now));
        assert!(!told.may(key(0), now));
        assert!(told.may(key(0), now + AGAIN));
        let (mut told, mut passed) = (Told::default(), 0);
        for note in 0..1_000 {
            passed += usize::from(told.may(key(note), now));
        }
        assert_eq!(passed, MOST);
        assert!(told.may(key(1_001), now + WINDOW));
    }
}
