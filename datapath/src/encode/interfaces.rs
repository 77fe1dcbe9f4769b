//! Guarded interfaces: their records, the index that finds them, the addresses that do not fit a record.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cellwall_datapath_common::EndpointRecord;
use cellwall_datapath_common::policy::{digest2, endpoint_flags};
use cellwall_policy::compiled::Interface;
use cellwall_policy::model::Address;

use super::draft::{Change, Draft, Fact, Undo, bare};
use super::{Encoder, Wanted};
use crate::image::InterfaceEntry;
use crate::keys::Key;
use crate::layout::Layout;
use crate::port::MapName;

impl Encoder {
    pub(super) fn draw_interfaces(&mut self, draft: &mut Draft, wanted: &Wanted) {
        for ifindex in wanted.unnamed(&wanted.interfaces, self.image.interfaces.keys().copied()) {
            self.draw_removal(draft, wanted, ifindex);
        }
        for (ifindex, interface) in &wanted.interfaces {
            let Some(interface) = interface else {
                self.draw_removal(draft, wanted, *ifindex);
                continue;
            };
            let before = self
                .image
                .interfaces
                .get(ifindex)
                .map_or(0, |entry| entry.record.attached);
            let attached = wanted.attached.get(ifindex).copied().unwrap_or(before);
            let (record, more) = record(*ifindex, interface, attached);
            self.draw_own(draft, wanted, *ifindex, &more);
            self.draw_record(draft, record);
        }
        // Attached anew, and otherwise as before.
        for (ifindex, attached) in wanted
            .attached
            .iter()
            .filter(|(key, _)| !wanted.interfaces.contains_key(key))
        {
            if let (Some(entry), false) = (self.image.interfaces.get(ifindex), wanted.full) {
                self.draw_record(
                    draft,
                    EndpointRecord {
                        attached: *attached,
                        ..entry.record
                    },
                );
            }
        }
        // Addresses of no interface: an earlier process ended before it named theirs.
        if wanted.full {
            let known =
                |ifindex| wanted.interfaces.contains_key(&ifindex) || self.image.interfaces.contains_key(&ifindex);
            let orphans = self.image.own_addresses.iter().filter(|(ifindex, _)| !known(*ifindex));
            orphans.for_each(|(ifindex, address)| drop_own(draft, *ifindex, *address));
        }
    }

    fn draw_removal(&self, draft: &mut Draft, wanted: &Wanted, ifindex: u32) {
        self.draw_own(draft, wanted, ifindex, &BTreeSet::new());
        let Some(entry) = self.image.interfaces.get(&ifindex) else {
            return;
        };
        self.draw_index(draft, ifindex, Some(entry), None);
        draft.slots_left.push(entry.slot);
        draft.facts.push(Fact::Interface(ifindex, None));
    }

    fn draw_record(&mut self, draft: &mut Draft, record: EndpointRecord) {
        let ifindex = record.ifindex;
        let before = self.image.interfaces.get(&ifindex).copied();
        let sound = before.is_some_and(|entry| self.leftover(self.place(ifindex, entry.extra)).is_none());
        if sound && before.is_some_and(|entry| entry.record == record) {
            return;
        }
        let Some(slot) = self.slots.take(1) else {
            draft.slots_short += 1;
            return;
        };
        draft.slots.push(slot);
        draft.write(MapName::Endpoints, &slot.to_bytes(), &record.to_bytes(), &Undo::Nothing);
        let element = ifindex & self.index_mask();
        let taken = || self.elements.contains_key(&element) || draft.elements.contains(&element);
        let extra = before.map_or_else(taken, |entry| entry.extra);
        let entry = InterfaceEntry { slot, record, extra };
        if !extra {
            draft.elements.insert(element);
        }
        self.draw_index(draft, ifindex, before.as_ref(), Some(&entry));
        draft.slots_left.extend(before.map(|entry| entry.slot));
        draft.facts.push(Fact::Interface(ifindex, Some(entry)));
    }

    fn draw_index(&self, draft: &mut Draft, ifindex: u32, now: Option<&InterfaceEntry>, then: Option<&InterfaceEntry>) {
        let Some(place) = then.or(now) else { return };
        let key = self.place(ifindex, place.extra);
        let leftover = self.leftover(key);
        let bits = |entry: Option<&InterfaceEntry>| entry.map_or(0, |entry| entry.slot.wrapping_add(1));
        let (was, will, exists) = (bits(now), bits(then), now.is_some() || leftover.is_some());
        let digest = digest2(ifindex, 0);
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
    }

    fn place(&self, ifindex: u32, extra: bool) -> Key {
        if extra {
            Key::Extra(ifindex)
        } else {
            Key::Index(ifindex & self.index_mask())
        }
    }

    /// Additions before the flip, removals after it; and after it what another interface has then, which until the flip may
    /// be this one's.
    fn draw_own(&self, draft: &mut Draft, wanted: &Wanted, ifindex: u32, own: &BTreeSet<Address>) {
        let now: BTreeSet<_> = self.own_beyond_record(ifindex);
        for address in own {
            if now.contains(address) {
                continue;
            }
            let key = Key::Own(ifindex, *address);
            let raw = key.raw();
            let known = self.image.addresses.get(address).filter(|_| !wanted.full).copied();
            let owner = wanted.addresses.get(address).copied().unwrap_or(known);
            if owner.is_some_and(|owner| owner.ifindex != 0 && owner.ifindex != ifindex) {
                draft.claimed.push(key);
            } else {
                draft.write(raw.map, &raw.key, &1_u32.to_bytes(), &Undo::Delete);
            }
            draft.insert(raw.map);
            draft.facts.push(Fact::Own(ifindex, *address, true));
        }
        now.difference(own)
            .for_each(|address| drop_own(draft, ifindex, *address));
    }

    fn own_beyond_record(&self, ifindex: u32) -> BTreeSet<Address> {
        let lowest = Address::from(std::net::Ipv4Addr::UNSPECIFIED);
        let from = self.image.own_addresses.range((ifindex, lowest)..);
        from.take_while(|(other, _)| *other == ifindex)
            .map(|(_, address)| *address)
            .collect()
    }
}

/// The address is the pod's no more, right after the flip.
fn drop_own(draft: &mut Draft, ifindex: u32, address: Address) {
    let raw = Key::Own(ifindex, address).raw();
    draft.finish_delete(raw.map, &raw.key);
    draft.facts.push(Fact::Own(ifindex, address, false));
}

/// The record of an interface, and the addresses that have no room in it.
fn record(ifindex: u32, interface: &Interface, attached: u64) -> (EndpointRecord, BTreeSet<Address>) {
    let Interface {
        ifindex: _,
        master,
        pod: _,
        mac,
        addresses,
        egress,
        ingress,
        startup,
    } = interface;
    let mut record = EndpointRecord {
        attached,
        ifindex,
        master: *master,
        egress: egress.0,
        ingress: ingress.0,
        flags: if *startup { endpoint_flags::STARTUP } else { 0 },
        v4: 0,
        v6: [0; 16],
        v6_link: [0; 16],
        mac: *mac,
        pad: [0; 2],
    };
    let mut more = BTreeSet::new();
    for address in addresses {
        match address.ip() {
            ip if ip.is_unspecified() => {}
            IpAddr::V4(ip) if record.v4 == 0 => record.v4 = u32::from_ne_bytes(ip.octets()),
            IpAddr::V6(ip) if ip.is_unicast_link_local() && record.v6_link == [0; 16] => record.v6_link = ip.octets(),
            IpAddr::V6(ip) if !ip.is_unicast_link_local() && record.v6 == [0; 16] => record.v6 = ip.octets(),
            _ => {
                more.insert(*address);
            }
        }
    }
    if !more.is_empty() {
        record.flags |= endpoint_flags::MORE_ADDRESSES;
    }
    (record, more)
}
