//! From a directory of manifests to documents in force: typed reading, conversion, and what stays valid meanwhile.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cellwall_crds::Violation;
use cellwall_policy::model::NodeReport;
use cellwall_policy::world::{Document as WorldDocument, World};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::convert::{self, Converted};
use crate::manifest::document::{Document, Kind};
use crate::manifest::problem::Problem;
use crate::manifest::{json, text, typed, yaml};

/// Name of this node: as given, else the host name.
pub fn node_name(given: Option<&str>) -> Result<String> {
    match given.filter(|name| !name.is_empty()) {
        Some(name) => Ok(name.to_owned()),
        None => {
            let name = nix::unistd::gethostname().context("the host name is not known; say --node-name")?;
            Ok(name.to_string_lossy().into_owned())
        }
    }
}

/// Reads one document into what the world holds; everything wrong with it, with the line.
pub fn convert(document: &Document) -> Result<Converted, Vec<Problem>> {
    let problems = document.problems();
    if !problems.is_empty() {
        return Err(problems);
    }
    match document.id().kind {
        Kind::ClusterDefense => ours::<cellwall_crds::ClusterDefense>(document),
        Kind::NetworkObject => ours::<cellwall_crds::NetworkObject>(document),
        Kind::DefenseRule => ours::<cellwall_crds::DefenseRule>(document),
        Kind::Namespace => theirs(document, |d: &core::Namespace| convert::namespace(d).map(Converted::from)),
        Kind::Node => theirs(document, |d: &core::Node| convert::node(d).map(Converted::from)),
        Kind::Pod => theirs(document, |d: &core::Pod| convert::pod(d).map(Converted::from)),
        Kind::Service => theirs(document, |d: &core::Service| convert::service(d).map(Converted::from)),
        Kind::EndpointSlice => {
            theirs(document, |d: &discovery::EndpointSlice| convert::endpoint_slice(d).map(Converted::from))
        }
    }
}

/// Our own kinds: what an API server would refuse is refused with the same words; and scalars that the YAML versions
/// read differently are refused where text is wanted.
fn ours<T: DeserializeOwned>(document: &Document) -> Result<Converted, Vec<Problem>> {
    let read = cellwall_crds::read(&document.to_json()).map_err(|found| located(document, &found))?;
    typed::read::<T>(document.node()).map_err(|fault| vec![document.problem(fault)])?;
    convert::ours(&read).map_err(|found| located(document, &found))
}

fn theirs<T: DeserializeOwned>(
    document: &Document,
    convert: impl Fn(&T) -> Result<Converted, Vec<Violation>>,
) -> Result<Converted, Vec<Problem>> {
    let read: T = typed::read(document.node()).map_err(|fault| vec![document.problem(fault)])?;
    convert(&read).map_err(|found| located(document, &found))
}

fn located(document: &Document, found: &[Violation]) -> Vec<Problem> {
    let name = document.id().to_string();
    let one = |violation: &Violation| {
        let Violation { path, found, message, remedy } = violation;
        let found = found.as_ref().map_or_else(String::new, |found| format!("found {found}: "));
        document.problem_at(path, format!("{name}: {path}: {found}{message}"), remedy.clone())
    };
    found.iter().map(one).collect()
}

/// What a set of paths says, for commands that look once.
#[derive(Debug, Default)]
pub struct Reading {
    /// Valid documents.
    pub documents: Vec<Converted>,
    /// Everything found wrong, and notes.
    pub problems: Vec<Problem>,
    places: Vec<(Kind, String, PathBuf, u32)>,
}

impl Reading {
    /// Where a document of ours is: file and line.
    pub fn place(&self, kind: &str, name: &str) -> Option<(PathBuf, u32)> {
        let found = self.places.iter().find(|(k, n, ..)| k.name() == kind && n == name);
        found.map(|(_, _, file, line)| (file.clone(), *line))
    }
}

/// The world of what was read, as the agent on `node` would have it. What lies inside network namespaces is not
/// looked at: a pod's addresses are those of its status.
pub fn world(reading: &Reading, node: &str) -> World {
    let mut world = World::new(node, true);
    for converted in &reading.documents {
        world.apply(converted.document.clone());
    }
    // The local node is known even where no document names it.
    world.apply(WorldDocument::NodeReport(NodeReport { node: node.into(), enforcing: true, addresses: Vec::new() }));
    world
}

/// The first document of a YAML or JSON text, as JSON.
pub fn json_of(file: &Path, bytes: &[u8]) -> Result<Value> {
    let problem = |fault| anyhow::anyhow!("{}", Problem::error(file, fault));
    let text = text::decode(bytes).map_err(problem)?;
    let mut budget = 1_000_000;
    let read = if json::looks_like_json(text) { json::read(text, &mut budget) } else { yaml::read(text, &mut budget) };
    let nodes = read.map_err(problem)?;
    if let Some(fault) = nodes.iter().flat_map(crate::manifest::node::Node::all_faults).next() {
        return Err(problem(fault));
    }
    Ok(nodes.first().map_or(Value::Null, crate::manifest::node::Node::to_json))
}

// ---- interim, replaced by manifest::{files, retain, watch} ----
use crate::manifest::document::Pieces;

fn scan(paths: &[PathBuf]) -> Reading {
    let mut reading = Reading::default();
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
                files.push(entry.path());
            }
        } else {
            files.push(path.clone());
        }
    }
    files.sort();
    for file in files.into_iter().filter(|f| f.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json")) {
        let Ok(bytes) = std::fs::read(&file) else { continue };
        let mut budget = 1_000_000;
        let nodes = text::decode(&bytes).and_then(|text| yaml::read(text, &mut budget));
        match nodes {
            Err(fault) => reading.problems.push(Problem::error(&file, fault)),
            Ok(nodes) => {
                let pieces = Pieces::of(nodes);
                for definition in pieces.definitions {
                    let document = Document { definition, file: file.as_path().into(), lines_before: 0 };
                    match convert(&document) {
                        Ok(converted) => {
                            reading.places.push((document.id().kind, document.id().name.to_string(), file.clone(), document.line()));
                            reading.documents.push(converted);
                        }
                        Err(problems) => reading.problems.extend(problems),
                    }
                }
            }
        }
    }
    reading
}

/// Reads.
pub fn read(paths: &[PathBuf]) -> Reading {
    scan(paths)
}

/// Source.
#[derive(Debug)]
pub struct Source {
    dir: PathBuf,
    reading: Reading,
}

impl Source {
    /// Opens.
    pub fn open(dir: &Path, _state: &Path) -> Self {
        Self { dir: dir.to_owned(), reading: Reading::default() }
    }
    /// Reads.
    pub fn read(&mut self) -> bool {
        self.reading = scan(&[self.dir.clone()]);
        true
    }
    /// Documents.
    pub fn documents(&self) -> Vec<Converted> {
        self.reading.documents.clone()
    }
    /// Problems.
    pub fn problems(&self) -> &[Problem] {
        &self.reading.problems
    }
}

/// Watch.
pub fn watch_interim(dir: &Path) -> tokio::sync::mpsc::Receiver<()> {
    let (tx, rx) = tokio::sync::mpsc::channel(1);
    let dir = dir.to_owned();
    tokio::spawn(async move {
        let mut last = None;
        loop {
            let now: Vec<_> = std::fs::read_dir(&dir).into_iter().flatten().flatten().map(|e| (e.path(), e.metadata().and_then(|m| m.modified()).ok())).collect();
            if last.as_ref() != Some(&now) {
                last = Some(now);
                if tx.send(()).await.is_err() { return; }
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    rx
}
