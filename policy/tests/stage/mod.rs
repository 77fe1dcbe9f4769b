//! A world in the words of scenarios, its interfaces and its compiler, changed together.

#![allow(dead_code, reason = "each test uses its part")]

use cellwall_policy::compile::{Compiler, Image, Link, Update};
use cellwall_policy::compiled::{Cell, PeerId};
use cellwall_policy::model::{Address, Hook, Protocol};
use cellwall_policy::scenario::{Line, Scenario};
use cellwall_policy::world::{Document, DocumentKey, World};

/// All of it; the local node is node-a.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) compiler: Compiler,
    pub(crate) links: Vec<Link>,
    pub(crate) generation: u32,
}

pub(crate) fn documents(lines: &str) -> Vec<Document> {
    let mut scenarios = Scenario::read(&format!("scenario details\n{lines}")).unwrap();
    let lines = scenarios.remove(0).lines.into_iter();
    let documents = lines.filter_map(|line| match line {
        Line::Document(document) => Some(document),
        _ => None,
    });
    documents.collect()
}

pub(crate) fn pod(uid: &str) -> DocumentKey {
    DocumentKey::Pod(uid.into())
}

pub(crate) fn rule(name: &str) -> DocumentKey {
    DocumentKey::DefenseRule(name.into())
}

pub(crate) fn service(name: &str) -> DocumentKey {
    DocumentKey::Service("shop".into(), name.into())
}

pub(crate) fn link(ifindex: u32, uid: &str) -> Link {
    Link {
        ifindex,
        master: 0,
        pod: Some(uid.into()),
        mac: [0; 6],
    }
}

pub(crate) fn address(text: &str) -> Address {
    text.parse().unwrap()
}

impl Stage {
    pub(crate) fn new(documents: &str, links: impl Into<Vec<Link>>) -> Self {
        let mut stage = Self {
            world: World::new("node-a", true),
            compiler: Compiler::new("node-a"),
            links: links.into(),
            generation: 0,
        };
        stage.apply(documents);
        stage
    }

    /// One update: these documents come or change, and those go.
    pub(crate) fn change(&mut self, lines: &str, gone: &[DocumentKey]) -> Update {
        let mut touched = gone.to_vec();
        for key in gone {
            assert!(self.world.delete(key), "{key:?} was not there");
        }
        for document in documents(lines) {
            touched.push(document.key());
            self.world.apply(document);
        }
        self.generation += 1;
        self.compiler
            .update(&self.world, &touched, &self.links, self.generation)
    }

    pub(crate) fn apply(&mut self, lines: &str) -> Update {
        self.change(lines, &[])
    }

    pub(crate) fn image(&self) -> Image {
        self.compiler.image()
    }

    pub(crate) fn peer(&self, text: &str) -> PeerId {
        self.image().peer_of(address(text))
    }

    pub(crate) fn cell(&self, ifindex: u32, hook: Hook, other: &str, port: u16) -> Cell {
        let verdict = self.image().verdict(ifindex, hook, address(other), Protocol::Tcp, port);
        verdict.unwrap()
    }

    /// Verdict, reason and rule of a TCP flow that the pod of interface 10 opens.
    pub(crate) fn says(&self, other: &str, port: u16) -> String {
        let cell = self.cell(10, Hook::FromPod, other, port);
        let rules = self.image().rules;
        let rule = cell.rule.map(|slot| format!(" {}", rules[&slot].name));
        format!("{} {}{}", cell.action.verdict(), cell.reason, rule.unwrap_or_default())
    }
}
