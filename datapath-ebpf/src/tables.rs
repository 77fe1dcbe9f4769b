//! The tables as the packet path sees them: maps in the kernel, memory in tests.

use cellwall_datapath_common::{
    Active, AddressValue, FlowValue, FragmentValue, PeerKey, Record, Span, TableValue, Versioned,
};

use crate::layout::{Endpoint, Key4, Key6, LiveFlow, OwnKey, PortKey, TrainKey};
use crate::scene::Scratch;

/// An insertion found no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Lookups answer copies where the user side rewrites in place, references where it does not.
#[allow(
    missing_docs,
    reason = "each is the lookup in the map of its name; see maps.rs of the ABI"
)]
pub trait Tables: Copy {
    /// This CPU's scratch memory; each field of it has one user at a time.
    fn scratch(self) -> Option<&'static mut Scratch>;
    fn active(self) -> Option<Active>;
    fn endpoint_index(self, low: u32) -> Option<Versioned>;
    fn endpoint_extra(self, ifindex: u32) -> Option<Versioned>;
    fn endpoint(self, slot: u32) -> Option<&'static Endpoint>;
    fn owns(self, key: &OwnKey) -> bool;
    fn address4(self, address: &u32) -> Option<AddressValue>;
    fn address6(self, address: &[u32; 4]) -> Option<AddressValue>;
    fn prefix4(self, address: u32) -> Option<Versioned>;
    fn prefix6(self, address: &[u32; 4]) -> Option<Versioned>;
    fn service_port(self, key: &PortKey) -> Option<Versioned>;
    fn policy(self, key: &PeerKey) -> Option<Versioned>;
    fn table(self, slot: u32) -> Option<&'static TableValue>;
    fn span(self, index: u32) -> Option<Span>;

    fn flow4(self, key: &Key4) -> Option<&'static LiveFlow>;
    fn flow6(self, key: &Key6) -> Option<&'static LiveFlow>;
    fn opening4(self, key: &Key4) -> Option<&'static LiveFlow>;
    fn opening6(self, key: &Key6) -> Option<&'static LiveFlow>;
    /// Enters an answered flow; one that is there already stays.
    fn answer4(self, key: &Key4, value: &FlowValue) -> Result<(), Full>;
    fn answer6(self, key: &Key6, value: &FlowValue) -> Result<(), Full>;
    /// Enters an unanswered flow; one that is there already stays: another CPU has judged the same.
    fn open4(self, key: &Key4, value: &FlowValue) -> Result<(), Full>;
    fn open6(self, key: &Key6, value: &FlowValue) -> Result<(), Full>;
    /// Answered flows on a pod's account, by its interface.
    fn held(self, ifindex: u32) -> u64;
    /// One more of them.
    fn hold(self, ifindex: u32);
    fn opened4(self, key: &Key4);
    fn opened6(self, key: &Key6);
    fn train(self, key: &TrainKey) -> Option<FragmentValue>;
    fn enter_train(self, key: &TrainKey, value: &FragmentValue) -> Result<(), Full>;

    /// Adds to a rule's counters.
    fn count_rule(self, slot: u32, flows: u64, bytes: u32, now: u64);
    /// Adds to a reason's counters; `index` as in `reason_index`.
    fn count_reason(self, index: u32, flows: u64, bytes: u32, now: u64);
    /// One more of an event.
    fn count_event(self, event: u32);
    /// Sends a record, without waking anybody.
    fn send(self, record: &Record) -> Result<(), Full>;
    /// Keeps a refusal for its pod.
    fn keep_refused(self, slot: u32, record: &Record);

    /// The same number, of which the verifier has forgotten what it knew; `other` is any number that it does not know. What
    /// is put together bit by bit it would otherwise follow in every combination.
    fn forget(self, number: u32, other: u32) -> u32;
    /// Nanoseconds, monotonic; coarse where the kernel has such a clock.
    fn now(self) -> u64;
    /// A random number, for sampling.
    fn random(self) -> u32;
}
