//! Cellwall's side of a control plane: our kinds, what agents may do, nodes of labs, and pods written as a kubelet would
//! report them. No kubelet runs.

use std::path::PathBuf;
use std::process::Command;

use cellwall_controller::lab::LabPod;
use serde_json::{Value, json};

use super::ControlPlane;
use crate::Cluster;

/// Who the agents are and what they may do: what a cluster applies, and nothing more.
pub const RIGHTS: [&str; 3] = [
    include_str!("../../../deploy/base/service-account.yaml"),
    include_str!("../../../deploy/base/rbac.yaml"),
    include_str!("../../../deploy/base/admission.yaml"),
];

impl ControlPlane {
    /// Our kinds, and the agents' account with its rights.
    pub fn install(&self) {
        let crds = Command::new(crate::agent::binary()).arg("crds").output();
        let crds = String::from_utf8(crds.expect("the program runs").stdout).expect("it writes text");
        self.admin().apply(&crds);
        self.namespace("cellwall-system");
        for part in RIGHTS {
            self.admin().apply(part);
        }
        let established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"];
        self.admin().run(&established).expect("our kinds are there");
    }

    /// A configuration for the agents' account, valid for an hour; asked for again, the same file has a new token.
    pub fn kubeconfig_of_agents(&self) -> PathBuf {
        self.kubeconfig_of_service_account("cellwall-system", "cellwall")
    }

    /// A lab becomes the node `node-NUMBER`, and its agent follows this API server.
    pub fn with_node(&mut self, lab: Cluster, number: usize) -> Cluster {
        let name = format!("node-{number}");
        let lab = lab.following(&name, &self.kubeconfig_of_agents());
        let address = u8::try_from(number + 11).expect("few nodes");
        self.join(lab.lab.node(), "up1", address);
        self.admin()
            .apply(&format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n"));
        let addresses = json!({"addresses": [
            {"type": "InternalIP", "address": format!("203.0.113.{address}")},
            {"type": "ExternalIP", "address": "198.51.100.1"},
        ]});
        self.status(&["node", &name], &addresses);
        lab
    }

    /// A pod of a lab, on `node-NUMBER`: with this `app` label, running, with both addresses.
    pub fn running_pod(&self, number: usize, namespace: &str, app: &str, pod: &LabPod) {
        let name = &pod.name;
        self.admin().apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: {app}}}}}\n\
             spec: {{nodeName: node-{number}, containers: [{{name: it, image: it}}], tolerations: [{{operator: Exists}}]}}\n"
        ));
        let (v4, v6) = (pod.v4.to_string(), pod.v6.to_string());
        let status = json!({"phase": "Running", "podIP": v4, "podIPs": [{"ip": v4}, {"ip": v6}]});
        self.status(&["pod", name, "-n", namespace], &status);
    }

    /// A pod goes at once.
    pub fn delete_pod(&self, namespace: &str, name: &str) {
        let words = ["delete", "pod", name, "-n", namespace, "--force", "--grace-period=0"];
        self.admin().run(&words).expect("the pod goes");
    }

    /// Writes an object's status, as whoever reports it would.
    fn status(&self, object: &[&str], status: &Value) {
        let patch = json!({ "status": status }).to_string();
        let words = [
            &["patch"],
            object,
            &["--subresource=status", "--type=merge", "-p", &patch],
        ]
        .concat();
        self.admin().run(&words).expect("the status is written");
    }
}
