//! Exact addresses.

use cellwall_datapath_common::policy::PEER_NONE;
use cellwall_datapath_common::{AddressValue, Versioned};
use cellwall_policy::compiled::AddressEntry;
use cellwall_policy::model::Address;

use super::draft::{Change, Draft, Fact};
use super::{Encoder, Wanted, peer_bits};
use crate::keys::Key;
use crate::layout::Layout;

impl Encoder {
    pub(super) fn draw_addresses(&self, draft: &mut Draft, wanted: &Wanted) {
        for address in wanted.unnamed(&wanted.addresses, self.image.addresses.keys().copied()) {
            self.draw_address(draft, address, None);
        }
        for (address, entry) in &wanted.addresses {
            self.draw_address(draft, *address, *entry);
        }
    }

    fn draw_address(&self, draft: &mut Draft, address: Address, wanted: Option<AddressEntry>) {
        let key = Key::Address(address);
        let now = self.image.addresses.get(&address).copied();
        let wanted = wanted.map(|entry| self.with_history(entry, now, draft.next));
        let leftover = self.leftover(key);
        if now == wanted && (wanted.is_none() || leftover.is_none()) {
            return;
        }
        let before = now.unwrap_or(AddressEntry {
            peer: cellwall_policy::compiled::PeerId(PEER_NONE),
            since: 0,
            ifindex: 0,
        });
        let after = wanted.unwrap_or(before);
        // The interface has no versions: while the old entry counts, packets are held against the old interface.
        let ifindex = if before.ifindex == 0 {
            after.ifindex
        } else {
            before.ifindex
        };
        let (was, will) = (
            peer_bits(now.map(|entry| entry.peer)),
            peer_bits(wanted.map(|entry| entry.peer)),
        );
        let wrap = |peer: Versioned, new: bool| {
            let since = if new { after.since } else { before.since };
            AddressValue {
                peer,
                since,
                ifindex: if new { ifindex } else { before.ifindex },
            }
            .to_bytes()
        };
        let exists = now.is_some() || leftover.is_some();
        let digest = key.digest();
        draft.versioned(
            &Change {
                key,
                digest,
                was,
                will,
                none: PEER_NONE,
                exists,
                wrap: &wrap,
            },
            leftover,
        );
        if ifindex != after.ifindex {
            let peer = Versioned::sealed(draft.next, will, was, digest);
            let value = AddressValue {
                peer,
                since: after.since,
                ifindex: after.ifindex,
            };
            let raw = key.raw();
            draft.finish(raw.map, &raw.key, &value.to_bytes());
        }
        draft.facts.push(Fact::Address(address, wanted));
    }

    /// The entry with what must not be forgotten: the last change of owner, which a compiler that started anew does
    /// not know, and that another interface means another owner (case 42).
    fn with_history(&self, entry: AddressEntry, now: Option<AddressEntry>, next: u32) -> AddressEntry {
        let Some(now) = now else { return entry };
        let moved = self.adopted && now.ifindex != 0 && entry.ifindex != 0 && now.ifindex != entry.ifindex;
        let age = |since: u32| if since == 0 { u32::MAX } else { next.wrapping_sub(since) };
        let since = match moved {
            true => next,
            false if age(now.since) < age(entry.since) => now.since,
            false => entry.since,
        };
        AddressEntry { since, ..entry }
    }
}
