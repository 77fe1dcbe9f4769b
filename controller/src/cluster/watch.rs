//! One task a kind: follows the API server's objects and tells what they say. What a document does not need is
//! dropped here, before the next object is read.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;

use cellwall_crds::Violation;
use cellwall_policy::world::Document;
use futures::StreamExt;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Kind;
use super::feed::{About, Heard, NodeState, ObjectKey, Read, Teller};
use crate::convert;

/// On objects that a rule names: deleting one waits until no rule names it.
pub const FINALIZER: &str = "cellwall.io/in-use";

/// `metadata.annotations` that only repeat the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What is known of our own kinds beside what the world holds.
type More = (Option<NodeState>, Option<Arc<Value>>);
type Conversion = Result<Box<Read>, Vec<Violation>>;

/// Follows every kind, each in a task of its own, for as long as the feed is there. `node` is this one's name.
pub fn start(client: &Client, teller: &Teller, node: &str) {
    for kind in [
        Kind::ClusterDefense,
        Kind::NetworkObject,
        Kind::DefenseRule,
        Kind::InterceptStatus,
    ] {
        let api = Api::<DynamicObject>::all_with(client.clone(), &resource(kind));
        let node = node.to_owned();
        tokio::spawn(follow(api, kind, teller.clone(), move |object| {
            ours(kind, &node, object)
        }));
    }
    theirs(client, Kind::Namespace, teller, |o: core::Namespace| {
        convert::namespace(&o)
    });
    theirs(client, Kind::Node, teller, |o: core::Node| convert::node(&o));
    theirs(client, Kind::Pod, teller, |o: core::Pod| pod(&o));
    theirs(client, Kind::Service, teller, |o: core::Service| convert::service(&o));
    theirs(client, Kind::EndpointSlice, teller, |o: discovery::EndpointSlice| {
        convert::endpoint_slice(&o)
    });
}

/// A pod. Its interfaces are found by its addresses: an annotation says nothing here. One that is not scheduled yet is
/// on no node: the empty name is none's.
fn pod(object: &core::Pod) -> Result<Document, Vec<Violation>> {
    let mut pod = convert::pod(object)?.pod;
    pod.node.get_or_insert_with(|| "".into());
    Ok(Document::Pod(pod))
}

/// One of our kinds, as the API server names it.
pub fn resource(kind: Kind) -> ApiResource {
    ApiResource {
        group: cellwall_crds::GROUP.to_owned(),
        version: cellwall_crds::VERSION.to_owned(),
        api_version: cellwall_crds::API_VERSION.to_owned(),
        kind: kind.name().to_owned(),
        plural: kind.plural().to_owned(),
    }
}

fn theirs<K>(
    client: &Client,
    kind: Kind,
    teller: &Teller,
    convert: impl Fn(K) -> Result<Document, Vec<Violation>> + Send + Sync + 'static,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let api = Api::<K>::all(client.clone());
    let read = move |object: K| {
        let read = convert(object).map(|document| {
            Box::new(Read {
                document,
                written: None,
            })
        });
        (read, More::default())
    };
    tokio::spawn(follow(api, kind, teller.clone(), read));
}

/// Reads one of our objects as strictly as a file: what the schema would have refused is refused here too.
fn ours(kind: Kind, node: &str, mut object: DynamicObject) -> (Conversion, More) {
    object.metadata.managed_fields = None;
    if let Some(annotations) = &mut object.metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
    object.types = Some(kube::api::TypeMeta {
        api_version: cellwall_crds::API_VERSION.to_owned(),
        kind: kind.name().to_owned(),
    });
    let written = match serde_json::to_value(&object) {
        Ok(value) => value,
        // An object that came as JSON goes back into JSON; if ever not, it says nothing.
        Err(_) => Value::Null,
    };
    let report = (kind == Kind::InterceptStatus).then(|| node_state(&written));
    // Of nodes' reports this node's own is looked at again; the others would be many.
    let own = kind == Kind::InterceptStatus && object.metadata.name.as_deref() == Some(node);
    let status = written.get("status").filter(|_| own || kind.is_policy());
    let status = status.cloned().map(Arc::new);
    (read_ours(kind, written), (report, status))
}

/// What an InterceptStatus says of its node, as far as it can be understood.
fn node_state(written: &Value) -> NodeState {
    let status = written.get("status").cloned().unwrap_or_default();
    let report: cellwall_crds::InterceptStatusReport = serde_json::from_value(status).unwrap_or_default();
    NodeState {
        state: report.state,
        enforcing: report.enforcing,
        digest: report.policy_digest,
        pods_protected: report.pods_protected.unwrap_or_default(),
        pods_not_enforceable: report.pods_not_enforceable.unwrap_or_default(),
    }
}

/// Reads one of our objects from JSON.
pub(super) fn read_ours(kind: Kind, mut written: Value) -> Conversion {
    let document = cellwall_crds::read(&written)?;
    let document = convert::ours(&document)?.document;
    let written = kind.is_policy().then(|| {
        if let Some(fields) = written.as_object_mut() {
            fields.remove("status");
        }
        written
    });
    Ok(Box::new(Read { document, written }))
}

/// Follows one kind. A server that cannot stream a list is asked for pages.
async fn follow<K>(api: Api<K>, kind: Kind, teller: Teller, read: impl Fn(K) -> (Conversion, More) + Send)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut streams = true;
    loop {
        let config = if streams {
            Config::default().streaming_lists()
        } else {
            // The most recent state: a server's cache may lie behind what was seen before.
            Config::default()
        };
        let mut events = pin!(watcher(api.clone(), config).default_backoff());
        while let Some(event) = events.next().await {
            let refused = streams && matches!(&event, Err(error) if cannot_stream(error));
            if refused {
                tracing::info!(%kind, "the API server does not stream lists; it is asked for pages");
                streams = false;
                break;
            }
            let heard = match event {
                Ok(Event::Init) => Heard::Listing(kind),
                Ok(Event::InitDone) => Heard::Listed(kind),
                Ok(Event::Apply(object) | Event::InitApply(object)) => {
                    let (key, mut about) = (key_of(&object), about(&object));
                    let (conversion, more) = read(object);
                    (about.report, about.status) = more;
                    Heard::Put {
                        kind,
                        key,
                        about,
                        read: conversion,
                    }
                }
                Ok(Event::Delete(object)) => Heard::Gone(kind, key_of(&object)),
                Err(error) => Heard::Down(kind, said(&error)),
            };
            if teller.0.send(heard).await.is_err() {
                return;
            }
        }
    }
}

/// Whether the server refuses `sendInitialEvents`: it is older than that, or has it switched off.
fn cannot_stream(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => matches!(status.code, 400 | 422),
        _ => false,
    }
}

fn key_of(object: &impl Resource) -> ObjectKey {
    let metadata = object.meta();
    let part = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    (part(&metadata.namespace), part(&metadata.name))
}

fn about(object: &impl Resource) -> About {
    let metadata = object.meta();
    About {
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
        leaving: metadata.deletion_timestamp.is_some(),
        held: metadata.finalizers.iter().flatten().any(|one| one == FINALIZER),
        report: None,
        status: None,
    }
}

/// An error and its causes, in a line.
fn said(error: &watcher::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(one) = cause {
        let more = one.to_string();
        // Several layers say the same.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = one.source();
    }
    cellwall_crds::escaped(&text)
}
