//! The committed CRD manifests: what the types say, complete and documented.

use cellwall_crds::{KINDS, definitions, manifests};
use serde_json::Value;
use std::path::Path;

fn schemas() -> Vec<(String, Value)> {
    definitions()
        .into_iter()
        .map(|crd| {
            let version = crd.spec.versions.into_iter().next().expect("a CRD has a version");
            let schema = version
                .schema
                .and_then(|schema| schema.open_api_v3_schema)
                .expect("a version has a schema");
            (
                crd.spec.names.kind,
                serde_json::to_value(schema).expect("a schema is plain data"),
            )
        })
        .collect()
}

/// Calls `visit` with every schema below `schema` that describes a field, and its path.
fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        for (key, property) in properties {
            walk(property, &format!("{path}.{key}"), visit);
        }
    }
    for (inner, suffix) in [("items", "[]"), ("additionalProperties", "[key]")] {
        if let Some(inner) = schema.get(inner).filter(|inner| inner.is_object()) {
            walk(inner, &format!("{path}{suffix}"), visit);
        }
    }
}

#[test]
fn the_committed_manifests_are_what_the_types_say() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
    for (name, text) in manifests() {
        let committed = std::fs::read_to_string(dir.join(&name)).unwrap_or_default();
        assert!(
            committed == text,
            "crds/manifests/{name} is out of date: run `cargo run -p xtask -- crds`"
        );
    }
    let files = std::fs::read_dir(&dir).expect("crds/manifests exists").count();
    assert_eq!(files, manifests().len(), "crds/manifests holds a file that no kind has");
}

#[test]
fn manifests_come_out_the_same_every_time() {
    assert_eq!(manifests(), manifests());
}

#[test]
fn every_kind_has_a_manifest_and_is_of_the_cluster() {
    let definitions = definitions();
    let kinds: Vec<_> = definitions.iter().map(|crd| crd.spec.names.kind.as_str()).collect();
    assert_eq!(kinds, KINDS);
    for crd in &definitions {
        assert_eq!(crd.spec.scope, "Cluster");
        assert_eq!(crd.spec.group, "cellwall.io");
        assert_eq!(crd.spec.names.categories.as_deref(), Some(&["cellwall".to_owned()][..]));
        assert!(
            crd.spec.versions[0]
                .subresources
                .as_ref()
                .is_some_and(|sub| sub.status.is_some())
        );
    }
}

#[test]
fn short_names_are_those_that_people_type() {
    let names: Vec<_> = definitions()
        .into_iter()
        .filter_map(|crd| crd.spec.names.short_names)
        .flatten()
        .collect();
    assert_eq!(names, ["netobj", "drule", "cdef", "istat"]);
}

#[test]
fn every_field_is_documented() {
    for (kind, schema) in schemas() {
        walk(&schema, &kind, &mut |path, schema| {
            let documented = schema
                .get("description")
                .and_then(Value::as_str)
                .is_some_and(|text| text.len() > 10);
            assert!(documented || path.ends_with(']'), "{path} has no description");
        });
    }
}

#[test]
fn every_list_that_people_write_is_bounded() {
    for (kind, schema) in schemas() {
        let Some(spec) = schema.pointer("/properties/spec") else {
            continue;
        };
        walk(spec, &kind, &mut |path, schema| {
            let limit = match schema["type"].as_str() {
                Some("array") => "maxItems",
                Some("string") if schema.get("enum").is_none() => "maxLength",
                Some("object") if schema.get("additionalProperties").is_some() => "maxProperties",
                _ => return,
            };
            assert!(
                schema[limit].as_u64().is_some(),
                "{path} has no {limit}, so CEL below it has no cost"
            );
        });
    }
}

/// An API server drops a null that is not nullable, and CEL takes one that is for absent (case 54).
#[test]
fn a_null_that_could_widen_an_object_reaches_validation_and_is_refused_there() {
    let mut refused = 0;
    for (kind, schema) in schemas() {
        let Some(spec) = schema.pointer("/properties/spec") else {
            continue;
        };
        walk(spec, &kind, &mut |path, schema| {
            let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
                return;
            };
            for (key, property) in properties {
                let list = matches!(property["type"].as_str(), Some("array")) || key.ends_with("Selector");
                let nullable = property["nullable"].as_bool() == Some(true);
                assert!(nullable || !list, "a null at {path}.{key} is dropped");
                let rules = schema["allOf"].as_array().into_iter().flatten();
                let guarded = rules
                    .filter_map(|rule| rule["anyOf"][1]["not"]["required"][0].as_str())
                    .any(|field| field == key);
                assert_eq!(nullable, guarded, "null at {path}.{key}");
                refused += usize::from(guarded);
            }
        });
    }
    assert_eq!(
        refused, 16,
        "namespaces, apps, images, cidrs, except, ports, port, podCIDRs, and 4 of each selector"
    );
}
