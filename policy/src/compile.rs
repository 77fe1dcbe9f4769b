//! The compiler: from the world to tables that answer with two lookups.
//!
//! [`Compiler::update`] takes the keys of the documents that changed and answers the changes of the compiled state;
//! folding all changes since the first update gives the whole state ([`Image`]). The result depends on the world and
//! the links alone, never on the order of events: only numbers and [`crate::compiled::AddressEntry::since`] do.
//!
//! The way of a change: documents move *objects* in and out of *signatures* (what selectors can see of a pod), whose
//! sets of objects are the *identities* that addresses have; rules are filed by their two sides; each *policy* (an
//! own side and a direction) has a table for every class of peer, and an entry for every peer whose table differs.

mod addresses;
mod backends;
mod candidates;
mod cells;
pub(crate) mod flatten;
mod ids;
mod image;
mod image_name;
mod interfaces;
mod matching;
mod news;
mod nodes;
mod objects;
mod pods;
mod policies;
mod ranges;
mod reach;
mod released;
mod rules;
mod selector;
mod services;
mod sets;
mod signatures;
mod text;
mod todo;
mod touched;
mod verdicts;

pub use image::Image;
pub use reach::{Reach, Selected};

use crate::compiled::{Change, PeerClass, PeerId, RuleSlot, TableId};
use crate::diagnostic::{Diagnostic, Problem, Severity};
use crate::model::{Address, Defense, Name};
use crate::world::{DocumentKey, World};

use addresses::{Addresses, Claimed, Owner, Serial};
use interfaces::{Interfaces, Surroundings};
use nodes::Nodes;
use objects::Objects;
use pods::{Pods, Rooms};
use policies::Policies;
use ranges::Ranges;
use rules::Rules;
use selector::ObjectId;
use services::{Services, View};
use sets::Sets;
use signatures::Signatures;
use todo::Dirt;
use touched::Touched;
use verdicts::Judge;

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
    /// Conditions that hold after this update and that only the compiler sees: addresses with several owners.
    pub diagnostics: Vec<Diagnostic>,
}

/// The compiled state of one node.
#[derive(Debug)]
pub struct Compiler {
    node: Name,
    fresh: bool,
    serial: Serial,
    defense: Defense,
    objects: Objects,
    rules: Rules,
    signatures: Signatures,
    sets: Sets,
    pods: Pods,
    nodes: Nodes,
    addresses: Addresses,
    ranges: Ranges,
    services: Services,
    interfaces: Interfaces,
    policies: Policies,
    /// The distinct sets of objects of the pods that have no address yet.
    waiting: Vec<Box<[ObjectId]>>,
}

impl Compiler {
    /// An empty compiler for the node of this name.
    pub fn new(node: impl Into<Name>) -> Self {
        Self {
            node: node.into(),
            fresh: true,
            serial: 0,
            defense: Defense::default(),
            objects: Objects::default(),
            rules: Rules::default(),
            signatures: Signatures::default(),
            sets: Sets::default(),
            pods: Pods::default(),
            nodes: Nodes::default(),
            addresses: Addresses::default(),
            ranges: Ranges::new(),
            services: Services::default(),
            interfaces: Interfaces::default(),
            policies: Policies::default(),
            waiting: vec![Box::default()],
        }
    }

    /// Name of the node.
    pub fn node(&self) -> &Name {
        &self.node
    }

    /// Makes rules keep the slots that they had in an earlier process: (slot, name, uid). Before the first update;
    /// that update answers the slots that nobody has any more as gone.
    pub fn adopt_rules(&mut self, slots: impl IntoIterator<Item = (RuleSlot, Name, Name)>) {
        for (slot, name, uid) in slots {
            self.rules.adopt(slot.0, name, uid);
        }
    }

    /// Brings the compiled state to `world` and `links` (all guarded interfaces). `touched` names every document
    /// that changed, appeared or went since the last update; at the first one it is ignored and all count.
    /// `generation` is the number under which the changes will count.
    pub fn update(&mut self, world: &World, touched: &[DocumentKey], links: &[Link], generation: u32) -> Update {
        self.settle();
        let mut changes = Vec::new();
        let mut dirt = Dirt::default();
        if std::mem::take(&mut self.fresh) {
            dirt.all = true;
            self.read(world, &Touched::everything(world), &mut dirt);
            self.rules.forget_adopted();
        } else {
            self.read(world, &Touched::new(touched), &mut dirt);
        }
        let settled = self.signatures.settle_sets(&mut self.sets);
        for at in settled.moved {
            let Some(seen) = self.pods.get(at) else { continue };
            pods::addresses_of(&seen.doc, world).for_each(|address| self.addresses.touch(address));
        }
        self.interfaces.observe(links, &self.pods, world, &mut self.addresses);
        self.tell_addresses(world, generation, &mut changes);
        self.find_waiting(&mut dirt);
        let view = View {
            world,
            pods: &self.pods,
            nodes: &self.nodes,
            addresses: &self.addresses,
            ranges: &self.ranges,
        };
        self.services.refresh(&view, &mut changes);
        self.tell_policies(world, links, &mut dirt, &mut changes);
        for id in self.policies.tables.take_touched() {
            changes.push(Change::Table(TableId(id), self.policies.tables.get(id).cloned()));
        }
        changes.append(&mut self.rules.take_cards());
        self.sets.sweep();
        Update {
            changes,
            diagnostics: self.conflicts(),
        }
    }

    /// Numbers given back in the last update may be used again.
    fn settle(&mut self) {
        self.objects.settle();
        self.rules.settle();
        self.signatures.settle();
        self.sets.settle();
        self.pods.settle();
        self.services.settle();
        self.policies.settle();
    }

    /// Takes the documents in.
    fn read(&mut self, world: &World, touched: &Touched, dirt: &mut Dirt) {
        if touched.defense {
            self.read_defense(world, dirt);
        }
        for name in &touched.rules {
            self.rules.replace(name, world.rule(name), &mut self.objects);
        }
        self.rules.put_in_order();
        for name in &touched.objects {
            self.objects.replace(name, world.object(name));
        }
        for rematch in self.objects.take_rematches() {
            self.signatures
                .rematch(rematch.id, rematch.old.as_deref(), rematch.new.as_deref());
            self.ranges
                .rematch(rematch.id, rematch.old.as_deref(), rematch.new.as_deref());
        }
        for name in &touched.namespaces {
            self.signatures.namespace_changed(name, world, &self.objects);
        }
        self.read_pods(world, touched);
        for name in &touched.nodes {
            self.nodes.touch(name, world, &mut self.serial);
        }
        let refreshed = self.nodes.refresh(world, &mut self.addresses, &mut self.ranges);
        if !refreshed.enforcement.is_empty() && !touched.every_pod {
            for (_, seen) in self.pods.iter() {
                if refreshed.enforcement.contains(world.node_of(&seen.doc)) {
                    pods::addresses_of(&seen.doc, world).for_each(|address| self.addresses.touch(address));
                }
            }
        }
        for key in &touched.services {
            self.services
                .replace(key, world.service(key), &mut self.addresses, &mut self.serial);
        }
        for key in &touched.slices {
            self.services.replace_slice(key, world.slice(key));
        }
        for at in std::mem::take(&mut self.pods.host_ports_changed) {
            self.services.touch_host_ports(at);
        }
        if !refreshed.addresses.is_empty() {
            let on_them = self
                .pods
                .with_host_ports
                .iter()
                .filter(|(_, node)| refreshed.addresses.contains(node));
            on_them.for_each(|(at, _)| self.services.touch_host_ports(*at));
        }
    }

    fn read_pods(&mut self, world: &World, touched: &Touched) {
        let mut rooms = Rooms {
            world,
            objects: &self.objects,
            signatures: &mut self.signatures,
            addresses: &mut self.addresses,
            nodes: &mut self.nodes,
            serial: &mut self.serial,
        };
        if touched.every_pod {
            self.pods.reserve(world.pods().len());
            rooms.addresses.reserve(world.pods().len());
            for pod in world.pods() {
                self.pods.replace(&pod.uid, Some(pod), &mut rooms);
            }
        }
        for uid in &touched.pods {
            self.pods.replace(uid, world.pod(uid), &mut rooms);
        }
    }

    fn read_defense(&mut self, world: &World, dirt: &mut Dirt) {
        let new = world.defense();
        dirt.all |= new.local_node != self.defense.local_node || new.startup != self.defense.startup;
        self.ranges.replace_pod_ranges(&self.defense.pod_cidrs, &new.pod_cidrs);
        self.defense = new;
    }

    /// Tells who has the addresses and ranges that changed.
    fn tell_addresses(&mut self, world: &World, generation: u32, changes: &mut Vec<Change>) {
        let ranges_changed = self.ranges.is_dirty();
        if ranges_changed {
            let fixed = self.addresses.of_nodes_and_services();
            let within: Vec<Address> = fixed.filter(|address| self.ranges.is_touched(*address)).collect();
            for address in within {
                self.addresses.touch(address);
            }
            for (cidr, before, after) in self.ranges.refresh(&mut self.sets, changes) {
                self.services.count_node_peer(before, after, cidr.is_v4());
            }
        }
        for address in self.addresses.take_dirty() {
            let owner = self.owner(address, world);
            let told = self.addresses.tell(address, owner, generation, &mut self.sets, changes);
            if let Some((before, after)) = told {
                self.services.address_changed(address, before, after);
            }
        }
        if ranges_changed {
            self.services.ranges_changed(&self.addresses);
        }
    }

    /// Who has the address now.
    fn owner(&mut self, address: Address, world: &World) -> Option<Owner> {
        let exact = |class, serial, sets: &mut Sets, objects: &[ObjectId]| Owner {
            serial,
            peer: PeerId::new(class, sets.intern(objects)),
            ifindex: 0,
        };
        match self
            .addresses
            .claimed(address, |one, other| self.pods.goes_before(one, other))
        {
            Claimed::Pod(at) => {
                let seen = self.pods.get(at)?;
                let set = self.signatures.set_of(seen.signature?);
                let local = world.is_local(&seen.doc);
                let class = match (local, world.enforces(world.node_of(&seen.doc))) {
                    (true, _) => PeerClass::LocalPod,
                    (false, true) => PeerClass::RemotePod,
                    (false, false) => PeerClass::UnguardedPod,
                };
                Some(Owner {
                    serial: seen.serial,
                    peer: PeerId::new(class, set),
                    ifindex: if local { self.interfaces.of_pod(at) } else { 0 },
                })
            }
            Claimed::Nodes(nodes) => {
                let (local, serial) = self.nodes.owner(nodes);
                let class = if local { PeerClass::LocalNode } else { PeerClass::Node };
                Some(exact(class, serial, &mut self.sets, &self.ranges.objects_of(address)))
            }
            Claimed::Service(listed, serial) => {
                let class = PeerClass::from(listed);
                let external = class == PeerClass::ExternalIp;
                let objects = if external {
                    self.ranges.objects_of(address)
                } else {
                    Vec::new()
                };
                Some(exact(class, serial, &mut self.sets, &objects))
            }
            Claimed::Nobody => None,
        }
    }

    /// Finds the distinct identities of pods that have no address yet.
    fn find_waiting(&mut self, dirt: &mut Dirt) {
        let signatures = self.pods.waiting.iter().filter_map(|at| self.pods.get(*at)?.signature);
        let sets: std::collections::BTreeSet<u32> = signatures.map(|id| self.signatures.set_of(id)).collect();
        let mut waiting: Vec<Box<[ObjectId]>> = sets.into_iter().map(|set| self.sets.objects(set).into()).collect();
        waiting.sort_unstable();
        if waiting.is_empty() {
            waiting.push(Box::default());
        }
        dirt.waiting = waiting != self.waiting;
        self.waiting = waiting;
    }

    /// Tells the policies and interfaces that changed.
    fn tell_policies(&mut self, world: &World, links: &[Link], dirt: &mut Dirt, changes: &mut Vec<Change>) {
        dirt.peers = self.sets.take_changed();
        dirt.pairs = self.rules.take_changed();
        dirt.contents = self.services.contents.take_touched();
        let around = Surroundings {
            world,
            pods: &self.pods,
            signatures: &self.signatures,
            sets: &self.sets,
            rules: &self.rules,
            local_node: self.defense.local_node,
            startup: self.defense.startup,
        };
        let judge = Judge {
            rules: &self.rules,
            sets: &self.sets,
            local_node: self.defense.local_node,
            startup: self.defense.startup,
            waiting: &self.waiting,
        };
        let wanted = self.interfaces.policies(links, &around);
        let fresh = self.policies.want(&wanted, changes);
        self.policies
            .refresh(&judge, &self.services.contents, dirt, &fresh, changes);
        self.interfaces
            .refresh(links, &around, &self.policies, &self.addresses, changes);
    }

    /// Addresses that several live pods say they have.
    fn conflicts(&self) -> Vec<Diagnostic> {
        let mut found: Vec<Diagnostic> = self
            .addresses
            .contested()
            .map(|(at, pods)| self.conflict(at, pods))
            .collect();
        found.sort_unstable();
        found
    }

    fn conflict(&self, address: Address, pods: &[u32]) -> Diagnostic {
        let mut pods: Vec<u32> = pods.to_vec();
        pods.sort_by(|one, other| {
            if self.pods.goes_before(*one, *other) {
                std::cmp::Ordering::Less
            } else {
                std::cmp::Ordering::Greater
            }
        });
        let full = |at: &u32| {
            self.pods
                .get(*at)
                .map(|seen| format!("{}/{}", seen.doc.namespace, seen.doc.name))
        };
        let names: Vec<String> = pods
            .iter()
            .filter_map(full)
            .map(|name| name.escape_debug().to_string())
            .collect();
        Diagnostic {
            severity: Severity::Error,
            problem: Problem::AddressConflict,
            kind: "Pod",
            name: names.first().cloned().unwrap_or_default(),
            field: "status.podIPs",
            message: format!(
                "{address} is the address of {}: the first of them, created last, has it; delete the others or find out why their network gave it out twice",
                names.join(", ")
            ),
        }
    }

    /// The whole compiled state: what all changes so far add up to.
    pub fn image(&self) -> Image {
        let table = |(id, table): (u32, &std::sync::Arc<crate::compiled::Table>)| (TableId(id), table.clone());
        Image {
            interfaces: self
                .interfaces
                .iter()
                .map(|interface| (interface.ifindex, interface.clone()))
                .collect(),
            addresses: self.addresses.iter().collect(),
            prefixes: self.ranges.iter().collect(),
            service_ports: self.services.iter().collect(),
            policies: self
                .policies
                .iter()
                .map(|(policy, peer, table)| ((policy, peer), table))
                .collect(),
            tables: self.policies.tables.iter().map(table).collect(),
            rules: self.rules.cards().collect(),
        }
    }
}
