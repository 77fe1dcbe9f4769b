//! Who has an address, looked up. For those who ask about every packet that is told; the reference itself searches.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::identity::{Identity, What, is_guardable, of_pod_range, with_objects};
use crate::model::{Address, Name, Pod};
use crate::world::World;

/// The answers of [`identify`](super::identify) for one world, by address.
#[derive(Debug)]
pub struct Identities {
    world: World,
    owners: HashMap<Address, Arc<Pod>>,
    nodes: HashMap<Address, Vec<Name>>,
    cluster_ips: HashSet<Address>,
    external_ips: HashSet<Address>,
}

impl Identities {
    /// Looks through `world` once.
    pub fn of(world: &World) -> Self {
        let mut found = Self {
            world: world.clone(),
            owners: HashMap::new(),
            nodes: HashMap::new(),
            cluster_ips: world
                .services()
                .flat_map(|one| one.cluster_ips.iter().copied())
                .collect(),
            external_ips: world
                .services()
                .flat_map(|one| one.external_ips.iter().copied())
                .collect(),
        };
        for pod in world.pods() {
            found.take_pod(pod);
        }
        for node in world.nodes() {
            found.take_node(&node.addresses, &node.name);
        }
        for report in world.reports() {
            found.take_node(&report.addresses, &report.node);
        }
        for names in found.nodes.values_mut() {
            names.sort();
            names.dedup();
        }
        found
    }

    fn take_pod(&mut self, pod: &Arc<Pod>) {
        if !is_guardable(pod) {
            if pod.host_network && pod.phase.is_live() {
                let node = self.world.node_of(pod).clone();
                self.take_node(&pod.addresses, &node);
            }
            return;
        }
        let on_link = pod.link_local.iter().filter(|_| self.world.is_local(pod));
        for address in pod.addresses.iter().chain(on_link) {
            let later = |other: &Arc<Pod>| (pod.created, &pod.uid) > (other.created, &other.uid);
            if self.owners.get(address).is_none_or(later) {
                self.owners.insert(*address, pod.clone());
            }
        }
    }

    fn take_node(&mut self, addresses: &[Address], name: &Name) {
        for address in addresses {
            self.nodes.entry(*address).or_default().push(name.clone());
        }
    }

    /// Says who has `address`.
    pub fn identify(&self, address: Address) -> Identity {
        with_objects(&self.world, address, self.what(address))
    }

    fn what(&self, address: Address) -> What {
        if address.is_loopback() {
            What::Loopback
        } else if address.is_multicast_or_broadcast() {
            What::Multicast
        } else if let Some(pod) = self.owners.get(&address) {
            What::Pod(pod.clone())
        } else if address.is_link_local() {
            What::LinkLocal
        } else if let Some(names) = self.nodes.get(&address) {
            What::Node(names.clone())
        } else if self.cluster_ips.contains(&address) {
            What::ClusterIp
        } else if self.external_ips.contains(&address) {
            What::ExternalIp
        } else if of_pod_range(&self.world, address) {
            What::Unresolved
        } else {
            What::Outside
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Identities;
    use crate::evaluate::identify;
    use crate::generate::{crowd, edit, questions, world};

    #[test]
    fn what_is_looked_up_is_what_a_search_finds() {
        let mut looked_up = 0;
        for seed in 0..120 {
            let mut world = world(seed, 4 + usize::try_from(seed % 5).unwrap() * 5);
            crowd(seed, &mut world);
            for state in 0..2 {
                edit(seed * 2 + state, &mut world);
                let identities = Identities::of(&world);
                for question in questions(seed, &world, 60) {
                    let searched = identify(&world, question.peer);
                    assert_eq!(identities.identify(question.peer), searched, "seed {seed}");
                    looked_up += 1;
                }
            }
        }
        assert!(looked_up > 10_000, "{looked_up}");
    }
}
