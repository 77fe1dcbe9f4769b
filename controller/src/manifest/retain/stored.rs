//! The saved form of the state: documents as JSON, with the places of their fields beside them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Claim, Memory, Now, Retained};
use crate::manifest::document::{Definition, Document, DocumentId};
use crate::manifest::files::Digest;
use crate::manifest::node::{Content, Entry, Node, Scalar};
use crate::manifest::problem::Position;
use crate::manifest::scalar::{Reading, json_literal};

/// All that is known of the files.
#[derive(Serialize, Deserialize)]
pub(super) struct State {
    files: Vec<StoredFile>,
    /// Documents in force that are not the version which the only file that defines them holds.
    in_force: Vec<StoredDocument>,
    /// Documents in force that are held by a file: its index in `files`.
    in_force_from: Vec<(DocumentId, usize)>,
}

#[derive(Serialize, Deserialize)]
struct StoredFile {
    path: StoredPath,
    digest: Option<Digest>,
    documents: Vec<StoredDocument>,
}

/// A path; text where it can be.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum StoredPath {
    Text(String),
    Bytes(Vec<u8>),
}

#[derive(Serialize, Deserialize)]
struct StoredDocument {
    id: DocumentId,
    file: StoredPath,
    lines_before: u32,
    content: Value,
    /// Line and column of each node, from the top down; before a field's value, those of its key. Fields in the order
    /// of their keys.
    places: Vec<u32>,
}

impl From<Retained> for State {
    fn from(retained: Retained) -> Self {
        let index: HashMap<&Arc<Path>, usize> = retained.files.keys().zip(0..).collect();
        let (mut in_force, mut in_force_from) = (Vec::new(), Vec::new());
        for (id, document) in &retained.in_force {
            let held = |memory: &Memory| memory.claims.get(id).and_then(|claim| claim.held.as_ref()) == Some(document);
            match retained.files.get(&document.file).filter(|memory| held(memory)) {
                Some(_) => in_force_from.push((id.clone(), index[&document.file])),
                None => in_force.push(StoredDocument::from(document)),
            }
        }
        let files = retained
            .files
            .iter()
            .map(|(path, memory)| StoredFile::new(path, memory))
            .collect();
        Self {
            files,
            in_force,
            in_force_from,
        }
    }
}

impl From<State> for Retained {
    fn from(state: State) -> Self {
        let mut paths = Vec::new();
        let mut files = BTreeMap::new();
        for file in state.files {
            let path: Arc<Path> = PathBuf::from(file.path).into();
            let mut claims = BTreeMap::new();
            for document in file.documents {
                let document = Document::from(document);
                let id = document.id().clone();
                claims.insert(
                    id,
                    Claim {
                        held: Some(document),
                        now: Now::Remembered,
                        judged: None,
                    },
                );
            }
            paths.push(Arc::clone(&path));
            files.insert(
                path,
                Memory {
                    digest: file.digest,
                    claims,
                },
            );
        }
        let mut in_force: BTreeMap<DocumentId, Document> = BTreeMap::new();
        for document in state.in_force.into_iter().map(Document::from) {
            in_force.insert(document.id().clone(), document);
        }
        for (id, index) in state.in_force_from {
            let memory: Option<&Memory> = paths.get(index).and_then(|path| files.get(path));
            let held = memory
                .and_then(|memory| memory.claims.get(&id))
                .and_then(|claim| claim.held.clone());
            in_force.extend(held.map(|document| (id, document)));
        }
        Self { files, in_force }
    }
}

impl StoredFile {
    fn new(path: &Path, memory: &Memory) -> Self {
        let held = memory.claims.values().filter_map(|claim| claim.held.as_ref());
        Self {
            path: path.into(),
            digest: memory.digest,
            documents: held.map(StoredDocument::from).collect(),
        }
    }
}

impl From<&Path> for StoredPath {
    fn from(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(path.as_os_str().as_bytes().to_owned()),
        }
    }
}

impl From<StoredPath> for PathBuf {
    fn from(path: StoredPath) -> Self {
        match path {
            StoredPath::Text(text) => text.into(),
            StoredPath::Bytes(bytes) => OsString::from_vec(bytes).into(),
        }
    }
}

impl From<&Document> for StoredDocument {
    fn from(document: &Document) -> Self {
        let mut places = Vec::new();
        note_places(document.node(), &mut places);
        Self {
            id: document.id().clone(),
            file: (&*document.file).into(),
            lines_before: document.lines_before,
            content: document.to_json(),
            places,
        }
    }
}

impl From<StoredDocument> for Document {
    fn from(stored: StoredDocument) -> Self {
        let mut places = stored.places.chunks_exact(2).map(|pair| Position {
            line: pair[0],
            column: pair[1],
        });
        let node = rebuild(stored.content, &mut places);
        Self {
            definition: Definition {
                id: stored.id,
                node: Arc::new(node),
                faults: Arc::default(),
            },
            file: PathBuf::from(stored.file).into(),
            lines_before: stored.lines_before,
        }
    }
}

/// The fields of a mapping in the order in which their places are saved.
fn in_order(entries: &[Entry]) -> Vec<&Entry> {
    let mut entries: Vec<&Entry> = entries.iter().collect();
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    entries
}

fn note_places(node: &Node, places: &mut Vec<u32>) {
    places.extend([node.line, node.column]);
    match &node.content {
        Content::Scalar(_) => {}
        Content::Sequence(items) => items.iter().for_each(|item| note_places(item, places)),
        Content::Mapping(entries) => {
            for entry in in_order(entries) {
                places.extend([entry.at.line, entry.at.column]);
                note_places(&entry.value, places);
            }
        }
    }
}

fn rebuild(value: Value, places: &mut impl Iterator<Item = Position>) -> Node {
    // why: a saved document without its places is still the document.
    let Position { line, column } = places.next().unwrap_or(Position { line: 1, column: 1 });
    let content = match value {
        Value::Array(items) => Content::Sequence(items.into_iter().map(|item| rebuild(item, places)).collect()),
        Value::Object(fields) => Content::Mapping(rebuild_fields(fields, places)),
        Value::Null => scalar("null".into(), Reading::Null),
        Value::Bool(value) => scalar(value.to_string(), Reading::Bool(value)),
        Value::Number(number) => {
            let text = number.to_string();
            let reading = json_literal(&text).unwrap_or(Reading::Text);
            scalar(text, reading)
        }
        Value::String(text) => scalar(text, Reading::Text),
    };
    Node {
        content,
        line,
        column,
        faults: Vec::new(),
    }
}

fn rebuild_fields(fields: Map<String, Value>, places: &mut impl Iterator<Item = Position>) -> Vec<Entry> {
    let mut fields: Vec<_> = fields.into_iter().collect();
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut entries = Vec::with_capacity(fields.len());
    for (key, value) in fields {
        let at = places.next().unwrap_or(Position { line: 1, column: 1 });
        let value = rebuild(value, places);
        entries.push(Entry {
            key: key.into(),
            at,
            ambiguous: false,
            repeated: false,
            value,
        });
    }
    entries
}

fn scalar(text: String, reading: Reading) -> Content {
    Content::Scalar(Scalar {
        text: text.into(),
        reading,
        ambiguous: false,
    })
}
