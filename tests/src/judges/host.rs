//! The third judge: the packet path built for the host, over tables filled from the bytes that a plan wrote.

use cellwall_datapath::abi::policy::OwnAddressKey;
use cellwall_datapath::abi::{
    Active, EndpointRecord, PeerKey, PrefixKey4, PrefixKey6, ServiceKey, Span, Versioned, record::REASONS,
};
use cellwall_datapath::layout::Layout;
use cellwall_datapath::memory::MemoryKernel;
use cellwall_datapath::port::{MapName, Reads};
use cellwall_datapath_ebpf::layout::{Endpoint, OwnKey, PortKey};
use cellwall_datapath_ebpf::memory::{Frame, Memory, Shared};
use cellwall_datapath_ebpf::path;
use cellwall_policy::model::Hook;

use super::verdict::{Said, Told};
use cellwall_datapath::abi::Cell;

/// The packet path over tables in memory.
#[derive(Debug)]
pub struct Host(Shared);

impl Host {
    /// Over what `kernel` holds.
    pub fn over(kernel: &MemoryKernel) -> Self {
        Self::at(kernel, Memory::default().now)
    }

    /// The same, `now` nanoseconds after the interfaces were attached.
    pub fn at(kernel: &MemoryKernel, now: u64) -> Self {
        let mut memory = Memory {
            now,
            ..Memory::default()
        };
        for map in MapName::ALL {
            kernel
                .visit(*map, &mut |key, value| enter(&mut memory, *map, key, value))
                .expect("memory answers");
        }
        Self(memory.share())
    }

    /// Runs one frame, as if it were the first.
    pub fn judge(&self, hook: Hook, ifindex: u32, frame: &[u8]) -> Told {
        self.forget_flows();
        self.forget_trains();
        self.follow(hook, ifindex, frame)
    }

    /// Runs one frame after those before it.
    pub fn follow(&self, hook: Hook, ifindex: u32, frame: &[u8]) -> Told {
        self.next(hook, ifindex, 0, frame)
    }

    /// The same, for a frame that came in by interface `ingress`.
    pub fn next(&self, hook: Hook, ifindex: u32, ingress: u32, frame: &[u8]) -> Told {
        self.forget_counts();
        let frame = Frame {
            bytes: frame,
            ifindex,
            ingress,
            tagged: false,
            segmented: false,
        };
        let passed = match hook {
            Hook::FromPod => path::from_pod(self.0, frame),
            Hook::ToPod => path::to_pod(self.0, frame),
        };
        let (recorded, counted) = (self.recorded(!passed), self.counted(!passed));
        assert!(
            recorded.is_none() || recorded == counted,
            "{recorded:?} is told, {counted:?} counted"
        );
        Told {
            dropped: !passed,
            said: counted,
        }
    }

    /// Has seen no flow.
    pub fn forget_flows(&self) {
        self.0.0.borrow_mut().forget_flows();
    }

    /// Has seen no fragment.
    pub fn forget_trains(&self) {
        self.0.0.borrow_mut().trains.clear();
    }

    fn forget_counts(&self) {
        let mut memory = self.0.0.borrow_mut();
        memory.records.clear();
        memory.refused.clear();
        memory.event_counters.clear();
        memory.reason_counters.clear();
        memory.rule_counters.clear();
    }

    fn recorded(&self, dropped: bool) -> Option<Said> {
        let memory = self.0.0.borrow();
        assert!(
            memory.records.len() <= 1,
            "one packet, {} records",
            memory.records.len()
        );
        let record = memory.records.first()?;
        assert_eq!(record.dropped, u8::from(dropped), "the record and what happened");
        Some(Cell(record.cell).into())
    }

    fn counted(&self, dropped: bool) -> Option<Said> {
        let memory = self.0.0.borrow();
        assert!(memory.reason_counters.len() <= 1, "one packet, counted twice");
        let index = *memory.reason_counters.keys().next()?;
        let (place, reason) = (index / REASONS, index % REASONS);
        assert_eq!(place & 1, u32::from(dropped), "the counter and what happened");
        Some(Said {
            action: place >> 1 & 3,
            reason,
            slot: memory.rule_counters.keys().next().copied().unwrap_or(Cell::NO_RULE),
        })
    }
}

/// Bytes as words in the machine's order.
fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    assert_eq!(bytes.len(), 4 * N);
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    words
}

fn read<T: Layout>(bytes: &[u8]) -> T {
    T::from_bytes(bytes).expect("entries have the sizes of their maps")
}

/// One entry of the kernel's, where the packet path looks for it.
fn enter(memory: &mut Memory, map: MapName, key: &[u8], value: &[u8]) {
    match map {
        MapName::Active => memory.active = read::<Active>(value),
        MapName::EndpointIndex => drop(memory.endpoint_index.insert(read(key), read(value))),
        MapName::EndpointExtra => drop(memory.endpoint_extra.insert(read(key), read(value))),
        MapName::Endpoints => drop(memory.endpoints.insert(read(key), endpoint(read(value)))),
        MapName::OwnAddresses => {
            let OwnAddressKey { address, ifindex } = read(key);
            let address = words(&address);
            memory.own_addresses.push(OwnKey { address, ifindex });
        }
        MapName::Addresses4 => drop(memory.addresses4.insert(words::<1>(key)[0], read(value))),
        MapName::Addresses6 => drop(memory.addresses6.insert(words(key), read(value))),
        MapName::Prefixes4 => {
            let PrefixKey4 { prefix, address } = read(key);
            memory.prefixes4.push((prefix, words::<1>(&address)[0], read(value)));
        }
        MapName::Prefixes6 => {
            let PrefixKey6 { prefix, address } = read(key);
            memory.prefixes6.push((prefix, words(&address), read(value)));
        }
        MapName::ServicePorts => drop(memory.service_ports.insert(port_key(read(key)), read(value))),
        MapName::Policy => {
            let PeerKey { policy, peer } = read(key);
            let value: Versioned = read(value);
            memory.policy.insert((policy, peer), value);
            // An array has all its elements, those that are zero too, which the memory kernel does not keep.
            for slot in [value.new, value.previous]
                .iter()
                .filter_map(|number| number.checked_sub(1))
            {
                memory.tables.entry(slot).or_insert_with(|| Box::leak(Box::default()));
            }
        }
        MapName::Tables => drop(memory.tables.insert(read(key), Box::leak(Box::new(read(value))))),
        MapName::Spans => {
            let index = read::<u32>(key) as usize;
            if memory.spans.len() <= index {
                memory.spans.resize(index + 1, Span::default());
            }
            memory.spans[index] = read(value);
        }
        // What people read, and what the packet path itself writes.
        MapName::RuleCards
        | MapName::RuleCounters
        | MapName::ReasonCounters
        | MapName::EventCounters
        | MapName::Refused
        | MapName::RefusedNext
        | MapName::Flows4
        | MapName::Flows6
        | MapName::Opening4
        | MapName::Opening6
        | MapName::Entered
        | MapName::Gone
        | MapName::Fragments => {}
    }
}

fn port_key(key: ServiceKey) -> PortKey {
    let ServiceKey {
        scope,
        port,
        protocol,
        kind,
    } = key;
    PortKey {
        scope: words(&scope),
        port,
        protocol,
        kind,
    }
}

fn endpoint(record: EndpointRecord) -> &'static Endpoint {
    let EndpointRecord {
        attached,
        ifindex,
        master,
        egress,
        ingress,
        flags,
        v4,
        v6,
        v6_link,
        mac,
        pad,
    } = record;
    Box::leak(Box::new(Endpoint {
        attached,
        ifindex,
        master,
        egress,
        ingress,
        flags,
        v4,
        v6: words(&v6),
        v6_link: words(&v6_link),
        mac: words(&[&mac[..], &pad].concat()),
    }))
}
