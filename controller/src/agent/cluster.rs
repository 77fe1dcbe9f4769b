//! The loop's side of the API server: what was heard becomes changes of the world, one generation a burst.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cellwall_policy::model::{NodeReport, Pod};
use cellwall_policy::world::{Document, DocumentKey, World};

use super::bind::Bindings;
use super::core::{Core, Source};
use super::locals::{Locals, NodeSide, of_node, of_status};
use super::remembered::Remembered;
use super::startup::Waiting;
use crate::cluster::client::Requests;
use crate::cluster::mirror::{Delta, Mirror};
use crate::cluster::status::Outlook;
use crate::cluster::status::outlook::{View, digest, policy};
use crate::cluster::{Heard, Kind};
use crate::status::Report;
use tokio::sync::watch;

/// A status is read back from the kernel at most this often while only other nodes' objects change.
const TOLD: Duration = Duration::from_millis(250);

/// What is followed on the API server.
pub(super) struct Followed {
    pub(super) mirror: Mirror,
    pub(super) bindings: Bindings,
    /// What was asked of the API server.
    pub(super) requests: Requests,
    pub(super) startup: Waiting,
    remembered: Remembered,
    /// The world of the first lists, until they are whole.
    staged: Option<World>,
    told: Instant,
    /// A status is due.
    untold: bool,
    /// Digest of the policy that is realised; none: not known.
    digest: Option<String>,
    /// The policy is another than the digest's.
    changed: bool,
    /// Conflicts that were told.
    conflicts: Vec<String>,
    outlook: watch::Sender<Option<Arc<Outlook>>>,
    leads: (watch::Sender<bool>, watch::Receiver<bool>),
}

impl Followed {
    /// Nothing heard yet. `world` is an empty one.
    pub(super) fn open(state_dir: &Path, world: World) -> Self {
        let (remembered, bindings) = Remembered::open(state_dir);
        Self {
            mirror: Mirror::open(state_dir),
            bindings,
            requests: Requests::default(),
            startup: Waiting::default(),
            remembered,
            staged: Some(world),
            told: Instant::now(),
            untold: false,
            digest: None,
            changed: true,
            conflicts: Vec::new(),
            outlook: watch::Sender::new(None),
            leads: watch::channel(false),
        }
    }

    /// What the writers of statuses hear, and where they say whether this node leads.
    pub(super) fn ends(&self) -> (watch::Receiver<Option<Arc<Outlook>>>, watch::Sender<bool>) {
        (self.outlook.subscribe(), self.leads.0.clone())
    }
}

impl Core {
    /// The API server told something.
    pub(super) fn heard(&mut self, heard: Vec<Heard>) {
        let Source::Cluster(followed) = &mut self.source else {
            return;
        };
        let taken = followed.mirror.take(heard);
        followed.changed |= taken.told.iter().any(|(kind, _)| kind.is_policy());
        for (kind, key) in &taken.told {
            let Some(entry) = followed
                .mirror
                .entry(*kind, key)
                .filter(|entry| !entry.faults.is_empty())
            else {
                continue;
            };
            let standing = if entry.in_force.is_some() {
                "its last valid version stays in force"
            } else {
                "it never was valid and enforces nothing"
            };
            for fault in &entry.faults {
                tracing::error!("{kind} {}: {fault}; {standing}", shown(key));
            }
        }
        if let Some(staged) = &mut followed.staged {
            for delta in taken.deltas {
                put(staged, delta);
            }
            if !followed.mirror.is_whole() {
                self.tell_soon();
                return;
            }
            tracing::info!(
                pods = staged.pods().len(),
                rules = staged.rules().len(),
                "the API server's objects are known"
            );
            self.world = followed.staged.take().unwrap_or_else(|| self.world.clone());
            self.converge();
            self.save_cluster();
            return;
        }
        let (touched, local) = self.enter(taken.deltas);
        if local {
            self.converge_touched(touched);
        } else if touched.is_empty() {
            self.tell_soon();
        } else {
            self.follow(&touched);
            self.tell_soon();
        }
        self.save_cluster();
    }

    /// Puts what changed into the world; answers what that touched, and whether the node's own interfaces are to be
    /// looked at.
    fn enter(&mut self, deltas: Vec<Delta>) -> (Vec<DocumentKey>, bool) {
        let mut touched = BTreeSet::new();
        let mut local = false;
        for delta in deltas {
            let delta = match delta {
                // What the local node has is what its interfaces say, whatever it once reported.
                Delta::Put(Document::NodeReport(report)) if report.node == self.node => continue,
                Delta::Gone(DocumentKey::NodeReport(node)) if node == self.node => continue,
                Delta::Put(Document::Pod(mut pod)) => {
                    if let Some((_, link_local)) = self.locals.found.get(&pod.uid) {
                        pod.link_local.clone_from(link_local);
                    }
                    if let Source::Cluster(followed) = &self.source {
                        let given = Self::given_addresses(&followed.bindings, &self.world, &pod);
                        pod.addresses.extend(given);
                    }
                    let before = self.world.pod(&pod.uid);
                    local |= self.concerns_interfaces(before.map(AsRef::as_ref), Some(&pod));
                    Delta::Put(Document::Pod(pod))
                }
                Delta::Gone(DocumentKey::Pod(uid)) => {
                    let before = self.world.pod(&uid);
                    local |= self.concerns_interfaces(before.map(AsRef::as_ref), None);
                    Delta::Gone(DocumentKey::Pod(uid))
                }
                Delta::Put(Document::Node(node)) => {
                    local |= node.name == self.node;
                    Delta::Put(Document::Node(node))
                }
                other => other,
            };
            if let Some(key) = put(&mut self.world, delta) {
                touched.insert(key);
            }
        }
        (touched.into_iter().collect(), local)
    }

    /// Whether a pod's change may make an interface another's: only a local pod's addresses, presence and phase do.
    fn concerns_interfaces(&self, before: Option<&Pod>, after: Option<&Pod>) -> bool {
        let facts = |pod: &Pod| {
            self.world
                .is_local(pod)
                .then(|| (pod.addresses.clone(), pod.phase.is_live(), pod.host_network))
        };
        before.and_then(facts) != after.and_then(facts)
    }

    /// Looks at the interfaces, unless the world is not known yet.
    pub(super) fn converge_cluster(&mut self) {
        let touched = Vec::new();
        self.converge_touched(touched);
    }

    fn converge_touched(&mut self, mut touched: Vec<DocumentKey>) {
        let Source::Cluster(followed) = &mut self.source else {
            return;
        };
        if followed.staged.is_some() {
            // What an earlier process realised goes on deciding, and stays where it is.
            self.adopt_interfaces();
            self.guard();
            self.tell();
            return;
        }
        let locals = Locals::look_by_address(&mut self.netlink, &self.world, &mut followed.bindings, &self.locals);
        let status = of_status(&self.world);
        followed.remembered.save(&followed.bindings, &locals.all, &status);
        for conflict in followed
            .bindings
            .conflicts
            .iter()
            .filter(|one| !followed.conflicts.contains(*one))
        {
            tracing::warn!("{conflict}");
        }
        followed.conflicts.clone_from(&followed.bindings.conflicts);
        for (uid, (_, link_local)) in &locals.found {
            let Some(pod) = self.world.pod(uid).filter(|pod| pod.link_local != *link_local) else {
                continue;
            };
            let pod = Pod {
                link_local: link_local.clone(),
                ..(**pod).clone()
            };
            touched.extend(put(&mut self.world, Delta::Put(Document::Pod(pod))));
        }
        if let Source::Cluster(followed) = &self.source {
            for given in Self::given_pods(&followed.bindings, &self.world) {
                touched.extend(put(&mut self.world, Delta::Put(given)));
            }
        }
        let report = NodeReport {
            node: self.node.clone(),
            enforcing: true,
            addresses: locals
                .node
                .iter()
                .copied()
                .filter(|address| !address.is_link_local())
                .collect(),
        };
        touched.extend(put(&mut self.world, Delta::Put(Document::NodeReport(report))));
        self.settle(locals, &touched);
        if let Source::Cluster(followed) = &mut self.source
            && self.refused.is_none()
        {
            followed.startup.look(&self.locals.links, &self.world, Instant::now());
        }
        self.told_now();
    }

    /// Whether the first lists are not whole yet.
    pub(super) fn is_staged(&self) -> bool {
        matches!(&self.source, Source::Cluster(followed) if followed.staged.is_some())
    }

    /// Takes note of the interfaces that an earlier process guarded, which are kept as they are until the world is known,
    /// and of those that came since.
    pub(super) fn adopt_interfaces(&mut self) {
        let mut guarded: BTreeSet<u32> = self.realiser.image().attached().map(|(ifindex, _)| ifindex).collect();
        match NodeSide::take(&mut self.netlink) {
            Ok(view) => {
                // A pod that came while no agent could know it: without an entry in the kernel its packets are dropped,
                // or pass where `startup` is Open.
                if let Source::Cluster(followed) = &self.source
                    && self.realiser.generation() > 0
                {
                    guarded.extend(followed.remembered.strangers(&guarded, &view));
                }
                self.locals.node = of_node(&view.addresses, &view.links);
                let ours = view.links.iter().filter(|link| guarded.contains(&link.ifindex));
                self.locals.hosts = ours.map(|link| (link.ifindex, link.clone())).collect();
                self.locals.all = view.links;
            }
            Err(error) => tracing::error!(%error, "interfaces cannot be listed"),
        }
    }

    /// Whether time alone may change whose an interface is, or whether something is to be told yet.
    pub(super) fn awaits_time(&self) -> bool {
        match &self.source {
            Source::Files(_) => false,
            Source::Cluster(followed) => followed.staged.is_none() && followed.bindings.await_time(),
        }
    }

    /// Hands what is known to the writers of statuses.
    pub(super) fn publish(&mut self, report: Arc<Report>) {
        let age = self.policy_age();
        let realised = self.refused.is_none() && !self.fresh;
        let enforcing = self.realiser.generation() > 0 && self.unguarded.is_empty();
        let Source::Cluster(followed) = &mut self.source else {
            return;
        };
        let whole = followed.staged.is_none();
        if whole && followed.changed && realised {
            followed.digest = Some(digest(&policy(&followed.mirror)));
            followed.changed = false;
        }
        let leads = *followed.leads.1.borrow();
        let now = jiff::Timestamp::now();
        let node = self.locals.node.iter().filter(|address| !address.is_link_local());
        let outlook = Outlook {
            node: self.node.clone(),
            report,
            enforcing,
            addresses: node.map(ToString::to_string).collect(),
            digest: followed.digest.clone(),
            current: now - jiff::SignedDuration::try_from(age).unwrap_or_default(),
            nodes: self.world.nodes().len(),
            whole,
            own: followed
                .mirror
                .entry(Kind::InterceptStatus, &("".into(), self.node.clone()))
                .map(|entry| {
                    // One that was just made has no status yet.
                    entry.about.status.clone().unwrap_or_default()
                }),
            view: (leads && whole).then(|| Arc::new(View::of(&followed.mirror, &self.world))),
        };
        followed.outlook.send_replace(Some(Arc::new(outlook)));
    }

    fn told_now(&mut self) {
        if let Source::Cluster(followed) = &mut self.source {
            followed.told = Instant::now();
            followed.untold = false;
        }
    }

    fn tell_soon(&mut self) {
        let Source::Cluster(followed) = &mut self.source else {
            return;
        };
        if followed.told.elapsed() >= TOLD {
            self.tell();
            self.told_now();
        } else {
            followed.untold = true;
        }
    }

    /// When a status is due that was not told at once.
    pub(super) fn telling_due(&self) -> Option<Instant> {
        match &self.source {
            Source::Cluster(followed) if followed.untold => Some(followed.told + TOLD),
            _ => None,
        }
    }

    /// Tells the status that is due.
    pub(super) fn tell_due(&mut self) {
        self.tell();
        self.told_now();
    }

    fn save_cluster(&mut self) {
        if let Source::Cluster(followed) = &mut self.source {
            followed.mirror.save();
        }
    }
}

/// Changes the world; answers the key of what changed.
fn put(world: &mut World, delta: Delta) -> Option<DocumentKey> {
    match delta {
        Delta::Put(document) => {
            let key = document.key();
            world.apply(document).then_some(key)
        }
        Delta::Gone(key) => world.delete(&key).then_some(key),
    }
}

/// Namespace and name, for a person.
fn shown((namespace, name): &crate::cluster::ObjectKey) -> String {
    if namespace.is_empty() {
        return cellwall_crds::escaped(name);
    }
    cellwall_crds::escaped(&format!("{namespace}/{name}"))
}
