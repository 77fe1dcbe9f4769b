//! Metadata: Kubernetes' own fields, as its API server reads them, and strict about names that it does not know.

use super::fault::{serde_fault, unknown_field, wrong_type};
use super::shape::Shape;
use crate::Violation;
use crate::violation::join;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// The fields of ObjectMeta.
const FIELDS: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Reads the metadata, field by field, so that one bad field hides no other. Null is absent here: generators write
/// `creationTimestamp: null`.
pub(super) fn read(value: Option<&Value>, shape: &mut Shape) -> ObjectMeta {
    let fields = match value {
        None | Some(Value::Null) => return ObjectMeta::default(),
        Some(Value::Object(fields)) => fields,
        Some(other) => {
            shape.fault(wrong_type("metadata", "an object", other));
            return ObjectMeta::default();
        }
    };
    let mut good = Map::new();
    for (key, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        if !FIELDS.contains(&key.as_str()) {
            shape.fault(unknown_field("metadata", key, FIELDS.into_iter()));
            continue;
        }
        let value = match schema_of(key) {
            Some(schema) => shape.value(&schema, &join("metadata", key), value),
            None => value.clone(),
        };
        let alone = Value::Object(Map::from_iter([(key.clone(), value.clone())]));
        match typed::<ObjectMeta>("metadata", alone) {
            Ok(_) => _ = good.insert(key.clone(), value),
            Err(fault) => shape.fault(fault),
        }
    }
    serde_json::from_value(Value::Object(good)).unwrap_or_default()
}

/// The schema of the fields that people write.
fn schema_of(field: &str) -> Option<Value> {
    match field {
        "name" | "namespace" | "generateName" => Some(json!({ "type": "string" })),
        "labels" | "annotations" => Some(json!({ "type": "object", "additionalProperties": { "type": "string" } })),
        "finalizers" => Some(json!({ "type": "array", "items": { "type": "string" } })),
        _ => None,
    }
}

/// Reads a value as serde does, with the path of the fault.
pub(super) fn typed<T: DeserializeOwned>(path: &str, value: Value) -> Result<T, Violation> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let at = error
            .path()
            .iter()
            .fold(path.to_owned(), |path, segment| match segment {
                serde_path_to_error::Segment::Seq { index } => crate::violation::item(&path, *index),
                serde_path_to_error::Segment::Map { key } => join(&path, key),
                serde_path_to_error::Segment::Enum { variant } => join(&path, variant),
                serde_path_to_error::Segment::Unknown => path,
            });
        serde_fault(&at, error.inner())
    })
}
