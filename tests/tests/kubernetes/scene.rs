//! A control plane, and nodes of labs that agents run on. No kubelet: pods are written as one would report them.

use std::time::Duration;

use cellwall_controller::lab::Wiring;
use cellwall_tests::cluster::{ControlPlane, Kubectl};
use cellwall_tests::{Cluster, wait_for};
use serde_json::{Value, json};

/// How long a status may take: the leader writes each second, and a lease is waited for.
const PATIENCE: Duration = Duration::from_secs(40);
/// The namespace of all pods.
const NAMESPACE: &str = "shop";

/// The control plane and the nodes.
pub(crate) struct Scene {
    // The agents end before the server does.
    nodes: Vec<Cluster>,
    plane: ControlPlane,
}

impl Scene {
    /// A control plane with our kinds, and a node for each list of pods; no agent and no Pod yet.
    pub(crate) fn new(wiring: Wiring, nodes: &[&[&str]]) -> Self {
        let mut plane = ControlPlane::start();
        plane.install();
        plane.namespace(NAMESPACE);
        let mut made = Vec::new();
        for (number, pods) in nodes.iter().enumerate() {
            made.push(plane.with_node(Cluster::new(wiring, pods), number));
        }
        Self { nodes: made, plane }
    }

    pub(crate) fn plane(&mut self) -> &mut ControlPlane {
        &mut self.plane
    }

    pub(crate) fn admin(&self) -> Kubectl {
        self.plane.admin()
    }

    pub(crate) fn node(&self, number: usize) -> &Cluster {
        &self.nodes[number]
    }

    pub(crate) fn node_mut(&mut self, number: usize) -> &mut Cluster {
        &mut self.nodes[number]
    }

    /// Starts an agent and waits until it is ready.
    pub(crate) fn start(&mut self, number: usize) {
        self.nodes[number].start();
    }

    /// Tells the API server of a pod of the lab: labelled `app` = its name, running, with both addresses.
    pub(crate) fn pod(&self, node: usize, name: &str) {
        self.plane
            .running_pod(node, NAMESPACE, name, &self.nodes[node].pod(name));
    }

    /// A pod's namespace and interface, of which the API server knows nothing yet.
    pub(crate) fn add_pod(&mut self, node: usize, name: &str) {
        self.nodes[node].lab.add_pod(name).expect("a pod");
    }

    pub(crate) fn label(&self, _node: usize, name: &str, app: &str) {
        let label = format!("app={app}");
        let words = ["label", "pod", name, "-n", NAMESPACE, "--overwrite", &label];
        self.admin().run(&words).expect("the label");
    }

    pub(crate) fn delete_pod(&self, _node: usize, name: &str) {
        self.plane.delete_pod(NAMESPACE, name);
    }

    /// What a pod's root does to its own interface.
    pub(crate) fn give_address(&self, node: usize, name: &str, address: &str) {
        let netns = self.nodes[node].netns(name);
        let done = std::process::Command::new("ip")
            .args(["-n", &netns, "addr", "add", address, "dev", "eth0"])
            .status();
        assert!(done.expect("ip runs").success(), "{address} for {name}");
    }

    /// Takes the node's way to the API server away: nothing tells either side.
    pub(crate) fn cut(&self, node: usize) {
        self.set_uplink(node, "down");
    }

    /// Gives it back.
    pub(crate) fn mend(&self, node: usize) {
        self.set_uplink(node, "up");
    }

    fn set_uplink(&self, node: usize, state: &str) {
        let netns = self.nodes[node].lab.node().name();
        let done = std::process::Command::new("ip")
            .args(["-n", netns, "link", "set", "up1", state])
            .status();
        assert!(done.expect("ip runs").success());
    }

    /// Makes the API server accept anything as an object of this kind, as one without our schema would have.
    pub(crate) fn without_schema(&self, plural: &str) {
        let name = format!("{plural}.cellwall.io");
        let anything = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        }}]);
        let patch = anything.to_string();
        let words = ["patch", "crd", &name, "--type=json", "-p", &patch];
        self.admin().run(&words).expect("the schema goes");
        // The server takes a moment to work by it.
        std::thread::sleep(Duration::from_secs(2));
    }

    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let words = [words, &["-o", "json"]].concat();
        let text = self.admin().run(&words).expect("kubectl get");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Waits until the object is as wanted.
    #[track_caller]
    pub(crate) fn wait_json(&self, words: &[&str], fits: impl Fn(&Value) -> bool) -> Value {
        let found = wait_for(PATIENCE, || Some(self.json(words)).filter(&fits));
        found.unwrap_or_else(|| {
            let logs: Vec<String> = self.nodes.iter().map(Cluster::log).collect();
            panic!("{words:?}: {}\n{}", self.json(words), logs.join("\n"))
        })
    }

    /// Waits until a condition has this status.
    #[track_caller]
    pub(crate) fn condition(&self, kind: &str, name: &str, condition: &str, status: &str) -> Value {
        let of = |object: &Value| {
            let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            all.into_iter().find(|one| one["type"] == condition)
        };
        let fits = |object: &Value| of(object).is_some_and(|one| one["status"] == status);
        of(&self.wait_json(&["get", kind, name], fits)).expect("it was there")
    }

    /// What the agent's metrics say.
    pub(crate) fn metrics(&self, node: usize) -> String {
        self.nodes[node].metrics()
    }
}

/// A NetworkObject: the application of this name.
pub(crate) fn object(name: &str, app: &str) -> String {
    format!(
        "---\napiVersion: cellwall.io/v1alpha1\nkind: NetworkObject\nmetadata: {{name: {name}}}\n\
         spec: {{namespaces: [{NAMESPACE}], apps: [{app}]}}\n"
    )
}

/// A rule that drops what one object sends to the other.
pub(crate) fn deny(name: &str, from: &str, to: &str) -> String {
    format!(
        "---\napiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {{name: {name}}}\n\
         spec: {{source: {{object: {from}}}, destination: {{object: {to}}}, action: Drop, priority: 10}}\n"
    )
}
