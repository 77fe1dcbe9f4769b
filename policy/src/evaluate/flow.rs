//! What happens to a flow on its whole way: at the sender's hook, and where another hook sees it, there too.

use std::sync::Arc;

use super::Packet;
use super::answer::{Answer, Judgement};
use super::ends::{Kind, Own, Peer};
use super::hook::judge;
use super::identity::{addresses_of_node, identify, is_guardable};
use super::question::{End, Question, QuestionError};
use crate::model::{Action, Address, Entity, Hook, Name, Pod, Reason};
use crate::world::World;

/// Answers a question.
///
/// A pod's packets are judged at its own hook, and again at the hook of the pod they reach, if that is on another node
/// that enforces; the stricter verdict counts. Packets of others are judged where they reach a pod.
pub fn evaluate(world: &World, question: &Question) -> Result<Answer, QuestionError> {
    let from = Resolved::new(world, &question.from)?;
    let to = Resolved::new(world, &question.to)?;
    let v4 = family(question, &from, &to)?;
    let packet = Packet {
        protocol: question.protocol.over(v4),
        port: question.port,
        v4,
    };
    let mode = world.defense().mode;
    let enforced = |own: &Own| world.enforces(own.node(world));
    let from_hook = from.own.as_ref().filter(|own| enforced(own));
    let to_hook = to.own.as_ref().filter(|own| enforced(own));
    let sent = from_hook.map(|own| judge(world, Hook::FromPod, own, &to.peer(world, v4), packet));
    let at_arrival = || to_hook.map(|own| judge(world, Hook::ToPod, own, &from.peer(world, v4), packet));
    let answer = match (from_hook, to_hook, sent) {
        // A flow between two pods of one node is decided once.
        (Some(one), Some(other), Some(sent)) if one.node(world) == other.node(world) => Some(sent),
        (_, _, Some(sent)) if sent.verdict == Action::Drop => Some(sent),
        (_, _, Some(sent)) => match at_arrival() {
            Some(arrived) if arrived.verdict > sent.verdict => Some(arrived),
            _ => Some(sent),
        },
        (_, _, None) => at_arrival(),
    };
    Ok(answer.unwrap_or_else(|| Judgement::bare(Action::Pass, Reason::NotEnforced).answer(None, mode)))
}

/// An end, looked up.
struct Resolved {
    /// The pod whose interface is the end, where it is a pod.
    own: Option<Own>,
    /// Addresses by which it may be reached, the preferred first; empty: any family will do.
    addresses: Vec<Address>,
    /// What it is where it has no address.
    unaddressed: Peer,
    /// Whether it has link-local addresses too.
    on_link: bool,
}

impl Resolved {
    fn new(world: &World, end: &End) -> Result<Self, QuestionError> {
        Ok(match end {
            End::Pod(namespace, name) => Self::pod(world, &pod_named(world, namespace, name)?),
            End::Address(address) => Self {
                own: identify(world, *address).pod().cloned().map(Own::Pod),
                addresses: vec![*address],
                unaddressed: Peer::member(Entity::Any),
                on_link: false,
            },
            End::Member(entity) => Self {
                own: (*entity == Entity::Cluster).then_some(Own::SomePod),
                addresses: Vec::new(),
                unaddressed: Peer::member(*entity),
                on_link: true,
            },
        })
    }

    fn pod(world: &World, pod: &Arc<Pod>) -> Self {
        if is_guardable(pod) {
            return Self {
                own: Some(Own::Pod(pod.clone())),
                addresses: pod.addresses.clone(),
                unaddressed: Peer::unaddressed(Kind::Pod(pod.clone()), super::objects_of_pod(world, pod)),
                on_link: !pod.link_local.is_empty(),
            };
        }
        let node = world.node_of(pod);
        let addresses = if pod.addresses.is_empty() {
            addresses_of_node(world, node)
        } else {
            pod.addresses.clone()
        };
        Self {
            own: None,
            addresses,
            unaddressed: Peer::unaddressed(Kind::Node(vec![node.clone()]), Vec::new()),
            on_link: false,
        }
    }

    /// The end as the hook of the other one sees it: by its address, where it has one.
    fn peer(&self, world: &World, v4: bool) -> Peer {
        let address = self.addresses.iter().find(|address| address.is_v4() == v4);
        address.map_or_else(|| self.unaddressed.clone(), |address| identify(world, *address).into())
    }

    fn has(&self, v4: bool) -> bool {
        self.addresses.is_empty() || self.addresses.iter().any(|address| address.is_v4() == v4)
    }

    /// Whether the end is one address that never leaves a link.
    fn stays_on_link(&self) -> bool {
        let on_link = |address: &Address| address.is_link_local() || address.is_multicast_or_broadcast();
        !self.addresses.is_empty() && self.addresses.iter().all(on_link)
    }
}

/// The pod of this name: the live one, of several the one created last.
fn pod_named(world: &World, namespace: &Name, name: &Name) -> Result<Arc<Pod>, QuestionError> {
    let named = world
        .pods()
        .filter(|pod| pod.namespace == *namespace && pod.name == *name);
    let latest = named.max_by_key(|pod| (pod.phase.is_live(), pod.created, pod.uid.clone()));
    let (namespace, name) = (namespace.clone(), name.clone());
    match latest {
        None => Err(QuestionError::NoSuchPod { namespace, name }),
        Some(pod) if !pod.phase.is_live() => Err(QuestionError::PodEnded { namespace, name }),
        Some(pod) => Ok(pod.clone()),
    }
}

/// The family of the question, true for IPv4: the protocol's own, else the first of TO that FROM has too.
fn family(question: &Question, from: &Resolved, to: &Resolved) -> Result<bool, QuestionError> {
    if let Some(v4) = question.protocol.family() {
        let lacks = [(from, &question.from), (to, &question.to)]
            .into_iter()
            .find(|(end, _)| !end.has(v4));
        return match lacks {
            None => Ok(v4),
            Some((_, end)) => Err(QuestionError::WrongFamily {
                protocol: question.protocol,
                family: if v4 { "IPv4" } else { "IPv6" },
                end: end.clone(),
            }),
        };
    }
    if to.addresses.is_empty() {
        return Ok(from.addresses.first().is_none_or(|address| address.is_v4()));
    }
    // Every interface with link-local addresses can speak to its link, whatever else it has.
    let reaches = |v4: bool| from.has(v4) || (!v4 && from.on_link && to.stays_on_link());
    let common = to
        .addresses
        .iter()
        .map(|address| address.is_v4())
        .find(|v4| reaches(*v4));
    common.ok_or_else(|| QuestionError::NoCommonFamily {
        from: question.from.clone(),
        to: question.to.clone(),
    })
}
