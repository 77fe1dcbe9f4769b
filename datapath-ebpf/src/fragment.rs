//! Fragment trains: the first fragment decides and is remembered, later ones follow.

use cellwall_datapath_common::flow::idle;
use cellwall_datapath_common::policy::{digest2, digest16};
use cellwall_datapath_common::record::event;
use cellwall_datapath_common::{Cell, FragmentValue, fragment_flags, ticks};

use crate::family::{Family, protocol};
use crate::guard::is_to_itself;
use crate::judge::may_drop;
use crate::layout::TrainKey;
use crate::packet::Packet;
use crate::scene::{Headers, Scene, Scratch};
use crate::tables::Tables;
use crate::tell::{NO_PEER, how, outcome};
use crate::verdict::{FINE, passing, reason, refusal};
use crate::who::{find, found, is_way_of};

/// Writes the train's key into the scratch memory.
#[inline(always)]
fn key_of<F: Family, T: Tables>(tables: T, scene: &Scene, h: &Headers<F::Address>) -> Option<&'static mut Scratch> {
    let scratch = tables.scratch()?;
    // Over IPv6 the fragments of one packet may name different next headers, and only the first one's counts.
    let protocol = if F::NUMBER == 4 { h.train } else { 0 };
    scratch.train = TrainKey {
        source: F::mapped(&h.source),
        destination: F::mapped(&h.destination),
        id: h.id,
        ifindex: scene.ifindex,
        tail: (u32::from(protocol) | u32::from(scene.hook) << 8).to_le(),
    };
    Some(scratch)
}

/// The train, where it is remembered and not too old.
#[inline(always)]
fn train<T: Tables>(tables: T, scene: &Scene, key: &TrainKey) -> Option<FragmentValue> {
    let value = tables.train(key)?;
    let age = scene.tick.wrapping_sub(value.seen);
    if age < 0x8000_0000 && age > ticks(idle::FRAGMENTS) {
        None
    } else {
        Some(value)
    }
}

/// Digest of a first fragment's length, of where its transport header lies, and of that header.
#[inline(always)]
fn digest<P: Packet, A>(packet: P, h: &Headers<A>) -> u32 {
    let length = h.end - h.at;
    let mut digest = digest2(length | h.at << 16, u32::from(h.protocol));
    if length >= 8
        && let Some([first, second]) = packet.words::<2>(h.at)
    {
        digest = digest2(digest, digest2(first, second));
    }
    if h.protocol == protocol::TCP
        && let Some(rest) = packet.words::<3>(h.at + 8)
    {
        digest = digest16([digest, rest[0], rest[1], rest[2]]);
    }
    digest
}

/// A first fragment, before it is judged: one that differs from the first that was seen poisons the train. Answers
/// whether it may go on; if not, the outcome is set down.
#[inline(never)]
pub fn begins<F: Family, T: Tables, P: Packet>(tables: T, packet: P, scene: &Scene, h: &Headers<F::Address>) -> bool {
    let Some(scratch) = key_of::<F, T>(tables, scene, h) else {
        return false;
    };
    let digest = digest(packet, h);
    scratch.train_value = FragmentValue {
        cell: 0,
        seen: scene.tick,
        digest,
        flags: 0,
    };
    let Some(value) = train(tables, scene, &scratch.train) else {
        return true;
    };
    if value.flags & fragment_flags::POISONED == 0 {
        if value.digest == digest {
            return true;
        }
        scratch.train_value = value;
        scratch.train_value.flags |= fragment_flags::POISONED;
        enter(tables, scratch);
    }
    outcome(tables, refusal(reason::FRAGMENT), NO_PEER, 0);
    false
}

/// A first fragment, after it was judged: the train will follow the outcome.
#[inline(never)]
pub fn remember<T: Tables>(tables: T, scene: &Scene) {
    let Some(scratch) = tables.scratch() else {
        return;
    };
    if train(tables, scene, &scratch.train).is_some() {
        return;
    }
    scratch.train_value.cell = scratch.outcome.cell;
    if scratch.outcome.how & how::SILENT != 0 {
        scratch.train_value.flags = fragment_flags::SILENT;
    }
    enter(tables, scratch);
}

#[inline(always)]
fn enter<T: Tables>(tables: T, scratch: &Scratch) {
    if tables.enter_train(&scratch.train, &scratch.train_value).is_err() {
        tables.count_event(event::FRAGMENTS_FULL);
    }
}

/// A later fragment: sets the outcome down.
#[inline(never)]
pub fn follow<F: Family, T: Tables>(tables: T, scene: &Scene, h: &Headers<F::Address>) {
    let Some(scratch) = key_of::<F, T>(tables, scene, h) else {
        return;
    };
    let Some(value) = train(tables, scene, &scratch.train) else {
        unknown::<F, T>(tables, scene, h);
        return;
    };
    let (cell, how) = if value.flags & fragment_flags::POISONED != 0 {
        (refusal(reason::FRAGMENT), 0)
    } else if value.flags & fragment_flags::SILENT != 0 {
        (Cell(value.cell), how::SILENT)
    } else {
        (Cell(value.cell), 0)
    };
    outcome(tables, cell, NO_PEER, how);
}

/// A later fragment whose first was never seen.
#[inline(never)]
fn unknown<F: Family, T: Tables>(tables: T, scene: &Scene, h: &Headers<F::Address>) {
    let other = if scene.is_from_pod() { &h.destination } else { &h.source };
    let Some(found) = found(tables) else {
        return;
    };
    let (mut how, mut passes) = (0, reason::FRAGMENT);
    let answer = if !find::<F, T>(tables, scene.generation, other, found) {
        reason::INTERNAL
    } else if is_to_itself::<F, T>(tables, scene, found.ifindex, other) {
        passes = reason::SELF;
        FINE
    } else if !scene.is_from_pod() && found.ifindex != 0 {
        how = how::SILENT;
        if is_way_of(tables, scene.ingress, found.ifindex, scene.generation) {
            may_drop::<F, T>(tables, scene, found.peer, u32::from(h.protocol))
        } else {
            reason::SPOOFED
        }
    } else {
        may_drop::<F, T>(tables, scene, found.peer, u32::from(h.protocol))
    };
    let cell = if answer == FINE {
        passing(passes)
    } else {
        refusal(answer)
    };
    outcome(tables, cell, found.peer, how);
}
