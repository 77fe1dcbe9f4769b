//! Which documents are in force, given what the files say now and what they said before.
//!
//! The rules:
//! - A file that does not parse, cannot be read, or is being written keeps the documents it had. So does one with a
//!   document that cannot be told apart (no name, no kind), for those of its documents that are missing now: the one
//!   without a name may be any of them.
//! - A document that is wrong keeps its last valid version; the others of the file take effect.
//! - A name defined twice, in two files or in one, is an error at every place, and what is in force stays as it is;
//!   where nothing was, neither counts.
//! - A file that is gone releases its documents. A document found in another file, or a file under another name, was
//!   not gone. Where a clash ends because all but one of its places are gone, the one that is left takes force.
//!
//! The state serialises, so that a restart forgets none of this. It is a function of its former self and of the scan:
//! no clock, no files.

mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::document::{Document, DocumentId};
use super::files::{Digest, FileContent, FileState, Scan};
use super::problem::{Fault, Problem};

/// What is known of the files so far. Start with `Retained::default()`, or with what was saved.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(into = "stored::State", from = "stored::State")]
pub struct Retained {
    files: BTreeMap<Arc<Path>, Memory>,
    in_force: BTreeMap<DocumentId, Document>,
}

/// What one file says, or said when it was last understood.
#[derive(Clone, Debug, Default)]
struct Memory {
    /// Of the bytes read last, parsed or not.
    digest: Option<Digest>,
    claims: BTreeMap<DocumentId, Claim>,
}

/// That a file defines a document.
#[derive(Clone, Debug)]
struct Claim {
    /// The last valid version in this file; none where there never was one.
    held: Option<Document>,
    now: Now,
    /// The document judged last and what was said of it, so that it is not judged again while it stays the same.
    judged: Option<(Document, Vec<Problem>)>,
}

/// How a file defines a document at present.
#[derive(Clone, Debug, PartialEq)]
enum Now {
    /// Once, validly: `held` is it.
    Valid,
    /// Once, in this line, and wrong.
    Invalid(u32),
    /// More than once, in these lines.
    Repeated(Vec<u32>),
    /// The file does not tell at present; it did so before.
    Remembered,
}

/// What follows from a scan.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The documents in force, by kind, namespace and name.
    pub documents: Vec<Document>,
    /// Everything that is wrong or worth a note, by file and line.
    pub problems: Vec<Problem>,
    /// Whether the documents in force differ from those before. Places do not count.
    pub changed: bool,
}

impl Retained {
    /// The documents in force.
    pub fn documents(&self) -> impl Iterator<Item = &Document> {
        self.in_force.values()
    }

    /// Takes in what the files say now. `validate` judges a single document by its content alone; a problem of
    /// [`super::problem::Severity::Error`] makes it invalid. It is called once for each version of a document.
    pub fn update(&mut self, scan: &Scan, validate: &dyn Fn(&Document) -> Vec<Problem>) -> Outcome {
        self.follow_renames(scan);
        let mut problems = scan.problems();
        let mut files = BTreeMap::new();
        for (path, state) in &scan.files {
            let before = self.files.remove(path).unwrap_or_default();
            let memory = match state {
                FileState::Read(content) if content.error().is_none() => read(content, before, validate),
                FileState::Read(content) => Memory {
                    digest: Some(content.digest),
                    ..remember(before)
                },
                FileState::Unreadable(_) => remember(before),
                FileState::Unsettled => before,
            };
            problems.extend(memory.problems(path, state));
            files.insert(Arc::clone(path), memory);
        }
        // why: a new file that is still being written may be the other end of a move.
        let unsure = scan.files.iter().any(|(path, state)| {
            matches!(state, FileState::Unsettled) && files.get(path).is_none_or(|memory| memory.claims.is_empty())
        });
        for (path, before) in std::mem::take(&mut self.files) {
            if unsure || scan.is_blind_to(&path) {
                files.insert(path, before);
            }
        }
        self.files = files;
        let changed = self.resolve(&mut problems);
        problems.sort();
        problems.dedup();
        Outcome {
            documents: self.in_force.values().cloned().collect(),
            problems,
            changed,
        }
    }

    /// Gives a file that appears under a new name with the content of one that is gone the memory of that one. What
    /// parses is found by its documents' names; this is for what does not.
    fn follow_renames(&mut self, scan: &Scan) {
        let gone = |path: &&Arc<Path>| !scan.files.contains_key(*path) && !scan.is_blind_to(path);
        let gone: Vec<Arc<Path>> = self.files.keys().filter(gone).cloned().collect();
        for old in gone {
            let digest = self.files[&old].digest;
            let same = |state: &FileState| matches!(state, FileState::Read(content) if Some(content.digest) == digest);
            let new = scan
                .files
                .iter()
                .find(|(path, state)| same(state) && !self.files.contains_key(*path));
            if let Some((new, _)) = new
                && let Some(mut memory) = self.files.remove(&old)
            {
                for held in memory.claims.values_mut().filter_map(|claim| claim.held.as_mut()) {
                    held.file = Arc::clone(new);
                }
                self.files.insert(Arc::clone(new), memory);
            }
        }
    }

    /// Decides what is in force; says whether that differs from before.
    fn resolve(&mut self, problems: &mut Vec<Problem>) -> bool {
        let mut claimants: BTreeMap<&DocumentId, Vec<(&Arc<Path>, &Claim)>> = BTreeMap::new();
        for (path, memory) in &self.files {
            for (id, claim) in &memory.claims {
                claimants.entry(id).or_default().push((path, claim));
            }
        }
        let mut in_force = BTreeMap::new();
        let mut adopted = Vec::new();
        for (id, claimants) in claimants {
            let current = self.in_force.get(id);
            let document = match claimants[..] {
                [
                    (
                        _,
                        Claim {
                            now: Now::Repeated(_), ..
                        },
                    ),
                ] => current,
                [(_, claim)] => claim.held.as_ref().or(current),
                _ => current,
            };
            if let ([(path, Claim { held: None, .. })], Some(document)) = (&claimants[..], document) {
                adopted.push((Arc::clone(path), id.clone(), document.clone()));
            }
            tell(id, &claimants, document, problems);
            in_force.extend(document.map(|document| (id.clone(), document.clone())));
        }
        // why: a document that moved here and is wrong here must survive that this file stops to parse.
        for (path, id, document) in adopted {
            let claim = self.files.get_mut(&path).and_then(|memory| memory.claims.get_mut(&id));
            if let Some(claim) = claim {
                claim.held = Some(document);
            }
        }
        let same = |a: &Document, b: &Document| {
            Arc::ptr_eq(&a.definition.node, &b.definition.node) || a.to_json() == b.to_json()
        };
        let unchanged = self.in_force.len() == in_force.len()
            && self
                .in_force
                .iter()
                .zip(&in_force)
                .all(|((a, x), (b, y))| a == b && same(x, y));
        self.in_force = in_force;
        !unchanged
    }
}

/// The memory of a file that parses.
fn read(content: &FileContent, mut before: Memory, validate: &dyn Fn(&Document) -> Vec<Problem>) -> Memory {
    let mut by_id: BTreeMap<&DocumentId, Vec<&Document>> = BTreeMap::new();
    for document in content.documents() {
        by_id.entry(document.id()).or_default().push(document);
    }
    let mut claims = BTreeMap::new();
    for (id, documents) in by_id {
        let former = before.claims.remove(id);
        let claim = match documents[..] {
            [document] => judge(document, former, validate),
            _ => Claim {
                held: former.and_then(|claim| claim.held),
                now: Now::Repeated(documents.iter().map(|document| document.line()).collect()),
                judged: None,
            },
        };
        claims.insert(id.clone(), claim);
    }
    if !content.broken().is_empty() {
        claims.extend(remember(before).claims);
    }
    Memory {
        digest: Some(content.digest),
        claims,
    }
}

/// The claim of a document that a file defines once.
fn judge(document: &Document, former: Option<Claim>, validate: &dyn Fn(&Document) -> Vec<Problem>) -> Claim {
    let (held, judged) = former.map_or((None, None), |claim| (claim.held, claim.judged));
    // why: problems name places, which move; that there are none holds wherever the same content stands.
    let same = |(judged, problems): &(Document, Vec<Problem>)| {
        Arc::ptr_eq(&judged.definition.node, &document.definition.node)
            && (problems.is_empty() || (judged.lines_before == document.lines_before && judged.file == document.file))
    };
    let judged = judged.filter(same).unwrap_or_else(|| {
        let mut problems = document.problems();
        problems.extend(validate(document));
        (document.clone(), problems)
    });
    if judged.1.iter().any(Problem::is_error) {
        Claim {
            held,
            now: Now::Invalid(document.line()),
            judged: Some(judged),
        }
    } else {
        Claim {
            held: Some(document.clone()),
            now: Now::Valid,
            judged: Some(judged),
        }
    }
}

/// A file's memory where the file itself does not tell.
fn remember(mut before: Memory) -> Memory {
    // why: a document that never was valid, in a file that does not parse now, is known to nobody any more.
    before.claims.retain(|_, claim| claim.held.is_some());
    for claim in before.claims.values_mut() {
        (claim.now, claim.judged) = (Now::Remembered, None);
    }
    before
}

impl Memory {
    /// What to say of a file and its documents one by one; clashes are told elsewhere.
    fn problems(&self, path: &Path, state: &FileState) -> Vec<Problem> {
        let judged = self.claims.values().filter_map(|claim| claim.judged.as_ref());
        let mut problems: Vec<_> = judged.flat_map(|(_, problems)| problems.iter().cloned()).collect();
        let remembered: BTreeSet<_> = self
            .claims
            .iter()
            .filter(|(_, claim)| claim.now == Now::Remembered)
            .map(|(id, _)| id.to_string())
            .collect();
        if !remembered.is_empty() && !matches!(state, FileState::Unsettled) {
            let message = format!(
                "until it is put right, what it had before stays in force: {}",
                some_of(&remembered)
            );
            problems.push(Problem::note(path, Fault::whole(message, "")));
        }
        problems
    }
}

/// The first few of many names.
fn some_of(names: &BTreeSet<String>) -> String {
    let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 5 {
        format!("{shown} and {} more", names.len() - 5)
    } else {
        shown
    }
}

impl Claim {
    /// The lines where the file defines the document, or did so when it was last understood.
    fn lines(&self) -> Vec<u32> {
        match &self.now {
            Now::Invalid(line) => vec![*line],
            Now::Repeated(lines) => lines.clone(),
            Now::Valid | Now::Remembered => self.held.iter().map(Document::line).collect(),
        }
    }
}

/// Tells of a clash, and of what stays in force where a document is wrong.
fn tell(id: &DocumentId, claimants: &[(&Arc<Path>, &Claim)], in_force: Option<&Document>, problems: &mut Vec<Problem>) {
    if let [
        (
            _,
            Claim {
                now: Now::Valid | Now::Remembered,
                ..
            },
        ),
    ] = claimants
    {
        return;
    }
    let stays = match in_force {
        Some(document) => format!(
            "what is in force, as read from {}:{}, stays",
            document.file.display(),
            document.line()
        ),
        None => "none was in force, so none takes effect".to_owned(),
    };
    if let [
        (
            path,
            Claim {
                now: Now::Invalid(line),
                ..
            },
        ),
    ] = claimants
    {
        let message = match in_force {
            Some(_) => format!("{id}: its last valid version stays in force"),
            None => format!("{id}: it never was valid and has no effect"),
        };
        problems.push(note_at(path, *line, message));
    }
    let places: Vec<(&Arc<Path>, u32)> = claimants
        .iter()
        .flat_map(|(path, claim)| claim.lines().into_iter().map(move |line| (*path, line)))
        .collect();
    if places.len() < 2 {
        return;
    }
    for (at, (path, line)) in places.iter().enumerate() {
        let others = places
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at)
            .map(|(_, place)| place);
        let shown: Vec<_> = others
            .clone()
            .take(3)
            .map(|(path, line)| format!("{}:{line}", path.display()))
            .collect();
        let more = if places.len() > 4 {
            format!(" and {} more places", places.len() - 4)
        } else {
            String::new()
        };
        let message = format!("{id} is defined twice, also in {}{more}", shown.join(", "));
        let position = super::problem::Position { line: *line, column: 1 };
        problems.push(Problem::error(
            path,
            Fault::at(position, message, format!("remove all but one; {stays}")),
        ));
    }
}

fn note_at(path: &Path, line: u32, message: String) -> Problem {
    Problem::note(
        path,
        Fault::at(super::problem::Position { line, column: 1 }, message, ""),
    )
}

#[cfg(test)]
mod tests;
