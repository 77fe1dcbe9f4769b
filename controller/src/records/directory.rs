//! Who is who, for the reader of records: written by the world's writer, read as records arrive.
//!
//! The maps are shared (`dashmap`): the reader never waits for a policy change, the writer never for a flood of
//! records. What the reader finds out about an address it keeps until the world changes.
//!
//! A record is read some milliseconds after its verdict, a refusal kept in the kernel perhaps much later. Who was who then
//! is told by what the directory remembers: the world before the present one, by the generation that judged, and pods that
//! went or changed within [`REMEMBERED`], by the time of the verdict.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use cellwall_datapath::abi::{Cell, hook, record};
use cellwall_datapath::counters;
use cellwall_policy::compiled::RuleCard;
use cellwall_policy::evaluate::{Identities, What, objects_of_pod};
use cellwall_policy::model::{Action, Address, Name, Pod, Reason};
use cellwall_policy::world::{DocumentKey, World};
use dashmap::DashMap;
use jiff::Timestamp;

use super::flow::{FlowEnd, FlowRecord, Party, RuleName, Workload, protocol, tcp_flags};
use super::fold::Told;

/// Most addresses remembered between two changes of the world; a flood of sources may not fill the memory.
const MOST: usize = 65_536;
/// How long a pod that went or changed is remembered.
const REMEMBERED: u64 = 3_600_000_000_000;
/// Most addresses of such pods, and most that one address was within that time.
const MOST_FORMER: usize = 65_536;
const MOST_OF_ADDRESS: usize = 16;

/// A world, and what was found out about addresses in it: it goes with its world, so that nothing outlives a change.
#[derive(Debug)]
struct Snapshot {
    world: World,
    /// Generation in force when it came.
    generation: u32,
    /// Made when the first record asks.
    identities: OnceLock<Identities>,
    by_address: DashMap<IpAddr, Arc<Party>>,
}

impl Snapshot {
    fn of(world: World, generation: u32) -> Arc<Self> {
        Arc::new(Self {
            world,
            generation,
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

/// The world as it is, and as it was before.
#[derive(Debug, Clone)]
struct Snapshots {
    now: Arc<Snapshot>,
    before: Option<Arc<Snapshot>>,
}

/// Until when somebody was somebody, in nanoseconds of the monotonic clock.
type Former = VecDeque<(u64, Arc<Party>)>;

/// Who is who.
#[derive(Debug)]
pub struct Directory {
    node: String,
    snapshots: RwLock<Snapshots>,
    by_interface: DashMap<u32, Arc<Party>>,
    /// By address and by interface: pods that went or changed.
    former: DashMap<IpAddr, Former>,
    former_interfaces: DashMap<u32, Former>,
    rules: DashMap<u32, RuleCard>,
}

impl Directory {
    /// An empty directory of the node's agent.
    pub fn new(world: World) -> Self {
        Self {
            node: world.node().to_string(),
            snapshots: RwLock::new(Snapshots {
                now: Snapshot::of(world, 0),
                before: None,
            }),
            by_interface: DashMap::new(),
            former: DashMap::new(),
            former_interfaces: DashMap::new(),
            rules: DashMap::new(),
        }
    }

    /// The world has changed in `touched` and is what `generation` says: `interfaces` are those guarded now and the UIDs of
    /// their pods.
    pub fn world_changed(
        &self,
        world: World,
        generation: u32,
        touched: &[DocumentKey],
        interfaces: impl IntoIterator<Item = (u32, Option<Name>)>,
    ) {
        let now = monotonic();
        let snapshot = Snapshot::of(world, generation);
        let world = &snapshot.world;
        let mut snapshots = self.snapshots.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut snapshots.now, snapshot.clone());
        self.remember(&before.world, world, touched, now);
        // What an agent begins with knows nobody: no generation was judged by it.
        snapshots.before = (before.generation != 0).then_some(before);
        drop(snapshots);
        let mut seen = std::collections::BTreeSet::new();
        for (ifindex, uid) in interfaces {
            seen.insert(ifindex);
            let party = uid.and_then(|uid| world.pod(&uid).map(|pod| Party::of_pod(world, pod)));
            let party = Arc::new(party.unwrap_or_default());
            let was = self.by_interface.insert(ifindex, party.clone());
            if let Some(was) = was.filter(|was| *was != party) {
                former(&self.former_interfaces, ifindex, was, now);
            }
        }
        self.by_interface.retain(|ifindex, party| {
            let stays = seen.contains(ifindex);
            if !stays {
                former(&self.former_interfaces, *ifindex, party.clone(), now);
            }
            stays
        });
        let recent = |was: &mut Former| {
            was.retain(|(until, _)| now.saturating_sub(*until) < REMEMBERED);
            !was.is_empty()
        };
        self.former.retain(|_, was| recent(was));
        self.former_interfaces.retain(|_, was| recent(was));
    }

    /// Remembers the pods that are touched as they were.
    fn remember(&self, before: &World, world: &World, touched: &[DocumentKey], now: u64) {
        for key in touched {
            let DocumentKey::Pod(uid) = key else { continue };
            let Some(pod) = before.pod(uid) else { continue };
            if pod.host_network || world.pod(uid) == Some(pod) {
                continue;
            }
            let party = Arc::new(Party::of_pod(before, pod));
            for address in pod.addresses.iter().chain(&pod.link_local) {
                former(&self.former, address.ip(), party.clone(), now);
            }
        }
    }

    /// A rule's slot has this card now; slots that nobody has keep theirs, since records may still name them.
    pub fn rule(&self, slot: u32, card: RuleCard) {
        self.rules.insert(slot, card);
    }

    /// Who had an address when a generation judged, at a time of the monotonic clock.
    fn party(&self, ip: IpAddr, generation: u32, time: u64) -> Arc<Party> {
        if let Some(was) = self.former.get(&ip).and_then(|was| at(&was, time)) {
            return was;
        }
        let Snapshots { now, before } = self.snapshots.read().unwrap_or_else(PoisonError::into_inner).clone();
        if now.generation == 0 {
            // No world yet (an agent that began without its API server): nobody is anybody, not even the world outside.
            return Arc::default();
        }
        // Generations are compared by distance, since their numbers wrap.
        let older = generation.wrapping_sub(now.generation) > u32::MAX / 2;
        match before {
            Some(before) if older => before.party(ip),
            _ => now.party(ip),
        }
    }

    /// Whose interface that was, at a time.
    fn own(&self, ifindex: u32, time: u64) -> Option<Arc<Party>> {
        let was = self.former_interfaces.get(&ifindex).and_then(|was| at(&was, time));
        was.or_else(|| self.by_interface.get(&ifindex).map(|party| party.clone()))
    }

    /// What a record of the kernel says, in words. `wall` turns the kernel's monotonic nanoseconds into time.
    pub fn describe(&self, told: &Told, wall: impl Fn(u64) -> Timestamp) -> FlowRecord {
        let record = &told.record;
        let cell = Cell(record.cell);
        let time = wall(record.time);
        let icmp = matches!((record.protocol, record.family), (1, 4) | (58, 6));
        let (source, destination) = self.ends(told);
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
            hook: if record.hook == hook::FROM_POD {
                "FROM_POD"
            } else {
                "TO_POD"
            }
            .to_owned(),
            protocol: if record.family == 0 {
                String::new()
            } else {
                protocol(record.protocol, record.family == 4)
            },
            tcp_flags: (record.protocol == 6 && record.family != 0).then(|| tcp_flags(record.detail)),
            icmp_type: icmp.then_some(record.detail),
            source,
            destination,
            attempts: told.attempts,
            first_seen: time,
            last_seen: wall(told.last),
            overflow: told.overflow,
        }
    }

    /// Initiator and responder.
    fn ends(&self, told: &Told) -> (FlowEnd, FlowEnd) {
        let record = &told.record;
        // A clock that was set says nothing about who was there before or after.
        let time = record.time;
        let ports = record.flags & record::record_flags::PORTS != 0 && !told.overflow;
        let from_pod = record.hook == hook::FROM_POD;
        let own = self.own(record.ifindex, time);
        let end = |bytes: [u8; 16], port: u16, is_own: bool| {
            if told.overflow && !is_own {
                return FlowEnd::default();
            }
            let ip = ip(bytes, record.family);
            // The interface says who its own end is, whatever address the packet claims.
            let party = match (&own, is_own, ip) {
                (Some(own), true, _) => own.clone(),
                (_, _, Some(ip)) => self.party(ip, record.generation, time),
                (_, _, None) => Arc::default(),
            };
            FlowEnd {
                ip,
                port: ports.then_some(port),
                party,
            }
        };
        let sender = end(record.source, record.source_port, from_pod);
        let receiver = end(record.destination, record.destination_port, !from_pod);
        if record.flags & record::record_flags::REPLY != 0 {
            (receiver, sender)
        } else {
            (sender, receiver)
        }
    }
}

/// The clock of records.
fn monotonic() -> u64 {
    u64::try_from(counters::monotonic().as_nanos()).unwrap_or(u64::MAX)
}

/// Remembers who somebody was until now.
fn former<K: Eq + std::hash::Hash>(all: &DashMap<K, Former>, key: K, was: Arc<Party>, now: u64) {
    if all.len() >= MOST_FORMER && !all.contains_key(&key) {
        return;
    }
    let mut list = all.entry(key).or_default();
    if list.len() == MOST_OF_ADDRESS {
        list.pop_front();
    }
    list.push_back((now, was));
}

/// Who it was at a time; none: who it is now.
fn at(was: &Former, time: u64) -> Option<Arc<Party>> {
    was.iter()
        .find(|(until, _)| time <= *until)
        .map(|(_, party)| party.clone())
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
            workload: workload(pod),
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
}

/// What owns a pod. A Deployment's pods are owned by a ReplicaSet whose name ends in the hash that the pods are labelled
/// with: then it is the Deployment that people know.
fn workload(pod: &Pod) -> Option<Workload> {
    let (kind, name) = pod.owner.as_deref()?.split_once('/')?;
    let hash = pod.labels.get("pod-template-hash").unwrap_or_default();
    let deployment = name.strip_suffix(hash).and_then(|name| name.strip_suffix('-'));
    let (kind, name) = match deployment {
        Some(deployment) if kind == "ReplicaSet" && !hash.is_empty() => ("Deployment", deployment),
        _ => (kind, name),
    };
    Some(Workload {
        kind: kind.to_owned(),
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests;
