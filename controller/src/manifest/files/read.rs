//! One file: its bytes, and what is in them.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::find::Stamp;
use crate::manifest::document::{Document, Pieces};
use crate::manifest::node::Node;
use crate::manifest::problem::{Fault, Problem};
use crate::manifest::text::{MAX_FILE_BYTES, decode};
use crate::manifest::{json, yaml};

/// Most problems told of one file.
const MAX_PROBLEMS: usize = 100;

/// A hash of 128 bits: the same content has the same one; not meant against someone who wants two contents to agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(u64, u64);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, bytes).hash(&mut hasher);
            hasher.finish()
        };
        Self(half(0), half(1))
    }
}

/// What came of an attempt to read a file's bytes.
pub(super) enum Outcome {
    /// The bytes, and the state of the file they are of.
    Bytes(Vec<u8>, Stamp),
    /// The file went, or changed while it was read.
    Moved,
    /// It cannot be read, or may not.
    Fault(Fault),
}

/// Reads a regular file whole. It was found to be regular; what stands there now is looked at again once open, and
/// opening cannot block, whatever it is.
pub(super) fn bytes(path: &Path, found: Stamp) -> Outcome {
    if found.size > MAX_FILE_BYTES {
        return Outcome::Fault(too_large(found.size));
    }
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let result = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .and_then(read_open);
    match result {
        Ok(Some((bytes, stamp))) if stamp.identity == found.identity => {
            if bytes.len() as u64 > MAX_FILE_BYTES {
                Outcome::Fault(too_large(bytes.len() as u64))
            } else {
                Outcome::Bytes(bytes, stamp)
            }
        }
        Ok(_) => Outcome::Moved,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Outcome::Moved,
        Err(error) => {
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied => "give the agent permission to read it",
                _ => "",
            };
            Outcome::Fault(Fault::whole(format!("cannot be read: {error}"), remedy))
        }
    }
}

/// The bytes and the state of an open file; `None` where it is no regular file, or changed on the way.
fn read_open(mut file: File) -> io::Result<Option<(Vec<u8>, Stamp)>> {
    let before = file.metadata()?;
    if !before.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    // why: files of /proc and /sys say size 0 and may have no end.
    (&mut file).take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    let (before, after) = (Stamp::from(&before), Stamp::from(&file.metadata()?));
    Ok((before == after).then_some((bytes, after)))
}

fn too_large(size: u64) -> Fault {
    let message = format!("the file is too large: {size} bytes, at most {MAX_FILE_BYTES} are read");
    Fault::whole(message, "split it")
}

/// A stretch of a file that was read on its own, and is not read again while it stays the same.
#[derive(Clone, Debug)]
struct Part {
    digest: Digest,
    lines_before: u32,
    pieces: Arc<Pieces>,
    /// How much of the file's budget of nodes it took.
    weight: usize,
}

/// What is in a file.
#[derive(Clone, Debug)]
pub struct FileContent {
    /// The file, as found.
    pub path: Arc<Path>,
    /// The digest of its bytes.
    pub digest: Digest,
    parts: Vec<Part>,
    documents: Vec<Document>,
    broken: Vec<Problem>,
    notes: Vec<Problem>,
    error: Option<Problem>,
}

impl FileContent {
    /// Reads bytes. Parts that are the same as in `before` are taken from there.
    pub fn read(path: &Arc<Path>, bytes: &[u8], before: Option<&Self>) -> Self {
        let mut content = Self {
            path: Arc::clone(path),
            digest: Digest::of(bytes),
            parts: Vec::new(),
            documents: Vec::new(),
            broken: Vec::new(),
            notes: Vec::new(),
            error: None,
        };
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        // why: no text is known that makes the scanner panic; should one be found, it must not end the watching of all
        // the other files.
        let read = || decode(bytes).and_then(|text| parts(text, is_json, before));
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).unwrap_or_else(|_| {
            let remedy = "this is a mistake of the reader: please report it with the file";
            Err(Fault::whole("the reader failed on this file", remedy))
        });
        match read {
            Ok(parts) => content.fill(parts),
            Err(fault) => content.error = Some(Problem::error(path, fault)),
        }
        content
    }

    fn fill(&mut self, parts: Vec<Part>) {
        let mut unknown = std::collections::BTreeMap::new();
        for part in &parts {
            for definition in &part.pieces.definitions {
                let (definition, file) = (definition.clone(), Arc::clone(&self.path));
                self.documents.push(Document {
                    definition,
                    file,
                    lines_before: part.lines_before,
                });
            }
            for fault in &part.pieces.broken {
                self.broken
                    .push(Problem::error(&self.path, fault.clone().down(part.lines_before)));
            }
            for (kind, (count, first)) in &part.pieces.unknown {
                unknown.entry(kind).or_insert((0, first.down(part.lines_before))).0 += count;
            }
        }
        let dropped = self.broken.len().saturating_sub(MAX_PROBLEMS);
        self.broken.truncate(MAX_PROBLEMS);
        if dropped > 0 {
            self.broken.push(Problem::error(
                &self.path,
                Fault::whole(format!("{dropped} more problems"), ""),
            ));
        }
        for (kind, (count, first)) in unknown.into_iter().take(MAX_PROBLEMS) {
            let documents = if count == 1 {
                "1 document".to_owned()
            } else {
                format!("{count} documents")
            };
            let kind = crate::manifest::problem::excerpt(kind, 100);
            let fault = Fault::at(first, format!("{documents} of kind {kind}, which is not read here"), "");
            self.notes.push(Problem::note(&self.path, fault));
        }
        self.parts = parts;
    }

    /// The documents of our kinds, in the order of the file. Empty where the file does not parse.
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// Why the file does not parse, if so.
    pub fn error(&self) -> Option<&Problem> {
        self.error.as_ref()
    }

    /// Documents without a kind or a usable name: what the file defines is not known in full.
    pub fn broken(&self) -> &[Problem] {
        &self.broken
    }

    /// Every problem of the file as a whole; those of single documents are with the documents.
    pub fn problems(&self) -> impl Iterator<Item = Problem> {
        self.error.iter().chain(&self.broken).chain(&self.notes).cloned()
    }
}

/// Reads a text part by part; JSON whole.
fn parts(text: &str, is_json: bool, before: Option<&FileContent>) -> Result<Vec<Part>, Fault> {
    let mut budget = yaml::MAX_NODES;
    if is_json || json::looks_like_json(text) {
        let json = json::read(text, &mut budget);
        // why: YAML's flow style begins as JSON does; in a file that is not named JSON, it may be meant.
        let nodes = if is_json {
            json?
        } else {
            json.or_else(|fault| flow_style(text, fault, &mut budget))?
        };
        return Ok(vec![part(
            Digest::of(text.as_bytes()),
            0,
            nodes,
            yaml::MAX_NODES - budget,
        )]);
    }
    let known: HashMap<Digest, &Part> = before
        .into_iter()
        .flat_map(|before| &before.parts)
        .map(|part| (part.digest, part))
        .collect();
    let mut parts = Vec::new();
    for cut in yaml::parts(text) {
        let digest = Digest::of(cut.text.as_bytes());
        let left = budget;
        if let Some(same) = known.get(&digest).filter(|part| part.weight <= left) {
            budget -= same.weight;
            parts.push(Part {
                lines_before: cut.lines_before,
                ..Part::clone(same)
            });
        } else {
            let nodes = yaml::read(cut.text, &mut budget).map_err(|fault| fault.down(cut.lines_before))?;
            parts.push(part(digest, cut.lines_before, nodes, left - budget));
        }
    }
    Ok(parts)
}

fn part(digest: Digest, lines_before: u32, nodes: Vec<Node>, weight: usize) -> Part {
    Part {
        digest,
        lines_before,
        pieces: Arc::new(Pieces::of(nodes)),
        weight,
    }
}

/// Reads as YAML what begins as JSON and is not. Where it is neither, the reader that got further tells the fault.
fn flow_style(text: &str, json: Fault, budget: &mut usize) -> Result<Vec<Node>, Fault> {
    *budget = yaml::MAX_NODES;
    yaml::read(text, budget).map_err(|yaml| if yaml.position > json.position { yaml } else { json })
}
