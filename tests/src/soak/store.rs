//! Where pods and rules are written, and the agent reads them: a directory of manifests, or an API server.

use std::fmt;
use std::time::{Duration, Instant};

use cellwall_controller::lab::LabPod;

use super::model::Model;
use crate::Cluster;
use crate::cluster::ControlPlane;

/// The namespace of all pods.
pub(super) const NAMESPACE: &str = "ns-0";
/// How often the agents' token, valid for an hour, is replaced.
const RENEWED: Duration = Duration::from_mins(15);

/// Where the agent's documents come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Source {
    /// A directory of manifests.
    Files,
    /// A real API server with etcd, which is away now and then.
    Api,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Files => "a directory of manifests",
            Self::Api => "an API server",
        })
    }
}

/// The source, to write to.
pub(super) enum Store {
    Files,
    Api { plane: Box<ControlPlane>, renewed: Instant },
}

impl Store {
    /// Opens it, with the pods that the lab has; the lab's agent will follow it.
    pub(super) fn open(source: Source, cluster: Cluster) -> (Self, Cluster) {
        let (store, cluster) = match source {
            Source::Files => (Self::Files, cluster),
            Source::Api => {
                let mut plane = Box::new(ControlPlane::start());
                plane.install();
                plane.namespace(NAMESPACE);
                let cluster = plane.with_node(cluster, 0);
                let renewed = Instant::now();
                (Self::Api { plane, renewed }, cluster)
            }
        };
        for pod in cluster.lab.pods() {
            store.pod_comes(&cluster, &pod.name, pod);
        }
        (store, cluster)
    }

    /// The API server, where there is one.
    pub(super) fn plane(&mut self) -> Option<&mut ControlPlane> {
        match self {
            Self::Files => None,
            Self::Api { plane, .. } => Some(plane),
        }
    }

    /// Documents that stay as they are; `name` is that of their file.
    pub(super) fn apply(&self, cluster: &Cluster, name: &str, text: &str) {
        match self {
            Self::Files => cluster.save(name, text),
            Self::Api { plane, .. } => drop(plane.admin().apply(text)),
        }
    }

    /// The rules of `after`, where those of `before` were.
    pub(super) fn rules(&self, cluster: &Cluster, before: &Model, after: &Model) {
        match self {
            Self::Files => cluster.save("rules.yaml", &after.rules_since(&Model::default())),
            Self::Api { plane, .. } => {
                let changed = after.rules_since(before);
                // Dice may have thrown what was there.
                if !changed.is_empty() {
                    plane.admin().apply(&changed);
                }
            }
        }
    }

    pub(super) fn pod_comes(&self, cluster: &Cluster, app: &str, pod: &LabPod) {
        match self {
            Self::Files => {
                let (name, manifest) = (&pod.name, crate::pod(NAMESPACE, &pod.name, &pod.netns));
                let labelled = manifest.replace(&format!("app: \"{name}\""), &format!("app: {app}"));
                cluster.save(&format!("pod-{name}.yaml"), &labelled);
            }
            Self::Api { plane, .. } => plane.running_pod(0, NAMESPACE, app, pod),
        }
    }

    pub(super) fn pod_goes(&self, cluster: &Cluster, name: &str) {
        match self {
            Self::Files => {
                let manifest = cluster.manifests().join(format!("pod-{name}.yaml"));
                std::fs::remove_file(manifest).expect("the manifest was there");
            }
            Self::Api { plane, .. } => plane.delete_pod(NAMESPACE, name),
        }
    }

    /// Sees to it that the next agent's token is valid for long. The API server has to be there.
    pub(super) fn renew(&mut self) {
        if let Self::Api { plane, renewed } = self
            && renewed.elapsed() >= RENEWED
        {
            plane.kubeconfig_of_agents();
            *renewed = Instant::now();
        }
    }
}
