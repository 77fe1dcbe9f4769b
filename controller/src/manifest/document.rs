//! From a parsed text to the documents in it: what each is, and what is not ours.
//!
//! Lists are taken apart. A document whose identity cannot be told (no kind, no name, a key of these given twice) is
//! broken; one of a kind that nobody here reads is counted and otherwise left alone.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::node::{Content, Entry, Node, Scalar, ambiguous_words, quote_it};
use super::problem::{Fault, Position, Problem, excerpt};
use super::scalar::{Reading, Readings};
pub use crate::kind::Kind;

/// The kind of a name, and whether `api_version` is the right one. `None`: not to be read from files; a group of another
/// owner may have a kind of the same name.
fn find(api_version: &str, name: &str) -> Option<(Kind, bool)> {
    // Nodes' reports are an API server's alone.
    let mut kinds = Kind::ALL.into_iter().filter(|kind| *kind != Kind::InterceptStatus);
    let kind = kinds.find(|kind| kind.name() == name)?;
    let group = |version: &str| {
        version
            .split_once('/')
            .map_or(String::new(), |(group, _)| group.to_owned())
    };
    let right = api_version == kind.api_version();
    (right || api_version.is_empty() || group(api_version) == group(kind.api_version())).then_some((kind, right))
}

/// What a document is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DocumentId {
    /// Kind.
    pub kind: Kind,
    /// Namespace, for kinds that have one; `default` where the document gives none.
    pub namespace: Option<Box<str>>,
    /// Name: a DNS-1123 sub-domain of at most 253 characters.
    pub name: Box<str>,
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// A document whose kind and name are known, cut out of its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// What it is.
    pub id: DocumentId,
    /// Its content; lines count from the start of the part it was read from.
    pub node: Arc<Node>,
    /// What the reading found wrong with it, without regard to its kind's fields.
    pub faults: Arc<[Fault]>,
}

/// A definition with the place it comes from. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The definition.
    pub definition: Definition,
    /// The file, as it was found.
    pub file: Arc<Path>,
    /// Lines of the file before the part that the definition's lines count from.
    pub lines_before: u32,
}

impl Document {
    /// What it is known by.
    pub fn id(&self) -> &DocumentId {
        &self.definition.id
    }

    /// Its content.
    pub fn node(&self) -> &Node {
        &self.definition.node
    }

    /// Its content, as `kubectl` would read it.
    pub fn to_json(&self) -> Value {
        self.node().to_json()
    }

    /// The line of the file where it begins.
    pub fn line(&self) -> u32 {
        self.place(self.node().at()).line
    }

    /// The line of the file of the field at `path` (`spec.ports[2].endPort`), or of the deepest field on the way there
    /// that exists.
    pub fn line_of(&self, path: &str) -> u32 {
        self.place(self.node().nearest_to(path)).line
    }

    /// A place in the document as a place in the file.
    pub fn place(&self, position: Position) -> Position {
        position.down(self.lines_before)
    }

    /// A fault that was found in the document, as a problem of its file.
    pub fn problem(&self, fault: Fault) -> Problem {
        let position = fault.position.or(Some(self.node().at()));
        let message = format!("{}: {}", self.id(), fault.message);
        Problem::error(
            &self.file,
            Fault {
                position,
                message,
                ..fault
            }
            .down(self.lines_before),
        )
    }

    /// A problem with the field at `path`, as judged by someone who reads the JSON.
    pub fn problem_at(&self, path: &str, message: impl fmt::Display, remedy: impl Into<String>) -> Problem {
        let message = if path.is_empty() {
            message.to_string()
        } else {
            format!("{path}: {message}")
        };
        self.problem(Fault::at(self.node().nearest_to(path), message, remedy))
    }

    /// What the reading found wrong with it, without regard to its kind's fields.
    pub fn problems(&self) -> Vec<Problem> {
        self.definition
            .faults
            .iter()
            .map(|fault| self.problem(fault.clone()))
            .collect()
    }
}

/// What is in a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pieces {
    /// The documents of our kinds, in the order of the text.
    pub definitions: Vec<Definition>,
    /// Documents that cannot be told apart from others, each with what is wrong.
    pub broken: Vec<Fault>,
    /// Kinds that are not read here: how many documents, and where the first begins.
    pub unknown: BTreeMap<String, (usize, Position)>,
}

impl Pieces {
    /// Takes a text's documents apart.
    pub fn of(nodes: Vec<Node>) -> Self {
        let mut pieces = Self::default();
        for node in nodes {
            pieces.add(node, None);
        }
        pieces
    }

    /// Adds a document. `default` are API version and kind of the items of a list whose name tells them (`PodList`).
    fn add(&mut self, mut node: Node, default: Option<(&str, &str)>) {
        if !matches!(node.content, Content::Mapping(_)) {
            let remedy = "a document begins with apiVersion and kind";
            self.broken
                .push(Fault::at(node.at(), "a document that is not a mapping", remedy));
            return;
        }
        if let Some((api_version, kind)) = default {
            supply(&mut node, "apiVersion", api_version);
            supply(&mut node, "kind", kind);
        }
        let (api_version, kind) = match (text_field(&node, "apiVersion"), text_field(&node, "kind")) {
            (Ok(api_version), Ok(Some(kind))) => (api_version.unwrap_or_default().to_owned(), kind.to_owned()),
            (_, Ok(None)) => {
                self.broken.push(Fault::at(
                    node.at(),
                    "a document without kind",
                    "give its apiVersion and kind",
                ));
                return;
            }
            (Err(fault), _) | (_, Err(fault)) => {
                self.broken.push(fault);
                return;
            }
        };
        if kind == "List" || (kind.ends_with("List") && node.get("items").is_some()) {
            self.add_items(node, &api_version, &kind);
            return;
        }
        if let Some((kind, right_version)) = find(&api_version, &kind) {
            self.define(node, kind, &api_version, right_version);
        } else {
            let name = if api_version.is_empty() {
                kind
            } else {
                format!("{api_version} {kind}")
            };
            self.unknown.entry(name).or_insert((0, node.at())).0 += 1;
        }
    }

    fn add_items(&mut self, node: Node, api_version: &str, kind: &str) {
        // why: a fault of the list itself, such as `items` given twice, may hide documents.
        self.broken.extend(node.faults);
        let Content::Mapping(entries) = node.content else {
            return;
        };
        let Some(items) = entries.into_iter().find(|entry| &*entry.key == "items") else {
            return;
        };
        let item_kind = kind.strip_suffix("List").filter(|kind| !kind.is_empty());
        match items.value {
            Node {
                content: Content::Sequence(items),
                ..
            } => {
                for item in items.into_iter().filter(|item| !item.is_null()) {
                    self.add(item, item_kind.map(|kind| (api_version, kind)));
                }
            }
            node if node.is_null() => {}
            _ => self.broken.push(Fault::at(
                items.at,
                format!("the items of a {kind} are not a sequence"),
                "",
            )),
        }
    }

    fn define(&mut self, node: Node, kind: Kind, api_version: &str, right_version: bool) {
        let id = match identify(&node, kind) {
            Ok(id) => id,
            Err(fault) => {
                self.broken.push(Fault {
                    message: format!("{kind}: {}", fault.message),
                    ..fault
                });
                return;
            }
        };
        let mut faults = node.all_faults();
        if !right_version {
            let at = node.entry("apiVersion").map_or(node.at(), |entry| entry.at);
            let message = if api_version.is_empty() {
                "apiVersion is missing".to_owned()
            } else {
                format!("apiVersion \"{}\" is not read", excerpt(api_version, 60))
            };
            faults.push(Fault::at(
                at,
                message,
                format!("write apiVersion: {}", kind.api_version()),
            ));
        }
        self.definitions.push(Definition {
            id,
            node: Arc::new(node),
            faults: faults.into(),
        });
    }
}

/// Gives a list's item what the list's kind says, where the item does not say it.
fn supply(node: &mut Node, key: &str, text: &str) {
    let at = node.at();
    if node.get(key).is_some_and(|value| !value.is_null()) {
        return;
    }
    let Content::Mapping(entries) = &mut node.content else {
        return;
    };
    entries.retain(|entry| &*entry.key != key);
    let content = Content::Scalar(Scalar {
        text: text.into(),
        reading: Reading::Text,
        ambiguous: false,
    });
    let value = Node {
        content,
        line: at.line,
        column: at.column,
        faults: Vec::new(),
    };
    entries.push(Entry {
        key: key.into(),
        at,
        ambiguous: false,
        repeated: false,
        value,
    });
}

/// The fault of a key that decides what a document is, and is given more than once.
fn given_twice(node: &Node, key: &str) -> Option<Fault> {
    let entry = node.entry(key).filter(|entry| entry.repeated)?;
    node.faults.iter().find(|fault| fault.first == Some(entry.at)).cloned()
}

/// A field of a mapping that must be text where it is given, and given once.
fn text_field<'a>(node: &'a Node, key: &str) -> Result<Option<&'a str>, Fault> {
    if let Some(fault) = given_twice(node, key) {
        return Err(fault);
    }
    let Some(entry) = node.entry(key).filter(|entry| !entry.value.is_null()) else {
        return Ok(None);
    };
    if let Some(fault) = entry.value.faults.first() {
        return Err(fault.clone());
    }
    if let Some(text) = entry.value.as_text() {
        return Ok(Some(text));
    }
    let fault = match entry.value.as_scalar() {
        Some(scalar) if scalar.ambiguous => {
            let words = ambiguous_words(&scalar.text, Readings::of(&scalar.text));
            Fault::at(entry.at, format!("{key}: {words}"), quote_it(&scalar.text))
        }
        Some(scalar) => {
            let words = format!("\"{}\" is {}, not text", excerpt(&scalar.text, 60), scalar.reading);
            Fault::at(entry.at, format!("{key}: {words}"), quote_it(&scalar.text))
        }
        None => Fault::at(entry.at, format!("{key} is not text"), ""),
    };
    Err(fault)
}

/// Name and namespace of a document of a known kind.
fn identify(node: &Node, kind: Kind) -> Result<DocumentId, Fault> {
    if let Some(fault) = given_twice(node, "metadata") {
        return Err(fault);
    }
    let missing = |at| Fault::at(at, "it has no name", "give it a metadata.name");
    let metadata = node.entry("metadata").ok_or_else(|| missing(node.at()))?;
    let within = |fault: Fault| Fault {
        message: format!("metadata.{}", fault.message),
        ..fault
    };
    let name = text_field(&metadata.value, "name").map_err(within)?;
    let name = name
        .filter(|name| !name.is_empty())
        .ok_or_else(|| missing(metadata.at))?;
    checked(name, "name", &metadata.value)?;
    let namespace = if kind.is_namespaced() {
        let namespace = text_field(&metadata.value, "namespace").map_err(within)?;
        let namespace = namespace.filter(|namespace| !namespace.is_empty()).unwrap_or("default");
        checked(namespace, "namespace", &metadata.value)?;
        Some(namespace.into())
    } else {
        None
    };
    Ok(DocumentId {
        kind,
        namespace,
        name: name.into(),
    })
}

/// Names are DNS-1123 sub-domains; an API server accepts no others.
fn checked(name: &str, field: &str, metadata: &Node) -> Result<(), Fault> {
    let label = |label: &str| {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty() && label.bytes().all(fits) && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() <= 253 && name.split('.').all(label) {
        return Ok(());
    }
    let at = metadata.entry(field).map_or(metadata.at(), |entry| entry.at);
    let length = if name.len() > 253 {
        format!(" ({} characters)", name.chars().count())
    } else {
        String::new()
    };
    let message = format!(
        "metadata.{field} \"{}\"{length} is not a name that Kubernetes accepts",
        excerpt(name, 60)
    );
    let remedy = "use at most 253 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit";
    Err(Fault::at(at, message, remedy))
}

#[cfg(test)]
mod tests;
