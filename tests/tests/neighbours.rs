//! Others at the same interfaces and on the same node: programs behind ours, filters of the older mechanism, another
//! instance, a firewall that is reloaded, a namespace that is deleted.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use cellwall_controller::lab::{Outcome, Server, Wiring};
use cellwall_datapath::attach::Mechanism;
use cellwall_tests::stranger::Stranger;
use cellwall_tests::{Cluster, wait_for};

const PORT: u16 = 1001;
const RULES: &str = "
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: refused}
spec: {source: {entity: Any}, destination: {entity: Cluster}, ports: [{port: 1001}], action: Drop, priority: 10}
";
/// Two looks of the agent, and one more.
const LOOKS: Duration = Duration::from_secs(6);

fn running(pods: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(Wiring::Routed, pods);
    cluster.save_pods();
    cluster.save("rules.yaml", RULES);
    cluster.start();
    cluster
}

/// Runs a command on the node and answers what it printed.
fn on_node(cluster: &Cluster, words: &[&str]) -> String {
    let mut command: Command = cluster.lab.node().command(words[0]);
    let output = command.args(&words[1..]).output().expect("the command runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a client in pod a sees of pod b, at the port that is refused and at the one beside it.
fn seen(cluster: &Cluster) -> [Outcome; 2] {
    let b = cluster.pod("b");
    [PORT, PORT + 1].map(|port| cluster.tcp("a", SocketAddr::new(b.v4.into(), port)))
}

const AS_ALWAYS: [Outcome; 2] = [Outcome::Silence, Outcome::Answered];

fn state(cluster: &Cluster) -> (String, String) {
    let status = cluster.status().unwrap_or_default();
    let text = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
    (text("state"), text("message"))
}

#[test]
fn a_program_behind_ours_and_a_filter_of_clsact_stay_and_are_no_fault() {
    if Mechanism::of_this_kernel() != Mechanism::Tcx {
        cellwall_tests::not_run("a program behind ours (needs TCX, Linux 6.6)");
        return;
    }
    let cluster = running(&["a", "b"]);
    let _servers = [PORT, PORT + 1].map(|port| Server::start(&cluster.netns("b"), port).expect("a server"));
    let interface = cluster.pod("a").host_interface;
    let mut stranger = Stranger::new();
    let attached = cluster.lab.node().inside(|| stranger.attach(&interface, false));
    attached.expect("the node's namespace");
    on_node(&cluster, &["tc", "qdisc", "add", "dev", &interface, "clsact"]);
    // Everything matches it, and it ends the way through the filters.
    let words = format!("tc filter add dev {interface} ingress bpf bytecode 1,6@0@0@4294967295 flowid 1:1");
    let words: Vec<String> = words.split(' ').map(|word| word.replace('@', " ")).collect();
    on_node(&cluster, &words.iter().map(String::as_str).collect::<Vec<_>>());
    std::thread::sleep(LOOKS);
    let (state, message) = state(&cluster);
    assert_eq!(state, "Normal", "{message}");
    assert_eq!(seen(&cluster), AS_ALWAYS);
    let shown = on_node(&cluster, &["tc", "filter", "show", "dev", &interface, "ingress"]);
    assert!(shown.contains("bytecode"), "{shown}");
}

#[test]
fn two_instances_on_the_same_interfaces_both_enforce_and_neither_removes_the_other() {
    let first = running(&["a", "b"]);
    let _servers = [PORT, PORT + 1].map(|port| Server::start(&first.netns("b"), port).expect("a server"));
    assert_eq!(seen(&first), AS_ALWAYS);
    // Another agent, under another name, of the same node: its rule is about the port beside.
    let state_dir = first.directory.path().join("other-state");
    let manifests = first.directory.path().join("other");
    std::fs::create_dir(&manifests).expect("a directory");
    let pods = std::fs::read_to_string(first.manifests().join("pods.yaml")).expect("the pods");
    std::fs::write(manifests.join("pods.yaml"), pods).expect("the pods");
    std::fs::write(manifests.join("rules.yaml"), RULES.replace("1001", "1002")).expect("the rules");
    let instance = format!("{}-other", first.instance());
    let socket = format!("/run/{instance}/{instance}.sock");
    let words = |command: &str| -> Vec<String> {
        let all = [
            command,
            "--instance",
            &instance,
            "--state-dir",
            state_dir.to_str().expect("a path"),
        ];
        all.iter().map(|word| (*word).to_owned()).collect()
    };
    let mut run = first.lab.node().command(cellwall_tests::agent::binary());
    run.args(words("run")).args([
        "--listen",
        "127.0.0.1:9470",
        "--flow-log",
        "none",
        "--node-name",
        "node-0",
    ]);
    run.arg("--manifests")
        .arg(&manifests)
        .stderr(std::process::Stdio::null());
    let mut second = run.spawn().expect("the other agent starts");
    let both = wait_for(Duration::from_secs(30), || {
        (seen(&first) == [Outcome::Silence, Outcome::Silence]).then_some(())
    });
    let running = std::path::Path::new(&socket).exists();
    second.kill().expect("the other agent can be killed");
    second.wait().expect("the other agent is gone");
    let mut remove = first.lab.node().command(cellwall_tests::agent::binary());
    let removed = remove
        .args(words("uninstall"))
        .arg("--yes")
        .output()
        .expect("uninstall runs");
    assert!(both.is_some() && running, "two instances: {:?}", state(&first));
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    assert_eq!(seen(&first), AS_ALWAYS, "the other one's rule went with it");
    let normal = wait_for(Duration::from_secs(40), || (state(&first).0 == "Normal").then_some(()));
    assert!(normal.is_some(), "{:?}\n{}", state(&first), first.log());
}

#[test]
fn a_firewall_that_is_flushed_and_loaded_again_changes_nothing() {
    let cluster = running(&["a", "b"]);
    let _servers = [PORT, PORT + 1].map(|port| Server::start(&cluster.netns("b"), port).expect("a server"));
    let rules = cluster.directory.path().join("firewall.nft");
    let text = "flush ruleset\ntable inet filter {\n  chain forward {\n    type filter hook forward priority 0; policy accept;\n  }\n}\n";
    std::fs::write(&rules, text).expect("the firewall's rules");
    for _reload in 0..3 {
        on_node(&cluster, &["nft", "-f", rules.to_str().expect("a path")]);
        assert_eq!(seen(&cluster), AS_ALWAYS);
        on_node(&cluster, &["nft", "flush", "ruleset"]);
        assert_eq!(seen(&cluster), AS_ALWAYS);
    }
    let (state, message) = state(&cluster);
    assert_eq!(state, "Normal", "{message}");
}

#[test]
fn a_pod_whose_namespace_is_deleted_while_attached_is_no_fault_of_what_is_left() {
    let cluster = running(&["a", "b", "c"]);
    let _servers = [PORT, PORT + 1].map(|port| Server::start(&cluster.netns("b"), port).expect("a server"));
    let gone = cluster.pod("c");
    // The kernel takes the interfaces away some time after the name.
    let deleted = Command::new("ip")
        .args(["netns", "del", &gone.netns])
        .output()
        .expect("ip runs");
    assert!(deleted.status.success(), "{}", String::from_utf8_lossy(&deleted.stderr));
    let noticed = wait_for(Duration::from_secs(20), || {
        let (state, message) = state(&cluster);
        (state == "Abnormal" && message.contains("ns-0/c")).then_some(message)
    });
    let message = noticed.expect("a pod that is wanted and has no namespace is told");
    assert!(
        !message.contains("taken off") && !message.contains("FROM_POD"),
        "{message}"
    );
    assert_eq!(seen(&cluster), AS_ALWAYS);
    let left: Vec<String> = ["a", "b"]
        .iter()
        .map(|name| {
            let pod = cluster.pod(name);
            cellwall_tests::pod("ns-0", &pod.name, &pod.netns)
        })
        .collect();
    cluster.save("pods.yaml", &left.join("---\n"));
    let normal = wait_for(Duration::from_secs(20), || {
        (state(&cluster).0 == "Normal").then_some(())
    });
    assert!(normal.is_some(), "{:?}\n{}", state(&cluster), cluster.log());
    assert!(!cluster.log().contains("taken off"), "{}", cluster.log());
}
