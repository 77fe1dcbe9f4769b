//! Who was who when the verdict was given.

use super::*;
use crate::documents;
use crate::records::fold::tests::record;

const POD: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: NAME
  namespace: shop
  uid: UID
  labels: {app: NAME, pod-template-hash: 5d9c}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-5d9c, uid: r, controller: true}]
spec: {containers: [{name: it, image: nginx}]}
status: {podIP: ADDRESS}
---
";

fn world(pods: &[(&str, &str, &str)]) -> World {
    let directory = tempfile::tempdir().unwrap();
    let text: String = pods
        .iter()
        .map(|(name, uid, address)| {
            POD.replace("NAME", name)
                .replace("UID", uid)
                .replace("ADDRESS", address)
        })
        .collect();
    std::fs::write(directory.path().join("all.yaml"), text).unwrap();
    let read = documents::read(&[directory.path().to_owned()]);
    assert!(read.problems.is_empty(), "{:?}", read.problems);
    documents::world(&read, "node-0")
}

const SOURCE: &str = "192.0.2.1";
const DESTINATION: &str = "192.0.2.2";

#[test]
fn a_pod_that_was_deleted_since_is_still_named_and_its_successor_is_not_taken_for_it() {
    let first = world(&[("web", "u-1", SOURCE), ("db", "u-2", DESTINATION)]);
    let directory = Directory::new(first.clone());
    directory.world_changed(first, 1, &[], [(7, Some("u-1".into()))]);
    let mut told = Told::from(record(0, 80));
    told.record.time = monotonic();
    let then = Timestamp::now();
    let named = |end: &FlowEnd| end.uid.clone().unwrap_or_default();
    let before = directory.describe(&told, |_| then);
    assert_eq!(
        (named(&before.source), named(&before.destination)),
        ("u-1".into(), "u-2".into())
    );
    let owner = before.source.workload.clone().expect("an owner");
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("Deployment", "web"));

    // Both are gone; another pod has the destination's address.
    std::thread::sleep(std::time::Duration::from_millis(5));
    let touched = ["u-1", "u-2", "u-3"].map(|uid| DocumentKey::Pod(uid.into()));
    directory.world_changed(world(&[("other", "u-3", DESTINATION)]), 2, &touched, []);
    let after = directory.describe(&told, |_| then);
    assert_eq!(after, before, "a record of before the change");
    std::thread::sleep(std::time::Duration::from_millis(5));
    let mut judged_since = told;
    judged_since.record.generation = 2;
    judged_since.record.time = monotonic();
    // A clock that was set back meanwhile does not give the address back to whoever had it.
    let set_back = then - jiff::SignedDuration::from_hours(24);
    let later = directory.describe(&judged_since, |_| set_back);
    assert_eq!(
        (named(&later.source), named(&later.destination)),
        (String::new(), "u-3".into())
    );
}

#[test]
fn a_line_that_stands_for_many_names_its_pod_alone() {
    let all = world(&[("web", "u-1", SOURCE), ("db", "u-2", DESTINATION)]);
    let directory = Directory::new(all.clone());
    directory.world_changed(all, 1, &[], [(7, Some("u-1".into()))]);
    let told = Told {
        overflow: true,
        attempts: 9,
        ..Told::from(record(0, 80))
    };
    let line = directory.describe(&told, |_| Timestamp::now());
    assert!(line.overflow && line.attempts == 9);
    assert_eq!(line.source.pod.as_deref(), Some("web"));
    assert_eq!(line.destination, FlowEnd::default());
}
