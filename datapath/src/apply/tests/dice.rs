//! Random parts of compiled states, few enough of each that everything collides with everything.

use std::collections::BTreeSet;

use cellwall_policy::compiled::{
    Cell, Interface, PeerClass, PeerId, PolicyId, RuleSlot, ServiceKey, ServiceScope, Spans, Table,
};
use cellwall_policy::model::{Action, Address, Hook, Reason, Transport};

use crate::image::Probe;

const ADDRESSES: [&str; 7] = [
    "192.0.2.1",
    "192.0.2.2",
    "192.0.2.3",
    "198.51.100.9",
    "2001:db8::1",
    "2001:db8::2",
    "fe80::1",
];
pub(super) const RANGES: [&str; 8] = [
    "0.0.0.0/0",
    "198.51.0.0/16",
    "198.51.100.0/24",
    "198.51.100.0/25",
    "198.51.100.8/29",
    "192.0.2.0/24",
    "::/0",
    "2001:db8::/64",
];
pub(super) const INTERFACES: [u32; 4] = [3, 19, 35, 4];

/// A repeatable source of choices.
#[derive(Debug, Clone)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, limit: u32) -> u32 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ mixed >> 31) % u64::from(limit)).unwrap()
    }

    pub(super) fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(u32::try_from(items.len()).unwrap()) as usize]
    }

    pub(super) fn address(&mut self) -> Address {
        self.one_of(&ADDRESSES).parse().unwrap()
    }

    pub(super) fn peer(&mut self) -> PeerId {
        let class = self.one_of(&PeerClass::ALL);
        let number = self.below(3);
        if number == 2 {
            PeerId::plain(class)
        } else {
            PeerId::new(class, number)
        }
    }

    pub(super) fn cell(&mut self) -> Cell {
        let action = self.one_of(&[Action::Pass, Action::Alert, Action::Drop]);
        let rule = RuleSlot(self.below(5));
        Cell {
            action,
            reason: Reason::Rule,
            rule: Some(rule),
            named: self.below(2) == 0,
            ..Cell::NO_RULE
        }
    }

    pub(super) fn spans(&mut self) -> Spans {
        let starts: BTreeSet<u16> = [0, 80, 443].into_iter().take(1 + self.below(3) as usize).collect();
        Spans::from_sorted(starts.into_iter().map(|start| (start, self.cell())).collect::<Vec<_>>()).unwrap()
    }

    pub(super) fn table(&mut self) -> Table {
        if self.below(3) == 0 {
            return Table::constant(self.cell());
        }
        let mut table = Table::constant(self.cell());
        table.tcp = self.spans();
        table.udp = if self.below(2) == 0 {
            table.tcp.clone()
        } else {
            self.spans()
        };
        table.other = self.spans();
        table
    }

    pub(super) fn service(&mut self) -> ServiceKey {
        let scope = match self.below(2) {
            0 => ServiceScope::Address(self.address()),
            _ => ServiceScope::Peer(self.peer()),
        };
        ServiceKey {
            scope,
            transport: Transport::Tcp,
            port: self.one_of(&[80, 443]),
            v4: self.below(2) == 0,
        }
    }

    pub(super) fn interface(&mut self, ifindex: u32) -> Interface {
        let addresses: BTreeSet<_> = (0..self.below(4)).map(|_| self.address()).collect();
        Interface {
            ifindex,
            master: self.below(2),
            pod: None,
            mac: [2, 0, 0, 0, 0, 1],
            addresses: addresses.into_iter().collect(),
            egress: PolicyId(self.below(3)),
            ingress: PolicyId(self.below(3)),
            startup: self.below(4) == 0,
        }
    }

    pub(super) fn probe(&mut self) -> Probe {
        let near = self.one_of(&ADDRESSES);
        Probe {
            ifindex: self.one_of(&INTERFACES),
            hook: self.one_of(&[Hook::FromPod, Hook::ToPod]),
            peer: self
                .one_of(&["198.51.100.10", "198.51.1.1", "203.0.113.1", near])
                .parse()
                .unwrap(),
            protocol: self.one_of(&[6, 6, 17, 1, 47]),
            port: self.one_of(&[0, 80, 81, 443]),
        }
    }
}
