//! What the compiler decides, as values: the contract between this crate and the datapath.
//!
//! A verdict is found in at most two steps: (policy, peer) names a [`Table`]; where there is no such entry,
//! (policy, the peer's class alone) does. A table answers every protocol and port, priorities already resolved.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::model::{Action, Address, Cidr, Name, Reason, Transport};

/// What kind of peer an address is. Four bits of a [`PeerId`]; numbers are part of the kernel ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PeerClass {
    /// No pod, node, Service or pod-range address. Also what an address without any entry is.
    World = 0,
    /// A pod of this node.
    LocalPod = 1,
    /// A pod of another node that enforces.
    RemotePod = 2,
    /// A pod of another node that reports no enforcement: no hook will see the packet again.
    UnguardedPod = 3,
    /// Another node.
    Node = 4,
    /// This node, and link-local addresses that are no pod's.
    LocalNode = 5,
    /// A cluster IP. As destination at a port that is not the Service's, and as source: in `Any` alone.
    ClusterIp = 6,
    /// An external or load-balancer IP. As destination at another port: `World` and `cidrs`; as source: `Any` alone.
    ExternalIp = 7,
    /// Multicast and broadcast: in `Any` and `cidrs`.
    Multicast = 8,
    /// A pod-range address without identity.
    Unresolved = 9,
    /// Not an address: a Service port (or a node's node port or host port), standing for its backends.
    ServicePort = 10,
}

impl PeerClass {
    /// All classes, by number.
    pub const ALL: [Self; 11] = [
        Self::World,
        Self::LocalPod,
        Self::RemotePod,
        Self::UnguardedPod,
        Self::Node,
        Self::LocalNode,
        Self::ClusterIp,
        Self::ExternalIp,
        Self::Multicast,
        Self::Unresolved,
        Self::ServicePort,
    ];
}

/// A peer: its class in the top four bits, below them a number that stands for the set of objects it is in
/// (for a Service port: its backends). Numbers are given out by the compiler and reused only after a generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

impl PeerId {
    /// The number that stands for "in no object that any rule names": such a peer is judged by its class alone.
    pub const PLAIN: u32 = 0x0fff_ffff;

    /// The peer `number` of `class`; only the low 28 bits of `number` count.
    pub fn new(class: PeerClass, number: u32) -> Self {
        Self((class as u32) << 28 | (number & Self::PLAIN))
    }

    /// The fallback entry of `class`.
    pub fn plain(class: PeerClass) -> Self {
        Self::new(class, Self::PLAIN)
    }

    /// The class.
    pub fn class(self) -> PeerClass {
        PeerClass::ALL
            .get((self.0 >> 28) as usize)
            .copied()
            .unwrap_or(PeerClass::World)
    }

    /// The number within the class.
    pub fn number(self) -> u32 {
        self.0 & Self::PLAIN
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number() {
            Self::PLAIN => write!(f, "{:?}:-", self.class()),
            number => write!(f, "{:?}:{number}", self.class()),
        }
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident,)*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);
    )* };
}

ids! {
    /// One direction of one distinct own side (identity, probe ports, startup candidates): many pods share it.
    PolicyId,
    /// A distinct [`Table`].
    TableId,
    /// The slot of a rule's counters and name; 20 bits.
    RuleSlot,
}

/// The verdict for one protocol and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// What happens.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The rule credited.
    pub rule: Option<RuleSlot>,
    /// An Alert here is logged by another node (the one where the packet reaches its pod).
    pub quiet_alert: bool,
    /// Under `AlertOnly`, a Drop here is logged by another node (the sender's).
    pub quiet_drop: bool,
    /// The rule credited passes or alerts, and one of its port entries names the port, or the protocol by its number
    /// (a transport as a whole, `Any` without a port and rules without entries name nothing): encapsulation from a pod
    /// to a node's address is refused where this is not set.
    pub named: bool,
}

impl Cell {
    /// No rule applies.
    pub const NO_RULE: Self = Self {
        action: Action::Pass,
        reason: Reason::NoRule,
        rule: None,
        quiet_alert: false,
        quiet_drop: false,
        named: false,
    };
}

/// A function from 0..=65535 to cells: each entry holds from its start up to the next start. Never empty, starts
/// at 0, starts ascend, neighbours differ: equal functions are equal values. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spans(Entries);

/// Most functions are constant: those have their cell here, and nothing beside; none of them is among the others.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entries {
    One([(u16, Cell); 1]),
    Many(Arc<[(u16, Cell)]>),
}

impl Spans {
    /// The same cell everywhere.
    pub const fn constant(cell: Cell) -> Self {
        Self(Entries::One([(0, cell)]))
    }

    /// Builds from entries in ascending order; merges equal neighbours. The first entry is taken to start at 0.
    pub fn from_sorted(entries: impl IntoIterator<Item = (u16, Cell)>) -> Option<Self> {
        let mut entries = entries.into_iter();
        let (start, first) = entries.next()?;
        let Some(other) = entries.find(|(_, cell)| *cell != first) else {
            return Some(Self::constant(first));
        };
        let mut spans: Vec<(u16, Cell)> = vec![(start, first)];
        for (start, cell) in std::iter::once(other).chain(entries) {
            match spans.last_mut() {
                Some((_, last)) if *last == cell => {}
                Some((last_start, last)) if *last_start == start => *last = cell,
                _ => spans.push((start, cell)),
            }
        }
        spans[0].0 = 0;
        // Replacing a cell in place may have made two neighbours equal.
        spans.dedup_by(|later, earlier| later.1 == earlier.1);
        Some(match *spans {
            [one] => Self(Entries::One([one])),
            _ => Self(Entries::Many(spans.into())),
        })
    }

    /// The entries: (first port, cell).
    pub fn entries(&self) -> &[(u16, Cell)] {
        match &self.0 {
            Entries::One(one) => one,
            Entries::Many(many) => many,
        }
    }

    /// The cell at `port`.
    pub fn at(&self, port: u16) -> Cell {
        let entries = self.entries();
        let after = entries.partition_point(|(start, _)| *start <= port);
        entries[after.saturating_sub(1)].1
    }

    /// The one cell, where it is the same everywhere.
    pub const fn as_constant(&self) -> Option<Cell> {
        match &self.0 {
            Entries::One([(_, cell)]) => Some(*cell),
            Entries::Many(_) => None,
        }
    }
}

impl PartialOrd for Spans {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Spans {
    fn cmp(&self, other: &Self) -> Ordering {
        self.entries().cmp(other.entries())
    }
}

impl Hash for Spans {
    /// One number for each entry: tables are looked up by content.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let entries = self.entries();
        state.write_usize(entries.len());
        for (start, cell) in entries {
            let flags = u64::from(cell.quiet_alert) | u64::from(cell.quiet_drop) << 1 | u64::from(cell.named) << 2;
            let rule = cell.rule.map_or(u64::from(u32::MAX), |slot| slot.0.into());
            let what = (cell.action as u64) << 3 | (cell.reason as u64) << 5 | flags;
            state.write_u64(rule << 32 | what << 16 | u64::from(*start));
        }
    }
}

/// Verdicts for every protocol: for those with ports by destination port, for ICMP by type, for the rest by
/// protocol number (ICMP over IPv6 is found in `other` at 1, ICMPv6 over IPv4 at 58).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "protocol names")]
pub struct Table {
    pub tcp: Spans,
    pub udp: Spans,
    pub sctp: Spans,
    pub icmp: Spans,
    pub icmpv6: Spans,
    pub other: Spans,
}

impl Table {
    /// The same cell for everything.
    pub fn constant(cell: Cell) -> Self {
        let constant = Spans::constant(cell);
        let spans = || constant.clone();
        Self {
            tcp: spans(),
            udp: spans(),
            sctp: spans(),
            icmp: spans(),
            icmpv6: spans(),
            other: spans(),
        }
    }

    /// The six parts, in the order of the fields.
    pub const fn parts(&self) -> [&Spans; 6] {
        let Self {
            tcp,
            udp,
            sctp,
            icmp,
            icmpv6,
            other,
        } = self;
        [tcp, udp, sctp, icmp, icmpv6, other]
    }
}

/// What an exact address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressEntry {
    /// The peer.
    pub peer: PeerId,
    /// The generation at which the address was last taken from another owner; 0: never. A flow born before belongs
    /// to that owner and is not inherited (case 42).
    pub since: u32,
    /// Interface of a local pod, 0 otherwise: packets with this source come in there and nowhere else.
    pub ifindex: u32,
}

/// Where a Service port is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceScope {
    /// An address: of a Service, or of a node that has host ports.
    Address(Address),
    /// Every address of this peer: nodes of one identity, at a node port.
    Peer(PeerId),
}

/// A port at which an address stands for backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// Where.
    pub scope: ServiceScope,
    /// Protocol.
    pub transport: Transport,
    /// Port as the sender sees it.
    pub port: u16,
    /// Address family of the packet: backends are of the packet's family.
    pub v4: bool,
}

/// A guarded interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface {
    /// Interface index on the host side.
    pub ifindex: u32,
    /// Bridge (or other master) it is enslaved to, 0 without: the other way packets of this pod may be seen to come.
    pub master: u32,
    /// UID of the pod; none while it is not known yet.
    pub pod: Option<Name>,
    /// MAC of the pod's end; zero where unknown.
    pub mac: [u8; 6],
    /// Addresses the pod may use as source, link-local ones included.
    pub addresses: Vec<Address>,
    /// Policy of what the pod opens.
    pub egress: PolicyId,
    /// Policy of what is opened to it.
    pub ingress: PolicyId,
    /// Whether the interface is still judged by `startup`.
    pub startup: bool,
}

/// A rule's name card, kept beside its counters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleCard {
    /// Name.
    pub name: Name,
    /// UID.
    pub uid: Name,
    /// Priority.
    pub priority: u16,
    /// Configured action.
    pub action: Action,
}

/// One change of the compiled state: the new value, or none where the entry goes. Small, as a start has many at once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "key and value types say it")]
pub enum Change {
    Interface(u32, Option<Box<Interface>>),
    Address(Address, Option<AddressEntry>),
    Prefix(Cidr, Option<PeerId>),
    ServicePort(ServiceKey, Option<PeerId>),
    Policy(PolicyId, PeerId, Option<TableId>),
    Table(TableId, Option<Arc<Table>>),
    Rule(RuleSlot, Option<RuleCard>),
}

#[cfg(test)]
mod tests {
    use super::{Cell, PeerClass, PeerId, RuleSlot, Spans};

    fn cell(slot: u32) -> Cell {
        Cell {
            rule: Some(RuleSlot(slot)),
            ..Cell::NO_RULE
        }
    }

    fn spans(entries: &[(u16, u32)]) -> Spans {
        Spans::from_sorted(entries.iter().map(|(start, slot)| (*start, cell(*slot)))).unwrap()
    }

    #[test]
    fn equal_functions_are_equal_spans_however_they_were_cut() {
        assert_eq!(
            spans(&[(0, 1), (5, 1), (9, 2), (9, 2), (20, 2)]),
            spans(&[(0, 1), (9, 2)])
        );
        assert_eq!(
            spans(&[(3, 1), (9, 2)]),
            spans(&[(0, 1), (9, 2)]),
            "the first begins at 0"
        );
        assert_eq!(
            spans(&[(0, 1), (9, 2), (9, 3)]),
            spans(&[(0, 1), (9, 3)]),
            "the last of one start"
        );
        assert_eq!(spans(&[(0, 1), (9, 2), (9, 1), (30, 4)]), spans(&[(0, 1), (30, 4)]));
        assert_eq!(spans(&[(0, 1), (9, 2)]).entries().len(), 2);
        assert_eq!(Spans::from_sorted([]), None);
    }

    #[test]
    fn spans_are_constant_where_one_cell_is_all() {
        assert_eq!(spans(&[(0, 1), (9, 1)]).as_constant(), Some(cell(1)));
        assert_eq!(spans(&[(0, 1), (9, 2)]).as_constant(), None);
    }

    #[test]
    fn of_a_peers_number_only_what_has_room_counts() {
        let peer = PeerId::new(PeerClass::Node, 0xf000_0007);
        assert_eq!((peer.class(), peer.number()), (PeerClass::Node, 7));
    }
}
