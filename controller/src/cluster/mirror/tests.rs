//! Lists, last valid versions and watches that fail.

use super::*;
use crate::cluster::watch::read_ours;
use serde_json::json;

fn key(name: &str) -> ObjectKey {
    ("".into(), name.into())
}

fn about(uid: &str, generation: i64) -> About {
    About {
        uid: uid.to_owned(),
        generation,
        ..About::default()
    }
}

fn object(name: &str, uid: &str, generation: i64, spec: serde_json::Value) -> Heard {
    let mut written = json!({
        "apiVersion": "cellwall.io/v1alpha1", "kind": "NetworkObject",
        "metadata": {"name": name, "uid": uid, "generation": generation},
    });
    written["spec"] = spec;
    Heard::Put {
        kind: Kind::NetworkObject,
        key: key(name),
        about: about(uid, generation),
        read: read_ours(Kind::NetworkObject, written),
    }
}

fn lists() -> Vec<Heard> {
    Kind::ALL
        .into_iter()
        .flat_map(|kind| [Heard::Listing(kind), Heard::Listed(kind)])
        .collect()
}

fn shop() -> serde_json::Value {
    json!({"namespaces": ["shop"]})
}

fn invalid() -> serde_json::Value {
    json!({"namespaces": []})
}

fn gone(name: &str) -> Delta {
    Delta::Gone(DocumentKey::NetworkObject(name.into()))
}

#[test]
fn the_world_is_whole_when_every_kind_was_listed_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    let mut mirror = Mirror::open(directory.path());
    let mut all = lists();
    let last = all.pop().unwrap();
    mirror.take(all);
    assert!(!mirror.is_whole());
    assert_eq!(mirror.awaited(), [(Kind::EndpointSlice, None)]);
    mirror.take(vec![last]);
    assert!(mirror.is_whole());
}

#[test]
fn what_a_new_list_does_not_show_is_gone_and_the_rest_stays() {
    let directory = tempfile::tempdir().unwrap();
    let mut mirror = Mirror::open(directory.path());
    mirror.take(lists());
    mirror.take(vec![object("web", "1", 1, shop()), object("db", "2", 1, shop())]);
    let kind = Kind::NetworkObject;
    let again = vec![Heard::Listing(kind), object("web", "1", 1, shop()), Heard::Listed(kind)];
    let taken = mirror.take(again);
    assert_eq!(taken.deltas.len(), 2, "{taken:?}");
    assert_eq!(taken.deltas[1], gone("db"));
    assert!(mirror.is_whole(), "a list that is asked for again unsettles nothing");
}

#[test]
fn an_object_that_became_invalid_keeps_its_last_valid_version_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut mirror = Mirror::open(directory.path());
    mirror.take(lists());
    let valid = mirror.take(vec![object("web", "1", 1, shop())]).deltas;
    assert_eq!(mirror.take(vec![object("web", "1", 2, invalid())]).deltas, valid);
    assert_eq!(mirror.refused().count(), 1);
    mirror.save();

    let mut next = Mirror::open(directory.path());
    let kind = Kind::NetworkObject;
    let taken = next.take(vec![
        Heard::Listing(kind),
        object("web", "1", 2, invalid()),
        Heard::Listed(kind),
    ]);
    assert_eq!(taken.deltas, valid);
    assert_eq!(next.refused().count(), 1);
}

#[test]
fn an_object_that_never_was_valid_enforces_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut mirror = Mirror::open(directory.path());
    mirror.take(lists());
    assert!(mirror.take(vec![object("web", "1", 1, invalid())]).deltas.is_empty());
    mirror.take(vec![object("web", "1", 2, shop())]);
    let anew = mirror.take(vec![object("web", "2", 1, invalid())]).deltas;
    assert_eq!(anew, [gone("web")], "made anew, it is another object");
}

#[test]
fn a_pod_made_anew_under_its_name_takes_the_old_one_away_first() {
    let pod = |uid: &str| {
        let read: k8s_openapi::api::core::v1::Pod = serde_json::from_value(json!({
            "metadata": {"name": "web-0", "namespace": "shop", "uid": uid},
        }))
        .unwrap();
        Heard::Put {
            kind: Kind::Pod,
            key: ("shop".into(), "web-0".into()),
            about: about(uid, 0),
            read: crate::convert::pod(&read).map(|read| {
                Box::new(crate::cluster::Read {
                    document: Document::Pod(read.pod),
                    written: None,
                })
            }),
        }
    };
    let directory = tempfile::tempdir().unwrap();
    let mut mirror = Mirror::open(directory.path());
    mirror.take(lists());
    mirror.take(vec![pod("old")]);
    let taken = mirror.take(vec![pod("new")]);
    assert_eq!(taken.deltas[0], Delta::Gone(DocumentKey::Pod("old".into())));
    assert!(matches!(&taken.deltas[1], Delta::Put(Document::Pod(pod)) if &*pod.uid == "new"));
}

#[test]
fn a_watch_that_stands_again_is_counted_and_the_age_begins_where_it_failed() {
    let directory = tempfile::tempdir().unwrap();
    let mut mirror = Mirror::open(directory.path());
    mirror.take(lists());
    assert_eq!(mirror.age(), Duration::ZERO);
    mirror.take(vec![
        Heard::Down(Kind::Pod, "refused".into()),
        Heard::Down(Kind::Pod, "again".into()),
    ]);
    assert_eq!(
        mirror.down().map(|(kind, _, why)| (kind, why)),
        Some((Kind::Pod, "again"))
    );
    mirror.take(vec![Heard::Up(Kind::Pod), Heard::Up(Kind::Pod)]);
    assert_eq!((mirror.reconnects(), mirror.age()), (1, Duration::ZERO));
}
