//! The CustomResourceDefinitions as YAML.

use crate::{ClusterDefense, DefenseRule, InterceptStatus, NetworkObject};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The definitions of all our kinds.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![
        NetworkObject::crd(),
        DefenseRule::crd(),
        ClusterDefense::crd(),
        InterceptStatus::crd(),
    ]
}

/// File name and text of every CRD manifest, in the order in which they are applied. The text is the same on every
/// machine, ends with a line feed and is what `kubectl apply -f` reads.
pub fn manifests() -> Vec<(String, String)> {
    definitions()
        .iter()
        .map(|crd| {
            let name = format!("{}.yaml", crd.spec.names.plural);
            // why: a definition is plain data, strings and numbers only; the snapshot test serialises every one
            let text = serde_saphyr::to_string(crd).expect("a CRD is plain data");
            (name, text)
        })
        .collect()
}
