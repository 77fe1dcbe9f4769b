//! The documents that an update is about, by kind.

use std::collections::BTreeSet;

use crate::model::Name;
use crate::world::{DocumentKey, World};

/// Keys by kind, each once, in order.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) namespaces: BTreeSet<Name>,
    pub(super) pods: BTreeSet<Name>,
    /// Every pod of the world, besides those named.
    pub(super) every_pod: bool,
    /// Names of nodes whose document or report changed.
    pub(super) nodes: BTreeSet<Name>,
    pub(super) services: BTreeSet<(Name, Name)>,
    pub(super) slices: BTreeSet<(Name, Name)>,
    pub(super) objects: BTreeSet<Name>,
    pub(super) rules: BTreeSet<Name>,
    pub(super) defense: bool,
}

impl Touched {
    pub(super) fn new(keys: &[DocumentKey]) -> Self {
        let mut touched = Self::default();
        for key in keys {
            touched.add(key.clone());
        }
        touched
    }

    /// All documents; the pods, which are many, are not listed one by one.
    pub(super) fn everything(world: &World) -> Self {
        let mut touched = Self {
            every_pod: true,
            defense: true,
            ..Self::default()
        };
        let keys = world.keys().filter(|key| !matches!(key, DocumentKey::Pod(_)));
        keys.for_each(|key| touched.add(key));
        touched
    }

    fn add(&mut self, key: DocumentKey) {
        match key {
            DocumentKey::Namespace(name) => {
                self.namespaces.insert(name);
            }
            DocumentKey::Pod(uid) => {
                self.pods.insert(uid);
            }
            DocumentKey::Node(name) | DocumentKey::NodeReport(name) => {
                self.nodes.insert(name);
            }
            DocumentKey::Service(namespace, name) => {
                self.services.insert((namespace, name));
            }
            DocumentKey::EndpointSlice(namespace, name) => {
                self.slices.insert((namespace, name));
            }
            DocumentKey::NetworkObject(name) => {
                self.objects.insert(name);
            }
            DocumentKey::DefenseRule(name) => {
                self.rules.insert(name);
            }
            DocumentKey::Defense => self.defense = true,
        }
    }
}
