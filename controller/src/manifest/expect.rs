//! The content of a document, after what stands there was held against what its kind expects.
//!
//! A scalar that the YAML versions read differently is refused where text is expected, and where they see different
//! numbers. Kubernetes' kinds are read into their types and written back, which leaves out what nobody knows and turns
//! amounts given as numbers (`cpu: 1`) into text; of our own kinds everything is kept, so that what is unknown can be
//! refused by name.

use k8s_openapi::api::core::v1::{Namespace, Node as KubernetesNode, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document::{Document, Kind};
use super::node::{Ambiguity, Node};
use super::problem::{Fault, Problem};
use super::scalar::Reading;
use super::typed;

/// The JSON of a document, or what is wrong with it. Everything that the reading found wrong is among the problems.
pub fn checked_json(document: &Document) -> Result<Value, Vec<Problem>> {
    let mut problems = document.problems();
    match content(document.id().kind, document.node()) {
        Ok(value) if problems.is_empty() => Ok(value),
        Ok(_) => Err(problems),
        Err(faults) => {
            problems.extend(faults.into_iter().map(|fault| document.problem(fault)));
            Err(problems)
        }
    }
}

fn content(kind: Kind, node: &Node) -> Result<Value, Vec<Fault>> {
    match kind {
        Kind::ClusterDefense | Kind::NetworkObject | Kind::DefenseRule => {
            let faults: Vec<_> = node.ambiguities().iter().filter_map(refusal).collect();
            if faults.is_empty() { Ok(node.to_json()) } else { Err(faults) }
        }
        Kind::Namespace => through::<Namespace>(node),
        Kind::Node => through::<KubernetesNode>(node),
        Kind::Pod => through::<Pod>(node),
        Kind::Service => through::<Service>(node),
        Kind::EndpointSlice => through::<EndpointSlice>(node),
    }
}

fn through<T: DeserializeOwned + Serialize>(node: &Node) -> Result<Value, Vec<Fault>> {
    let typed: T = typed::read(node).map_err(|fault| vec![fault])?;
    serde_json::to_value(typed).map_err(|error| vec![Fault::at(node.at(), format!("cannot be written back: {error}"), "")])
}

/// The fault of an ambiguous scalar in one of our own kinds; none where it can be meant in one way only.
fn refusal(ambiguity: &Ambiguity<'_>) -> Option<Fault> {
    let readings = ambiguity.readings;
    match ambiguity.path.keys()[..] {
        [Some("spec"), Some("enabled")] if matches!(readings.kubectl, Reading::Bool(_)) => None,
        [Some("metadata"), .., Some("creationTimestamp" | "deletionTimestamp" | "time")]
            if readings.yaml11 == Reading::Timestamp =>
        {
            None
        }
        [Some("spec"), .., Some("priority" | "port" | "endPort" | "confirmedGeneration")]
            if readings.kubectl.is_number() =>
        {
            let fault = ambiguity.fault();
            let remedy = "write the number in plain decimal digits".to_owned();
            readings.numbers_differ().then_some(Fault { remedy, ..fault })
        }
        _ => Some(ambiguity.fault()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::manifest::files::FileContent;

    fn checked(text: &str) -> Result<Value, Vec<String>> {
        let path: Arc<Path> = Path::new("a.yaml").into();
        let content = FileContent::read(&path, text.as_bytes(), None);
        assert_eq!(content.problems().count(), 0, "{:?}", content.problems().next());
        checked_json(&content.documents()[0]).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    const RULE: &str = "apiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {name: r}\nspec:\n";

    #[test]
    fn in_our_kinds_only_what_can_be_meant_in_one_way_passes() {
        let good = "  enabled: yes\n  priority: 1_000\n  ports: [{port: 0x50, protocol: \"47\"}]\n  unknown: kept\n";
        let value = checked(&format!("{RULE}{good}")).expect("right");
        assert_eq!(value["spec"].to_string(), r#"{"enabled":true,"ports":[{"port":80,"protocol":"47"}],"priority":1000,"unknown":"kept"}"#);
        let bad = "  enabled: 'no'\n  priority: 010\n  source: {object: on}\n  ports: [{port: 0o17}, {port: 017}]\n";
        let expected = [
            "a.yaml:6: DefenseRule r: spec.priority: \"010\" is the number 8 in YAML 1.1, the number 10 in YAML 1.2; write the number in plain decimal digits",
            "a.yaml:7: DefenseRule r: spec.source.object: \"on\" is true in YAML 1.1, text in YAML 1.2; quote it: \"on\"",
            "a.yaml:8: DefenseRule r: spec.ports[1].port: \"017\" is the number 15 in YAML 1.1, the number 17 in YAML 1.2; write the number in plain decimal digits",
        ];
        assert_eq!(checked(&format!("{RULE}{bad}")).expect_err("refused"), expected);
    }

    #[test]
    fn what_the_reading_found_wrong_is_told_too() {
        let refused = checked(&format!("{RULE}  on: 1\n  action: n\n")).expect_err("refused");
        assert_eq!(refused.len(), 2);
        assert!(refused[0].starts_with("a.yaml:5: DefenseRule r: the key \"on\" is true in YAML 1.1"), "{refused:?}");
    }

    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web-0\n  creationTimestamp: 2026-01-01T00:00:00Z\n";

    #[test]
    fn kubernetes_kinds_are_read_as_kubernetes_reads_them() {
        let text = format!(
            "{POD}spec:\n  hostNetwork: no\n  someday: {{new: field, app: on}}\n  containers:\n  - name: web\n    image: nginx:1.25\n    \
             ports: [{{containerPort: 8080}}]\n    resources: {{limits: {{cpu: 1, memory: 64Mi}}}}\n"
        );
        let value = checked(&text).expect("right");
        assert_eq!(value["spec"]["hostNetwork"], false);
        assert_eq!(value["metadata"]["creationTimestamp"], "2026-01-01T00:00:00Z");
        assert_eq!(value["spec"]["containers"][0]["resources"]["limits"]["cpu"], "1");
        assert!(value["spec"].get("someday").is_none());
    }

    #[test]
    fn in_kubernetes_kinds_text_is_text() {
        let cases = [
            ("  labels:\n    app: yes\n", "a.yaml:7: Pod default/web-0: metadata.labels.app: \"yes\" is true in YAML 1.1, text in YAML 1.2; quote it: \"yes\""),
            ("  labels: {v: 1.10}\n", "a.yaml:6: Pod default/web-0: metadata.labels.v: \"1.10\" is the number 1.1 where text is expected; quote it: \"1.10\""),
            ("  annotations: {until: 2026-01-01}\n", "a.yaml:6: Pod default/web-0: metadata.annotations.until: \"2026-01-01\" is a timestamp in YAML 1.1, text in YAML 1.2; quote it: \"2026-01-01\""),
            ("spec:\n  containers: [{name: web, ports: [{containerPort: 010}]}]\n", "a.yaml:7: Pod default/web-0: spec.containers[0].ports[0].containerPort: \"010\" is the number 8 in YAML 1.1, the number 10 in YAML 1.2; write the number in plain decimal digits"),
            ("spec: {hostNetwork: maybe}\n", "a.yaml:6: Pod default/web-0: spec.hostNetwork: invalid type: string \"maybe\", expected a boolean"),
        ];
        for (text, expected) in cases {
            assert_eq!(checked(&format!("{POD}{text}")).expect_err("refused"), [expected]);
        }
    }

    #[test]
    fn a_port_by_number_or_name_is_either_but_not_both() {
        let service = |port: &str| {
            format!("apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{ports: [{{port: 80, targetPort: {port}}}]}}\n")
        };
        assert_eq!(checked(&service("8080")).expect("right")["spec"]["ports"][0]["targetPort"], 8080);
        assert_eq!(checked(&service("http")).expect("right")["spec"]["ports"][0]["targetPort"], "http");
        assert!(checked(&service("010")).is_err() && checked(&service("on")).is_err());
    }
}
