//! Pieces of schema and serde that several kinds share.
//!
//! An absent field does not restrict and an empty one selects nothing, so a `null` that counted as absent would widen
//! an object (case 54). An API server drops nulls before it validates, unless a field is nullable, and CEL then takes
//! them for absent; so lists, selectors and ports are declared nullable, and [`no_nulls`] refuses null in the object
//! around them.

use crate::port::PortEntry;
use crate::rule::{self, Rule, limit, validations};
use crate::{CidrBlock, Entity, LabelSelector, LabelSelectorRequirement};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// Reads a list or selector that was given: `null` becomes an empty value, never an absent one. Use with
/// `#[serde(default)]`, which answers for the absent field.
pub(crate) fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Some(Option::<T>::deserialize(deserializer)?.unwrap_or_default()))
}

/// Reads a single value that was given: `null` is an error.
pub(crate) fn some<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// The schema of an optional field: null reaches validation, where [`no_nulls`] of the object refuses it.
fn optional(mut schema: Schema) -> Schema {
    schema.insert("nullable".into(), Value::Bool(true));
    schema
}

/// The value of `allOf` for an object whose optional fields are these: none of them is null.
///
/// Schema validation holds null against `type` and `enum` alone. So what every value fails, being larger than any that
/// fits into a request, null passes; and what passes is refused. An API server has no words of ours for that, but it
/// names a field that is required and missing: so either the field is not null, or a field with the words as its name
/// is there, which no object has.
pub(crate) fn no_nulls(fields: &[&str]) -> Value {
    const BEYOND: u32 = 1_000_000_000;
    let beyond = json!({ "minItems": BEYOND, "minProperties": BEYOND, "minLength": BEYOND, "minimum": BEYOND });
    fields
        .iter()
        .map(|field| {
            let words = format!("{field}: {}", rule::NULL.text());
            let nothing = json!({ "required": [field], "properties": { *field: beyond } });
            json!({ "anyOf": [{ "required": [words] }, { "not": nothing }] })
        })
        .collect()
}

fn list(items: impl Into<Value>, most: usize, rules: &[&Rule]) -> Schema {
    optional(json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": most,
        "items": items.into(),
        "x-kubernetes-validations": validations(rules),
    }))
}

/// `namespaces`, `apps`, `images`.
pub(crate) fn globs(_: &mut SchemaGenerator) -> Schema {
    let glob = json!({
        "type": "string",
        "minLength": 1,
        "maxLength": limit::GLOB,
        "x-kubernetes-validations": validations(&[&rule::GLOB_EMPTY]),
    });
    list(glob, limit::LIST, &[&rule::EMPTY])
}

/// One address block.
pub(crate) fn cidr(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": limit::CIDR,
        "x-kubernetes-validations": validations(&[&rule::CIDR, &rule::CIDR_HOST_BITS]),
    })
}

/// `except`.
pub(crate) fn except(generator: &mut SchemaGenerator) -> Schema {
    list(cidr(generator), limit::LIST, &[&rule::EMPTY])
}

/// `podCIDRs`.
pub(crate) fn pod_cidrs(generator: &mut SchemaGenerator) -> Schema {
    list(cidr(generator), limit::CIDRS, &[&rule::EMPTY])
}

/// `cidrs`.
pub(crate) fn cidrs(generator: &mut SchemaGenerator) -> Schema {
    list(generator.subschema_for::<CidrBlock>(), limit::CIDRS, &[&rule::EMPTY])
}

/// `ports`.
pub(crate) fn ports(generator: &mut SchemaGenerator) -> Schema {
    list(
        generator.subschema_for::<PortEntry>(),
        limit::PORTS,
        &[&rule::EMPTY, &rule::PORTS_OVERLAP],
    )
}

/// `matchLabels`.
pub(crate) fn match_labels(_: &mut SchemaGenerator) -> Schema {
    optional(json_schema!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": limit::LIST,
        "additionalProperties": optional(label_value()),
        "x-kubernetes-validations": validations(&[&rule::EMPTY, &rule::LABEL_KEYS, &rule::NULL]),
    }))
}

/// `matchExpressions`.
pub(crate) fn match_expressions(generator: &mut SchemaGenerator) -> Schema {
    list(
        generator.subschema_for::<LabelSelectorRequirement>(),
        limit::LIST,
        &[&rule::EMPTY],
    )
}

/// `values` of a label expression.
pub(crate) fn values(_: &mut SchemaGenerator) -> Schema {
    list(label_value(), limit::CIDRS, &[&rule::EMPTY])
}

fn label_value() -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": limit::LABEL,
        "x-kubernetes-validations": validations(&[&rule::LABEL_VALUE]),
    })
}

/// `key` of a label expression.
pub(crate) fn label_key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": limit::LABEL_KEY,
        "x-kubernetes-validations": validations(&[&rule::LABEL_KEY]),
    })
}

/// `object` of a rule's side.
pub(crate) fn object_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": limit::NAME,
        "x-kubernetes-validations": validations(&[&rule::OBJECT_NAME]),
    })
}

/// `entity` of a rule's side.
pub(crate) fn entity(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Entity>()
}

/// `podSelector` and `namespaceSelector`.
pub(crate) fn selector(generator: &mut SchemaGenerator) -> Schema {
    optional(generator.subschema_for::<LabelSelector>())
}

/// `port`: 0 is an ICMP type only.
pub(crate) fn port(_: &mut SchemaGenerator) -> Schema {
    optional(json_schema!({ "type": "integer", "minimum": 0, "maximum": limit::PORT }))
}

/// `endPort`.
pub(crate) fn end_port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 1, "maximum": limit::PORT })
}

/// `priority`.
pub(crate) fn priority(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "integer",
        "minimum": 1,
        "maximum": 1000,
        "x-kubernetes-validations": validations(&[&rule::PRIORITY]),
    })
}

/// `confirmedGeneration`.
pub(crate) fn generation(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "integer",
        "minimum": 0,
        "x-kubernetes-validations": validations(&[&rule::GENERATION]),
    })
}

/// A node's own addresses.
pub(crate) fn addresses(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": limit::ADDRESSES,
        "items": {
            "type": "string",
            "maxLength": limit::ADDRESS,
            "x-kubernetes-validations": validations(&[&rule::ADDRESS]),
        },
    })
}

/// A time as RFC 3339 text.
pub(crate) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

/// A list of conditions, of which there is one of each type.
pub(crate) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": generator.subschema_for::<crate::Condition>(),
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}
