//! What an earlier process left half done: entries of a generation that was never activated are set to what they give
//! now, before that number is reached; dead ones are deleted; unreadable ones are replaced or go.

use cellwall_datapath_common::policy::digest2;
use cellwall_datapath_common::{AddressValue, Versioned};

use super::Encoder;
use super::draft::{BATCH, Draft};
use crate::image::{Leftover, RawKey};
use crate::keys::Key;
use crate::layout::Layout;
use crate::plan::Step;
use crate::port::{Entries, MapKind, MapName};

impl Encoder {
    /// Sorts what was found. Unreadable tables are only named by entries that the first update replaces.
    pub(super) fn adopt_leftovers(&mut self) {
        self.image
            .leftovers
            .retain(|raw, _| !matches!(raw.map, MapName::Tables | MapName::Active));
        let dead = self.image.leftovers.iter().filter(|(_, why)| **why == Leftover::Dead);
        self.dead = dead.filter_map(|(raw, _)| Key::of(raw)).collect();
    }

    /// Unreadable entries that nothing replaces go with the update.
    pub(super) fn draw_broken(&self, draft: &mut Draft) {
        let broken = self.image.leftovers.iter().filter(|(_, why)| **why == Leftover::Broken);
        let unclaimed = broken
            .filter_map(|(raw, _)| Key::of(raw))
            .filter(|key| !draft.revived.contains(key));
        let unclaimed: Vec<_> = unclaimed.collect();
        draft.dead.extend(unclaimed);
    }

    /// Steps that set entries of generations that never were to what they give now. They change no verdict; as long
    /// as they have not all succeeded, nothing may be activated.
    pub fn heal(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for (raw, _) in self
            .image
            .leftovers
            .iter()
            .filter(|(_, why)| **why == Leftover::Unrealised)
        {
            let Some(key) = Key::of(raw) else { continue };
            let value = self.settled_value(key);
            let is_update = value.is_some() || raw.map.kind() == MapKind::Array;
            let open = steps.last_mut().and_then(|step| match step {
                Step::Update(entries) if is_update && entries.map() == raw.map => Some(entries),
                Step::Delete(entries) if !is_update && entries.map() == raw.map => Some(entries),
                _ => None,
            });
            let value = value.unwrap_or_else(|| vec![0; raw.map.value_size()]);
            if let Some(entries) = open.filter(|entries| entries.len() < BATCH) {
                entries.push(&raw.key, &value);
                continue;
            }
            let mut entries = Entries::new(raw.map);
            entries.push(&raw.key, &value);
            steps.push(if is_update {
                Step::Update(entries)
            } else {
                Step::Delete(entries)
            });
        }
        steps
    }

    /// All steps of [`Self::heal`] were done.
    pub fn healed(&mut self) {
        let gone: Vec<RawKey> = self
            .image
            .leftovers
            .iter()
            .filter(|(_, why)| **why == Leftover::Unrealised)
            .map(|(raw, _)| raw.clone())
            .collect();
        for raw in gone {
            self.image.leftovers.remove(&raw);
        }
        self.count_present();
    }

    /// The value that gives at any generation what the key gives now; none where that is nothing.
    fn settled_value(&self, key: Key) -> Option<Vec<u8>> {
        let image = &self.image;
        let sealed = |bits: u32, digest: u32| Versioned::sealed(image.active.generation, bits, bits, digest);
        let bare = |bits: u32| Some(sealed(bits, key.digest()).to_bytes());
        match key {
            Key::Address(address) => image.addresses.get(&address).map(|entry| {
                let peer = sealed(entry.peer.0, key.digest());
                AddressValue {
                    peer,
                    since: entry.since,
                    ifindex: entry.ifindex,
                }
                .to_bytes()
            }),
            Key::Prefix(cidr) => image.prefixes.get(&cidr).and_then(|peer| bare(peer.0)),
            Key::ServicePort(service) => image.service_ports.get(&service).and_then(|peer| bare(peer.0)),
            Key::Policy(policy, peer) => image
                .policies
                .get(&(policy, peer))
                .and_then(|slot| bare(slot.wrapping_add(1))),
            Key::Extra(ifindex) => {
                let entry = image.interfaces.get(&ifindex).filter(|entry| entry.extra)?;
                bare(entry.slot.wrapping_add(1))
            }
            Key::Index(element) => {
                let ifindex = *self.elements.get(&element)?;
                let entry = image.interfaces.get(&ifindex)?;
                Some(sealed(entry.slot.wrapping_add(1), digest2(ifindex, 0)).to_bytes())
            }
            Key::Own(..) | Key::Card(_) => None,
        }
    }
}
