//! The belief as something to want: what puts a kernel right that says something else.

use std::collections::BTreeMap;

use cellwall_datapath_common::EndpointRecord;
use cellwall_policy::compiled::{Interface, PolicyId, TableId};

use super::{Encoder, Wanted};
use crate::image::InterfaceEntry;
use crate::keys::Key;

impl Encoder {
    /// The whole state that the kernel is believed to hold, with the table ids that the compiler gave.
    pub(crate) fn believed(&self) -> Wanted {
        let image = &self.image;
        let mut wanted = Wanted::whole(image.active.switches, image.active.pass_sample);
        let mut ids = BTreeMap::new();
        for (id, slot) in self.tables.slots_by_id() {
            ids.insert(slot, id);
            let table = self.tables.entry(slot).map(|entry| entry.table.clone());
            wanted.tables.insert(id, table);
        }
        for (key, slot) in &image.policies {
            let Some(entry) = self.tables.entry(*slot) else {
                continue;
            };
            // A table that the compiler dropped while an entry named it: an id that no compiler comes to give.
            let id = *ids.entry(*slot).or_insert(TableId(u32::MAX - slot));
            wanted.tables.entry(id).or_insert_with(|| Some(entry.table.clone()));
            wanted.policies.insert(*key, Some(id));
        }
        for (ifindex, entry) in &image.interfaces {
            wanted.attached.insert(*ifindex, entry.record.attached);
            wanted
                .interfaces
                .insert(*ifindex, Some(Box::new(self.interface(*ifindex, entry))));
        }
        let lives = |cidr: &_| !self.dead.contains(&Key::Prefix(*cidr));
        let prefixes = image.prefixes.iter().filter(|(cidr, _)| lives(cidr));
        wanted.prefixes = prefixes.map(|(cidr, peer)| (*cidr, Some(*peer))).collect();
        wanted.addresses = image
            .addresses
            .iter()
            .map(|(key, entry)| (*key, Some(*entry)))
            .collect();
        wanted.service_ports = image
            .service_ports
            .iter()
            .map(|(key, peer)| (*key, Some(*peer)))
            .collect();
        let rules = image
            .rules
            .iter()
            .filter(|(slot, _)| !self.dead.contains(&Key::Card(**slot)));
        wanted.rules = rules.map(|(slot, card)| (*slot, Some(card.clone()))).collect();
        wanted
    }

    fn interface(&self, ifindex: u32, entry: &InterfaceEntry) -> Interface {
        let EndpointRecord {
            master,
            egress,
            ingress,
            mac,
            ..
        } = entry.record;
        Interface {
            ifindex,
            master,
            pod: None,
            mac,
            addresses: self.image.own(ifindex).collect(),
            egress: PolicyId(egress),
            ingress: PolicyId(ingress),
            startup: entry.is_startup(),
        }
    }
}
