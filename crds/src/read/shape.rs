//! The shape of an object, held against the schema of its CRD: known fields, types, words, nothing missing, no null.

use super::fault::{unknown_field, wrong_type};
use crate::rule::{self, limit};
use crate::violation::{entry, item, join, shown};
use crate::{Protocol, Violation};
use serde_json::{Map, Value};

/// Most faults that are told of one object; what is past that says nothing new.
const MOST_FAULTS: usize = 100;

/// The faults of shape found so far.
#[derive(Default)]
pub(super) struct Shape {
    faults: Vec<Violation>,
}

impl Shape {
    pub(super) fn fault(&mut self, fault: Violation) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(fault);
        }
    }

    pub(super) fn take(&mut self) -> Vec<Violation> {
        std::mem::take(&mut self.faults)
    }

    /// Whether a rule broken at `path` may be the doing of a repair: at the fault, above it, below it, or anywhere in
    /// the innermost list entry around it.
    pub(super) fn mutes(&self, path: &str) -> bool {
        self.faults.iter().any(|fault| {
            let around = around(&fault.path);
            is_at_or_below(&fault.path, path) || is_at_or_below(path, around)
        })
    }

    /// Everything of an object but metadata and status, repaired.
    pub(super) fn root(&mut self, schema: &Value, root: &Map<String, Value>) -> Map<String, Value> {
        const APART: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];
        let nothing = Map::new();
        let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&nothing);
        let names: Vec<_> = APART
            .into_iter()
            .chain(known.keys().map(String::as_str).filter(|key| *key != "status"))
            .collect();
        let rest = root.iter().filter(|(key, _)| !APART.contains(&key.as_str()));
        self.fields(known, &required(schema), &names, "", rest)
    }

    /// The value at `path`, repaired so that it has the type that `schema` asks for.
    pub(super) fn value(&mut self, schema: &Value, path: &str, value: &Value) -> Value {
        match (schema.get("type").and_then(Value::as_str), value) {
            (Some("object"), Value::Object(fields)) => self.object(schema, path, fields),
            (Some("array"), Value::Array(entries)) => self.array(schema, path, entries),
            (Some("string"), Value::String(text)) => self.text(schema, path, text),
            (Some("integer"), Value::Number(number)) if number.is_i64() => value.clone(),
            (Some("boolean"), Value::Bool(_)) => value.clone(),
            _ => {
                self.fault(wrong_type(path, &wanted(schema), value));
                placeholder(schema)
            }
        }
    }

    fn object(&mut self, schema: &Value, path: &str, fields: &Map<String, Value>) -> Value {
        if let Some(schema) = schema.get("additionalProperties") {
            return fields
                .iter()
                .map(|(key, value)| (key.clone(), self.map_entry(schema, &entry(path, key), value)))
                .collect();
        }
        let Some(known) = schema.get("properties").and_then(Value::as_object) else {
            return Value::Object(fields.clone());
        };
        let names: Vec<_> = known.keys().map(String::as_str).collect();
        Value::Object(self.fields(known, &required(schema), &names, path, fields.iter()))
    }

    fn map_entry(&mut self, schema: &Value, path: &str, value: &Value) -> Value {
        if value.is_null() {
            self.fault(rule::NULL.broken(path));
            return placeholder(schema);
        }
        self.value(schema, path, value)
    }

    fn fields<'a>(
        &mut self,
        known: &Map<String, Value>,
        required: &[&str],
        names: &[&str],
        path: &str,
        fields: impl Iterator<Item = (&'a String, &'a Value)>,
    ) -> Map<String, Value> {
        let mut repaired = Map::new();
        for (key, value) in fields {
            match known.get(key) {
                None if self.faults.len() >= MOST_FAULTS => {}
                None => self.fault(unknown_field(path, key, names.iter().copied())),
                Some(_) if value.is_null() && !required.contains(&key.as_str()) => {
                    self.fault(rule::NULL.broken(&join(path, key)));
                }
                Some(schema) => {
                    repaired.insert(key.clone(), self.value(schema, &join(path, key), value));
                }
            }
        }
        for &key in required {
            let Some(schema) = known.get(key).filter(|_| !repaired.contains_key(key)) else {
                continue;
            };
            self.fault(Violation {
                path: join(path, key),
                found: None,
                message: "the field is required".into(),
                remedy: format!("write {}", wanted(schema)),
            });
            repaired.insert(key.to_owned(), placeholder(schema));
        }
        repaired
    }

    fn array(&mut self, schema: &Value, path: &str, entries: &[Value]) -> Value {
        let items = schema.get("items").unwrap_or(&Value::Null);
        entries
            .iter()
            .enumerate()
            .map(|(i, value)| self.value(items, &item(path, i), value))
            .collect()
    }

    fn text(&mut self, schema: &Value, path: &str, text: &str) -> Value {
        if is_protocol(schema) && text.parse::<Protocol>().is_err() {
            self.fault(rule::PROTOCOL.broken_by(path, text));
            return placeholder(schema);
        }
        let words = words(schema);
        if words.is_empty() || words.contains(&text) {
            return text.into();
        }
        self.fault(Violation {
            path: path.to_owned(),
            found: Some(shown(text)),
            message: "it is not a word known here".into(),
            remedy: format!("write one of {}", words.join(", ")),
        });
        placeholder(schema)
    }
}

/// The innermost list entry around a path, or the path itself.
fn around(path: &str) -> &str {
    let mut end = path.len();
    for (at, c) in path.char_indices().filter(|(_, c)| *c == ']') {
        let is_index = path[..at]
            .rsplit_once('[')
            .is_some_and(|(_, index)| index.bytes().all(|b| b.is_ascii_digit()));
        if is_index {
            end = at + c.len_utf8();
        }
    }
    &path[..end]
}

fn is_at_or_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| above.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
}

fn required(schema: &Value) -> Vec<&str> {
    schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn words(schema: &Value) -> Vec<&str> {
    schema
        .get("enum")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Protocols are words and numbers, which no `enum` can list; they are known by the rule attached to them.
fn is_protocol(schema: &Value) -> bool {
    let rules = schema
        .get("x-kubernetes-validations")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    rules
        .filter_map(|rule| rule.get("rule").and_then(Value::as_str))
        .any(|cel| cel == rule::PROTOCOL.cel)
}

/// A value of the right type, in the place of one that is wrong or missing.
fn placeholder(schema: &Value) -> Value {
    match schema.get("type").and_then(Value::as_str) {
        Some("array") => Value::Array(Vec::new()),
        Some("integer") => 1.into(),
        Some("boolean") => false.into(),
        Some("string") if is_protocol(schema) => "TCP".into(),
        Some("string") => words(schema).first().copied().unwrap_or_default().into(),
        _ => {
            let properties = schema.get("properties");
            let field = |key: &str| {
                properties
                    .and_then(|known| known.get(key))
                    .map(|schema| (key.to_owned(), placeholder(schema)))
            };
            Value::Object(required(schema).into_iter().filter_map(field).collect())
        }
    }
}

/// What to write for a value of this schema.
fn wanted(schema: &Value) -> String {
    let words = words(schema);
    if !words.is_empty() {
        return format!("one of {}", words.join(", "));
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("array") => "a list".into(),
        Some("integer") => match (
            schema.get("minimum").and_then(Value::as_f64),
            schema.get("maximum").and_then(Value::as_f64),
        ) {
            (Some(least), Some(most)) => format!("a whole number, {least} to {most}"),
            _ => "a whole number".into(),
        },
        Some("boolean") => "true or false".into(),
        Some("string") => "a text".into(),
        _ if schema.get("additionalProperties").is_some() => "keys with texts as values".into(),
        _ => {
            let fields = schema
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten();
            let fields: Vec<_> = fields.map(|(key, _)| key.as_str()).take(limit::LIST).collect();
            format!("an object with {}", fields.join(", "))
        }
    }
}
