//! From JSON to a typed object, strictly, with everything that is wrong named at once.
//!
//! First the shape (known fields, types, words, nothing missing and nothing null) is held against the schema that the
//! CRD has; then the rules are held against what is left when the faults of shape are repaired, except where a repair
//! could be what breaks the rule.

mod fault;
mod metadata;
mod shape;

use crate::violation::shown;
use crate::{
    API_VERSION, ClusterDefense, DefenseRule, GROUP, InterceptStatus, NetworkObject, Validate, Violation, definitions,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use shape::Shape;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The kinds, in the order in which messages name them.
pub const KINDS: [&str; 4] = ["NetworkObject", "DefenseRule", "ClusterDefense", "InterceptStatus"];

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

impl Document {
    /// The kind, as a manifest writes it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NetworkObject(_) => KINDS[0],
            Self::DefenseRule(_) => KINDS[1],
            Self::ClusterDefense(_) => KINDS[2],
            Self::InterceptStatus(_) => KINDS[3],
        }
    }

    /// The object's metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::NetworkObject(object) => &object.metadata,
            Self::DefenseRule(rule) => &rule.metadata,
            Self::ClusterDefense(defense) => &defense.metadata,
            Self::InterceptStatus(status) => &status.metadata,
        }
    }

    /// The object's name; [`read`] lets no document without one pass.
    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }
}

/// Whether [`read`] answers for such an object: everything of our group, also kinds and versions that do not exist, and
/// our kinds where `apiVersion` was forgotten.
pub fn is_ours(api_version: &str, kind: &str) -> bool {
    let group = api_version.split_once('/').map_or(api_version, |(group, _)| group);
    group == GROUP || (api_version.is_empty() && KINDS.contains(&kind))
}

/// Reads one object of ours, strictly.
///
/// # Errors
/// Everything that is wrong with it, first the shape, then the rules, each in the order of the fields; never empty.
pub fn read(value: &Value) -> Result<Document, Vec<Violation>> {
    let Some(root) = value.as_object() else {
        return Err(vec![fault::wrong_type("", "an object", value)]);
    };
    let mut faults = Vec::new();
    match root.get("apiVersion").and_then(Value::as_str) {
        Some(API_VERSION) => {}
        other => faults.push(Violation {
            path: "apiVersion".into(),
            found: other.map(shown),
            message: "it is not a version that exists".into(),
            remedy: format!("write {API_VERSION}"),
        }),
    }
    match root.get("kind").and_then(Value::as_str) {
        Some("NetworkObject") => read_as(root, faults, Document::NetworkObject),
        Some("DefenseRule") => read_as(root, faults, Document::DefenseRule),
        Some("ClusterDefense") => read_as(root, faults, Document::ClusterDefense),
        Some("InterceptStatus") => read_as(root, faults, Document::InterceptStatus),
        other => {
            faults.push(Violation {
                path: "kind".into(),
                found: other.map(shown),
                message: format!("it is not a kind of {GROUP}"),
                remedy: format!("write one of {}", KINDS.join(", ")),
            });
            Err(faults)
        }
    }
}

/// What `read_as` needs of a kind beside serde.
trait Kind: DeserializeOwned + Validate + kube::Resource<DynamicType = ()> {
    const NAME: &'static str;
    /// Takes over a status; without one, a status in the document is ignored, as an API server does.
    fn set_status(&mut self, status: Value) -> Result<(), Violation>;
}

macro_rules! kind_with_ignored_status {
    ($($kind:ident),+) => {
        $(impl Kind for $kind {
            const NAME: &'static str = stringify!($kind);

            fn set_status(&mut self, status: Value) -> Result<(), Violation> {
                // An old or foreign status says nothing about whether the object is valid.
                self.status = serde_json::from_value(status).ok();
                Ok(())
            }
        })+
    };
}
kind_with_ignored_status!(NetworkObject, DefenseRule, ClusterDefense);

impl Kind for InterceptStatus {
    const NAME: &'static str = "InterceptStatus";

    fn set_status(&mut self, status: Value) -> Result<(), Violation> {
        self.status = metadata::typed("status", status)?;
        Ok(())
    }
}

fn read_as<T: Kind>(
    root: &Map<String, Value>,
    mut faults: Vec<Violation>,
    document: fn(T) -> Document,
) -> Result<Document, Vec<Violation>> {
    let mut shape = Shape::default();
    let known = schema_of(T::NAME);
    let mut object = shape.root(known, root);
    object.insert("apiVersion".into(), API_VERSION.into());
    object.insert("kind".into(), T::NAME.into());
    object.insert("metadata".into(), json!({}));
    let metadata = metadata::read(root.get("metadata"), &mut shape);
    let mut typed = serde_json::from_value::<T>(Value::Object(object)).map_err(|error| {
        // The repaired object has the schema's shape, so this is a schema that serde does not agree with.
        shape.fault(fault::serde_fault("spec", &error));
        faults.iter().cloned().chain(shape.take()).collect::<Vec<_>>()
    })?;
    *typed.meta_mut() = metadata;
    if let Some(status) = root.get("status").filter(|status| !status.is_null()) {
        typed
            .set_status(status.clone())
            .unwrap_or_else(|fault| shape.fault(fault));
    }
    let broken: Vec<_> = typed
        .validate()
        .into_iter()
        .filter(|violation| !shape.mutes(&violation.path))
        .collect();
    faults.extend(shape.take());
    faults.extend(broken);
    if faults.is_empty() {
        Ok(document(typed))
    } else {
        Err(faults)
    }
}

/// The schema of a kind, as its CRD has it.
fn schema_of(kind: &str) -> &'static Value {
    static SCHEMAS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
        definitions()
            .into_iter()
            .filter_map(|crd| {
                let schema = crd.spec.versions.into_iter().next()?.schema?.open_api_v3_schema?;
                Some((crd.spec.names.kind, serde_json::to_value(schema).ok()?))
            })
            .collect()
    });
    SCHEMAS.get(kind).unwrap_or(&Value::Null)
}
