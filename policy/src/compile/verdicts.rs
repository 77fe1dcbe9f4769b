//! The table of one own side against one peer.

use std::cell::RefCell;
use std::rc::Rc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::cells::{Judged, map_table, service, strictest, strictest_table, with_tcp_ports};
use super::flatten::{first_match, flatten};
use super::rules::{Rule, Rules};
use super::selector::{Direction, ObjectId, POD, Sel, entities_of, objects_count};
use super::services::{Content, Part};
use super::sets::Sets;
use crate::compiled::{Cell, PeerClass, PeerId, Table};
use crate::model::{Action, LocalNodeMode, Protocol, Reason, Startup};

/// What a pod (or a candidate for one) is on its own side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct OwnSide {
    /// Its objects, as far as rules have them on the pod's side in this direction; sorted.
    pub(super) objects: Box<[ObjectId]>,
    /// Ports on which the node may reach it whatever the rules say.
    pub(super) probes: Box<[u16]>,
}

/// What makes two interfaces share a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PolicyKey {
    pub(super) direction: Direction,
    /// The pod is not known: the strictest of `sides` holds; none where the mode itself decides.
    pub(super) startup: bool,
    /// One for a pod; for an unknown one every pod it could be, sorted.
    pub(super) sides: Vec<OwnSide>,
}

/// What verdicts are made from.
pub(super) struct Judge<'a> {
    pub(super) rules: &'a Rules,
    pub(super) sets: &'a Sets,
    pub(super) local_node: LocalNodeMode,
    pub(super) startup: Startup,
    /// The distinct sets of objects of the pods that have no address yet; the empty one alone where there is none.
    pub(super) waiting: &'a [Box<[ObjectId]>],
}

fn constant(action: Action, reason: Reason) -> Cell {
    Cell {
        action,
        reason,
        ..Cell::NO_RULE
    }
}

/// The rules of a policy, by the peer's side: for looking at many peers.
#[derive(Debug, Default)]
pub(super) struct Filed<'a> {
    sides: Vec<FiledSide<'a>>,
}

/// The rules of one own side.
#[derive(Debug, Default)]
struct FiledSide<'a> {
    lists: FxHashMap<Sel, Vec<&'a [u32]>>,
    /// Tables by the lists that they were made from: classes differ less than their names do.
    known: RefCell<FxHashMap<Box<[u32]>, Rc<Table>>>,
}

/// One own side and where its rules are found.
#[derive(Clone, Copy)]
struct Mine<'a, 'b> {
    direction: Direction,
    side: &'b OwnSide,
    filed: Option<&'b FiledSide<'a>>,
}

impl<'a> Mine<'a, '_> {
    /// The lists of rules that speak of this side and `other`.
    fn lists(self, rules: &'a Rules, other: Sel, lists: &mut Vec<&'a [u32]>) {
        if let Some(filed) = self.filed {
            lists.extend(filed.lists.get(&other).into_iter().flatten());
            return;
        }
        for own in self.side.selectors() {
            let (source, destination) = self.direction.pair(own, other);
            let list = rules.between(source, destination);
            if !list.is_empty() {
                lists.push(list);
            }
        }
    }
}

impl OwnSide {
    fn selectors(&self) -> impl Iterator<Item = Sel> + '_ {
        POD.into_iter().chain(self.objects.iter().map(|id| Sel::object(*id)))
    }
}

impl<'a> Judge<'a> {
    /// Files the rules of `policy` by the peer's side.
    pub(super) fn file(&self, policy: &PolicyKey) -> Filed<'a> {
        let direction = policy.direction;
        let mut filed = Filed::default();
        for side in &policy.sides {
            let mut lists: FxHashMap<Sel, Vec<&[u32]>> = FxHashMap::default();
            for own in side.selectors() {
                for other in self.rules.opposite(own, direction) {
                    let (source, destination) = direction.pair(own, other);
                    lists
                        .entry(other)
                        .or_default()
                        .push(self.rules.between(source, destination));
                }
            }
            filed.sides.push(FiledSide {
                lists,
                ..FiledSide::default()
            });
        }
        filed
    }

    /// Whether to file the rules of `policy` takes less than to look for those of each of `peers` in turn, which is done
    /// for each selector of the one side and each of the other.
    pub(super) fn is_worth_filing(&self, policy: &PolicyKey, peers: &FxHashSet<PeerId>) -> bool {
        if peers.is_empty() {
            return false;
        }
        let own = policy.sides.iter().flat_map(OwnSide::selectors);
        let (mut selectors, mut filed) = (0, 0);
        for own in own {
            selectors += 1;
            filed += self.rules.breadth(own, policy.direction);
        }
        let others = peers.iter().map(|peer| self.objects_of(*peer).len() + POD.len());
        others.sum::<usize>() * selectors > filed
    }

    /// What tells a peer of `class` in `objects` from its class: two peers of one class with the same key have the
    /// same table. False: nothing does.
    pub(super) fn key(
        policy: &PolicyKey,
        filed: &Filed<'a>,
        class: PeerClass,
        objects: &[ObjectId],
        key: &mut Vec<u32>,
    ) -> bool {
        key.clear();
        key.push(class as u32);
        let mut tells = false;
        let counts = objects_count(class, policy.direction);
        for side in &filed.sides {
            for object in objects.iter().filter(|_| counts) {
                // A rule is in one list only, so the first one names the list.
                let lists = side.lists.get(&Sel::object(*object)).into_iter().flatten();
                key.extend(lists.filter_map(|list| list.first()));
            }
            tells |= key.last().is_some_and(|last| *last != u32::MAX) && key.len() > 1;
            key.push(u32::MAX);
        }
        tells
    }

    /// The lists of rules between an own side and a peer.
    fn lists_between(&self, mine: Mine<'a, '_>, class: PeerClass, objects: &[ObjectId]) -> Vec<&'a [u32]> {
        let objects = if objects_count(class, mine.direction) {
            objects
        } else {
            &[]
        };
        let mut lists: Vec<&[u32]> = Vec::new();
        let entities = entities_of(class, mine.direction).iter().copied();
        for other in entities.chain(objects.iter().map(|id| Sel::object(*id))) {
            mine.lists(self.rules, other, &mut lists);
        }
        lists
    }

    /// The rules of `lists`, in order.
    fn in_order(&self, lists: &[&'a [u32]]) -> Vec<(u32, &'a Rule)> {
        let slots = lists.iter().copied().flatten();
        let mut found: Vec<(u32, &Rule)> = slots.filter_map(|slot| Some((*slot, self.rules.get(*slot)?))).collect();
        if lists.len() > 1 {
            found.sort_by(|(_, one), (_, other)| one.order.cmp(&other.order));
        }
        found
    }

    /// What rules alone say of a peer.
    fn ruled(&self, mine: Mine<'a, '_>, class: PeerClass, objects: &[ObjectId]) -> Rc<Table> {
        let lists = self.lists_between(mine, class, objects);
        let make = || Rc::new(flatten(self.in_order(&lists)));
        let Some(filed) = mine.filed else { return make() };
        let key: Box<[u32]> = lists.iter().filter_map(|list| list.first()).copied().collect();
        filed.known.borrow_mut().entry(key).or_insert_with(make).clone()
    }

    /// What `startup` says of everything, where it does.
    fn startup_cell(&self, reason: Reason) -> Option<Cell> {
        match self.startup {
            Startup::Open => Some(constant(Action::Pass, reason)),
            Startup::Closed => Some(constant(Action::Drop, reason)),
            Startup::Guarded => None,
        }
    }

    /// The table of one side against a peer that is no Service port.
    fn side_table(&self, mine: Mine<'a, '_>, class: PeerClass, objects: &[ObjectId]) -> Table {
        let ruled = || self.ruled(mine, class, objects);
        match (class, mine.direction) {
            (PeerClass::Unresolved, _) => self.unresolved_table(mine),
            (PeerClass::LocalNode, Direction::Ingress) => match self.local_node {
                LocalNodeMode::Pass => Table::constant(constant(Action::Pass, Reason::LocalNode)),
                LocalNodeMode::Probes => {
                    let probe = constant(Action::Pass, Reason::NodeProbe);
                    with_tcp_ports(&ruled(), &mine.side.probes, probe)
                }
                LocalNodeMode::Enforce => (*ruled()).clone(),
            },
            // An attempt that two nodes judge is logged once: an Alert where it arrives, a Drop that is only logged
            // where it comes from.
            (PeerClass::RemotePod, Direction::Egress) => map_table(&ruled(), |cell| Cell {
                quiet_alert: cell.action == Action::Alert,
                ..cell
            }),
            (PeerClass::RemotePod, Direction::Ingress) => map_table(&ruled(), |cell| Cell {
                quiet_drop: cell.action == Action::Drop,
                ..cell
            }),
            _ => (*ruled()).clone(),
        }
    }

    fn unresolved_table(&self, mine: Mine<'a, '_>) -> Table {
        if let Some(cell) = self.startup_cell(Reason::Unresolved) {
            return Table::constant(cell);
        }
        let against = |objects: &[ObjectId]| (*self.ruled(mine, PeerClass::Unresolved, objects)).clone();
        let tables: Vec<Table> = self.waiting.iter().map(|objects| against(objects)).collect();
        let strictest = strictest_table(self.rules, &tables, Reason::Unresolved);
        strictest.unwrap_or_else(|| Table::constant(constant(Action::Drop, Reason::Unresolved)))
    }

    /// The table of `policy` against a peer that is no Service port; `filed`: its rules, where they are filed.
    pub(super) fn table(
        &self,
        policy: &PolicyKey,
        filed: Option<&Filed<'a>>,
        class: PeerClass,
        objects: &[ObjectId],
    ) -> Table {
        let mine = |(index, side)| Mine {
            direction: policy.direction,
            side,
            filed: filed.and_then(|filed| filed.sides.get(index)),
        };
        let mut sides = policy.sides.iter().enumerate().map(mine);
        if !policy.startup {
            return sides.next().map_or_else(
                || Table::constant(constant(Action::Drop, Reason::Internal)),
                |mine| self.side_table(mine, class, objects),
            );
        }
        if let Some(cell) = self.startup_cell(Reason::Startup) {
            return Table::constant(cell);
        }
        let tables: Vec<Table> = sides.map(|mine| self.side_table(mine, class, objects)).collect();
        let strictest = strictest_table(self.rules, &tables, Reason::Startup);
        strictest.unwrap_or_else(|| Table::constant(constant(Action::Drop, Reason::Startup)))
    }

    /// What `policy` says of a Service port about which nothing special is to be said.
    pub(super) fn service_fallback(&self, policy: &PolicyKey) -> Cell {
        let reason = if policy.startup {
            Reason::Startup
        } else {
            Reason::Service
        };
        let own = if policy.startup {
            self.startup_cell(reason)
        } else {
            None
        };
        own.unwrap_or(constant(Action::Pass, reason))
    }

    /// What `policy` says of a Service port; `known` answers the cells of a pod's own policy.
    pub(super) fn service_cell(
        &self,
        policy: &PolicyKey,
        content: &Content,
        known: impl Fn(&Part) -> Option<Cell>,
    ) -> Cell {
        if !policy.startup {
            let judged = content.parts.iter().map(|part| Judged {
                cell: known(part).unwrap_or(constant(Action::Drop, Reason::Internal)),
                unseen: part.unseen,
            });
            return service(self.rules, &judged.collect::<Vec<_>>());
        }
        if let Some(cell) = self.startup_cell(Reason::Startup) {
            return cell;
        }
        let cells = policy.sides.iter().map(|side| {
            let judged = content.parts.iter().map(|part| Judged {
                cell: self.one_cell(policy.direction, side, *part, content),
                unseen: part.unseen,
            });
            service(self.rules, &judged.collect::<Vec<_>>())
        });
        let cell = strictest(self.rules, cells, Reason::Startup);
        cell.unwrap_or(constant(Action::Drop, Reason::Startup))
    }

    fn one_cell(&self, direction: Direction, side: &OwnSide, part: Part, content: &Content) -> Cell {
        let protocol: Protocol = content.transport.into();
        let (class, objects) = (part.peer.class(), self.objects_of(part.peer));
        let mine = Mine {
            direction,
            side,
            filed: None,
        };
        if class == PeerClass::Unresolved {
            return at(&self.unresolved_table(mine), protocol, part.port);
        }
        first_match(
            self.in_order(&self.lists_between(mine, class, objects)),
            protocol,
            part.port,
        )
    }

    /// The objects of a peer.
    pub(super) fn objects_of(&self, peer: PeerId) -> &'a [ObjectId] {
        self.sets.objects(peer.number())
    }
}

/// The cell of a protocol and port (or ICMP type).
pub(super) fn at(table: &Table, protocol: Protocol, port: u16) -> Cell {
    match protocol {
        Protocol::Tcp => table.tcp.at(port),
        Protocol::Udp => table.udp.at(port),
        Protocol::Sctp => table.sctp.at(port),
        Protocol::Icmp => table.icmp.at(port),
        Protocol::Icmpv6 => table.icmpv6.at(port),
        Protocol::Other(number) => table.other.at(number.into()),
    }
}
