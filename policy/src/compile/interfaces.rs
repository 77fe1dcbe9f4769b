//! Guarded interfaces: whose they are, what they may send from, and which policies they need.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use rustc_hash::{FxHashMap, FxHashSet};

use super::Link;
use super::addresses::{Addresses, is_usable};
use super::pods::{Pods, addresses_of};
use super::policies::Policies;
use super::rules::Rules;
use super::selector::{Direction, ObjectId, Sel};
use super::sets::Sets;
use super::signatures::Signatures;
use super::verdicts::{OwnSide, PolicyKey};
use crate::compiled::{Change, Interface, PolicyId};
use crate::model::{Address, LocalNodeMode, Startup};
use crate::world::World;

/// Whose an interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identity {
    /// The pod of this number.
    Pod(u32),
    /// A pod that has finished: it owns no address any more.
    Finished,
    /// Not known yet.
    Unknown,
}

/// All guarded interfaces.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    told: BTreeMap<u32, Interface>,
    /// Interface of each pod, 0 where it has several: then none is the one way its packets come.
    of_pod: FxHashMap<u32, u32>,
    /// Link-local addresses that MACs yield, with the pod they are claimed for.
    derived: FxHashSet<(Address, u32)>,
}

/// What interfaces are worked out from.
pub(super) struct Surroundings<'a> {
    pub(super) world: &'a World,
    pub(super) pods: &'a Pods,
    pub(super) signatures: &'a Signatures,
    pub(super) sets: &'a Sets,
    pub(super) rules: &'a Rules,
    pub(super) local_node: LocalNodeMode,
    pub(super) startup: Startup,
}

fn identify(link: &Link, pods: &Pods) -> Identity {
    let Some((at, seen)) = link.pod.as_ref().and_then(|uid| pods.by_uid(uid)) else {
        return Identity::Unknown;
    };
    match seen.signature {
        Some(_) => Identity::Pod(at),
        None if seen.doc.host_network => Identity::Unknown,
        None => Identity::Finished,
    }
}

/// The link-local address that a MAC yields (modified EUI-64).
fn link_local(mac: [u8; 6]) -> Option<Address> {
    let mut octets = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, 0, 0, 0xff, 0xfe, 0, 0, 0];
    octets[9..11].copy_from_slice(&mac[1..3]);
    octets[13..].copy_from_slice(&mac[3..]);
    let address = Ipv6Addr::from(octets);
    (mac != [0; 6]).then(|| address.into())
}

impl Interfaces {
    /// The interface of a local pod, 0 where it has none or several.
    pub(super) fn of_pod(&self, pod: u32) -> u32 {
        self.of_pod.get(&pod).copied().unwrap_or(0)
    }

    /// Takes note of who is behind which interface.
    pub(super) fn observe(&mut self, links: &[Link], pods: &Pods, world: &World, addresses: &mut Addresses) {
        let mut of_pod: FxHashMap<u32, u32> = FxHashMap::default();
        let mut derived: FxHashSet<(Address, u32)> = FxHashSet::default();
        for link in links {
            let Identity::Pod(at) = identify(link, pods) else {
                continue;
            };
            of_pod
                .entry(at)
                .and_modify(|ifindex| *ifindex = 0)
                .or_insert(link.ifindex);
            let Some((address, seen)) = link_local(link.mac).zip(pods.get(at)) else {
                continue;
            };
            if world.is_local(&seen.doc) && !seen.doc.link_local.contains(&address) {
                derived.insert((address, at));
            }
        }
        for (address, at) in self.derived.difference(&derived) {
            let own = |at| {
                pods.get(at)
                    .is_some_and(|seen| addresses_of(&seen.doc, world).any(|a| a == *address))
            };
            if !own(*at) {
                addresses.unclaim(*address, *at);
            }
        }
        for (address, at) in derived.difference(&self.derived) {
            addresses.claim(*address, *at);
        }
        // A pod that changed may have dropped what its MAC yields, and may be in other objects: the claim stands again.
        for (address, at) in &derived {
            addresses.keep_claim(*address, *at);
            addresses.touch(*address);
        }
        let changed = |at: &u32| self.of_pod.get(at) != of_pod.get(at);
        for at in self.of_pod.keys().chain(of_pod.keys()).filter(|at| changed(at)) {
            let Some(seen) = pods.get(*at) else { continue };
            addresses_of(&seen.doc, world).for_each(|address| addresses.touch(address));
        }
        self.of_pod = of_pod;
        self.derived = derived;
    }

    /// The policies that the interfaces need, each with those that these interfaces had.
    pub(super) fn policies(&self, links: &[Link], around: &Surroundings<'_>) -> BTreeMap<PolicyKey, Vec<PolicyId>> {
        let mut wanted: BTreeMap<PolicyKey, Vec<PolicyId>> = BTreeMap::new();
        for link in links {
            for direction in Direction::BOTH {
                let before = wanted.entry(around.key(link, direction)).or_default();
                before.extend(self.told.get(&link.ifindex).map(|interface| match direction {
                    Direction::Egress => interface.egress,
                    Direction::Ingress => interface.ingress,
                }));
            }
        }
        wanted
    }

    /// Tells the interfaces that changed.
    pub(super) fn refresh(
        &mut self,
        links: &[Link],
        around: &Surroundings<'_>,
        policies: &Policies,
        addresses: &Addresses,
        changes: &mut Vec<Change>,
    ) {
        let mut now: BTreeMap<u32, Interface> = BTreeMap::new();
        for link in links {
            let id = |direction| policies.id(&around.key(link, direction));
            let (Some(egress), Some(ingress)) = (id(Direction::Egress), id(Direction::Ingress)) else {
                continue;
            };
            let identity = identify(link, around.pods);
            let own = around.addresses(link, identity, addresses);
            let interface = Interface {
                ifindex: link.ifindex,
                master: link.master,
                pod: (identity != Identity::Unknown).then(|| link.pod.clone()).flatten(),
                mac: link.mac,
                // A pod that is known before its addresses are is still free to use those that it will have.
                startup: match identity {
                    Identity::Pod(at) => around.pods.get(at).is_none_or(|seen| seen.doc.addresses.is_empty()),
                    Identity::Finished => false,
                    Identity::Unknown => true,
                },
                addresses: own,
                egress,
                ingress,
            };
            now.insert(link.ifindex, interface);
        }
        for (ifindex, interface) in &now {
            if self.told.get(ifindex) != Some(interface) {
                changes.push(Change::Interface(*ifindex, Some(Box::new(interface.clone()))));
            }
        }
        for ifindex in self.told.keys().filter(|ifindex| !now.contains_key(ifindex)) {
            changes.push(Change::Interface(*ifindex, None));
        }
        self.told = now;
    }

    /// All that was told, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Interface> {
        self.told.values()
    }
}

impl Surroundings<'_> {
    fn key(&self, link: &Link, direction: Direction) -> PolicyKey {
        let identity = identify(link, self.pods);
        let mut sides: Vec<OwnSide> = match identity {
            Identity::Pod(at) => vec![self.side(at, direction)],
            Identity::Finished => vec![OwnSide::nobody()],
            Identity::Unknown if self.startup != Startup::Guarded => Vec::new(),
            Identity::Unknown => self.candidates(direction),
        };
        sides.sort_unstable();
        sides.dedup();
        PolicyKey {
            direction,
            startup: identity == Identity::Unknown,
            sides,
        }
    }

    /// Every pod of this node that has no address yet; none: a pod that is in no object.
    fn candidates(&self, direction: Direction) -> Vec<OwnSide> {
        let waiting = self.pods.waiting.iter().copied();
        let local = waiting.filter(|at| self.pods.get(*at).is_some_and(|seen| self.world.is_local(&seen.doc)));
        let mut sides: Vec<OwnSide> = local.map(|at| self.side(at, direction)).collect();
        if sides.is_empty() {
            sides.push(OwnSide::nobody());
        }
        sides
    }

    fn side(&self, at: u32, direction: Direction) -> OwnSide {
        let Some(seen) = self.pods.get(at) else {
            return OwnSide::nobody();
        };
        let objects: &[ObjectId] = match seen.signature {
            Some(signature) => self.sets.objects(self.signatures.set_of(signature)),
            None => &[],
        };
        let counts = |id: &ObjectId| self.rules.speaks_of(Sel::object(*id), direction);
        let reached = direction == Direction::Ingress && self.local_node == LocalNodeMode::Probes;
        OwnSide {
            objects: objects.iter().copied().filter(counts).collect(),
            probes: if reached {
                seen.doc.probe_ports.as_slice().into()
            } else {
                Box::default()
            },
        }
    }

    /// What the interface may send from: the addresses that the pod has, and those of its link.
    fn addresses(&self, link: &Link, identity: Identity, addresses: &Addresses) -> Vec<Address> {
        let mut own = Vec::new();
        if let Identity::Pod(at) = identity
            && let Some(seen) = self.pods.get(at)
        {
            let has = |address: Address| {
                addresses.pod_of(address, |one, other| self.pods.goes_before(one, other)) == Some(at)
            };
            own.extend(
                seen.doc
                    .addresses
                    .iter()
                    .copied()
                    .filter(|address| is_usable(*address) && has(*address)),
            );
            own.extend(
                seen.doc
                    .link_local
                    .iter()
                    .copied()
                    .filter(|address| is_usable(*address)),
            );
        }
        if identity != Identity::Finished {
            own.extend(link_local(link.mac));
        }
        let mut seen = FxHashSet::default();
        own.retain(|address| seen.insert(*address));
        own
    }
}

impl OwnSide {
    fn nobody() -> Self {
        Self {
            objects: Box::default(),
            probes: Box::default(),
        }
    }
}
