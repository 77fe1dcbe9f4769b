//! What the leader would write of small clusters.

use super::*;
use crate::cluster::feed::{About, NodeState};
use crate::cluster::watch::read_ours;
use cellwall_crds::Violation;
use cellwall_policy::model::Node;
use cellwall_policy::world::{Document, World};
use std::sync::Arc;

struct Scene {
    view: View,
    history: History,
}

impl Scene {
    fn new() -> Self {
        let view = View {
            world: World::new("node-0", false),
            objects: BTreeMap::new(),
            reports: BTreeMap::new(),
        };
        Self {
            view,
            history: History::default(),
        }
    }

    fn put(&mut self, kind: Kind, name: &str, generation: i64, spec: Value) -> &mut Self {
        let mut written = json!({
            "apiVersion": "cellwall.io/v1alpha1", "kind": kind.name(), "metadata": {"name": name},
        });
        written["spec"] = spec;
        let read = read_ours(kind, written);
        let standing = Standing {
            about: About {
                uid: name.to_owned(),
                generation,
                ..About::default()
            },
            in_force: read.is_ok(),
            faults: read.as_ref().err().cloned().unwrap_or_default(),
        };
        if let Ok(read) = read {
            self.view.world.apply(read.document);
        }
        self.view.objects.insert((kind, name.into()), standing);
        self
    }

    fn object(&mut self, name: &str) -> &mut Self {
        self.put(Kind::NetworkObject, name, 1, json!({"namespaces": ["shop"]}))
    }

    fn rule(&mut self, name: &str, generation: i64, source: &str, priority: i64) -> &mut Self {
        let spec = json!({
            "source": {"object": source}, "destination": {"entity": "Any"}, "action": "Drop", "priority": priority,
        });
        self.put(Kind::DefenseRule, name, generation, spec)
    }

    /// A node that has realised what counts now.
    fn node(&mut self, name: &str) -> &mut Self {
        let digest = digest(&self.view.policy());
        self.history.enter(self.view.policy());
        self.view.world.apply(Document::Node(Node {
            name: name.into(),
            addresses: Vec::new(),
            pod_cidrs: Vec::new(),
        }));
        let state = NodeState {
            state: Some(InterceptState::Normal),
            enforcing: true,
            digest: Some(digest),
            pods_protected: 2,
            pods_not_enforceable: 1,
        };
        self.view.reports.insert(name.into(), (name.to_owned(), state));
        self
    }

    fn overview(&mut self) -> Overview {
        self.history.enter(self.view.policy());
        overview(&self.view, &self.history)
    }

    fn status(&mut self, kind: Kind, name: &str) -> Status {
        self.overview().statuses.remove(&(kind, name.into())).unwrap()
    }
}

fn held(status: &Status, kind: ConditionType) -> (ConditionStatus, Reason, String) {
    let found = status.conditions.iter().find(|one| one.r#type == kind).unwrap();
    (found.status, found.reason, found.message.clone())
}

#[test]
fn a_rule_is_programmed_on_the_nodes_that_have_its_present_version() {
    let mut scene = Scene::new();
    scene
        .object("web")
        .rule("deny", 1, "web", 10)
        .node("node-0")
        .node("node-1");
    let status = scene.status(Kind::DefenseRule, "deny");
    assert_eq!(
        (&status.fields["nodesProgrammed"], &status.fields["nodes"]),
        (&json!(2), &json!(2))
    );
    let programmed = held(&status, ConditionType::Programmed);
    assert_eq!(
        programmed,
        (ConditionStatus::True, Reason::Realised, "on 2 of 2 nodes".into())
    );

    scene.rule("deny", 2, "web", 20).node("node-0");
    let status = scene.status(Kind::DefenseRule, "deny");
    let programmed = held(&status, ConditionType::Programmed);
    assert_eq!(
        programmed,
        (ConditionStatus::False, Reason::Pending, "on 1 of 2 nodes".into())
    );
    // Another rule's change leaves this one in force where it was.
    scene.node("node-1").rule("other", 1, "web", 30);
    assert_eq!(
        held(&scene.status(Kind::DefenseRule, "deny"), ConditionType::Programmed).0,
        ConditionStatus::True
    );
    assert_eq!(
        held(&scene.status(Kind::DefenseRule, "other"), ConditionType::Programmed).0,
        ConditionStatus::False
    );
}

#[test]
fn a_node_of_an_unknown_policy_and_one_that_does_not_enforce_do_not_count() {
    let mut scene = Scene::new();
    scene
        .object("web")
        .rule("deny", 1, "web", 10)
        .node("node-0")
        .node("node-1");
    let mut reports = scene.view.reports.values_mut();
    reports.next().unwrap().1.digest = Some("0000000000000000".into());
    reports.next().unwrap().1.enforcing = false;
    drop(reports);
    assert_eq!(
        scene.status(Kind::DefenseRule, "deny").fields["nodesProgrammed"],
        json!(0)
    );
}

#[test]
fn a_rule_that_names_what_is_not_there_says_so() {
    let mut scene = Scene::new();
    scene.rule("deny", 1, "absent", 10);
    let (status, reason, message) = held(&scene.status(Kind::DefenseRule, "deny"), ConditionType::Resolved);
    assert_eq!((status, reason), (ConditionStatus::False, Reason::ObjectMissing));
    assert!(message.contains("absent"), "{message}");
    scene.put(Kind::NetworkObject, "absent", 1, json!({"namespaces": []}));
    let (_, reason, _) = held(&scene.status(Kind::DefenseRule, "deny"), ConditionType::Resolved);
    assert_eq!(reason, Reason::ObjectInvalid);
    scene.object("absent");
    assert_eq!(
        held(&scene.status(Kind::DefenseRule, "deny"), ConditionType::Resolved).0,
        ConditionStatus::True
    );
}

#[test]
fn a_refused_object_says_what_is_wrong_and_what_is_in_force_meanwhile() {
    let mut scene = Scene::new();
    scene.put(Kind::NetworkObject, "web", 1, json!({"namespaces": []}));
    let (status, reason, message) = held(&scene.status(Kind::NetworkObject, "web"), ConditionType::Accepted);
    assert_eq!((status, reason), (ConditionStatus::False, Reason::Invalid));
    assert!(message.starts_with("it enforces nothing; spec.namespaces"), "{message}");
    let standing = scene.view.objects.values_mut().next().unwrap();
    standing.in_force = true;
    let fault: Violation = standing.faults[0].clone();
    standing.faults = vec![fault; 100];
    let (_, reason, message) = held(&scene.status(Kind::NetworkObject, "web"), ConditionType::Accepted);
    assert_eq!(reason, Reason::LastValidInForce);
    assert!(message.ends_with("and 95 more"), "{message}");
    assert!(message.chars().count() < 1_100, "a status is bounded");
}

#[test]
fn an_object_in_use_is_held_and_let_go_with_its_last_rule() {
    let mut scene = Scene::new();
    scene.object("web").rule("deny", 1, "web", 10);
    assert_eq!(scene.overview().finalizers, BTreeMap::from([("web".into(), true)]));
    let key = (Kind::NetworkObject, Name::from("web"));
    scene.view.objects.get_mut(&key).unwrap().about.held = true;
    assert!(scene.overview().finalizers.is_empty());
    scene.view.objects.get_mut(&key).unwrap().about.leaving = true;
    assert!(scene.overview().finalizers.is_empty(), "still in use");
    let rule = cellwall_policy::world::DocumentKey::DefenseRule("deny".into());
    scene.view.world.delete(&rule);
    assert_eq!(scene.overview().finalizers, BTreeMap::from([("web".into(), false)]));
    scene.view.objects.get_mut(&key).unwrap().about.held = false;
    scene.rule("deny", 1, "web", 10);
    assert!(
        scene.overview().finalizers.is_empty(),
        "what is leaving cannot be held any more"
    );
}

#[test]
fn what_an_object_selects_is_counted_and_a_few_are_named() {
    let mut scene = Scene::new();
    for number in 0..20 {
        let read: k8s_openapi::api::core::v1::Pod = serde_json::from_value(json!({
            "metadata": {"name": format!("web-{number:02}"), "namespace": "shop"},
            "status": {"podIPs": [{"ip": format!("192.0.2.{number}")}]},
        }))
        .unwrap();
        scene
            .view
            .world
            .apply(Document::Pod(crate::convert::pod(&read).unwrap().pod));
    }
    let fields = scene.object("web").status(Kind::NetworkObject, "web").fields;
    assert_eq!(fields["selectedPods"], json!(20));
    let sample: Vec<&str> = fields["sample"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!((sample.len(), sample[0]), (SAMPLE, "shop/web-00"));
}

#[test]
fn the_clusters_state_is_the_worst_of_its_nodes() {
    let mut scene = Scene::new();
    scene
        .put(Kind::ClusterDefense, "default", 3, json!({}))
        .node("node-0")
        .node("node-1");
    let status = scene.status(Kind::ClusterDefense, "default");
    assert_eq!(
        (&status.fields["state"], &status.fields["podsProtected"]),
        (&json!("Normal"), &json!(4))
    );
    scene.view.reports.get_mut("node-1").unwrap().1.state = Some(InterceptState::Abnormal);
    let fields = scene.status(Kind::ClusterDefense, "default").fields;
    assert_eq!(
        (&fields["state"], &fields["nodesNormal"]),
        (&json!("Abnormal"), &json!(1))
    );
    assert_eq!(fields["observedGeneration"], json!(3));
}

#[test]
fn a_report_whose_node_is_gone_is_to_be_deleted() {
    let mut scene = Scene::new();
    scene.node("node-0").node("node-1");
    assert!(scene.overview().orphans.is_empty());
    scene
        .view
        .world
        .delete(&cellwall_policy::world::DocumentKey::Node("node-1".into()));
    assert_eq!(scene.overview().orphans, [Name::from("node-1")]);
}

#[test]
fn a_status_is_the_same_for_the_same_view() {
    let mut scene = Scene::new();
    scene.object("web").rule("deny", 1, "web", 10).node("node-0");
    assert_eq!(scene.overview(), scene.overview());
    let shared: Arc<str> = "web".into();
    assert!(scene.overview().statuses.contains_key(&(Kind::NetworkObject, shared)));
}
