//! The world: every document in force, keyed, with cheap snapshots.
//!
//! A [`World`] is a handful of shared maps; cloning it is the snapshot. A change after a snapshot copies the one map
//! it touches (documents themselves are shared), never what others hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{
    Defense, DefenseRule, EndpointSlice, Name, Namespace, NetworkObject, Node, NodeReport, Pod, Service,
};

/// A document of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kinds say it")]
pub enum Document {
    Namespace(Namespace),
    Pod(Pod),
    Node(Node),
    Service(Service),
    EndpointSlice(EndpointSlice),
    NodeReport(NodeReport),
    NetworkObject(NetworkObject),
    DefenseRule(DefenseRule),
    Defense(Defense),
}

/// What identifies a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DocumentKey {
    /// By name.
    Namespace(Name),
    /// By UID.
    Pod(Name),
    /// By name.
    Node(Name),
    /// By namespace and name.
    Service(Name, Name),
    /// By namespace and name.
    EndpointSlice(Name, Name),
    /// By the node's name.
    NodeReport(Name),
    /// By name.
    NetworkObject(Name),
    /// By name.
    DefenseRule(Name),
    /// The only one.
    Defense,
}

impl Document {
    /// The key of this document.
    pub fn key(&self) -> DocumentKey {
        match self {
            Self::Namespace(d) => DocumentKey::Namespace(d.name.clone()),
            Self::Pod(d) => DocumentKey::Pod(d.uid.clone()),
            Self::Node(d) => DocumentKey::Node(d.name.clone()),
            Self::Service(d) => DocumentKey::Service(d.namespace.clone(), d.name.clone()),
            Self::EndpointSlice(d) => DocumentKey::EndpointSlice(d.namespace.clone(), d.name.clone()),
            Self::NodeReport(d) => DocumentKey::NodeReport(d.node.clone()),
            Self::NetworkObject(d) => DocumentKey::NetworkObject(d.name.clone()),
            Self::DefenseRule(d) => DocumentKey::DefenseRule(d.name.clone()),
            Self::Defense(_) => DocumentKey::Defense,
        }
    }
}

type Shared<K, V> = Arc<BTreeMap<K, Arc<V>>>;

/// Every document in force, as the agent of one node sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    node: Name,
    silence_enforces: bool,
    namespaces: Shared<Name, Namespace>,
    pods: Shared<Name, Pod>,
    nodes: Shared<Name, Node>,
    services: Shared<(Name, Name), Service>,
    slices: Shared<(Name, Name), EndpointSlice>,
    reports: Shared<Name, NodeReport>,
    objects: Shared<Name, NetworkObject>,
    rules: Shared<Name, DefenseRule>,
    defense: Option<Arc<Defense>>,
}

impl World {
    /// An empty world of the agent on `node`. `silence_enforces`: whether a node that reports nothing is taken to
    /// enforce (a directory of manifests, where nobody reports) or not (a cluster, where every agent does).
    pub fn new(node: impl Into<Name>, silence_enforces: bool) -> Self {
        Self {
            node: node.into(),
            silence_enforces,
            namespaces: Arc::default(),
            pods: Arc::default(),
            nodes: Arc::default(),
            services: Arc::default(),
            slices: Arc::default(),
            reports: Arc::default(),
            objects: Arc::default(),
            rules: Arc::default(),
            defense: None,
        }
    }

    /// Puts a document in force. Answers whether anything changed.
    pub fn apply(&mut self, document: Document) -> bool {
        match document {
            Document::Namespace(d) => put(&mut self.namespaces, d.name.clone(), d),
            Document::Pod(d) => put(&mut self.pods, d.uid.clone(), d),
            Document::Node(d) => put(&mut self.nodes, d.name.clone(), d),
            Document::Service(d) => put(&mut self.services, (d.namespace.clone(), d.name.clone()), d),
            Document::EndpointSlice(d) => put(&mut self.slices, (d.namespace.clone(), d.name.clone()), d),
            Document::NodeReport(d) => put(&mut self.reports, d.node.clone(), d),
            Document::NetworkObject(d) => put(&mut self.objects, d.name.clone(), d),
            Document::DefenseRule(d) => put(&mut self.rules, d.name.clone(), d),
            Document::Defense(d) => {
                let changed = self.defense.as_deref() != Some(&d);
                self.defense = Some(Arc::new(d));
                changed
            }
        }
    }

    /// Takes a document away. Answers whether it was there.
    pub fn delete(&mut self, key: &DocumentKey) -> bool {
        match key {
            DocumentKey::Namespace(k) => take(&mut self.namespaces, k),
            DocumentKey::Pod(k) => take(&mut self.pods, k),
            DocumentKey::Node(k) => take(&mut self.nodes, k),
            DocumentKey::Service(ns, n) => take(&mut self.services, &(ns.clone(), n.clone())),
            DocumentKey::EndpointSlice(ns, n) => take(&mut self.slices, &(ns.clone(), n.clone())),
            DocumentKey::NodeReport(k) => take(&mut self.reports, k),
            DocumentKey::NetworkObject(k) => take(&mut self.objects, k),
            DocumentKey::DefenseRule(k) => take(&mut self.rules, k),
            DocumentKey::Defense => self.defense.take().is_some(),
        }
    }

    /// Makes `documents` the whole world. Answers the keys that changed, appeared or went.
    pub fn reset(&mut self, documents: impl IntoIterator<Item = Document>) -> Vec<DocumentKey> {
        let before: std::collections::BTreeSet<DocumentKey> = self.keys().collect();
        let mut kept = std::collections::BTreeSet::new();
        let mut touched = Vec::new();
        for document in documents {
            let key = document.key();
            if self.apply(document) {
                touched.push(key.clone());
            }
            kept.insert(key);
        }
        for gone in before.difference(&kept) {
            self.delete(gone);
            touched.push(gone.clone());
        }
        touched
    }

    /// The keys of all documents.
    pub fn keys(&self) -> impl Iterator<Item = DocumentKey> + '_ {
        let one = self.namespaces.keys().cloned().map(DocumentKey::Namespace);
        let one = one.chain(self.pods.keys().cloned().map(DocumentKey::Pod));
        let one = one.chain(self.nodes.keys().cloned().map(DocumentKey::Node));
        let one = one.chain(self.services.keys().cloned().map(|(ns, n)| DocumentKey::Service(ns, n)));
        let one = one.chain(
            self.slices
                .keys()
                .cloned()
                .map(|(ns, n)| DocumentKey::EndpointSlice(ns, n)),
        );
        let one = one.chain(self.reports.keys().cloned().map(DocumentKey::NodeReport));
        let one = one.chain(self.objects.keys().cloned().map(DocumentKey::NetworkObject));
        let one = one.chain(self.rules.keys().cloned().map(DocumentKey::DefenseRule));
        one.chain(self.defense.iter().map(|_| DocumentKey::Defense))
    }

    /// The node this process acts for: local pods are those on it, and those without a node name.
    pub fn node(&self) -> &Name {
        &self.node
    }

    /// Whether `pod` is on the local node.
    pub fn is_local(&self, pod: &Pod) -> bool {
        pod.node.as_ref().is_none_or(|node| *node == self.node)
    }

    /// Name of the node `pod` is on.
    pub fn node_of<'a>(&'a self, pod: &'a Pod) -> &'a Name {
        pod.node.as_ref().unwrap_or(&self.node)
    }

    /// Whether pod hooks are in force on `node`. The local node always enforces.
    pub fn enforces(&self, node: &str) -> bool {
        *node == *self.node || self.reports.get(node).map_or(self.silence_enforces, |r| r.enforcing)
    }

    /// A namespace's labels with the built-in name label; a namespace without a document has that label alone.
    pub fn namespace_labels(&self, name: &str) -> crate::model::Labels {
        let own = self.namespaces.get(name);
        let given = own.iter().flat_map(|ns| ns.labels.iter());
        crate::model::Labels::new(given.chain([("kubernetes.io/metadata.name", name)]))
    }

    /// Switches in force; all defaults where there is no document.
    pub fn defense(&self) -> Defense {
        self.defense.as_deref().cloned().unwrap_or_default()
    }
}

macro_rules! views {
    ($($(#[$doc:meta])* $name:ident $one:ident: $key:ty => $value:ty,)*) => {
        impl World { $(
            $(#[$doc])*
            pub fn $name(&self) -> impl ExactSizeIterator<Item = &Arc<$value>> + '_ {
                self.$name.values()
            }

            /// The one of this key.
            pub fn $one(&self, key: &$key) -> Option<&Arc<$value>> {
                self.$name.get(key)
            }
        )* }
    };
}

views! {
    /// Namespaces that have a document.
    namespaces namespace: str => Namespace,
    /// Pods, by UID.
    pods pod: str => Pod,
    /// Nodes.
    nodes node_document: str => Node,
    /// Services.
    services service: (Name, Name) => Service,
    /// EndpointSlices.
    slices slice: (Name, Name) => EndpointSlice,
    /// What agents report.
    reports report: str => NodeReport,
    /// Objects.
    objects object: str => NetworkObject,
    /// Rules.
    rules rule: str => DefenseRule,
}

fn put<K: Ord + Clone, V: PartialEq>(map: &mut Shared<K, V>, key: K, value: V) -> bool {
    if map.get(&key).is_some_and(|old| **old == value) {
        return false;
    }
    Arc::make_mut(map).insert(key, Arc::new(value));
    true
}

fn take<K: Ord + Clone, V>(map: &mut Shared<K, V>, key: &K) -> bool {
    map.contains_key(key) && Arc::make_mut(map).remove(key).is_some()
}
