//! Names of the maps: the same on the kernel side, in pins and in `dump`. At most 15 characters, as the kernel has it.

/// Array of one [`crate::Active`].
pub const ACTIVE: &str = "ACTIVE";
/// Array of [`crate::Versioned`]: low bits of the interface index to a slot of [`ENDPOINTS`] plus one, 0 for none.
pub const ENDPOINT_INDEX: &str = "ENDPOINT_INDEX";
/// Hash of interface index to [`crate::Versioned`], for interfaces whose low bits another one has.
pub const ENDPOINT_EXTRA: &str = "ENDPOINT_EXTRA";
/// Array of [`crate::EndpointRecord`]: immutable while an index names them.
pub const ENDPOINTS: &str = "ENDPOINTS";
/// Hash of (interface index, address) to 1: addresses of a pod beyond those in its record.
pub const OWN_ADDRESSES: &str = "OWN_ADDRESSES";
/// Hash of IPv4 address to [`crate::AddressValue`].
pub const ADDRESSES4: &str = "ADDRESSES4";
/// Hash of IPv6 address to [`crate::AddressValue`].
pub const ADDRESSES6: &str = "ADDRESSES6";
/// Longest-prefix trie of IPv4 ranges to [`crate::Versioned`] peers.
pub const PREFIXES4: &str = "PREFIXES4";
/// Longest-prefix trie of IPv6 ranges to [`crate::Versioned`] peers.
pub const PREFIXES6: &str = "PREFIXES6";
/// Hash of [`crate::ServiceKey`] to [`crate::Versioned`] peers.
pub const SERVICE_PORTS: &str = "SERVICE_PORTS";
/// Hash of [`crate::PeerKey`] to [`crate::Versioned`] table slots plus one (0: no entry).
pub const POLICY: &str = "POLICY";
/// Array of [`crate::TableValue`]: immutable while an entry names them.
pub const TABLES: &str = "TABLES";
/// Array of [`crate::Span`]: lists of tables, immutable while a table names them.
pub const SPANS: &str = "SPANS";
/// Array of [`crate::RuleCardValue`] by rule slot: for people and tools, never read by the programs.
pub const RULE_CARDS: &str = "RULE_CARDS";
/// Per-CPU array of [`crate::Counter`] by rule slot.
pub const RULE_COUNTERS: &str = "RULE_COUNTERS";
/// Per-CPU array of [`crate::Counter`] by [`crate::record::reason_index`].
pub const REASON_COUNTERS: &str = "REASON_COUNTERS";
/// Per-CPU array of `u64`: losses and other events by [`crate::record::event`].
pub const EVENT_COUNTERS: &str = "EVENT_COUNTERS";
/// Ring buffer of [`crate::Record`].
pub const RECORDS: &str = "RECORDS";
/// Array of [`crate::Refused`]: [`crate::limits::REFUSED_PER_ENDPOINT`] for each endpoint slot. They stay when another
/// interface gets the slot: each names its own.
pub const REFUSED: &str = "REFUSED";
/// Array of `u64` by endpoint slot: refusals so far; the next one goes to this modulo the number kept.
pub const REFUSED_NEXT: &str = "REFUSED_NEXT";
/// Hash of [`crate::FlowKey4`] to [`crate::FlowValue`]: flows that were answered.
pub const FLOWS4: &str = "FLOWS4";
/// The same over IPv6.
pub const FLOWS6: &str = "FLOWS6";
/// Hash of interface index to `u64`: how many answered flows were entered on account of that pod
/// ([`crate::FlowValue::account`]), written by the programs.
pub const ENTERED: &str = "ENTERED";
/// Hash of interface index to `u64`: how many of those are gone, as the agent last reckoned. What is left of `ENTERED`
/// less this is held against [`crate::limits::FLOW_QUOTA`]; both wrap.
pub const GONE: &str = "GONE";
/// LRU hash of [`crate::FlowKey4`] to [`crate::FlowValue`]: flows not answered yet.
pub const OPENING4: &str = "OPENING4";
/// The same over IPv6.
pub const OPENING6: &str = "OPENING6";
/// LRU hash of [`crate::FragmentKey`] to [`crate::FragmentValue`].
pub const FRAGMENTS: &str = "FRAGMENTS";

/// Per-CPU array of one element, for the programs alone: what they know of the packet at hand.
pub const SCRATCH: &str = "SCRATCH";

/// Read-only global of one byte: 1 where the kernel has `bpf_ktime_get_coarse_ns` (5.11), set before loading.
pub const COARSE_CLOCK: &str = "COARSE_CLOCK";

/// Program at TC ingress of the host side: packets from the pod.
pub const FROM_POD: &str = "cellwall_from_pod";
/// Program at TC egress of the host side: packets to the pod.
pub const TO_POD: &str = "cellwall_to_pod";
/// Program that does nothing, for benchmarks.
pub const NOTHING: &str = "cellwall_nothing";
