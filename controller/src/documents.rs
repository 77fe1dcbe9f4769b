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
use crate::manifest::files::{Scan, Scanner};
use crate::manifest::problem::Problem;
use crate::manifest::retain::Retained;
use crate::manifest::{json, text, typed, yaml};
use crate::state_file::StateFile;

/// Name of the file in the state directory that a [`Source`] is saved in.
const STATE: &str = "manifests.json";

/// Names of all files that an agent may leave in its state directory.
pub fn state_files() -> Vec<String> {
    [
        STATE,
        crate::cluster::kept::STATE,
        crate::cluster::kept::BINDINGS,
        crate::agent::recovery::STATE,
        crate::alerts::store::FILE,
        crate::records::accounts::FILE,
    ]
    .into_iter()
    .flat_map(crate::state_file::names)
    .collect()
}

/// Name of this node: as given, else the host name.
pub fn node_name(given: Option<&str>) -> Result<String> {
    if let Some(name) = given.filter(|name| !name.is_empty()) {
        return Ok(name.to_owned());
    }
    let name = nix::unistd::gethostname().context("the host name is not known; say --node-name")?;
    Ok(name.to_string_lossy().into_owned())
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
        Kind::InterceptStatus => ours::<cellwall_crds::InterceptStatus>(document),
        Kind::Namespace => theirs(document, |d: &core::Namespace| {
            convert::namespace(d).map(Converted::from)
        }),
        Kind::Node => theirs(document, |d: &core::Node| convert::node(d).map(Converted::from)),
        Kind::Pod => theirs(document, |d: &core::Pod| convert::pod(d).map(Converted::from)),
        Kind::Service => theirs(document, |d: &core::Service| convert::service(d).map(Converted::from)),
        Kind::EndpointSlice => theirs(document, |d: &discovery::EndpointSlice| {
            convert::endpoint_slice(d).map(Converted::from)
        }),
    }
}

/// Our own kinds: what an API server would refuse is refused with the same words; and scalars that the YAML versions
/// read differently are refused where text is wanted.
fn ours<T: DeserializeOwned>(document: &Document) -> Result<Converted, Vec<Problem>> {
    // why: first, since the reader below would tell of a wrong type, and not that quotes are missing.
    if let Some(fault) = typed::ambiguity::<T>(document.node()) {
        return Err(vec![document.problem(fault)]);
    }
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
    let one = |violation: &Violation| {
        let Violation {
            path,
            found,
            message,
            remedy,
        } = violation;
        let found = found
            .as_ref()
            .map_or_else(String::new, |found| format!("found {found}: "));
        document.problem_at(path, format!("{found}{message}"), remedy.clone())
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
    world.apply(WorldDocument::NodeReport(NodeReport {
        node: node.into(),
        enforcing: true,
        addresses: Vec::new(),
    }));
    world
}

/// The first document of a YAML or JSON text, as JSON.
pub fn json_of(file: &Path, bytes: &[u8]) -> Result<Value> {
    let problem = |fault| anyhow::anyhow!("{}", Problem::error(file, fault));
    let text = text::decode(bytes).map_err(problem)?;
    let mut budget = 1_000_000;
    let read = if json::looks_like_json(text) {
        json::read(text, &mut budget)
    } else {
        yaml::read(text, &mut budget)
    };
    let nodes = read.map_err(problem)?;
    if let Some(fault) = nodes.iter().flat_map(crate::manifest::node::Node::all_faults).next() {
        return Err(problem(fault));
    }
    Ok(nodes.first().map_or(Value::Null, crate::manifest::node::Node::to_json))
}

/// Reads files and directories once.
pub fn read(paths: &[PathBuf]) -> Reading {
    let scan = Scanner::new(paths.to_vec()).scan_once();
    let outcome = Retained::default().update(&scan, &faults);
    let mut reading = Reading {
        problems: outcome.problems,
        ..Reading::default()
    };
    for document in &outcome.documents {
        let id = document.id();
        reading.places.push((
            id.kind,
            id.name.to_string(),
            document.file.to_path_buf(),
            document.line(),
        ));
        // What is in force is valid: it converts.
        reading.documents.extend(convert(document));
    }
    reading
}

fn faults(document: &Document) -> Vec<Problem> {
    convert(document).err().unwrap_or_default()
}

/// A directory that is followed: what is in force of it, and what is wrong with it.
#[derive(Debug)]
pub struct Source {
    retained: Retained,
    state: StateFile,
    unsaved: bool,
    documents: Vec<Converted>,
    problems: Vec<Problem>,
}

impl Source {
    /// Goes on from what an earlier process saved: a file that does not parse now keeps what it said then.
    pub fn open(state_dir: &Path) -> Self {
        let state = StateFile::new(state_dir, STATE);
        let retained = state.load().unwrap_or_else(|error| {
            tracing::error!(%error, "what was valid before is not known; what is valid now counts");
            None
        });
        let retained: Retained = retained.unwrap_or_default();
        let documents = retained
            .documents()
            .filter_map(|document| convert(document).ok())
            .collect();
        Self {
            retained,
            state,
            unsaved: false,
            documents,
            problems: Vec::new(),
        }
    }

    /// Takes in what the files say now. Answers whether what is in force changed.
    pub fn take(&mut self, scan: &Scan) -> bool {
        let outcome = self.retained.update(scan, &faults);
        self.unsaved = true;
        self.problems = outcome.problems;
        if outcome.changed {
            self.documents = outcome
                .documents
                .iter()
                .filter_map(|document| convert(document).ok())
                .collect();
        }
        outcome.changed
    }

    /// Documents in force.
    pub fn documents(&self) -> &[Converted] {
        &self.documents
    }

    /// Everything wrong, and notes.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Saves what a restart must not forget; after the policy was realised, since it waits for the disk.
    pub fn save(&mut self) {
        if !self.unsaved {
            return;
        }
        match self.state.save(&self.retained) {
            Ok(()) => self.unsaved = false,
            Err(error) => tracing::error!(%error, "what is valid now would be forgotten at a restart"),
        }
    }
}
