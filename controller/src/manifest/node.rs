//! A document as read: values with the place each stands at.
//!
//! A node keeps the text of a scalar beside its value, so that a later, typed reading can tell `on` from `true`.
//! Lines are those of the text that was read; a document that was cut out of a longer file adds its first line (see
//! [`super::document::Document`]).

use std::mem::size_of;

use serde_json::{Map, Value};

use super::problem::{Fault, Position, excerpt};
use super::scalar::{Reading, Readings};

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What stands there.
    pub content: Content,
    /// Line from 1.
    pub line: u32,
    /// Column in characters from 1.
    pub column: u32,
    /// What is wrong with this very node: a key given twice, a foreign tag. Empty for most.
    pub faults: Vec<Fault>,
}

/// The three kinds of nodes.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Text, a number, true or false, or nothing.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// Fields, in the order of the text, each key once.
    Mapping(Vec<Entry>),
}

/// A field of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Box<str>,
    /// Where the key stands.
    pub at: Position,
    /// Whether the key is a plain scalar that the YAML versions read differently. Such a key is among the mapping's
    /// faults too.
    pub ambiguous: bool,
    /// Whether the key is given again further down. The first counts; the others are among the mapping's faults.
    pub repeated: bool,
    /// The field's value.
    pub value: Node,
}

/// A scalar: the text, and what it means.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// The text, after unquoting and line folding.
    pub text: Box<str>,
    /// The value to `kubectl`, which is the one that counts.
    pub reading: Reading,
    /// Whether it was written plain and YAML 1.1, YAML 1.2 and `kubectl` do not agree on it.
    pub ambiguous: bool,
}

/// `"on" is true in YAML 1.1, text in YAML 1.2`.
pub fn ambiguous_words(text: &str, readings: Readings) -> String {
    format!("\"{}\" is {}", excerpt(text, 60), readings.describe())
}

/// The remedy for a plain scalar that should be text.
pub fn quote_it(text: &str) -> String {
    format!("quote it: \"{}\"", excerpt(text, 60))
}

impl Node {
    /// Where it stands.
    pub fn at(&self) -> Position {
        Position {
            line: self.line,
            column: self.column,
        }
    }

    /// The scalar, if it is one.
    pub fn as_scalar(&self) -> Option<&Scalar> {
        if let Content::Scalar(scalar) = &self.content {
            Some(scalar)
        } else {
            None
        }
    }

    /// The text, if it is a scalar that is text to `kubectl` and that all readers take for the same.
    pub fn as_text(&self) -> Option<&str> {
        self.as_scalar()
            .filter(|scalar| scalar.reading.is_text() && !scalar.ambiguous)
            .map(|scalar| &*scalar.text)
    }

    /// Whether it is null or empty.
    pub fn is_null(&self) -> bool {
        self.as_scalar().is_some_and(|scalar| scalar.reading == Reading::Null)
    }

    /// The field `key` of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The field `key` of a mapping, with the place of its key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        if let Content::Mapping(entries) = &self.content {
            entries.iter().find(|entry| &*entry.key == key)
        } else {
            None
        }
    }

    /// What `kubectl` makes of it. Infinity and not-a-number, which JSON lacks and which are faults, become null.
    pub fn to_json(&self) -> Value {
        match &self.content {
            Content::Scalar(scalar) => scalar.reading.to_json(&scalar.text).unwrap_or(Value::Null),
            Content::Sequence(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Content::Mapping(entries) => {
                let fields = entries
                    .iter()
                    .map(|entry| (entry.key.to_string(), entry.value.to_json()));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }

    /// The line of the field that `path` names in text form, `spec.ports[2].endPort`. Keys with points are found as
    /// they are and in brackets, quoted or not: `labels.app.kubernetes.io/name`, `labels["app.kubernetes.io/name"]`.
    pub fn line_of(&self, path: &str) -> Option<u32> {
        self.find(path, self.at())
            .filter(|(_, unresolved)| *unresolved == 0)
            .map(|(position, _)| position.line)
    }

    /// As [`Node::line_of`], or the place of the deepest field on the way there that exists.
    pub fn nearest_to(&self, path: &str) -> Position {
        self.find(path, self.at()).map_or(self.at(), |(position, _)| position)
    }

    /// The deepest place on the way along `path`, and how much of the path is left there.
    fn find(&self, path: &str, here: Position) -> Option<(Position, usize)> {
        if path.is_empty() {
            return Some((here, 0));
        }
        let deeper = match &self.content {
            Content::Scalar(_) => None,
            Content::Sequence(items) => path.strip_prefix('[').and_then(|path| {
                let (index, rest) = path.split_once(']')?;
                let item = items.get(index.parse::<usize>().ok()?)?;
                item.find(rest.strip_prefix('.').unwrap_or(rest), item.at())
            }),
            // why: `a.b` is the key `a.b`, or the key `b` below the key `a`; what leads further is meant.
            Content::Mapping(entries) => entries
                .iter()
                .filter_map(|entry| entry.value.find(after_key(path, &entry.key)?, entry.at))
                .min_by_key(|(_, unresolved)| *unresolved),
        };
        deeper.or(Some((here, path.len())))
    }

    /// Every fault of this node and of all below it, in the order of the text.
    pub fn all_faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        self.collect_faults(&mut faults);
        // why: an alias repeats the faults of what it stands for.
        faults.sort();
        faults.dedup();
        faults
    }

    fn collect_faults(&self, into: &mut Vec<Fault>) {
        into.extend(self.faults.iter().cloned());
        match &self.content {
            Content::Scalar(_) => {}
            Content::Sequence(items) => items.iter().for_each(|item| item.collect_faults(into)),
            Content::Mapping(entries) => entries.iter().for_each(|entry| entry.value.collect_faults(into)),
        }
    }
}

/// What follows `key` at the start of `path`, the point between them taken off.
fn after_key<'a>(path: &'a str, key: &str) -> Option<&'a str> {
    let quoted = || path.strip_prefix("[\"")?.strip_prefix(key)?.strip_prefix("\"]");
    let bracketed = || path.strip_prefix('[')?.strip_prefix(key)?.strip_prefix(']');
    let rest = quoted().or_else(bracketed).or_else(|| path.strip_prefix(key))?;
    match rest.as_bytes().first() {
        None | Some(b'[') => Some(rest),
        Some(b'.') if rest.len() > 1 => Some(&rest[1..]),
        _ => None,
    }
}

// why: a file of the largest size may hold half a million nodes; a node that grows costs that many times over.
const _: () = assert!(size_of::<Node>() <= 88);
