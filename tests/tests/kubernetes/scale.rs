//! What one agent costs a large API server, and a large API server it: objects as data in a real one, no kubelets.
//!
//! A small cluster where nothing is said; with `CELLWALL_SCALE=full` 10,000 pods on 1,000 nodes, 1,000 rules and 200
//! objects.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cellwall_controller::lab::Wiring;
use cellwall_tests::cluster::proxy::{self, Counts};
use cellwall_tests::cluster::{RIGHTS, config};
use cellwall_tests::scrape::{sample, sum};
use cellwall_tests::{Cluster, wait_for};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::scene::Scene;

/// Requests under way at the same time.
const AT_ONCE: usize = 16;
/// Pods that change in a second.
const CHANGES: u32 = 100;

#[derive(Debug, Clone, Copy)]
struct Size {
    pods: usize,
    nodes: usize,
    rules: usize,
    objects: usize,
    /// How long is measured.
    window: Duration,
}

impl Size {
    fn wanted() -> Self {
        if std::env::var("CELLWALL_SCALE").is_ok_and(|given| given == "full") {
            return Self {
                pods: 10_000,
                nodes: 1_000,
                rules: 1_000,
                objects: 200,
                window: Duration::from_secs(30),
            };
        }
        Self {
            pods: 200,
            nodes: 20,
            rules: 30,
            objects: 10,
            window: Duration::from_secs(3),
        }
    }
}

/// An object to be made, and its status.
#[derive(Clone)]
struct Made {
    resource: ApiResource,
    namespace: Option<&'static str>,
    object: Value,
    status: Option<Value>,
}

impl Made {
    fn api(&self, client: &Client) -> Api<DynamicObject> {
        match self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.resource),
            None => Api::all_with(client.clone(), &self.resource),
        }
    }

    async fn make(&self, client: &Client) {
        let api = self.api(client);
        let object: DynamicObject = serde_json::from_value(self.object.clone()).expect("an object");
        let name = object.metadata.name.clone().expect("a name");
        api.create(&PostParams::default(), &object).await.expect("it is made");
        if let Some(status) = &self.status {
            let patch = Patch::Merge(json!({ "status": status }));
            api.patch_status(&name, &PatchParams::default(), &patch)
                .await
                .expect("its status is written");
        }
    }
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    let api_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

fn ours(kind: &str, plural: &str, name: &str, spec: &Value, status: Option<Value>) -> Made {
    Made {
        resource: resource("cellwall.io", "v1alpha1", kind, plural),
        namespace: None,
        object: json!({
            "apiVersion": "cellwall.io/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec,
        }),
        status,
    }
}

fn node(number: usize) -> Made {
    let address = format!("172.16.{}.{}", number / 250, number % 250 + 1);
    Made {
        resource: resource("", "v1", "Node", "nodes"),
        namespace: None,
        object: json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": format!("far-{number}") } }),
        status: Some(json!({ "addresses": [{ "type": "InternalIP", "address": address }] })),
    }
}

fn pod(number: usize, size: Size) -> Made {
    let app = format!("app-{}", number % size.objects);
    let address = format!(
        "10.{}.{}.{}",
        100 + number / 62_500,
        number / 250 % 250,
        number % 250 + 1
    );
    Made {
        resource: resource("", "v1", "Pod", "pods"),
        namespace: Some("shop"),
        object: json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": format!("pod-{number}"),
                "labels": { "app": app, "pod-template-hash": "5d4f8c7b9d", "team": "shop", "release": "0" },
                "annotations": { "example.com/checksum": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" },
            },
            "spec": {
                "nodeName": format!("far-{}", number % size.nodes),
                "automountServiceAccountToken": false,
                "containers": [{
                    "name": "it", "image": format!("registry.example.com/shop/{app}:1.2.3"),
                    "ports": [{ "containerPort": 8080 }],
                    "env": [{ "name": "MODE", "value": "production" }],
                    "readinessProbe": { "httpGet": { "path": "/", "port": 8080 } },
                }],
            },
        }),
        status: Some(json!({
            "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }], "hostIP": "172.16.0.1",
            "conditions": [
                { "type": "Ready", "status": "True" }, { "type": "Initialized", "status": "True" },
                { "type": "ContainersReady", "status": "True" }, { "type": "PodScheduled", "status": "True" },
            ],
        })),
    }
}

fn all(size: Size) -> Vec<Made> {
    let mut all: Vec<Made> = (0..size.nodes).map(node).collect();
    all.extend((0..size.pods).map(|number| pod(number, size)));
    all.extend((0..size.objects).map(|number| {
        let spec = json!({ "namespaces": ["shop"], "apps": [format!("app-{number}")] });
        ours(
            "NetworkObject",
            "networkobjects",
            &format!("object-{number}"),
            &spec,
            None,
        )
    }));
    all.extend((0..size.rules).map(|number| {
        let object = |number: usize| json!({ "object": format!("object-{}", number % size.objects) });
        let spec = json!({
            "source": object(number), "destination": object(number * 7 + 1),
            "ports": [{ "port": 1_000 + number }],
            "action": if number % 3 == 0 { "Drop" } else { "Pass" },
            "priority": number % 1_000 + 1,
        });
        ours("DefenseRule", "defenserules", &format!("rule-{number}"), &spec, None)
    }));
    all.extend((0..size.nodes).map(|number| {
        let status = json!({ "state": "Normal", "enforcing": true, "podsProtected": 10, "policyDigest": "0" });
        let mut made = ours(
            "InterceptStatus",
            "interceptstatuses",
            &format!("far-{number}"),
            &json!({}),
            Some(status),
        );
        made.object.as_object_mut().expect("an object").remove("spec");
        made
    }));
    all
}

/// Does all of it, some at a time.
async fn make(client: &Client, all: Vec<Made>) {
    let all = Arc::new(all);
    let mut tasks = tokio::task::JoinSet::new();
    for first in 0..AT_ONCE {
        let (client, all) = (client.clone(), all.clone());
        tasks.spawn(async move {
            for made in all.iter().skip(first).step_by(AT_ONCE) {
                made.make(&client).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no object is refused");
    }
}

/// Changes a label of one pod after another, [`CHANGES`] in a second, or as many as a busy API server takes; answers how
/// many were changed, and how many requests failed.
async fn change_pods(client: Client, size: Size) -> (u32, u32) {
    let api: Api<DynamicObject> = Api::namespaced_with(client, "shop", &resource("", "v1", "Pod", "pods"));
    let mut due = tokio::time::interval(Duration::from_secs(1) / CHANGES);
    let mut tasks = tokio::task::JoinSet::new();
    let began = Instant::now();
    let (mut number, mut changed, mut failed) = (0, 0, 0);
    loop {
        let over = began.elapsed() >= size.window;
        if !over && tasks.len() < AT_ONCE {
            due.tick().await;
            let (api, name, release) = (api.clone(), format!("pod-{}", number % size.pods), number.to_string());
            tasks.spawn(async move {
                let patch = Patch::Merge(json!({ "metadata": { "labels": { "release": release } } }));
                api.patch(&name, &PatchParams::default(), &patch).await.is_ok()
            });
            number += 1;
            while let Some(done) = tasks.try_join_next() {
                *(if done.expect("no panic") {
                    &mut changed
                } else {
                    &mut failed
                }) += 1;
            }
        } else if let Some(done) = tasks.join_next().await {
            *(if done.expect("no panic") {
                &mut changed
            } else {
                &mut failed
            }) += 1;
        } else {
            return (changed, failed);
        }
    }
}

/// What was counted until now.
struct Seen {
    at: Instant,
    bytes: (u64, u64),
    requests: f64,
    changes: f64,
    /// Of processors, used by the agent.
    seconds: f64,
}

impl Seen {
    fn now(node: &Cluster, counts: &Counts) -> Self {
        let metrics = node.metrics();
        Self {
            at: Instant::now(),
            bytes: counts.now(),
            requests: sum(&metrics, "cellwall_api_requests_total"),
            changes: sample(&metrics, "cellwall_policy_generation_realised ").unwrap_or_default(),
            seconds: processor(node),
        }
    }

    /// Requests, bytes sent and bytes received, each in a second.
    fn tell_since(&self, before: &Self, what: &str) -> (f64, f64, f64) {
        let seconds = (self.at - before.at).as_secs_f64();
        // A window's bytes are far below four thousand million.
        let rate = |now: u64, then: u64| f64::from(u32::try_from(now - then).expect("few bytes")) / seconds;
        let requests = (self.requests - before.requests) / seconds;
        let (sent, received) = (rate(self.bytes.0, before.bytes.0), rate(self.bytes.1, before.bytes.1));
        println!(
            "{what}: {requests:.2} requests, {sent:.0} bytes sent and {received:.0} received in a second; {:.0} \
             generations and {:.2} s of a processor in {seconds:.1} s",
            self.changes - before.changes,
            self.seconds - before.seconds
        );
        (requests, sent, received)
    }
}

/// Seconds of processors that the agent has used.
fn processor(node: &Cluster) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.pid().expect("it runs"))).expect("its times");
    // Behind the name, which may hold anything: the twelfth and thirteenth are user's and system's, in hundredths.
    let (_, rest) = stat.rsplit_once(')').expect("a name");
    let ticks = rest.split_whitespace().skip(11).take(2);
    ticks.map(|word| word.parse::<f64>().expect("a number") / 100.0).sum()
}

fn resident(node: &Cluster) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid().expect("it runs"))).expect("its status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("its size");
    line.trim().trim_end_matches(" kB").parse().expect("kB")
}

#[test]
fn what_an_agent_asks_of_a_large_api_server_is_bounded() {
    let size = Size::wanted();
    let mut scene = Scene::new(Wiring::Routed, &[&["a", "b"]]);
    scene.pod(0, "a");
    scene.pod(0, "b");
    let admin = scene.admin().kubeconfig().to_owned();
    let began = Instant::now();
    scene.plane().block_on(async {
        let client = Client::try_from(config(&admin).await).expect("a client");
        make(&client, all(size)).await;
    });
    println!("{size:?}: made in {:.0} s", began.elapsed().as_secs_f64());

    let netns = scene.node(0).lab.node().name().to_owned();
    let (url, counts) = proxy::start(&netns);
    // One of many: another leads. (A Lease that nobody renews would be taken.)
    let binding = ["delete", "rolebinding", "cellwall-leader", "-n", "cellwall-system"];
    scene.admin().run(&binding).expect("nobody leads");
    let through = scene.plane().kubeconfig_through("cellwall-system", "cellwall", &url);
    scene.node_mut(0).set_kubeconfig(&through);
    let began = Instant::now();
    scene.node_mut(0).launch();
    let ready = wait_for(Duration::from_mins(2), || {
        let status = scene.node(0).status()?;
        status["unready"].as_array()?.is_empty().then_some(())
    });
    assert!(ready.is_some(), "{:?}\n{}", scene.node(0).status(), scene.node(0).log());
    let (sent, received) = counts.now();
    println!(
        "ready after {:.2} s; {sent} bytes sent and {received} received until then; {:.2} s of a processor; {} kB resident",
        began.elapsed().as_secs_f64(),
        processor(scene.node(0)),
        resident(scene.node(0))
    );

    // The statuses of a start are written first.
    std::thread::sleep(size.window.max(Duration::from_secs(5)));
    let before = Seen::now(scene.node(0), &counts);
    std::thread::sleep(size.window);
    let rest = Seen::now(scene.node(0), &counts).tell_since(&before, "at rest");
    let before = Seen::now(scene.node(0), &counts);
    let (changed, failed) = scene.plane().block_on(async {
        let client = Client::try_from(config(&admin).await).expect("a client");
        change_pods(client, size).await
    });
    let busy = Seen::now(scene.node(0), &counts).tell_since(&before, "under changes of pods");
    println!(
        "{changed} pods changed in {:.0} s, {failed} requests failed; {} kB resident; {}",
        size.window.as_secs_f64(),
        resident(scene.node(0)),
        scene
            .node(0)
            .metrics()
            .lines()
            .filter(|line| line.starts_with("cellwall_api_requests"))
            .collect::<Vec<_>>()
            .join("; ")
    );
    scene.admin().apply(RIGHTS[1]);
    let leads = wait_for(Duration::from_secs(90), || {
        scene.node(0).log().contains("leading=true").then_some(())
    });
    assert!(leads.is_some(), "{}", scene.node(0).log());
    let before = Seen::now(scene.node(0), &counts);
    std::thread::sleep(size.window);
    let leader = Seen::now(scene.node(0), &counts).tell_since(&before, "as the leader, who writes statuses");
    assert!(leader.0 < 60.0, "{} requests a second as the leader", leader.0);
    // An agent that asks for each change, or lists again, asks more than that.
    assert!(rest.0 < 30.0, "{} requests a second at rest", rest.0);
    assert!(
        busy.0 < rest.0 + f64::from(CHANGES) / 4.0,
        "{} requests a second under changes",
        busy.0
    );
    assert!(busy.2 > rest.2, "the changes are heard of");
    assert!(changed > 10 * failed, "{changed} changes, {failed} failed");
}
