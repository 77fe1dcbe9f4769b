//! Each verb of the agent's roles, taken away: what is missed then.

use std::collections::BTreeSet;
use std::time::Duration;

use cellwall_controller::lab::Wiring;
use cellwall_tests::cluster::{ControlPlane, Kubectl};
use cellwall_tests::wait_for;
use serde_json::{Value, json};

use crate::scene::{Scene, deny, object};

/// How long a refusal may take to be seen: what failed is tried again after growing pauses, and a lease is waited for.
const PATIENCE: Duration = Duration::from_mins(1);
/// A verb and a resource, as a refusal names them.
type Right = (String, String);

/// The roles of `deploy/`.
struct Roles(Vec<Value>);

impl Roles {
    fn read(kubectl: &Kubectl) -> Self {
        let words = ["get", "clusterrole/cellwall-agent", "-o", "json"];
        let mut all = vec![kubectl.run(&words).expect("the role")];
        for (name, namespace) in [("cellwall-leader", "cellwall-system"), ("cellwall-events", "default")] {
            let words = ["get", "role", name, "-n", namespace, "-o", "json"];
            all.push(kubectl.run(&words).expect("the role"));
        }
        let parsed = all
            .iter()
            .map(|text| serde_json::from_str::<Value>(text).expect("JSON"));
        Self(
            parsed
                .map(|mut role| {
                    let metadata = role["metadata"].as_object_mut().expect("metadata");
                    metadata.retain(|name, _| matches!(name.as_str(), "name" | "namespace"));
                    role
                })
                .collect(),
        )
    }

    /// Every right that they grant.
    fn rights(&self) -> BTreeSet<Right> {
        let rules = self.0.iter().flat_map(|role| role["rules"].as_array().expect("rules"));
        rules.flat_map(rights_of).collect()
    }

    /// Grants all but these, and waits until the API server goes by it.
    fn without(&self, kubectl: &Kubectl, taken: &BTreeSet<Right>) {
        for role in &self.0 {
            let mut role = role.clone();
            let rules = role["rules"].as_array().expect("rules").iter();
            // One rule for each right, so that any can be taken away alone.
            let each = rules.flat_map(|rule| {
                let kept = rights_of(rule).into_iter().filter(|right| !taken.contains(right));
                kept.map(|(verb, resource)| {
                    let mut one = rule.clone();
                    one["verbs"] = json!([verb]);
                    one["resources"] = json!([resource]);
                    one
                })
            });
            role["rules"] = each.collect();
            let words = ["replace", "-f", "-"];
            kubectl.feed(&words, &role.to_string()).expect("the role is replaced");
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn rights_of(rule: &Value) -> Vec<Right> {
    let words = |field: &str| {
        let list = rule[field].as_array().expect("a list").iter();
        list.map(|one| one.as_str().expect("a word").to_owned())
            .collect::<Vec<_>>()
    };
    let resources = words("resources");
    let of = |verb: String| resources.iter().map(move |resource| (verb.clone(), resource.clone()));
    words("verbs").into_iter().flat_map(of).collect()
}

fn right(verb: &str, resource: &str) -> Right {
    (verb.to_owned(), resource.to_owned())
}

fn is_reading((verb, _): &Right) -> bool {
    matches!(verb.as_str(), "list" | "watch")
}

/// An API server with our kinds and the agent's account.
fn plane() -> ControlPlane {
    let plane = ControlPlane::start();
    plane.install();
    plane
}

/// Takes each of these away in turn, and holds what a client is told against it.
fn each_is_missed(plane: &ControlPlane, roles: &Roles, verb: &str) {
    let account = plane.kubeconfig_of_agents();
    for right in roles.rights().into_iter().filter(|right| right.0 == verb) {
        roles.without(&plane.admin(), &BTreeSet::from([right.clone()]));
        let refused = plane.watched(&account).expect_err("something is missed");
        let short = refused.1.split(" (Status").next().unwrap_or_default();
        println!("without {} {}: {}: {short}", right.0, right.1, refused.0);
        assert_eq!(refused.0.plural(), right.1, "{right:?}");
        let words = format!("cannot {} resource \"{}\"", right.0, right.1);
        assert!(refused.1.contains(&words), "{right:?}: {}", refused.1);
    }
    roles.without(&plane.admin(), &BTreeSet::new());
    plane.watched(&account).expect("with all of them nothing is missed");
}

#[test]
fn each_watch_that_is_taken_away_is_missed_and_each_list_where_the_server_cannot_stream_one() {
    let mut plane = plane();
    let roles = Roles::read(&plane.admin());
    let reading = roles.rights().into_iter().filter(is_reading).count();
    assert_eq!(reading, 18, "nine kinds, each listed and watched");
    each_is_missed(&plane, &roles, "watch");
    // A server that streams lists is asked for none; an older one is.
    plane.kill_api();
    plane.start_api_with(&["--feature-gates=WatchList=false"]);
    each_is_missed(&plane, &roles, "list");
}

#[test]
fn each_write_that_is_taken_away_is_missed() {
    let mut scene = Scene::new(Wiring::Routed, &[&["a", "b"]]);
    scene.pod(0, "a");
    scene.pod(0, "b");
    let admin = scene.admin();
    let roles = Roles::read(&admin);
    let mut taken: BTreeSet<Right> = roles.rights().into_iter().filter(|right| !is_reading(right)).collect();
    roles.without(&admin, &taken);
    admin.apply(&(object("web", "a") + &object("database", "b") + &deny("deny", "web", "database")));
    admin.apply("apiVersion: cellwall.io/v1alpha1\nkind: ClusterDefense\nmetadata: {name: default}\nspec: {}\n");
    // A report of a node that is not there.
    admin.apply("apiVersion: cellwall.io/v1alpha1\nkind: InterceptStatus\nmetadata: {name: ghost}\n");
    scene
        .node_mut(0)
        .set_environment("RUST_LOG", "info,cellwall_controller=debug");
    scene.start(0);
    // In the order in which one is tried once the one before is granted.
    let order = [
        ("patch", "interceptstatuses/status"),
        ("patch", "interceptstatuses"),
        ("create", "interceptstatuses"),
        ("create", "events"),
        ("get", "leases"),
        ("create", "leases"),
        ("update", "leases"),
        ("patch", "networkobjects"),
        ("patch", "networkobjects/status"),
        ("patch", "defenserules/status"),
        ("patch", "clusterdefenses/status"),
        ("delete", "interceptstatuses"),
    ];
    assert_eq!(order.len(), taken.len(), "{taken:?}");
    for (verb, resource) in order {
        let words = format!("cannot {verb} resource \\\"{resource}\\\"");
        let plain = words.replace('\\', "");
        let refused = wait_for(PATIENCE, || {
            let log = scene.node(0).log();
            let line = log
                .lines()
                .find(|line| line.contains(&words) || line.contains(&plain))?;
            Some(line.to_owned())
        });
        let line = refused.unwrap_or_else(|| panic!("{verb} {resource} is not missed:\n{}", scene.node(0).log()));
        println!("without {verb} {resource}: {line}");
        assert!(taken.remove(&right(verb, resource)), "{verb} {resource} is granted");
        roles.without(&admin, &taken);
    }
    // With all of them everything is written.
    scene.condition("drule", "deny", "Programmed", "True");
    scene.wait_json(&["get", "netobj", "web"], |object| object["status"]["usedByRules"] == 1);
    scene.wait_json(&["get", "clusterdefense", "default"], |defense| {
        defense["status"]["nodes"].as_u64() >= Some(1)
    });
    let gone = wait_for(PATIENCE, || {
        (!admin.run(&["get", "interceptstatus", "ghost"]).done).then_some(())
    });
    assert!(gone.is_some(), "{}", scene.node(0).log());
}
