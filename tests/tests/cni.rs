//! The chained CNI plugin behind real plugins, against real agents: no packet of a new pod is judged by less than its
//! policy.

#[allow(dead_code, reason = "the tests of the API server use all of it")]
#[path = "kubernetes/scene.rs"]
mod scene;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cellwall_controller::lab::{Namespace, Outcome, Server, Wiring, tcp_ask, udp_ask};
use cellwall_tests::cluster::Process;
use cellwall_tests::cni::{Chain, Sandbox, address};
use cellwall_tests::{Cluster, wait_for};
use scene::{Scene, deny, object};

const PORT: u16 = 80;
const PATIENCE: Duration = Duration::from_millis(400);

/// Tells the API server of a pod that the kubelet has not begun with; answers its UID.
fn pending(scene: &Scene, name: &str) -> String {
    scene.admin().apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}\n\
         spec: {{nodeName: node-0, containers: [{{name: it, image: it}}], tolerations: [{{operator: Exists}}]}}\n"
    ));
    let words = ["get", "pod", name, "-n", "shop", "-o", "jsonpath={.metadata.uid}"];
    scene.admin().run(&words).expect("the UID")
}

fn ask(netns: &str, to: SocketAddr) -> [Outcome; 2] {
    [
        udp_ask(netns, to, PATIENCE).expect("the client runs"),
        tcp_ask(netns, to, PATIENCE).expect("the client runs"),
    ]
}

#[test]
fn a_pod_s_first_packet_is_judged_by_its_policy_though_the_api_server_knows_no_address() {
    let mut scene = Scene::new(Wiring::Routed, &[&["db"]]);
    scene.pod(0, "db");
    let _server = Server::start(&scene.node(0).netns("db"), PORT).expect("a server");
    // Nothing passes of a pod that is not known: what passes was judged by the pod's own policy.
    let closed =
        "apiVersion: cellwall.io/v1alpha1\nkind: ClusterDefense\nmetadata: {name: default}\nspec: {startup: Closed}\n";
    let rules = object("other", "other") + &object("db", "db") + &deny("deny", "other", "db");
    scene.admin().apply(&format!("{closed}{rules}"));
    scene.start(0);
    let directory = scene.node(0).directory.path().to_owned();
    let socket = scene.node(0).socket();
    let to = SocketAddr::new(scene.node(0).pod("db").v4.into(), PORT);
    let prefix = scene.node(0).netns("node");

    let uids = ["web", "other"].map(|name| pending(&scene, name));
    let spaces = ["web", "other"].map(|name| Namespace::create(&format!("{prefix}-{name}")).expect("a namespace"));
    {
        let node = scene.node(0).lab.node();
        let chain = Chain::new(node, "ptp", &socket, &directory);
        for ((name, uid), space) in ["shop/web", "shop/other"].into_iter().zip(&uids).zip(&spaces) {
            let sandbox = Sandbox {
                netns: space.name(),
                pod: name,
                uid,
            };
            let result = chain.add(sandbox).expect("the pod may start");
            assert_eq!(result["interfaces"].as_array().map(Vec::len), Some(2), "{result}");
            let expected = if name == "shop/web" {
                Outcome::Answered
            } else {
                Outcome::Silence
            };
            assert_eq!(
                ask(space.name(), to),
                [expected; 2],
                "{name}, its first packets\n{}",
                scene.node(0).log()
            );
            assert_eq!(chain.ours("CHECK", sandbox, &result), Ok(serde_json::Value::Null));
        }
        let by_rule = scene
            .node(0)
            .record(|record| record["rule"]["name"] == "deny" && record["source"]["pod"] == "other");
        assert!(by_rule.is_some(), "{}", scene.node(0).log());

        let short = Chain::new(node, "ptp", &socket, &directory).with("timeoutSeconds", 1);
        names_nothing_by_itself(&short, spaces[0].name(), &uids);
    }

    // What was told outlives the agent, and the API server's word about addresses comes later.
    scene.node_mut(0).kill();
    assert_eq!(ask(spaces[0].name(), to), [Outcome::Answered; 2], "without an agent");
    scene.start(0);
    assert_eq!(
        ask(spaces[0].name(), to),
        [Outcome::Answered; 2],
        "with the next agent\n{}",
        scene.node(0).log()
    );
    assert_eq!(ask(spaces[1].name(), to), [Outcome::Silence; 2], "with the next agent");
    let node = scene.node(0).lab.node();
    let chain = Chain::new(node, "ptp", &socket, &directory);
    for ((name, uid), space) in ["shop/web", "shop/other"].into_iter().zip(&uids).zip(&spaces) {
        chain.del(Sandbox {
            netns: space.name(),
            pod: name,
            uid,
        });
    }
}

/// What is asked about `netns`, which is web's, in the name of others.
fn names_nothing_by_itself(chain: &Chain<'_>, netns: &str, [web, other]: &[String; 2]) {
    let made = serde_json::json!({"ips": [{"address": "10.244.7.2/32"}]});
    let add = |pod, uid| {
        chain
            .ours("ADD", Sandbox { netns, pod, uid }, &made)
            .expect_err("refused")
    };
    let error = add("shop/web", "11111111-2222-3333-4444-555555555555");
    assert_eq!(error["code"], 11, "the API server has no such pod: {error}");
    let error = add("shop/other", web);
    assert_eq!(error["code"], 101, "another's UID: {error}");
    // A namespace that was made for a pod becomes no other's.
    let error = add("shop/other", other);
    let said = error["msg"].as_str().unwrap_or_default();
    assert!(said.contains("is pod shop/web's"), "{error}");
}

#[test]
fn without_an_agent_a_pod_fails_or_starts_as_the_configuration_says() {
    let mut cluster = Cluster::new(Wiring::Routed, &["db"]);
    cluster.save_pods();
    cluster.save("rules.yaml", RULE);
    cluster.start();
    let _server = Server::start(&cluster.netns("db"), PORT).expect("a server");
    let to = SocketAddr::new(cluster.pod("db").v4.into(), PORT);
    let space = Namespace::create(&format!("{}-web", cluster.netns("node"))).expect("a namespace");
    let (socket, directory) = (cluster.socket(), cluster.directory.path().to_owned());
    let sandbox = Sandbox {
        netns: space.name(),
        pod: "ns-0/web",
        uid: "u",
    };
    cluster.kill();
    {
        let chain = Chain::new(cluster.lab.node(), "bridge", &socket, &directory).with("timeoutSeconds", 1);
        let made = chain.main_adds(sandbox);
        let error = chain.ours("ADD", sandbox, &made).expect_err("nobody is there");
        assert_eq!(error["code"], 11, "{error}");
        let began = Instant::now();
        let refusing = Chain::new(cluster.lab.node(), "bridge", &socket, &directory).with("whenAway", "refuse");
        assert!(refusing.ours("ADD", sandbox, &made).is_err());
        assert!(began.elapsed() < Duration::from_secs(10), "it refuses at once");
        let passing = Chain::new(cluster.lab.node(), "bridge", &socket, &directory).with("whenAway", "pass");
        assert_eq!(
            passing.ours("ADD", sandbox, &made).map(|result| address(&result)),
            Ok(address(&made))
        );
    }
    // With an agent, and a manifest that comes while the plugin waits.
    cluster.start();
    let manifest = cellwall_tests::agent::pod("ns-0", "web", space.name());
    let answered = std::thread::scope(|scope| {
        let chain = Chain::new(cluster.lab.node(), "bridge", &socket, &directory);
        let made = serde_json::json!({"ips": [{"address": "10.244.7.2/24"}]});
        let waiting = scope.spawn(move || (chain.ours("ADD", sandbox, &made), Instant::now()));
        std::thread::sleep(Duration::from_millis(300));
        let saved = Instant::now();
        cluster.save("web.yaml", &manifest);
        let (answer, when) = waiting.join().expect("the plugin runs");
        assert!(when > saved, "it did not wait: {answer:?}");
        answer
    });
    answered.expect("the pod may start");
    assert_eq!(ask(space.name(), to), [Outcome::Silence; 2], "its first packets");
    Chain::new(cluster.lab.node(), "bridge", &socket, &directory).del(sandbox);
    let gone = wait_for(Duration::from_secs(5), || {
        let status = cluster.status()?;
        (status["pods_protected"] == 1).then_some(())
    });
    assert!(gone.is_some(), "{:?}", cluster.status());
}

/// `cellwall cni install --keep` on directories of its own.
struct Installer(Process);

impl Installer {
    fn start(cluster: &Cluster, bin: &Path, conf: &Path) -> Self {
        let mut command = Process::command(cluster.lab.node(), &cellwall_tests::agent::binary());
        command.args([
            "cni",
            "install",
            "--keep",
            "--instance",
            cluster.instance(),
            "--bin-dir",
        ]);
        command.arg(bin).arg("--conf-dir").arg(conf);
        Self(Process::start("cni-install", command, cluster.directory.path()))
    }
}

/// The types of the plugins of a configuration, as a runtime reads it; none: it is not there, or not whole.
fn plugins(path: &Path) -> Option<Vec<String>> {
    let list: serde_json::Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let each = list["plugins"].as_array()?.iter();
    each.map(|plugin| plugin["type"].as_str().map(str::to_owned)).collect()
}

/// What its network's own daemon does to its configuration when it starts again.
fn rewrite(path: &Path, round: usize) {
    let list = serde_json::json!({"cniVersion": "1.0.0", "name": format!("pods-{round}"), "plugins": [
        {"type": "bridge", "ipam": {"type": "host-local"}}, {"type": "portmap"},
    ]});
    let beside = path.with_extension("theirs");
    std::fs::write(&beside, list.to_string()).expect("a configuration is written");
    if round.is_multiple_of(2) {
        // Gone for a while, as where a network is removed and installed anew.
        std::fs::remove_file(path).expect("the configuration goes");
        std::thread::sleep(Duration::from_millis(300));
    }
    std::fs::rename(&beside, path).expect("the configuration is put in place");
}

#[test]
fn when_the_network_writes_its_configuration_anew_our_plugin_is_chained_again_and_pods_stay_enforced() {
    let mut cluster = Cluster::new(Wiring::Routed, &["db", "web"]);
    cluster.save_pods();
    cluster.save("rules.yaml", RULE);
    cluster.start();
    let server = Server::start(&cluster.netns("db"), PORT).expect("a server");
    let directory = cluster.directory.path().to_owned();
    let (bin, conf) = (directory.join("bin"), directory.join("net.d"));
    for made in [&bin, &conf] {
        std::fs::create_dir(made).expect("a directory");
    }
    let path = conf.join("10-pods.conflist");
    rewrite(&path, 1);
    let mut installer = Installer::start(&cluster, &bin, &conf);
    let chained = |round: usize| {
        let expected = ["bridge", "portmap", "cellwall"];
        let found = wait_for(Duration::from_secs(10), || (plugins(&path)? == expected).then_some(()));
        assert!(found.is_some(), "round {round}: {:?}", plugins(&path));
        let text = std::fs::read_to_string(&path).expect("the configuration");
        assert!(text.contains(&format!("pods-{round}")), "theirs is the newest: {text}");
    };
    chained(1);
    // A runtime that looks all the time: what it finds is theirs or ours, and whole.
    let stop = Arc::new(AtomicBool::new(false));
    let looks = {
        let (stop, path) = (stop.clone(), path.clone());
        std::thread::spawn(move || {
            let mut looks = 0;
            while !stop.load(Ordering::Relaxed) {
                match std::fs::read(&path) {
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
                    Ok(text) => {
                        let list: serde_json::Value = serde_json::from_slice(&text).expect("a whole configuration");
                        let all = list["plugins"].as_array().map_or(0, Vec::len);
                        assert!((2..=3).contains(&all), "{list}");
                        looks += 1;
                    }
                }
            }
            looks
        })
    };
    let mut longest = Duration::ZERO;
    for round in 2..8 {
        rewrite(&path, round);
        let began = Instant::now();
        chained(round);
        longest = longest.max(began.elapsed());
        assert_eq!(
            cluster.tcp("web", SocketAddr::new(cluster.pod("db").v4.into(), PORT)),
            Outcome::Silence
        );
        assert!(installer.0.is_running(), "{}", installer.0.last_words());
    }
    // The installer itself starts anew, with their configuration in its place meanwhile.
    drop(installer);
    rewrite(&path, 9);
    let _installer = Installer::start(&cluster, &bin, &conf);
    chained(9);
    stop.store(true, Ordering::Relaxed);
    let looks = looks.join().expect("a whole configuration at every look");
    println!("{looks} looks; chained again after {longest:?} at most");
    assert_eq!(
        cluster.tcp("web", SocketAddr::new(cluster.pod("db").v4.into(), PORT)),
        Outcome::Silence
    );
    drop(server);
}

const RULE: &str = "
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: web}
spec: {apps: [web]}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: not-web}
spec: {source: {object: web}, destination: {entity: Cluster}, action: Drop, priority: 10}
";
