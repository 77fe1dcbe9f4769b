//! Tables, lists, policy entries and Service ports.

use cellwall_datapath_common::TableValue;
use cellwall_datapath_common::policy::{LIST, PEER_NONE};
use cellwall_policy::compiled::{PeerId, PolicyId, ServiceKey};

use super::draft::{Change, Draft, Fact, Undo, bare};
use super::tables::Tables;
use super::{EncodeError, Encoder, Wanted, cells, peer_bits};
use crate::keys::Key;
use crate::layout::Layout;
use crate::port::MapName;

impl Encoder {
    pub(super) fn draw_tables(&mut self, draft: &mut Draft, wanted: &Wanted) -> Result<(), EncodeError> {
        for id in wanted.unnamed(&wanted.tables, self.tables.slots_by_id().map(|(id, _)| id)) {
            Tables::forget(&mut draft.tables, id);
        }
        for (id, table) in &wanted.tables {
            let Some(table) = table else {
                Tables::forget(&mut draft.tables, *id);
                continue;
            };
            if let Some(slot) = cells::highest_rule(table) {
                self.check_slot(slot)?;
            }
            self.tables.define(&mut draft.tables, *id, table);
        }
        if draft.tables.short == (0, 0, 0) {
            write_tables(draft);
        }
        Ok(())
    }

    pub(super) fn draw_policies(&self, draft: &mut Draft, wanted: &Wanted) -> Result<(), EncodeError> {
        for (policy, peer) in wanted.unnamed(&wanted.policies, self.image.policies.keys().copied()) {
            self.draw_policy(draft, policy, peer, None);
        }
        for ((policy, peer), table) in &wanted.policies {
            let (policy, peer) = (*policy, *peer);
            let slot = match table {
                None => None,
                Some(table) => {
                    let slot = self.tables.slot(&draft.tables, *table);
                    Some(slot.ok_or(EncodeError::UnknownTable {
                        policy,
                        peer,
                        table: *table,
                    })?)
                }
            };
            self.draw_policy(draft, policy, peer, slot);
        }
        Ok(())
    }

    fn draw_policy(&self, draft: &mut Draft, policy: PolicyId, peer: PeerId, slot: Option<u32>) {
        let key = Key::Policy(policy, peer);
        let now = self.image.policies.get(&(policy, peer)).copied();
        let leftover = self.leftover(key);
        if now == slot && (slot.is_none() || leftover.is_none()) {
            return;
        }
        let bits = |slot: Option<u32>| slot.map_or(0, |slot| slot.wrapping_add(1));
        let exists = now.is_some() || leftover.is_some();
        let (was, will, digest) = (bits(now), bits(slot), key.digest());
        draft.versioned(
            &Change {
                key,
                digest,
                was,
                will,
                none: 0,
                exists,
                wrap: &bare,
            },
            leftover,
        );
        draft.facts.push(Fact::Policy(policy, peer, slot));
    }

    pub(super) fn draw_service_ports(&self, draft: &mut Draft, wanted: &Wanted) {
        for key in wanted.unnamed(&wanted.service_ports, self.image.service_ports.keys().copied()) {
            self.draw_service_port(draft, key, None);
        }
        for (key, peer) in &wanted.service_ports {
            self.draw_service_port(draft, *key, *peer);
        }
    }

    fn draw_service_port(&self, draft: &mut Draft, service: ServiceKey, peer: Option<PeerId>) {
        let key = Key::ServicePort(service);
        let now = self.image.service_ports.get(&service).copied();
        let leftover = self.leftover(key);
        if now == peer && (peer.is_none() || leftover.is_none()) {
            return;
        }
        let exists = now.is_some() || leftover.is_some();
        let (was, will, digest) = (peer_bits(now), peer_bits(peer), key.digest());
        draft.versioned(
            &Change {
                key,
                digest,
                was,
                will,
                none: PEER_NONE,
                exists,
                wrap: &bare,
            },
            leftover,
        );
        draft.facts.push(Fact::ServicePort(service, peer));
    }
}

/// New tables and lists, into places that nothing names yet.
fn write_tables(draft: &mut Draft) {
    let lists: Vec<_> = draft
        .tables
        .lists()
        .into_iter()
        .map(|(start, spans)| (start, cells::list(spans)))
        .collect();
    for (start, spans) in lists {
        for (place, span) in (start..).zip(spans) {
            draft.write(MapName::Spans, &place.to_bytes(), &span.to_bytes(), &Undo::Nothing);
        }
    }
    let tables: Vec<_> = draft.tables.homes().map(|(slot, entry)| (slot, entry.refs)).collect();
    for (slot, refs) in tables {
        debug_assert!(refs.iter().all(|reference| *reference != LIST | !LIST));
        draft.write(
            MapName::Tables,
            &slot.to_bytes(),
            &TableValue { refs }.to_bytes(),
            &Undo::Nothing,
        );
    }
}
