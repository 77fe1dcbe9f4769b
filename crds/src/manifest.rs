//! The CustomResourceDefinitions as YAML.

/// File name and text of every CRD manifest, in the order in which they are applied.
pub fn manifests() -> Vec<(&'static str, String)> {
    Vec::new()
}
