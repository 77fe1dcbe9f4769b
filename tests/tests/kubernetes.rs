//! The agent on a real API server: what `kubectl` writes is enforced, and goes on being enforced without it.

#[path = "kubernetes/rights.rs"]
mod rights;
#[path = "kubernetes/scale.rs"]
mod scale;
#[path = "kubernetes/scene.rs"]
mod scene;

use std::net::SocketAddr;
use std::time::Duration;

use cellwall_controller::lab::{Outcome, Server, Wiring};
use cellwall_tests::scrape::sample;
use cellwall_tests::wait_for;
use scene::{Scene, deny, object};

const PATIENCE: Duration = Duration::from_secs(10);
/// A client that failed several times waits up to half a minute before it tries again.
const RECONNECT: Duration = Duration::from_mins(1);

/// Waits until TCP from `from` to `to` port 80 comes out so.
#[track_caller]
fn comes_out(scene: &Scene, from: &str, to: &str, expected: Outcome) {
    let node = scene.node(0);
    let to = SocketAddr::new(node.pod(to).v4.into(), 80);
    let seen = wait_for(PATIENCE, || (node.tcp(from, to) == expected).then_some(()));
    assert!(seen.is_some(), "not {expected:?} from {from}:\n{}", node.log());
}

/// A node with pods a and b, a server in b, and a rule in force that refuses it to a.
fn refusing() -> (Scene, Server) {
    let mut scene = Scene::new(Wiring::Routed, &[&["a", "b"]]);
    scene.pod(0, "a");
    scene.pod(0, "b");
    let server = Server::start(&scene.node(0).netns("b"), 80).expect("a server");
    scene
        .admin()
        .apply(&(object("web", "a") + &object("database", "b") + &deny("deny", "web", "database")));
    scene.start(0);
    comes_out(&scene, "a", "b", Outcome::Silence);
    (scene, server)
}

#[test]
fn pods_and_rules_of_the_api_server_are_enforced_as_they_change() {
    let mut scene = Scene::new(Wiring::Routed, &[&["a", "b", "c"]]);
    scene.pod(0, "a");
    scene.pod(0, "b");
    let _server = Server::start(&scene.node(0).netns("b"), 80).expect("a server");
    scene.start(0);
    comes_out(&scene, "a", "b", Outcome::Answered);

    scene
        .admin()
        .apply(&(object("web", "a") + &object("database", "b") + &deny("deny", "web", "database")));
    comes_out(&scene, "a", "b", Outcome::Silence);
    let status = scene.node(0).status().expect("a status");
    assert_eq!(status["pods_protected"], 2, "{status}");
    assert_eq!(status["state"], "Normal", "{status}");

    // The object is not the pod's any more, and is again.
    scene.label(0, "a", "other");
    comes_out(&scene, "a", "b", Outcome::Answered);
    scene.label(0, "a", "a");
    comes_out(&scene, "a", "b", Outcome::Silence);

    // A pod takes another's address: neither moves.
    scene.give_address(0, "a", "192.0.2.12/32");
    scene.pod(0, "c");
    comes_out(&scene, "c", "b", Outcome::Answered);
    comes_out(&scene, "a", "b", Outcome::Silence);
    let conflict = wait_for(PATIENCE, || {
        let status = scene.node(0).status()?;
        let all = status["conditions"].as_array()?.clone();
        let one = all.into_iter().find(|one| one["type"] == "AddressesUnique")?;
        (one["status"] == "False").then_some(one["message"].to_string())
    });
    let conflict = conflict.expect("the conflict is reported");
    assert!(conflict.contains("pod shop/a has put 192.0.2.12"), "{conflict}");

    scene.delete_pod(0, "a");
    let gone = wait_for(PATIENCE, || {
        (scene.node(0).status()?["pods_protected"] == 2).then_some(())
    });
    assert!(gone.is_some(), "{}", scene.node(0).log());
    scene.admin().run(&["delete", "drule", "deny"]).expect("the rule goes");
}

#[test]
fn an_interface_is_guarded_before_the_api_server_knows_whose_it_is() {
    let mut scene = Scene::new(Wiring::Bridged, &[&["a", "b"]]);
    scene.pod(0, "a");
    scene.pod(0, "b");
    let _server = Server::start(&scene.node(0).netns("b"), 80).expect("a server");
    let closed =
        "apiVersion: cellwall.io/v1alpha1\nkind: ClusterDefense\nmetadata: {name: default}\nspec: {startup: Closed}\n";
    scene.admin().apply(closed);
    scene.start(0);
    comes_out(&scene, "a", "b", Outcome::Answered);
    scene.add_pod(0, "late");
    comes_out(&scene, "late", "b", Outcome::Silence);
    let startup = wait_for(PATIENCE, || {
        scene.node(0).record(|record| record["reason"] == "STARTUP")
    });
    assert!(startup.is_some(), "{}", scene.node(0).log());
    scene.pod(0, "late");
    comes_out(&scene, "late", "b", Outcome::Answered);
    // The way out of the node is a veth as well, and is nobody's.
    let status = scene.node(0).status().expect("a status");
    assert_eq!(status["pods_protected"], 3, "{status}");
    let outside = SocketAddr::new(cellwall_controller::lab::NODE_V4.into(), 9);
    assert_eq!(scene.node(0).tcp("outside", outside), Outcome::Refused);
}

#[test]
fn without_the_api_server_what_was_realised_goes_on_and_a_restarted_agent_adopts_it() {
    let (mut scene, _server) = refusing();
    let before = scene.node(0).generation();

    scene.plane().kill_api();
    comes_out(&scene, "a", "b", Outcome::Silence);
    scene.node_mut(0).kill();
    comes_out(&scene, "a", "b", Outcome::Silence);
    scene.node_mut(0).launch();
    let stale = wait_for(RECONNECT, || {
        let status = scene.node(0).status()?;
        (status["reason"] == "PolicyStale").then_some(status)
    });
    let status = stale.unwrap_or_else(|| panic!("not stale:\n{}", scene.node(0).log()));
    assert_eq!(status["state"], "Abnormal", "{status}");
    assert_eq!(status["generation_realised"], before, "nothing was changed");
    assert!(!status["unready"].as_array().expect("reasons").is_empty(), "{status}");
    comes_out(&scene, "a", "b", Outcome::Silence);
    // Nor does a pod that comes now get around it, though this agent cannot know whose its interface is.
    scene.add_pod(0, "late");
    comes_out(&scene, "late", "b", Outcome::Silence);

    scene.plane().start_api();
    scene.admin().run(&["delete", "drule", "deny"]).expect("the rule goes");
    let synced = wait_for(RECONNECT, || {
        (scene.node(0).status()?["state"] == "Normal").then_some(())
    });
    assert!(
        synced.is_some(),
        "{:?}\n{}",
        scene.node(0).status(),
        scene.node(0).log()
    );
    comes_out(&scene, "a", "b", Outcome::Answered);
    scene.pod(0, "late");
    comes_out(&scene, "late", "b", Outcome::Answered);
}

#[test]
fn what_was_missed_while_the_watches_were_cut_is_caught_up_with() {
    let (mut scene, _server) = refusing();
    // The node cannot be reached; meanwhile the rule goes, by a server that never had a connection of this agent's (what
    // one has sent still arrives when it is dead), and the next one begins after that.
    scene.cut(0);
    scene.plane().kill_api();
    scene.plane().start_api();
    scene.admin().run(&["delete", "drule", "deny"]).expect("the rule goes");
    scene.plane().kill_api();
    scene.plane().start_api();
    comes_out(&scene, "a", "b", Outcome::Silence);
    scene.mend(0);
    let node = scene.node(0);
    let to = SocketAddr::new(node.pod("b").v4.into(), 80);
    let seen = wait_for(RECONNECT, || (node.tcp("a", to) == Outcome::Answered).then_some(()));
    assert!(seen.is_some(), "{:?}\n{}", node.status(), node.log());
    let metrics = scene.metrics(0);
    let counted = |name: &str| sample(&metrics, name).expect("the metric is there");
    assert!(counted("cellwall_api_reconnects_total ") >= 1.0, "{metrics}");
    // 410 Gone (`Expired`): what the agent had seen last was too old for the server, and it listed anew.
    assert!(counted("cellwall_api_relists_total ") >= 1.0, "{}", node.log());
    let log = node.log();
    let anew = log.lines().find(|line| line.contains("listed anew"));
    println!("{anew:?}");
    let says_410 = |line: &str| line.contains("too old resource version") && line.contains("Expired");
    assert!(anew.is_some_and(says_410), "{log}");
}

#[test]
fn an_agent_that_is_newer_than_the_crds_writes_as_much_of_its_status_as_they_know() {
    let mut scene = Scene::new(Wiring::Routed, &[&["a"]]);
    scene.pod(0, "a");
    let field = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/policyDigest";
    let patch = format!(r#"[{{"op": "remove", "path": "{field}"}}]"#);
    let words = [
        "patch",
        "crd",
        "interceptstatuses.cellwall.io",
        "--type=json",
        "-p",
        &patch,
    ];
    scene.admin().run(&words).expect("an older CRD");
    // The server takes a moment to work by it.
    std::thread::sleep(Duration::from_secs(2));
    scene.start(0);
    let report = scene.wait_json(&["get", "interceptstatus", "node-0"], |report| {
        report["status"]["state"] == "Normal"
    });
    assert_eq!(report["status"]["podsProtected"], 1, "{report}");
    assert!(report["status"]["policyDigest"].is_null(), "{report}");
    let log = scene.node(0).log();
    assert!(log.contains("the CRDs are older than this agent"), "{log}");
}

#[test]
fn an_object_that_became_invalid_stays_in_force_as_it_was_and_says_so() {
    let (mut scene, _server) = refusing();

    scene.without_schema("networkobjects");
    let invalid = "apiVersion: cellwall.io/v1alpha1\nkind: NetworkObject\nmetadata: {name: web}\nspec: {namespaces: [], apps: [a]}\n";
    scene.admin().apply(invalid);
    let refused = scene.condition("netobj", "web", "Accepted", "False");
    assert_eq!(refused["reason"], "LastValidInForce", "{refused}");
    assert!(refused["message"].to_string().contains("spec.namespaces"), "{refused}");
    comes_out(&scene, "a", "b", Outcome::Silence);
    let events = wait_for(PATIENCE, || {
        let events = scene.admin().run(&["get", "events", "-n", "default", "-o", "wide"]).out;
        events.contains("LastValidInForce").then_some(events)
    });
    assert!(events.is_some(), "{}", scene.node(0).log());

    scene.node_mut(0).kill();
    scene.start(0);
    comes_out(&scene, "a", "b", Outcome::Silence);
    let refused = scene.condition("netobj", "web", "Accepted", "False");
    assert_eq!(refused["reason"], "LastValidInForce", "{refused}");

    // Made anew it never was valid: the rule names what is not there.
    scene
        .admin()
        .run(&["delete", "netobj", "web", "--wait=false"])
        .expect("it is asked to go");
    scene
        .admin()
        .run(&["delete", "drule", "deny"])
        .expect("the rule goes, and lets it go");
    comes_out(&scene, "a", "b", Outcome::Answered);
}

#[test]
fn the_states_of_two_nodes_come_together_in_the_objects_and_go_with_a_node() {
    let mut scene = Scene::new(Wiring::Routed, &[&["a", "b"], &["x", "y", "c"]]);
    scene.pod(0, "a");
    scene.pod(0, "b");
    scene.pod(1, "c");
    scene
        .admin()
        .apply(&(object("web", "a") + &object("database", "b") + &deny("deny", "web", "database")));
    scene
        .admin()
        .apply("apiVersion: cellwall.io/v1alpha1\nkind: ClusterDefense\nmetadata: {name: default}\nspec: {}\n");
    scene.start(0);
    scene.start(1);
    let programmed = scene.condition("drule", "deny", "Programmed", "True");
    assert!(programmed["message"].to_string().contains("nodes"), "{programmed}");
    let both = |rule: &serde_json::Value| rule["status"]["nodesProgrammed"] == 2 && rule["status"]["nodes"] == 2;
    scene.wait_json(&["get", "drule", "deny"], both);
    let rule = scene.json(&["get", "drule", "deny"]);
    assert_eq!(rule["status"]["sourcePods"], 1, "{rule}");
    scene.condition("drule", "deny", "Resolved", "True");
    let object = scene.wait_json(&["get", "netobj", "web"], |object| object["status"]["usedByRules"] == 1);
    assert_eq!(object["status"]["sample"], serde_json::json!(["shop/a"]), "{object}");
    let defense = scene.wait_json(&["get", "clusterdefense", "default"], |defense| {
        defense["status"]["nodes"] == 2
    });
    assert_eq!(defense["status"]["rulesEnabled"], 1, "{defense}");
    let report = scene.json(&["get", "interceptstatus", "node-1"]);
    assert_eq!(report["status"]["enforcing"], true, "{report}");
    assert!(
        report["status"]["addresses"].to_string().contains("203.0.113.12"),
        "{report}"
    );

    // In use, it is not deleted; with its last rule it goes.
    let finalizers = |object: &serde_json::Value| object["metadata"]["finalizers"].to_string();
    scene.wait_json(&["get", "netobj", "web"], |object| {
        finalizers(object).contains("cellwall.io/in-use")
    });
    scene
        .admin()
        .run(&["delete", "netobj", "web", "--wait=false"])
        .expect("it is asked to go");
    std::thread::sleep(Duration::from_secs(2));
    assert!(scene.json(&["get", "netobj", "web"])["metadata"]["deletionTimestamp"].is_string());
    scene.admin().run(&["delete", "drule", "deny"]).expect("the rule goes");
    let gone = wait_for(PATIENCE, || {
        (!scene.admin().run(&["get", "netobj", "web"]).done).then_some(())
    });
    assert!(gone.is_some(), "{}\n{}", scene.node(0).log(), scene.node(1).log());

    // The first node goes for good; the other one leads then, and clears up.
    scene.node_mut(0).kill();
    scene.admin().run(&["delete", "node", "node-0"]).expect("the node goes");
    let cleared = wait_for(RECONNECT, || {
        (!scene.admin().run(&["get", "interceptstatus", "node-0"]).done).then_some(())
    });
    assert!(cleared.is_some(), "{}", scene.node(1).log());
}
