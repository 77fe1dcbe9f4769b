//! Two pods of one node, a pod elsewhere, a node, the outside; everything passes until a test says otherwise.
#![allow(clippy::wrong_self_convention, reason = "packets come from a pod")]

use std::vec::Vec;

use cellwall_datapath_common::policy::{PEER_PLAIN, class};
use cellwall_datapath_common::record::reason_index;
use cellwall_datapath_common::{Active, Cell, EndpointRecord, Record};

use super::frames::{V4_A, V4_B, V6_A, V6_B, word4, words6};
use crate::memory::{Frame, Memory, Shared};
use crate::path;
use crate::verdict::{action, reason};

pub(super) const IF_A: u32 = 10;
pub(super) const IF_B: u32 = 20;
pub(super) const BRIDGE: u32 = 5;
pub(super) const UPLINK: u32 = 2;
pub(super) const EGRESS_A: u32 = 1;
pub(super) const INGRESS_A: u32 = 2;
pub(super) const EGRESS_B: u32 = 3;
pub(super) const INGRESS_B: u32 = 4;
pub(super) const REMOTE: u32 = class::REMOTE_POD << 28 | 7;
pub(super) const NODE: u32 = class::NODE << 28 | 3;
pub(super) const LOCAL_A: u32 = class::LOCAL_POD << 28 | 1;
pub(super) const LOCAL_B: u32 = class::LOCAL_POD << 28 | 2;
pub(super) const WORLD: u32 = class::WORLD << 28 | PEER_PLAIN;

pub(super) const PASS: Cell = Cell::new(action::PASS, reason::NO_RULE, 0, Cell::NO_RULE);
pub(super) const ALERT: Cell = Cell::new(action::ALERT, reason::RULE, 0, 1);
pub(super) const DROP: Cell = Cell::new(action::DROP, reason::RULE, 0, 2);

pub(super) struct World(pub(super) Shared);

impl World {
    pub(super) fn new() -> Self {
        let mut memory = Memory::default();
        for (slot, ifindex, egress, ingress, v4, v6) in [
            (0, IF_A, EGRESS_A, INGRESS_A, V4_A, V6_A),
            (1, IF_B, EGRESS_B, INGRESS_B, V4_B, V6_B),
        ] {
            let mut v6_link = [0; 16];
            (v6_link[0], v6_link[1], v6_link[15]) = (0xfe, 0x80, v6[15]);
            memory.endpoint(
                slot,
                &EndpointRecord {
                    attached: 0,
                    ifindex,
                    master: BRIDGE,
                    egress,
                    ingress,
                    flags: 0,
                    v4: word4(v4),
                    v6,
                    v6_link,
                    mac: [2, 0, 0, 0, 0, 1],
                    pad: [0; 2],
                },
            );
            for class in 0..=10 {
                memory.policy(egress, class << 28 | PEER_PLAIN, [PASS.0; 6], 1);
                memory.policy(ingress, class << 28 | PEER_PLAIN, [PASS.0; 6], 1);
            }
        }
        memory.address4(word4(V4_A), LOCAL_A, 0, IF_A);
        memory.address4(word4(V4_B), LOCAL_B, 0, IF_B);
        memory.address6(words6(V6_A), LOCAL_A, 0, IF_A);
        memory.address6(words6(V6_B), LOCAL_B, 0, IF_B);
        Self(memory.share())
    }

    /// Changes the memory.
    pub(super) fn set(&self, change: impl FnOnce(&mut Memory)) {
        change(&mut self.0.0.borrow_mut());
    }

    /// Every protocol and port of (policy, peer) gets this cell, from the active generation on.
    pub(super) fn rule(&self, policy: u32, peer: u32, cell: Cell) {
        self.set(|memory| {
            let generation = memory.active.generation;
            memory.policy(policy, peer, [cell.0; 6], generation);
        });
    }

    /// The next generation.
    pub(super) fn flip(&self) {
        self.set(|memory| {
            let Active {
                generation,
                switches,
                pass_sample,
                ..
            } = memory.active;
            memory.active = Active::sealed(generation + 1, switches, pass_sample);
        });
    }

    pub(super) fn switches(&self, switches: u32) {
        self.set(|memory| {
            memory.active = Active::sealed(memory.active.generation, switches, memory.active.pass_sample);
        });
    }

    pub(super) fn wait(&self, seconds: u64) {
        self.set(|memory| memory.now += seconds * 1_000_000_000);
    }

    /// A frame from pod A.
    pub(super) fn from_a(&self, bytes: &[u8]) -> bool {
        self.from(IF_A, bytes)
    }

    pub(super) fn from(&self, ifindex: u32, bytes: &[u8]) -> bool {
        let frame = Frame {
            bytes,
            ifindex,
            ingress: 0,
            tagged: false,
            segmented: false,
        };
        path::from_pod(self.0, frame)
    }

    /// A frame to pod `ifindex` that came in by `ingress`.
    pub(super) fn to(&self, ifindex: u32, ingress: u32, bytes: &[u8]) -> bool {
        let frame = Frame {
            bytes,
            ifindex,
            ingress,
            tagged: false,
            segmented: false,
        };
        path::to_pod(self.0, frame)
    }

    /// Records so far, taken away.
    pub(super) fn records(&self) -> Vec<Record> {
        core::mem::take(&mut self.0.0.borrow_mut().records)
    }

    /// Reason of the one refusal that was told; fails where there is another number of them.
    #[track_caller]
    pub(super) fn refusal(&self) -> u32 {
        let records = self.records();
        assert_eq!(records.len(), 1, "{records:?}");
        assert_eq!(records[0].dropped, 1);
        Cell(records[0].cell).reason()
    }

    /// Packets counted for this hook, action, drop and reason.
    pub(super) fn packets(&self, hook: u8, cell: Cell, dropped: bool) -> u64 {
        let index = reason_index(u32::from(hook), cell.action(), u32::from(dropped), cell.reason());
        self.0
            .0
            .borrow()
            .reason_counters
            .get(&index)
            .map_or(0, |counter| counter.packets)
    }

    /// All packets counted.
    pub(super) fn counted(&self) -> u64 {
        self.0
            .0
            .borrow()
            .reason_counters
            .values()
            .map(|counter| counter.packets)
            .sum()
    }

    /// All flows counted.
    pub(super) fn flows(&self) -> u64 {
        self.0
            .0
            .borrow()
            .reason_counters
            .values()
            .map(|counter| counter.flows)
            .sum()
    }
}
