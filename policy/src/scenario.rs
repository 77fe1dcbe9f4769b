//! Scenarios: a world and questions with expected answers, as text that people write and judges share.
//!
//! A file is a list of scenarios; one line is one document, one question, or one note. Words are separated by spaces;
//! in names every unusual byte is `%` and two hexadecimal digits. Every list may be empty.
//!
//! ```text
//! scenario A Drop of equal priority beats a Pass
//! local node-a [silence=open]                      the local node; silence=open: no report is no enforcement
//! namespace shop label:tier=front
//! pod shop/web [uid=U] [on=node-a] at=198.51.100.2 link=fe80::2 label:app=web image=nginx phase=Failed host
//!     created=7 probe=80 hostport=[ADDRESS@]8080/TCP>80        (all on one line)
//! node node-a at=192.0.2.1 range=198.51.100.0/26
//! report node-b enforcing|open at=192.0.2.129
//! service shop/web cluster=203.0.113.10 external=203.0.113.129 port=http:80/TCP[@30080]
//! slice shop/web-1 for=web target=http:8080/TCP ready=198.51.100.2 serving=198.51.100.3 down=198.51.100.4
//! object web namespaces=sh* apps=web images=*nginx* pods:tier=front|back pods:tier!=x pods:tier pods:!tier nss:...
//! object out cidr=203.0.113.0/24-203.0.113.64/26   a range and its holes; a field's bare name is an empty list
//! rule deny 1000 Drop Any -> @web [disabled] [on TCP/80 TCP/443-445 UDP ICMP/8 Any/53 47]
//! defense mode=AlertOnly recovery=Manual local-node=Pass startup=Open range=198.51.100.192/26
//! # a note
//! ask shop/web 203.0.113.1 443/TCP = DROP RULE deny        from end to end: END END [PORT][/PROTOCOL]
//! ask shop/web World /47 = DROP RULE deny applied=PASS
//! ask shop/web shop/db 80 = error
//! hook TO_POD shop/web 203.0.113.1 443/TCP = PASS NO_RULE  a hook, the pod's UID (`?`: not known), the other end
//! ```
//!
//! Reading what was written gives the same scenarios again, whatever names hold.

mod read;
mod shrink;
mod text;
mod write;

use std::fmt;

pub use read::ScenarioError;
pub use shrink::shrink;

use crate::evaluate::{Answer, HookQuestion, Question, QuestionError, at_hook, evaluate};
use crate::model::{Action, Name, Reason};
use crate::world::{Document, DocumentKey, World};

/// A world, and questions about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// What it shows, in one line.
    pub title: String,
    /// Name of the local node.
    pub local: Name,
    /// Whether a node that reports nothing is taken to enforce.
    pub silence_enforces: bool,
    /// Everything else, in order.
    pub lines: Vec<Line>,
}

/// One line of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A remark.
    Note(String),
    /// A document of the world.
    Document(Document),
    /// A question and its answer.
    Case(Case),
}

/// A question and the answer expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What is asked.
    pub ask: Ask,
    /// The answer; none: the question has none.
    pub expected: Option<Expected>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// From end to end.
    Flow(Question),
    /// Of one hook.
    Hook(HookQuestion),
}

/// The part of an [`Answer`] that every judge has to agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// What the policy says.
    pub verdict: Action,
    /// What happens, [`Action::Pass`] or [`Action::Drop`].
    pub applied: Action,
    /// Why.
    pub reason: Reason,
    /// Name of the rule credited.
    pub rule: Option<Name>,
}

impl From<&Answer> for Expected {
    fn from(answer: &Answer) -> Self {
        Self {
            verdict: answer.verdict,
            applied: answer.applied,
            reason: answer.reason,
            rule: answer.rule.as_ref().map(|rule| rule.name.clone()),
        }
    }
}

impl Scenario {
    /// The scenario of `cases` in `world`, documents in the order of their keys.
    pub fn of(title: impl Into<String>, world: &World, cases: impl IntoIterator<Item = Case>) -> Self {
        let documents = world.keys().filter_map(|key| document(world, &key)).map(Line::Document);
        Self {
            title: title.into(),
            local: world.node().clone(),
            silence_enforces: world.enforces(NOBODY),
            lines: documents.chain(cases.into_iter().map(Line::Case)).collect(),
        }
    }

    /// Reads a file of scenarios.
    pub fn read(text: &str) -> Result<Vec<Self>, ScenarioError> {
        read::scenarios(text)
    }

    /// The world of its documents.
    pub fn world(&self) -> World {
        let mut world = World::new(self.local.clone(), self.silence_enforces);
        for line in &self.lines {
            if let Line::Document(document) = line {
                world.apply(document.clone());
            }
        }
        world
    }

    /// Its questions.
    pub fn cases(&self) -> impl Iterator<Item = &Case> {
        self.lines.iter().filter_map(|line| match line {
            Line::Case(case) => Some(case),
            _ => None,
        })
    }

    /// Every case that the reference answers otherwise, told in one line each.
    pub fn disagreements(&self) -> Vec<String> {
        let world = self.world();
        let wrong = self.cases().filter_map(|case| {
            let answer = case.ask.answer(&world).ok();
            let given = answer.as_ref().map(Expected::from);
            let told = Case {
                ask: case.ask.clone(),
                expected: given.clone(),
            };
            (given != case.expected).then(|| format!("{}: expected `{case}`, got `{told}`", self.title))
        });
        wrong.collect()
    }
}

/// The document of a key.
fn document(world: &World, key: &DocumentKey) -> Option<Document> {
    macro_rules! one {
        ($kind:ident, $found:expr) => {
            $found.map(|found| Document::$kind((**found).clone()))
        };
    }
    match key {
        DocumentKey::Namespace(name) => {
            one!(Namespace, world.namespaces().find(|one| one.name == *name))
        }
        DocumentKey::Pod(uid) => one!(Pod, world.pod(uid)),
        DocumentKey::Node(name) => one!(Node, world.node_document(name)),
        DocumentKey::Service(namespace, name) => {
            one!(Service, world.service(&(namespace.clone(), name.clone())))
        }
        DocumentKey::EndpointSlice(namespace, name) => {
            one!(EndpointSlice, world.slice(&(namespace.clone(), name.clone())))
        }
        DocumentKey::NodeReport(node) => one!(NodeReport, world.report(node)),
        DocumentKey::NetworkObject(name) => one!(NetworkObject, world.object(name)),
        DocumentKey::DefenseRule(name) => one!(DefenseRule, world.rule(name)),
        DocumentKey::Defense => Some(Document::Defense(world.defense())),
    }
}

/// No node has this name, so none reports under it.
const NOBODY: &str = "";

impl Ask {
    /// What the reference answers.
    pub fn answer(&self, world: &World) -> Result<Answer, QuestionError> {
        match self {
            Self::Flow(question) => evaluate(world, question),
            Self::Hook(question) => Ok(at_hook(world, question)),
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write::scenario(f, self)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write::case(f, self)
    }
}

#[cfg(test)]
mod tests;
