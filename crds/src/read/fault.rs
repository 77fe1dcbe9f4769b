//! The words for faults of shape.

use crate::Violation;
use crate::rule;
use crate::violation::{cut, join, shown};
use serde_json::Value;

/// Most characters of what serde says, which may repeat the value.
const MOST_OF_SERDE: usize = 240;

/// A value of the wrong type.
pub(super) fn wrong_type(path: &str, wanted: &str, value: &Value) -> Violation {
    let (found, message) = match value {
        Value::Null => (None, rule::NULL.message),
        Value::Bool(value) => (Some(value.to_string()), "true or false does not fit here"),
        Value::Number(value) => (Some(shown(&value.to_string())), "this number does not fit here"),
        Value::String(value) => (Some(shown(value)), "a text does not fit here"),
        Value::Array(_) => (None, "a list does not fit here"),
        Value::Object(_) => (None, "an object does not fit here"),
    };
    let quote = if wanted == "a text" && found.is_some() {
        ", in quotes"
    } else {
        ""
    };
    Violation {
        path: path.to_owned(),
        found,
        message: message.into(),
        remedy: format!("write {wanted}{quote}"),
    }
}

/// A field that does not exist.
pub(super) fn unknown_field<'a>(path: &str, key: &str, known: impl Iterator<Item = &'a str> + Clone) -> Violation {
    let near = known.clone().find(|name| distance(name, key) <= 2);
    let remedy = match near {
        Some(name) => format!("write `{name}`, or leave it out"),
        None => format!("leave it out; known here are {}", known.collect::<Vec<_>>().join(", ")),
    };
    Violation {
        path: join(path, key),
        found: None,
        message: "the field does not exist".into(),
        remedy,
    }
}

/// Edits between two names, letter case aside; more than 2 for what is far apart.
fn distance(a: &str, b: &str) -> usize {
    const FAR: usize = 3;
    if a.len().abs_diff(b.len()) >= FAR || a.len() < 4 {
        return if a.eq_ignore_ascii_case(b) { 0 } else { FAR };
    }
    let (a, b) = (a.to_ascii_lowercase().into_bytes(), b.to_ascii_lowercase().into_bytes());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// What serde says, at the path where it says it.
pub(super) fn serde_fault(path: &str, error: &serde_json::Error) -> Violation {
    Violation {
        path: path.to_owned(),
        found: None,
        message: cut(&error.to_string(), MOST_OF_SERDE),
        remedy: "write it as `kubectl explain` shows it".to_owned(),
    }
}
