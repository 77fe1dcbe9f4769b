//! The maps by name, with kind and sizes.

use std::fmt;
use std::mem::size_of;

use cellwall_datapath_common::policy::OwnAddressKey;
use cellwall_datapath_common::{
    Active, AddressValue, Counter, EndpointRecord, FlowKey4, FlowKey6, FlowValue, FragmentKey, FragmentValue, PeerKey,
    PrefixKey4, PrefixKey6, Refused, RuleCardValue, ServiceKey, Span, TableValue, Versioned, limits, maps, record,
};

/// How a map is addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MapKind {
    /// Every index below the capacity exists; values are written in place.
    Array,
    /// The same with a value for each CPU.
    PerCpuArray,
    /// Entries come and go; full is `E2BIG`.
    Hash,
    /// A hash that evicts.
    LruHash,
    /// The longest prefix answers; full is `ENOSPC`.
    Trie,
}

macro_rules! map_names {
    ($($name:ident = $constant:ident: $kind:ident <$key:ty, $value:ty> [$capacity:expr],)*) => {
        /// A map, but for the ring of records, which is no table. The order is that of dumps.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "documented in datapath_common::maps")]
        pub enum MapName { $($name,)* }

        impl MapName {
            /// All maps.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name, as in pins and messages.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => maps::$constant,)* }
            }

            /// How it is addressed.
            pub fn kind(self) -> MapKind {
                match self { $(Self::$name => MapKind::$kind,)* }
            }

            /// Bytes of a key.
            pub fn key_size(self) -> usize {
                match self { $(Self::$name => size_of::<$key>(),)* }
            }

            /// Bytes of a value (per CPU, where there is one for each).
            pub fn value_size(self) -> usize {
                match self { $(Self::$name => size_of::<$value>(),)* }
            }

            /// Entries it is made with unless told otherwise.
            pub fn default_capacity(self) -> u32 {
                match self { $(Self::$name => $capacity,)* }
            }
        }
    };
}

map_names! {
    Active = ACTIVE: Array<u32, Active> [1],
    RuleCards = RULE_CARDS: Array<u32, RuleCardValue> [limits::RULES],
    RuleCounters = RULE_COUNTERS: PerCpuArray<u32, Counter> [limits::RULES],
    ReasonCounters = REASON_COUNTERS: PerCpuArray<u32, Counter> [record::REASON_COUNTERS],
    EventCounters = EVENT_COUNTERS: PerCpuArray<u32, u64> [record::event::COUNT],
    EndpointIndex = ENDPOINT_INDEX: Array<u32, Versioned> [limits::ENDPOINT_INDEX],
    EndpointExtra = ENDPOINT_EXTRA: Hash<u32, Versioned> [limits::ENDPOINTS],
    Endpoints = ENDPOINTS: Array<u32, EndpointRecord> [limits::ENDPOINTS],
    OwnAddresses = OWN_ADDRESSES: Hash<OwnAddressKey, u32> [limits::OWN_ADDRESSES],
    Refused = REFUSED: Array<u32, Refused> [limits::ENDPOINTS * limits::REFUSED_PER_ENDPOINT],
    RefusedNext = REFUSED_NEXT: Array<u32, u64> [limits::ENDPOINTS],
    Addresses4 = ADDRESSES4: Hash<[u8; 4], AddressValue> [limits::ADDRESSES],
    Addresses6 = ADDRESSES6: Hash<[u8; 16], AddressValue> [limits::ADDRESSES],
    Prefixes4 = PREFIXES4: Trie<PrefixKey4, Versioned> [limits::PREFIXES],
    Prefixes6 = PREFIXES6: Trie<PrefixKey6, Versioned> [limits::PREFIXES],
    ServicePorts = SERVICE_PORTS: Hash<ServiceKey, Versioned> [limits::SERVICE_PORTS],
    Policy = POLICY: Hash<PeerKey, Versioned> [limits::POLICY],
    Tables = TABLES: Array<u32, TableValue> [limits::TABLES],
    Spans = SPANS: Array<u32, Span> [limits::SPANS],
    Flows4 = FLOWS4: Hash<FlowKey4, FlowValue> [limits::FLOWS],
    Flows6 = FLOWS6: Hash<FlowKey6, FlowValue> [limits::FLOWS],
    Entered = ENTERED: Hash<u32, u64> [limits::ENDPOINTS],
    Gone = GONE: Hash<u32, u64> [limits::ENDPOINTS],
    Opening4 = OPENING4: LruHash<FlowKey4, FlowValue> [limits::OPENING],
    Opening6 = OPENING6: LruHash<FlowKey6, FlowValue> [limits::OPENING],
    Fragments = FRAGMENTS: LruHash<FragmentKey, FragmentValue> [limits::FRAGMENTS],
}

impl fmt::Display for MapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
