//! What becomes of a verdict: each packet counted once, records sent or counted as lost, refusals kept for the pod.

use cellwall_datapath_common::record::{event, reason_index, record_flags};
use cellwall_datapath_common::{Cell, cell_flags};

use crate::family::Family;
use crate::scene::{Headers, Outcome, Scene};
use crate::tables::Tables;
use crate::verdict::{action, is_lenient};

/// How a verdict came about.
pub mod how {
    /// It opens a flow, or is a packet of its own: one more flow, and told.
    pub const NEW: u32 = 1;
    /// Told, though the flow is known: its cell changed.
    pub const CHANGED: u32 = 2;
    /// Counted at the sender's hook on this node: neither counted nor told here, unless dropped.
    pub const SILENT: u32 = 4;
    /// The initiator is the packet's destination.
    pub const REPLY: u32 = 8;
}

/// "No peer was looked up", in records.
pub const NO_PEER: u32 = 0xffff_ffff;

/// Whether this cell drops under these switches.
#[inline(always)]
pub fn drops(scene: &Scene, cell: Cell) -> bool {
    cell.action() == action::DROP && !(scene.is_alert_only() && is_lenient(cell.reason()))
}

/// Counts one packet.
#[inline(always)]
pub fn count<T: Tables>(tables: T, scene: &Scene, cell: Cell, dropped: bool, flows: u64) {
    let index = reason_index(u32::from(scene.hook), cell.action(), u32::from(dropped), cell.reason());
    tables.count_reason(index, flows, scene.bytes, scene.now);
    if cell.slot() != Cell::NO_RULE {
        tables.count_rule(cell.slot(), flows, scene.bytes, scene.now);
    }
}

/// Sets down what was found out about the packet at hand.
#[inline(always)]
pub fn outcome<T: Tables>(tables: T, cell: Cell, peer: u32, how: u32) {
    if let Some(scratch) = tables.scratch() {
        scratch.outcome = Outcome {
            cell: cell.0,
            back: 0,
            peer,
            how,
            toward: 0,
        };
    }
}

/// Concludes: counts, tells, and answers whether the packet passes.
#[inline(never)]
pub fn conclude<F: Family, T: Tables>(tables: T, scene: &Scene, h: &Headers<F::Address>) -> bool {
    let Some(Outcome { cell, peer, how, .. }) = tables.scratch().map(|scratch| scratch.outcome) else {
        return false;
    };
    let cell = Cell(cell);
    let dropped = drops(scene, cell);
    if how & how::SILENT == 0 || dropped {
        let flows = u64::from(dropped || how & how::NEW != 0);
        count(tables, scene, cell, dropped, flows);
        if dropped || is_told(tables, scene, cell, how) {
            tell::<F, T>(tables, scene, h, cell.0, peer, how);
        }
    }
    !dropped
}

/// Whether a verdict that lets the packet pass is recorded here.
#[inline(always)]
fn is_told<T: Tables>(tables: T, scene: &Scene, cell: Cell, how: u32) -> bool {
    if how & (how::NEW | how::CHANGED) == 0 {
        return false;
    }
    match cell.action() {
        action::PASS => match scene.sample {
            0 => false,
            1 => true,
            sample => tables.random().checked_rem(sample) == Some(0),
        },
        action::ALERT => cell.flags() & cell_flags::QUIET_ALERT == 0,
        _ => cell.flags() & cell_flags::QUIET_DROP == 0,
    }
}

/// Writes the record.
#[inline(never)]
fn tell<F: Family, T: Tables>(tables: T, scene: &Scene, h: &Headers<F::Address>, cell: u32, peer: u32, how: u32) {
    let cell = Cell(cell);
    let dropped = drops(scene, cell);
    let mut flags = 0;
    if how & how::REPLY != 0 {
        flags |= record_flags::REPLY;
    }
    if h.has_ports() {
        flags |= record_flags::PORTS;
    }
    let Some(scratch) = tables.scratch() else {
        return;
    };
    let record = &mut scratch.record.0;
    record.time = scene.now;
    record.generation = scene.generation;
    record.cell = cell.0;
    record.ifindex = scene.ifindex;
    record.peer = peer;
    record.bytes = scene.bytes;
    record.ethertype = scene.ethertype;
    record.source_port = h.source_port;
    record.destination_port = h.destination_port;
    record.protocol = h.protocol;
    record.detail = h.detail;
    record.hook = scene.hook;
    record.dropped = u8::from(dropped);
    record.flags = flags;
    record.family = scene.family;
    record.source = bytes(F::mapped(&h.source));
    record.destination = bytes(F::mapped(&h.destination));
    let sent = tables.send(record);
    tables.count_event(if sent.is_ok() {
        event::SENT + cell.action()
    } else {
        event::lost(event::kind(cell.action(), dropped), cell.reason())
    });
    if dropped {
        tables.keep_refused(scene.slot, record);
    }
}

/// An address in words as bytes.
#[inline(always)]
fn bytes(words: [u32; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut index = 0;
    while index < 4 {
        let word = words[index].to_ne_bytes();
        bytes[index * 4] = word[0];
        bytes[index * 4 + 1] = word[1];
        bytes[index * 4 + 2] = word[2];
        bytes[index * 4 + 3] = word[3];
        index += 1;
    }
    bytes
}
