//! The tables in memory and frames from bytes: the same packet path on the host, for tests and for judges to compare.

use core::cell::RefCell;
use std::boxed::Box;
use std::vec::Vec;

use cellwall_datapath_common::policy::{LIST, digest2, digest16};
use cellwall_datapath_common::{
    Active, AddressValue, Cell, Counter, EndpointRecord, FlowValue, FragmentValue, PeerKey, Record, Span, TableValue,
    Versioned,
};
// Judges run this path a thousand million times: what is looked up in memory must not cost more than the path.
use rustc_hash::FxHashMap as HashMap;

use crate::layout::{Endpoint, Key4, Key6, LiveFlow, OwnKey, PortKey, TrainKey};
use crate::packet::{ETHERNET, Packet, high};
use crate::scene::Scratch;
use crate::tables::{Full, Tables};

/// Everything that maps hold. What the packet path borrows is leaked: a test's memory lives as long as the test.
#[derive(Debug)]
#[allow(missing_docs, reason = "each is the map of its name")]
pub struct Memory {
    pub active: Active,
    pub now: u64,
    pub endpoint_index: HashMap<u32, Versioned>,
    pub endpoint_extra: HashMap<u32, Versioned>,
    pub endpoints: HashMap<u32, &'static Endpoint>,
    pub own_addresses: Vec<OwnKey>,
    pub addresses4: HashMap<u32, AddressValue>,
    pub addresses6: HashMap<[u32; 4], AddressValue>,
    /// Ranges: prefix length, network in words (IPv4 in the first).
    pub prefixes4: Vec<(u32, u32, Versioned)>,
    pub prefixes6: Vec<(u32, [u32; 4], Versioned)>,
    pub service_ports: HashMap<PortKey, Versioned>,
    pub policy: HashMap<(u32, u32), Versioned>,
    pub tables: HashMap<u32, &'static TableValue>,
    pub spans: Vec<Span>,
    pub flows4: HashMap<Key4, &'static LiveFlow>,
    pub flows6: HashMap<Key6, &'static LiveFlow>,
    pub opening4: HashMap<Key4, &'static LiveFlow>,
    pub opening6: HashMap<Key6, &'static LiveFlow>,
    /// Answered flows on each pod's account.
    pub held: HashMap<u32, u64>,
    /// What is left of forgotten flows, to be used again: who runs packets without end must not leak without end.
    pub spare: Vec<&'static LiveFlow>,
    /// Room in the tables of answered, and of unanswered flows and trains.
    pub room: usize,
    pub opening_room: usize,
    pub trains: HashMap<TrainKey, FragmentValue>,
    pub rule_counters: HashMap<u32, Counter>,
    pub reason_counters: HashMap<u32, Counter>,
    pub event_counters: HashMap<u32, u64>,
    pub records: Vec<Record>,
    /// Records that the ring has room for.
    pub record_room: usize,
    pub refused: Vec<(u32, Record)>,
    pub random: u32,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            active: Active::sealed(1, 0, 0),
            now: 1 << 50,
            endpoint_index: HashMap::default(),
            endpoint_extra: HashMap::default(),
            endpoints: HashMap::default(),
            own_addresses: Vec::new(),
            addresses4: HashMap::default(),
            addresses6: HashMap::default(),
            prefixes4: Vec::new(),
            prefixes6: Vec::new(),
            service_ports: HashMap::default(),
            policy: HashMap::default(),
            tables: HashMap::default(),
            spans: Vec::new(),
            flows4: HashMap::default(),
            flows6: HashMap::default(),
            opening4: HashMap::default(),
            opening6: HashMap::default(),
            held: HashMap::default(),
            spare: Vec::new(),
            room: usize::MAX,
            opening_room: usize::MAX,
            trains: HashMap::default(),
            rule_counters: HashMap::default(),
            reason_counters: HashMap::default(),
            event_counters: HashMap::default(),
            records: Vec::new(),
            record_room: usize::MAX,
            refused: Vec::new(),
            random: 0,
        }
    }
}

impl Memory {
    /// Makes it a handle that the packet path can copy.
    pub fn share(self) -> Shared {
        Shared(Box::leak(Box::new(RefCell::new(self))))
    }

    /// Forgets all flows.
    pub fn forget_flows(&mut self) {
        let flows4 = self.flows4.drain().chain(self.opening4.drain());
        self.spare.extend(flows4.map(|(_, flow)| flow));
        let flows6 = self.flows6.drain().chain(self.opening6.drain());
        self.spare.extend(flows6.map(|(_, flow)| flow));
        self.held.clear();
    }

    /// Enters an endpoint under `slot` for its interface.
    pub fn endpoint(&mut self, slot: u32, record: &EndpointRecord) {
        let value = Versioned::sealed(1, slot + 1, 0, digest2(record.ifindex, 0));
        self.endpoint_index.insert(record.ifindex & 0xffff, value);
        let words = |bytes: [u8; 16]| {
            let mut words = [0; 4];
            for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
                *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
            words
        };
        let mac = record.mac;
        let endpoint = Endpoint {
            attached: record.attached,
            ifindex: record.ifindex,
            master: record.master,
            egress: record.egress,
            ingress: record.ingress,
            flags: record.flags,
            v4: record.v4,
            v6: words(record.v6),
            v6_link: words(record.v6_link),
            mac: [
                u32::from_ne_bytes([mac[0], mac[1], mac[2], mac[3]]),
                u32::from_ne_bytes([mac[4], mac[5], 0, 0]),
            ],
        };
        self.endpoints.insert(slot, Box::leak(Box::new(endpoint)));
    }

    /// Enters an exact IPv4 address, in words.
    pub fn address4(&mut self, address: u32, peer: u32, since: u32, ifindex: u32) {
        let peer = Versioned::sealed(1, peer, peer, digest2(address, 4));
        self.addresses4.insert(address, AddressValue { peer, since, ifindex });
    }

    /// Enters an exact IPv6 address, in words.
    pub fn address6(&mut self, address: [u32; 4], peer: u32, since: u32, ifindex: u32) {
        let peer = Versioned::sealed(1, peer, peer, digest16(address));
        self.addresses6.insert(address, AddressValue { peer, since, ifindex });
    }

    /// Enters a table for (policy, peer) from generation `generation` on; before, the one that was there.
    pub fn policy(&mut self, policy: u32, peer: u32, refs: [u32; 6], generation: u32) {
        #[allow(clippy::cast_possible_truncation, reason = "tests have few tables")]
        let slot = self.tables.len() as u32;
        self.tables.insert(slot, Box::leak(Box::new(TableValue { refs })));
        let previous = self.policy.get(&(policy, peer)).map_or(0, |value| value.new);
        let value = Versioned::sealed(generation, slot + 1, previous, digest2(policy, peer));
        self.policy.insert((policy, peer), value);
    }

    /// Adds a list; answers the reference that names it.
    #[allow(clippy::cast_possible_truncation, reason = "tests have few spans")]
    pub fn list(&mut self, spans: &[(u32, Cell)]) -> u32 {
        let at = self.spans.len() as u32;
        let drops = spans
            .iter()
            .any(|(_, cell)| cell.action() == crate::verdict::action::DROP);
        let start = spans.len() as u32;
        self.spans.push(Span {
            start,
            cell: u32::from(!drops),
        });
        self.spans.extend(spans.iter().map(|(start, cell)| Span {
            start: *start,
            cell: cell.0,
        }));
        LIST | at
    }
}

/// A handle on a [`Memory`].
#[derive(Clone, Copy, Debug)]
pub struct Shared(pub &'static RefCell<Memory>);

fn add(counter: &mut Counter, flows: u64, bytes: u32, now: u64) {
    counter.flows += flows;
    counter.packets += 1;
    counter.bytes += u64::from(bytes);
    counter.last = now;
}

fn enter<K: core::hash::Hash + Eq>(
    map: &mut HashMap<K, &'static LiveFlow>,
    room: usize,
    spare: &mut Vec<&'static LiveFlow>,
    key: K,
    value: &FlowValue,
) -> Result<(), Full> {
    if map.len() >= room && !map.contains_key(&key) {
        return Err(Full);
    }
    let flow = spare
        .pop()
        .unwrap_or_else(|| Box::leak(Box::new(LiveFlow::new(&FlowValue::default()))));
    flow.replace(value);
    map.insert(key, flow);
    Ok(())
}

fn covers(prefix: u32, network: &[u32], address: &[u32]) -> bool {
    let mut left = prefix;
    network.iter().zip(address).all(|(network, address)| {
        let bits = left.min(u32::BITS);
        left -= bits;
        let differing = u32::from_be(network ^ address);
        bits == 0 || differing >> (u32::BITS - bits) == 0
    })
}

impl Tables for Shared {
    fn scratch(self) -> Option<&'static mut Scratch> {
        std::thread_local! {
            static SCRATCH: core::cell::Cell<*mut Scratch> =
                core::cell::Cell::new(Box::into_raw(Box::<Scratch>::default()));
        }
        // SAFETY: this thread's own, never freed; each field has one user at a time, as in the kernel.
        #[allow(unsafe_code, reason = "the contract of the trait is the kernel's")]
        SCRATCH.with(|scratch| unsafe { scratch.get().as_mut() })
    }

    fn active(self) -> Option<Active> {
        Some(self.0.borrow().active)
    }

    fn endpoint_index(self, low: u32) -> Option<Versioned> {
        Some(self.0.borrow().endpoint_index.get(&low).copied().unwrap_or_default())
    }

    fn endpoint_extra(self, ifindex: u32) -> Option<Versioned> {
        self.0.borrow().endpoint_extra.get(&ifindex).copied()
    }

    fn endpoint(self, slot: u32) -> Option<&'static Endpoint> {
        self.0.borrow().endpoints.get(&slot).copied()
    }

    fn owns(self, key: &OwnKey) -> bool {
        self.0.borrow().own_addresses.contains(key)
    }

    fn address4(self, address: &u32) -> Option<AddressValue> {
        self.0.borrow().addresses4.get(address).copied()
    }

    fn address6(self, address: &[u32; 4]) -> Option<AddressValue> {
        self.0.borrow().addresses6.get(address).copied()
    }

    fn prefix4(self, address: u32) -> Option<Versioned> {
        let memory = self.0.borrow();
        let fitting = memory
            .prefixes4
            .iter()
            .filter(|(length, network, _)| covers(*length, &[*network], &[address]));
        fitting.max_by_key(|(length, ..)| *length).map(|(.., value)| *value)
    }

    fn prefix6(self, address: &[u32; 4]) -> Option<Versioned> {
        let memory = self.0.borrow();
        let fitting = memory
            .prefixes6
            .iter()
            .filter(|(length, network, _)| covers(*length, network, address));
        fitting.max_by_key(|(length, ..)| *length).map(|(.., value)| *value)
    }

    fn service_port(self, key: &PortKey) -> Option<Versioned> {
        self.0.borrow().service_ports.get(key).copied()
    }

    fn policy(self, key: &PeerKey) -> Option<Versioned> {
        self.0.borrow().policy.get(&(key.policy, key.peer)).copied()
    }

    fn table(self, slot: u32) -> Option<&'static TableValue> {
        self.0.borrow().tables.get(&slot).copied()
    }

    fn span(self, index: u32) -> Option<Span> {
        self.0.borrow().spans.get(index as usize).copied()
    }

    fn flow4(self, key: &Key4) -> Option<&'static LiveFlow> {
        self.0.borrow().flows4.get(key).copied()
    }

    fn flow6(self, key: &Key6) -> Option<&'static LiveFlow> {
        self.0.borrow().flows6.get(key).copied()
    }

    fn opening4(self, key: &Key4) -> Option<&'static LiveFlow> {
        self.0.borrow().opening4.get(key).copied()
    }

    fn opening6(self, key: &Key6) -> Option<&'static LiveFlow> {
        self.0.borrow().opening6.get(key).copied()
    }

    fn answer4(self, key: &Key4, value: &FlowValue) -> Result<(), Full> {
        let memory = &mut *self.0.borrow_mut();
        enter(&mut memory.flows4, memory.room, &mut memory.spare, *key, value)
    }

    fn answer6(self, key: &Key6, value: &FlowValue) -> Result<(), Full> {
        let memory = &mut *self.0.borrow_mut();
        enter(&mut memory.flows6, memory.room, &mut memory.spare, *key, value)
    }

    fn open4(self, key: &Key4, value: &FlowValue) -> Result<(), Full> {
        let memory = &mut *self.0.borrow_mut();
        enter(
            &mut memory.opening4,
            memory.opening_room,
            &mut memory.spare,
            *key,
            value,
        )
    }

    fn open6(self, key: &Key6, value: &FlowValue) -> Result<(), Full> {
        let memory = &mut *self.0.borrow_mut();
        enter(
            &mut memory.opening6,
            memory.opening_room,
            &mut memory.spare,
            *key,
            value,
        )
    }

    fn held(self, ifindex: u32) -> u64 {
        self.0.borrow().held.get(&ifindex).copied().unwrap_or(0)
    }

    fn hold(self, ifindex: u32) {
        *self.0.borrow_mut().held.entry(ifindex).or_default() += 1;
    }

    fn opened4(self, key: &Key4) {
        self.0.borrow_mut().opening4.remove(key);
    }

    fn opened6(self, key: &Key6) {
        self.0.borrow_mut().opening6.remove(key);
    }

    fn train(self, key: &TrainKey) -> Option<FragmentValue> {
        self.0.borrow().trains.get(key).copied()
    }

    fn enter_train(self, key: &TrainKey, value: &FragmentValue) -> Result<(), Full> {
        let mut memory = self.0.borrow_mut();
        if memory.trains.len() >= memory.opening_room && !memory.trains.contains_key(key) {
            return Err(Full);
        }
        memory.trains.insert(*key, *value);
        Ok(())
    }

    fn count_rule(self, slot: u32, flows: u64, bytes: u32, now: u64) {
        add(
            self.0.borrow_mut().rule_counters.entry(slot).or_default(),
            flows,
            bytes,
            now,
        );
    }

    fn count_reason(self, index: u32, flows: u64, bytes: u32, now: u64) {
        add(
            self.0.borrow_mut().reason_counters.entry(index).or_default(),
            flows,
            bytes,
            now,
        );
    }

    fn count_event(self, event: u32) {
        *self.0.borrow_mut().event_counters.entry(event).or_default() += 1;
    }

    fn send(self, record: &Record) -> Result<(), Full> {
        let mut memory = self.0.borrow_mut();
        if memory.records.len() >= memory.record_room {
            return Err(Full);
        }
        memory.records.push(*record);
        Ok(())
    }

    fn keep_refused(self, slot: u32, record: &Record) {
        self.0.borrow_mut().refused.push((slot, *record));
    }

    fn forget(self, number: u32, _other: u32) -> u32 {
        number
    }

    fn now(self) -> u64 {
        self.0.borrow().now
    }

    fn random(self) -> u32 {
        self.0.borrow().random
    }
}

/// A frame in memory.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its bytes, from the Ethernet header on.
    pub bytes: &'a [u8],
    /// Interface of the hook.
    pub ifindex: u32,
    /// Interface by which it came in.
    pub ingress: u32,
    /// Whether the kernel took a tag off.
    pub tagged: bool,
    /// Whether it stands for several.
    pub segmented: bool,
}

impl Packet for Frame<'_> {
    fn bytes(self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    fn is_tagged(self) -> bool {
        self.tagged
    }

    fn ethertype(self) -> u16 {
        self.words::<1>(ETHERNET - 2).map_or(0, |[word]| high(word))
    }

    fn ifindex(self) -> u32 {
        self.ifindex
    }

    fn ingress_ifindex(self) -> u32 {
        self.ingress
    }

    fn is_segmented(self) -> bool {
        self.segmented
    }

    fn fixed<const AT: usize, const N: usize>(self) -> Option<[u32; N]> {
        self.words(u32::try_from(AT).ok()?)
    }

    fn words<const N: usize>(self, at: u32) -> Option<[u32; N]> {
        let mut words = [0; N];
        let bytes = self.bytes.get(at as usize..)?.get(..4 * N)?;
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Some(words)
    }

    fn byte(self, at: u32) -> Option<u8> {
        self.bytes.get(at as usize).copied()
    }

    fn forget(self, number: u32) -> u32 {
        number
    }
}
