//! A real cluster of two nodes, Cellwall installed as a user installs it, rules by `kubectl apply`, traffic by
//! `kubectl exec`. One test, since a cluster is made for it: each part stands on what the one before left.

#[path = "cluster/first.rs"]
mod first;
#[path = "cluster/latency.rs"]
mod latency;
#[path = "cluster/needs.rs"]
mod needs;
#[path = "cluster/removal.rs"]
mod removal;
#[path = "cluster/shop.rs"]
mod shop;
#[path = "cluster/traffic.rs"]
mod traffic;
#[path = "cluster/ways.rs"]
mod ways;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shop::{DB_NODE_PORT, Shop};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `kubectl apply -k` of a directory of `deploy/`.
fn install(shop: &Shop, directory: &str) {
    let directory = checkout().join(directory);
    println!("{}", shop.run(&["apply", "-k", &directory.to_string_lossy()]));
    shop.rollout();
}

/// The rules of `shop.yaml`, in force on both nodes.
fn apply_rules(shop: &Shop) {
    let rules = checkout().join("tests/tests/cluster/shop.yaml");
    println!("{}", shop.run(&["apply", "-f", &rules.to_string_lossy()]));
    for node in ["1", "2"] {
        let (from, to) = (format!("other-{node}"), shop.at(&format!("db-{node}")));
        assert!(
            shop.comes_out(&from, "tcp", &to, "silence"),
            "the rules are not in force"
        );
    }
}

/// Waits until both nodes hold these rules, by their statuses.
fn programmed(shop: &Shop, rules: &[&str]) {
    for rule in rules {
        let programmed = "jsonpath={.status.nodesProgrammed}/{.status.nodes}";
        let words = ["get", "drule", rule, "-o", programmed];
        shop.cluster
            .wait_until(Duration::from_secs(30), &words, |text| text == "2/2");
    }
}

/// What `kubectl` shows of how things stand, once the statuses have followed.
fn show(shop: &Shop) {
    programmed(shop, &["web-to-db", "nobody-else", "not-outside"]);
    let kinds = "drule,netobj,interceptstatus,clusterdefense";
    println!(
        "$ kubectl get {kinds} -o wide\n{}",
        shop.run(&["get", kinds, "-o", "wide"])
    );
    for (kind, name) in [
        ("drule", "nobody-else"),
        ("netobj", "db"),
        ("interceptstatus", "node-1"),
        ("clusterdefense", "default"),
    ] {
        let told = shop.run(&["describe", kind, name]);
        println!("$ kubectl describe {kind} {name}\n{told}");
        assert!(told.contains("Status:"), "{told}");
    }
    for words in [&["flows", "--verdict", "DROP"][..], &["intercept-status"]] {
        println!("{}", shop.cellwall("node-1", words));
    }
    for words in [&["flows", "--verdict", "DROP"][..], &["rules"], &["intercept-status"]] {
        let told = shop.cellwall_everywhere(words);
        println!("$ cellwall --all-nodes {} --format json\n{told}", words.join(" "));
        for node in ["node-1", "node-2"] {
            let of_node = format!("\"node\":\"{node}\"");
            assert!(
                told.lines().any(|line| line.contains(&of_node)),
                "{words:?} of {node}:\n{told}"
            );
        }
    }
}

/// What is in force stays so without an API server.
fn without_an_api_server(shop: &mut Shop) {
    shop.cluster.plane_mut().kill_api();
    let outside = shop.ask_from_outside(DB_NODE_PORT);
    shop.cluster.plane_mut().start_api();
    assert_eq!(outside, "Silence", "without an API server");
}

#[test]
fn rules_applied_with_kubectl_hold_on_a_node_across_nodes_through_services_and_without_the_api_server() {
    let began = Instant::now();
    let mut shop = Shop::open();
    let step = |name: &str| println!("== {name}, {:.0} s", began.elapsed().as_secs_f32());
    shop.holds("without cellwall", "answered");
    step("install");
    install(&shop, "deploy");
    shop.run(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
    shop.kubectl.apply(
        "apiVersion: cellwall.io/v1alpha1\nkind: ClusterDefense\nmetadata: {name: default}\nspec: {mode: Enforce}\n",
    );
    step("rules");
    apply_rules(&shop);
    shop.holds("with rules", "silence");
    show(&shop);
    step("how long a rule takes");
    shop.tells_how_long_a_rule_takes();
    step("how long a pod takes");
    shop.tells_how_long_a_pod_takes();
    step("the API server is killed");
    without_an_api_server(&mut shop);
    step("rollout under traffic");
    shop.rolls_out_under_traffic();
    step("what the agent needs");
    shop.tells_what_the_agent_needs();
    step("first packets");
    install(&shop, "deploy");
    shop.tells_what_first_packets_meet();
    step("removal");
    shop.is_removed();
    step("done");
}
