//! Who is who, for the reader of records: written by the world's writer, read as records arrive.
//!
//! The maps are shared (`dashmap`): the reader never waits for a policy change, the writer never for a flood of
//! records. What the reader finds out about an address it keeps until the world changes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use cellwall_datapath::abi::{Cell, Record, hook, record};
use cellwall_policy::compiled::RuleCard;
use cellwall_policy::evaluate::{Identities, What, objects_of_pod};
use cellwall_policy::model::{Action, Address, Name, Pod, Reason};
use cellwall_policy::world::World;
use dashmap::DashMap;
use jiff::Timestamp;

use super::flow::{FlowEnd, FlowRecord, RuleName, protocol, tcp_flags};

/// Most addresses remembered between two changes of the world; a flood of sources may not fill the memory.
const MOST: usize = 65_536;

/// What is told of one end, without its port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "as in FlowEnd")]
pub struct Party {
    pub namespace: Option<String>,
    pub pod: Option<String>,
    pub uid: Option<String>,
    pub app: Option<String>,
    pub images: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub objects: Vec<String>,
    pub entity: Option<String>,
}

/// A world, and what was found out about addresses in it: it goes with its world, so that nothing outlives a change.
#[derive(Debug)]
struct Snapshot {
    world: World,
    /// Made when the first record asks.
    identities: OnceLock<Identities>,
    by_address: DashMap<IpAddr, Arc<Party>>,
}

impl Snapshot {
    fn of(world: World) -> Arc<Self> {
        Arc::new(Self {
            world,
            identities: OnceLock::new(),
            by_address: DashMap::new(),
        })
    }

    fn party(&self, ip: IpAddr) -> Arc<Party> {
        if let Some(known) = self.by_address.get(&ip) {
            return known.clone();
        }
        let party = Arc::new(Party::of_address(self, ip));
        if self.by_address.len() < MOST {
            self.by_address.insert(ip, party.clone());
        }
        party
    }
}

/// Who is who.
#[derive(Debug)]
pub struct Directory {
    node: String,
    snapshot: RwLock<Arc<Snapshot>>,
    by_interface: DashMap<u32, Arc<Party>>,
    rules: DashMap<u32, RuleCard>,
}

impl Directory {
    /// An empty directory of the node's agent.
    pub fn new(world: World) -> Self {
        Self {
            node: world.node().to_string(),
            snapshot: RwLock::new(Snapshot::of(world)),
            by_interface: DashMap::new(),
            rules: DashMap::new(),
        }
    }

    /// The world has changed: `interfaces` are those guarded now and the UIDs of their pods.
    pub fn world_changed(&self, world: World, interfaces: impl IntoIterator<Item = (u32, Option<Name>)>) {
        let snapshot = Snapshot::of(world);
        let world = &snapshot.world;
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot.clone();
        let mut seen = std::collections::BTreeSet::new();
        for (ifindex, uid) in interfaces {
            seen.insert(ifindex);
            let party = uid.and_then(|uid| world.pod(&uid).map(|pod| Party::of_pod(world, pod)));
            self.by_interface.insert(ifindex, Arc::new(party.unwrap_or_default()));
        }
        self.by_interface.retain(|ifindex, _| seen.contains(ifindex));
    }

    /// A rule's slot has this card now; slots that nobody has keep theirs, since records may still name them.
    pub fn rule(&self, slot: u32, card: RuleCard) {
        self.rules.insert(slot, card);
    }

    fn party(&self, ip: IpAddr) -> Arc<Party> {
        let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone();
        snapshot.party(ip)
    }

    /// What a record of the kernel says, in words. `wall` turns the kernel's monotonic nanoseconds into time.
    pub fn describe(&self, record: &Record, wall: impl Fn(u64) -> Timestamp) -> FlowRecord {
        let cell = Cell(record.cell);
        let time = wall(record.time);
        let reply = record.flags & record::record_flags::REPLY != 0;
        let ports = record.flags & record::record_flags::PORTS != 0;
        let icmp = matches!((record.protocol, record.family), (1, 4) | (58, 6));
        let from_pod = record.hook == hook::FROM_POD;
        let own = self.by_interface.get(&record.ifindex).map(|party| party.clone());
        let end = |bytes: [u8; 16], port: u16, is_own: bool| {
            let ip = ip(bytes, record.family);
            // The interface says who its own end is, whatever address the packet claims.
            let party = match (&own, is_own, ip) {
                (Some(own), true, _) => own.clone(),
                (_, _, Some(ip)) => self.party(ip),
                (_, _, None) => Arc::default(),
            };
            party.end(ip, ports.then_some(port))
        };
        let sender = end(record.source, record.source_port, from_pod);
        let receiver = end(record.destination, record.destination_port, !from_pod);
        let (source, destination) = if reply { (receiver, sender) } else { (sender, receiver) };
        let rule = self
            .rules
            .get(&cell.slot())
            .filter(|_| cell.slot() != Cell::NO_RULE)
            .map(|card| card.clone());
        FlowRecord {
            time,
            node: self.node.clone(),
            verdict: action(cell.action()).verdict().to_owned(),
            action: rule.as_ref().map(|card| card.action.to_string()),
            applied: if record.dropped == 0 { "Pass" } else { "Drop" }.to_owned(),
            reason: reason(cell.reason()),
            rule: rule.map(|card| RuleName {
                name: card.name.to_string(),
                uid: card.uid.to_string(),
                priority: card.priority,
            }),
            generation: record.generation,
            hook: if from_pod { "FROM_POD" } else { "TO_POD" }.to_owned(),
            protocol: if record.family == 0 {
                String::new()
            } else {
                protocol(record.protocol, record.family == 4)
            },
            tcp_flags: (record.protocol == 6 && record.family != 0).then(|| tcp_flags(record.detail)),
            icmp_type: icmp.then_some(record.detail),
            source,
            destination,
            attempts: 1,
            first_seen: time,
            last_seen: time,
        }
    }
}

fn ip(bytes: [u8; 16], family: u8) -> Option<IpAddr> {
    let v6 = Ipv6Addr::from(bytes);
    match family {
        4 => v6.to_ipv4_mapped().map(IpAddr::V4),
        6 => Some(IpAddr::V6(v6)),
        _ => None,
    }
}

/// The action of a cell's number.
pub fn action(number: u32) -> Action {
    match number {
        0 => Action::Pass,
        1 => Action::Alert,
        _ => Action::Drop,
    }
}

/// The reason of a cell's number, in the words of records.
pub fn reason(number: u32) -> String {
    let known = u8::try_from(number).ok().and_then(Reason::from_number);
    known.map_or_else(|| format!("REASON_{number}"), |reason| reason.name().to_owned())
}

impl Party {
    fn of_pod(world: &World, pod: &Pod) -> Self {
        let texts = |names: &[Name]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        Self {
            namespace: Some(pod.namespace.to_string()),
            pod: Some(pod.name.to_string()),
            uid: Some(pod.uid.to_string()),
            app: pod.app().map(str::to_owned),
            images: texts(&pod.images),
            labels: pod.labels.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            objects: texts(&objects_of_pod(world, pod)),
            entity: Some("Cluster".to_owned()),
        }
    }

    fn of_address(snapshot: &Snapshot, ip: IpAddr) -> Self {
        let world = &snapshot.world;
        let identities = snapshot.identities.get_or_init(|| Identities::of(world));
        let identity = identities.identify(Address::new(ip));
        match &identity.what {
            What::Pod(pod) => Self::of_pod(world, pod),
            _ => Self {
                objects: identity.objects.iter().map(ToString::to_string).collect(),
                entity: match identity.entity(world.node()) {
                    cellwall_policy::model::Entity::Any => None,
                    entity => Some(entity.name().to_owned()),
                },
                ..Self::default()
            },
        }
    }

    fn end(&self, ip: Option<IpAddr>, port: Option<u16>) -> FlowEnd {
        let Self {
            namespace,
            pod,
            uid,
            app,
            images,
            labels,
            objects,
            entity,
        } = self.clone();
        FlowEnd {
            ip,
            port,
            namespace,
            pod,
            uid,
            app,
            images,
            labels,
            objects,
            entity,
        }
    }
}
