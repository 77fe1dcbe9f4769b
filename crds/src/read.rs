//! From JSON to a typed object, strictly.

use crate::{API_VERSION, ClusterDefense, DefenseRule, GROUP, InterceptStatus, NetworkObject, Violation};
use serde_json::Value;

/// One object of ours.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// A set of workloads or addresses.
    NetworkObject(NetworkObject),
    /// A rule.
    DefenseRule(DefenseRule),
    /// The defence switch.
    ClusterDefense(ClusterDefense),
    /// A node's report.
    InterceptStatus(InterceptStatus),
}

/// Whether an object of this `apiVersion` is of our group, so that [`read`] answers for it, also when kind or version
/// are none that exist.
pub fn is_ours(api_version: &str, _kind: &str) -> bool {
    api_version.split_once('/').map_or(api_version, |(group, _)| group) == GROUP
}

/// Reads one object of ours, strictly.
///
/// # Errors
/// Everything that is wrong with it, in the order of the fields; never empty.
pub fn read(value: &Value) -> Result<Document, Vec<Violation>> {
    let fault = |error: &serde_json::Error| {
        vec![Violation {
            path: String::new(),
            found: None,
            message: error.to_string(),
            remedy: format!("write it as {API_VERSION} has it"),
        }]
    };
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
    match kind {
        "NetworkObject" => serde_json::from_value(value.clone()).map(Document::NetworkObject),
        "DefenseRule" => serde_json::from_value(value.clone()).map(Document::DefenseRule),
        "ClusterDefense" => serde_json::from_value(value.clone()).map(Document::ClusterDefense),
        _ => serde_json::from_value(value.clone()).map(Document::InterceptStatus),
    }
    .map_err(|error| fault(&error))
}
