//! Address ranges: those of objects with their holes, pod ranges, and the ranges that mean something by themselves.
//!
//! Ranges nest or are disjoint, so the longest one that contains an address says everything about it: what it is in
//! is computed for each range from all those that cover it.

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};

use super::selector::ObjectId;
use super::sets::Sets;
use crate::compiled::{Change, PeerClass, PeerId};
use crate::model::{Address, Cidr, CidrEntry, NetworkObject, Selector};

/// Ranges that are always there, and what they are.
const FIXED: [(&str, PeerClass); 5] = [
    ("224.0.0.0/4", PeerClass::Multicast),
    ("255.255.255.255/32", PeerClass::Multicast),
    ("ff00::/8", PeerClass::Multicast),
    ("169.254.0.0/16", PeerClass::LocalNode),
    ("fe80::/10", PeerClass::LocalNode),
];

/// An entry of an object: (object, index).
type Entry = (ObjectId, u32);

/// A range and its peers before and after.
pub(super) type Changed = (Cidr, Option<PeerId>, Option<PeerId>);

#[derive(Debug, Default)]
struct Range {
    /// Entries whose range this is.
    roots: Vec<Entry>,
    /// Entries of which this is a hole.
    holes: Vec<Entry>,
    /// Documents that call it a pod range.
    pod_ranges: u32,
    fixed: Option<PeerClass>,
    /// What was last said of it.
    peer: Option<PeerId>,
}

impl Range {
    fn is_idle(&self) -> bool {
        self.roots.is_empty() && self.holes.is_empty() && self.pod_ranges == 0 && self.fixed.is_none()
    }
}

/// All ranges.
#[derive(Debug)]
pub(super) struct Ranges {
    by_cidr: FxHashMap<Cidr, Range>,
    ordered: BTreeSet<Cidr>,
    /// Number of ranges of each length, IPv4 and IPv6.
    lengths: [[u32; 129]; 2],
    /// Ranges whose own place in objects changed: all that they cover is to be said anew.
    dirty: FxHashSet<Cidr>,
}

impl Ranges {
    pub(super) fn new() -> Self {
        let mut ranges = Self {
            by_cidr: FxHashMap::default(),
            ordered: BTreeSet::new(),
            lengths: [[0; 129]; 2],
            dirty: FxHashSet::default(),
        };
        for (text, class) in FIXED {
            if let Ok(cidr) = text.parse() {
                ranges.entry(cidr).fixed = Some(class);
            }
        }
        ranges
    }

    fn entry(&mut self, cidr: Cidr) -> &mut Range {
        self.dirty.insert(cidr);
        if self.ordered.insert(cidr) {
            self.lengths[usize::from(!cidr.is_v4())][usize::from(cidr.prefix())] += 1;
        }
        self.by_cidr.entry(cidr).or_default()
    }

    /// Matches one object anew.
    pub(super) fn rematch(&mut self, id: ObjectId, old: Option<&NetworkObject>, new: Option<&NetworkObject>) {
        for (entry, index) in entries(old).iter().zip(0u32..) {
            self.entry(entry.cidr).roots.retain(|root| *root != (id, index));
            for hole in &entry.except {
                self.entry(*hole).holes.retain(|hole| *hole != (id, index));
            }
        }
        for (entry, index) in entries(new).iter().zip(0u32..) {
            self.entry(entry.cidr).roots.push((id, index));
            for hole in &entry.except {
                self.entry(*hole).holes.push((id, index));
            }
        }
    }

    /// A document calls `new` pod ranges and no longer `old`.
    pub(super) fn replace_pod_ranges(&mut self, old: &[Cidr], new: &[Cidr]) {
        if old == new {
            return;
        }
        for cidr in old {
            self.entry(*cidr).pod_ranges -= 1;
        }
        for cidr in new {
            self.entry(*cidr).pod_ranges += 1;
        }
    }

    /// The ranges that cover `cidr`, itself included, longest first.
    fn covering(&self, cidr: Cidr) -> impl Iterator<Item = (Cidr, &Range)> {
        let lengths = &self.lengths[usize::from(!cidr.is_v4())];
        let present = (0..=cidr.prefix())
            .rev()
            .filter(|length| lengths[usize::from(*length)] > 0);
        present.filter_map(move |length| {
            let wider = Cidr::around(cidr.network(), length);
            Some((wider, self.by_cidr.get(&wider)?))
        })
    }

    fn objects(&self, cidr: Cidr) -> Vec<ObjectId> {
        let mut holes: Vec<Entry> = Vec::new();
        let mut roots: Vec<Entry> = Vec::new();
        for (_, range) in self.covering(cidr) {
            holes.extend(&range.holes);
            roots.extend(&range.roots);
        }
        roots.retain(|root| !holes.contains(root));
        let mut objects: Vec<ObjectId> = roots.into_iter().map(|(object, _)| object).collect();
        objects.sort_unstable();
        objects.dedup();
        objects
    }

    /// The objects whose ranges `address` is in, whoever has it, sorted.
    pub(super) fn objects_of(&self, address: Address) -> Vec<ObjectId> {
        self.objects(Cidr::single(address))
    }

    /// The peer of an address that nobody has.
    pub(super) fn peer_of(&self, address: Address) -> PeerId {
        let longest = self.covering(Cidr::single(address)).next();
        longest
            .and_then(|(_, range)| range.peer)
            .unwrap_or(PeerId::plain(PeerClass::World))
    }

    fn class(&self, cidr: Cidr) -> PeerClass {
        let mut class = PeerClass::World;
        for (_, range) in self.covering(cidr) {
            if let Some(fixed) = range.fixed {
                return fixed;
            }
            if range.pod_ranges > 0 {
                class = PeerClass::Unresolved;
            }
        }
        class
    }

    /// Whether anything is to be said anew.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Whether `address` lies in a range of which something is to be said anew.
    pub(super) fn is_touched(&self, address: Address) -> bool {
        self.covering(Cidr::single(address))
            .any(|(cidr, _)| self.dirty.contains(&cidr))
    }

    /// Says anew what changed. Answers the ranges whose peer changed, with the peers before and after.
    pub(super) fn refresh(&mut self, sets: &mut Sets, changes: &mut Vec<Change>) -> Vec<Changed> {
        let mut told = Vec::new();
        let mut affected: BTreeSet<Cidr> = BTreeSet::new();
        for wide in &self.dirty {
            affected.extend(self.ordered.range(*wide..).take_while(|cidr| wide.covers(**cidr)));
        }
        self.dirty.clear();
        for cidr in affected {
            let idle = self.by_cidr.get(&cidr).is_none_or(Range::is_idle);
            let peer = (!idle).then(|| {
                let class = self.class(cidr);
                let objects = if class == PeerClass::Unresolved {
                    Vec::new()
                } else {
                    self.objects(cidr)
                };
                PeerId::new(class, sets.intern(&objects))
            });
            let before = self.by_cidr.get(&cidr).and_then(|range| range.peer);
            if peer != before {
                if let Some(peer) = peer {
                    sets.hold_peer(peer);
                }
                if let Some(before) = before {
                    sets.release_peer(before);
                }
                changes.push(Change::Prefix(cidr, peer));
                told.push((cidr, before, peer));
            }
            if idle {
                self.by_cidr.remove(&cidr);
                self.ordered.remove(&cidr);
                self.lengths[usize::from(!cidr.is_v4())][usize::from(cidr.prefix())] -= 1;
            } else if let Some(range) = self.by_cidr.get_mut(&cidr) {
                range.peer = peer;
            }
        }
        told
    }

    /// All ranges with their peers, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Cidr, PeerId)> {
        self.ordered
            .iter()
            .filter_map(|cidr| Some((*cidr, self.by_cidr.get(cidr)?.peer?)))
    }
}

fn entries(object: Option<&NetworkObject>) -> &[CidrEntry] {
    match object.map(|object| &object.selector) {
        Some(Selector::Cidrs(entries)) => entries,
        _ => &[],
    }
}
