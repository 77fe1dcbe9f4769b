//! What a change means for a policy: which of its tables are to be computed again.

use rustc_hash::FxHashSet;

use super::ids::Interned;
use super::news::News;
use super::policies::Policy;
use super::selector::{POD, Sel, entities_of};
use super::verdicts::Judge;
use crate::compiled::{PeerClass, PeerId, Table};

/// Whether the tables of a class show which rule goes first: not those that are the strictest of several, nor those of
/// Service ports.
const fn is_ruled(class: PeerClass) -> bool {
    !matches!(class, PeerClass::Unresolved | PeerClass::ServicePort)
}

/// What may have changed for the policies there are.
#[derive(Debug, Default)]
pub(super) struct Dirt {
    /// Everything: the switches changed.
    pub(super) all: bool,
    /// Which pods have no address yet changed.
    pub(super) waiting: bool,
    /// Peers that came, went or mean something else.
    pub(super) peers: FxHashSet<PeerId>,
    /// (source, destination) of rules that changed, and their slots.
    pub(super) pairs: Vec<((Sel, Sel), Vec<u32>)>,
    /// Service ports that came or went.
    pub(super) contents: Vec<u32>,
}

impl Dirt {
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            all,
            waiting,
            peers,
            pairs,
            contents,
        } = self;
        !all && !waiting && peers.is_empty() && pairs.is_empty() && contents.is_empty()
    }
}

/// What is to be computed again for one policy.
#[derive(Debug, Default)]
pub(super) struct Todo {
    pub(super) whole: bool,
    /// Classes whose own table changes, and with it who needs an entry.
    pub(super) wide: FxHashSet<PeerClass>,
    pub(super) classes: FxHashSet<PeerClass>,
    pub(super) peers: FxHashSet<PeerId>,
}

/// What `dirt` means for a policy.
pub(super) fn todo(
    policy: &Policy,
    judge: &Judge<'_>,
    tables: &Interned<Table>,
    news: &mut [News<'_>],
    dirt: &Dirt,
) -> Todo {
    let key = &policy.key;
    let mut todo = Todo {
        whole: dirt.all,
        peers: dirt
            .peers
            .iter()
            .copied()
            .filter(|peer| peer.number() != PeerId::PLAIN)
            .collect(),
        ..Todo::default()
    };
    if dirt.waiting {
        todo.classes.insert(PeerClass::Unresolved);
    }
    for news in news {
        let (source, destination) = news.sides;
        let (own, other) = key.direction.sides(source, destination);
        let is_own = |id| key.sides.iter().any(|side| side.objects.binary_search(&id).is_ok());
        if !own.as_object().map_or_else(|| POD.contains(&own), is_own) {
            continue;
        }
        let concerned = |table: Option<u32>, news: &mut News<'_>| {
            key.startup || table.is_none_or(|table| news.concern(tables, table))
        };
        if let Some(object) = other.as_object() {
            let mut waiting = judge.waiting.iter();
            if waiting.any(|objects| objects.binary_search(&object).is_ok()) {
                todo.classes.insert(PeerClass::Unresolved);
            }
            let peers = judge.sets.with_object(object).flat_map(|set| judge.sets.peers_of(set));
            todo.peers
                .extend(peers.filter(|peer| concerned(policy.table(*peer), news)));
            continue;
        }
        let covers = |class: PeerClass| entities_of(class, key.direction).contains(&other);
        let ruled = |class: PeerClass| is_ruled(class) && covers(class);
        for class in PeerClass::ALL.into_iter().filter(|class| ruled(*class)) {
            if concerned(policy.fallbacks[class as usize], news) {
                todo.wide.insert(class);
            }
        }
        if covers(PeerClass::Unresolved) {
            // The strictest of several does not tell what each of them was.
            let is_one = judge.waiting.len() == 1;
            if !is_one || concerned(policy.fallbacks[PeerClass::Unresolved as usize], news) {
                todo.classes.insert(PeerClass::Unresolved);
            }
        }
        for (peer, table) in &policy.entries {
            if ruled(peer.class()) && concerned(Some(*table), news) {
                todo.peers.insert(*peer);
            }
        }
    }
    todo
}
