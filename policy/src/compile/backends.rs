//! What lies behind Service ports and host ports: lists of (address, target port), from slices and pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::model::{Address, Endpoint, EndpointSlice, Name, Pod, ServicePort};

/// A backend's address and target port.
pub(super) type Backend = (Address, u16);

type Key = (Name, Name);

/// Slices, by the Service they belong to.
#[derive(Debug, Default)]
pub(super) struct Slices {
    owner: FxHashMap<Key, Key>,
    by_service: FxHashMap<Key, BTreeMap<Name, Arc<EndpointSlice>>>,
}

impl Slices {
    /// Puts the slice in force as `new`, or takes it away. Answers the Services that it touches.
    pub(super) fn replace(&mut self, key: &Key, new: Option<&Arc<EndpointSlice>>) -> Vec<Key> {
        let mut touched = Vec::new();
        if let Some(owner) = self.owner.remove(key) {
            if let Some(slices) = self.by_service.get_mut(&owner) {
                slices.remove(&key.1);
                if slices.is_empty() {
                    self.by_service.remove(&owner);
                }
            }
            touched.push(owner);
        }
        if let Some(slice) = new
            && let Some(service) = &slice.service
        {
            let owner = (slice.namespace.clone(), service.clone());
            self.owner.insert(key.clone(), owner.clone());
            self.by_service
                .entry(owner.clone())
                .or_default()
                .insert(key.1.clone(), slice.clone());
            touched.push(owner);
        }
        touched
    }

    /// The backends of a Service's port for packets of one family: the ready ones, or where none is ready the
    /// serving ones. Sorted, without repeats.
    pub(super) fn of(&self, service: &Key, port: &ServicePort, v4: bool) -> Vec<Backend> {
        let ready = self.those(service, port, v4, |endpoint| endpoint.ready);
        if ready.is_empty() {
            self.those(service, port, v4, |endpoint| endpoint.serving)
        } else {
            ready
        }
    }

    fn those(&self, service: &Key, port: &ServicePort, v4: bool, counts: impl Fn(&Endpoint) -> bool) -> Vec<Backend> {
        let mut found = Vec::new();
        for slice in self.by_service.get(service).into_iter().flat_map(BTreeMap::values) {
            let targets = slice
                .ports
                .iter()
                .filter(|p| p.name == port.name && p.transport == port.transport);
            for target in targets {
                let fit = slice.endpoints.iter().filter(|e| e.address.is_v4() == v4 && counts(e));
                found.extend(fit.map(|endpoint| (endpoint.address, target.port)));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Where a pod's host port ends up for packets of one family: at the pod's first address of it.
pub(super) fn of_host_port(pod: &Pod, container_port: u16, v4: bool) -> Vec<Backend> {
    let first = pod.addresses.iter().find(|address| address.is_v4() == v4);
    first.map(|address| (*address, container_port)).into_iter().collect()
}
