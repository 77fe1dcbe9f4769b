//! A bounded memory of addresses that were given up: whoever gets one next does not inherit its flows (case 42).

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::addresses::Serial;
use crate::model::Address;

/// Addresses remembered. One that was pushed out counts as released when the youngest of those was.
const REMEMBERED: usize = 65_536;

#[derive(Debug, Clone, Copy)]
struct Release {
    owner: Serial,
    /// What the owner's own entry said.
    since: u32,
    generation: u32,
}

/// Addresses given up lately.
#[derive(Debug, Default)]
pub(super) struct Released {
    by_address: FxHashMap<Address, Release>,
    order: VecDeque<(Address, u32)>,
    /// Generation of the youngest release that was forgotten, 0 for none.
    floor: u32,
}

impl Released {
    /// The owner gave the address up in `generation`.
    pub(super) fn remember(&mut self, address: Address, owner: Serial, since: u32, generation: u32) {
        let release = Release {
            owner,
            since,
            generation,
        };
        self.by_address.insert(address, release);
        self.order.push_back((address, generation));
        while self.order.len() > REMEMBERED {
            let Some((old, at)) = self.order.pop_front() else { break };
            if self
                .by_address
                .get(&old)
                .is_some_and(|release| release.generation == at)
            {
                self.by_address.remove(&old);
                self.floor = at;
            }
        }
    }

    /// Since when flows of `address` are those of `owner`, who takes it now; the former owner gets its own back.
    pub(super) fn since(&mut self, address: Address, owner: Serial) -> u32 {
        match self.by_address.remove(&address) {
            Some(release) if release.owner == owner => release.since,
            Some(release) => release.generation,
            None => self.floor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{REMEMBERED, Released};
    use crate::model::Address;

    fn address(number: u32) -> Address {
        std::net::Ipv4Addr::from(0xc633_6400 + number).into()
    }

    #[test]
    fn a_new_owner_starts_where_the_old_one_stopped() {
        let mut released = Released::default();
        released.remember(address(1), 7, 3, 9);
        assert_eq!(released.since(address(1), 8), 9);
        assert_eq!(released.since(address(2), 8), 0);
    }

    #[test]
    fn the_same_owner_gets_its_flows_back() {
        let mut released = Released::default();
        released.remember(address(1), 7, 3, 9);
        assert_eq!(released.since(address(1), 7), 3);
    }

    #[test]
    fn what_was_pushed_out_of_memory_is_never_inherited() {
        let mut released = Released::default();
        released.remember(address(0), 7, 0, 5);
        for number in 1..=u32::try_from(REMEMBERED).unwrap() {
            released.remember(address(number), 7, 0, 6);
        }
        assert_eq!(released.by_address.len(), REMEMBERED);
        assert_eq!(released.since(address(0), 8), 5);
    }
}
