//! The compiler: from the world to tables that answer with two lookups.
//!
//! [`Compiler::update`] takes the keys of the documents that changed and answers the changes of the compiled state;
//! folding all changes since the first update gives the whole state ([`Image`]). The result depends on the world and
//! the links alone, never on the order of events: only numbers and [`crate::compiled::AddressEntry::since`] do.

use crate::compiled::{Change, RuleSlot};
use crate::diagnostic::Diagnostic;
use crate::model::Name;
use crate::world::{DocumentKey, World};

/// A guarded interface as the node's kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// Interface index on the host side.
    pub ifindex: u32,
    /// Bridge (or other master) it is enslaved to, 0 without.
    pub master: u32,
    /// UID of the pod behind it; none while it is not known. A pod may have several interfaces.
    pub pod: Option<Name>,
    /// MAC of the pod's end; zero where unknown. The link-local address it yields is the pod's.
    pub mac: [u8; 6],
}

/// What an update changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// Changed entries, each key at most once: the new value, or none where the entry goes.
    pub changes: Vec<Change>,
    /// Conditions that hold after this update and that only the compiler sees.
    pub diagnostics: Vec<Diagnostic>,
}

/// The compiled state of one node.
#[derive(Debug)]
pub struct Compiler {
    node: Name,
}

impl Compiler {
    /// An empty compiler for the node of this name.
    pub fn new(node: impl Into<Name>) -> Self {
        Self { node: node.into() }
    }

    /// Name of the node.
    pub fn node(&self) -> &Name {
        &self.node
    }

    /// Makes rules keep the slots that they had in an earlier process: (slot, name, uid). Before the first update;
    /// that update answers the slots that nobody has any more as gone.
    pub fn adopt_rules(&mut self, slots: impl IntoIterator<Item = (RuleSlot, Name, Name)>) {
        let _ = slots.into_iter();
    }

    /// Brings the compiled state to `world` and `links` (all guarded interfaces). `touched` names every document
    /// that changed, appeared or went since the last update; at the first one it is ignored and all count.
    /// `generation` is the number under which the changes will count.
    pub fn update(&mut self, world: &World, touched: &[DocumentKey], links: &[Link], generation: u32) -> Update {
        let _ = (world, touched, links, generation);
        Update::default()
    }
}
