//! Ranges. In a trie the longest prefix alone answers, so a new one gives, until the flip, what the range around it
//! gives now; and one that goes gives what the range around it will give, until it is deleted.

use std::collections::BTreeSet;

use cellwall_datapath_common::policy::PEER_NONE;
use cellwall_policy::compiled::PeerId;
use cellwall_policy::model::Cidr;

use super::draft::{Change, Draft, Fact, bare};
use super::{Encoder, Wanted, peer_bits};
use crate::keys::Key;

impl Encoder {
    pub(super) fn draw_prefixes(&self, draft: &mut Draft, wanted: &Wanted) {
        let gone: BTreeSet<Cidr> = wanted
            .unnamed(&wanted.prefixes, self.image.prefixes.keys().copied())
            .into_iter()
            .collect();
        // What goes, or should have gone already, follows the range around it.
        let dead = self
            .dead
            .iter()
            .filter_map(|key| if let Key::Prefix(cidr) = key { Some(*cidr) } else { None });
        let touched: BTreeSet<Cidr> = wanted
            .prefixes
            .keys()
            .copied()
            .chain(gone.iter().copied())
            .chain(dead)
            .collect();
        let after = |cidr: Cidr| {
            let named = wanted.prefixes.get(&cidr).copied();
            named.unwrap_or_else(|| {
                let stays = !gone.contains(&cidr) && !self.dead.contains(&Key::Prefix(cidr));
                self.image.prefixes.get(&cidr).copied().filter(|_| stays)
            })
        };
        for cidr in touched {
            self.draw_prefix(draft, cidr, after(cidr), &after);
        }
    }

    fn draw_prefix(
        &self,
        draft: &mut Draft,
        cidr: Cidr,
        wanted: Option<PeerId>,
        after: &dyn Fn(Cidr) -> Option<PeerId>,
    ) {
        let key = Key::Prefix(cidr);
        let now = self.image.prefixes.get(&cidr).copied();
        let leftover = self.leftover(key);
        let exists = now.is_some() || leftover.is_some();
        if wanted.is_none() && !exists {
            return;
        }
        let around_now = || self.image.covering(cidr).map(|(_, peer)| peer);
        let around_then = || {
            (0..cidr.prefix())
                .rev()
                .find_map(|length| after(Cidr::around(cidr.network(), length)))
        };
        let was = peer_bits(if exists { now } else { around_now() });
        let will = wanted.or_else(around_then);
        match wanted {
            Some(_) => draft.revived.insert(key),
            None => draft.dead.insert(key),
        };
        if exists && leftover.is_none() && was == peer_bits(will) {
            return;
        }
        let (will_bits, digest) = (peer_bits(will), key.digest());
        let change = Change {
            key,
            digest,
            was,
            will: will_bits,
            none: PEER_NONE,
            exists,
            wrap: &bare,
        };
        draft.versioned(&change, leftover);
        draft.facts.push(Fact::Prefix(cidr, will));
    }
}
