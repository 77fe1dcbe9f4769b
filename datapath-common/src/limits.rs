//! Capacities. Those of maps are defaults that the user side may raise when it creates them.

/// Entries of `ENDPOINT_INDEX`; a power of two.
pub const ENDPOINT_INDEX: u32 = 65_536;
/// Endpoint slots on a node.
pub const ENDPOINTS: u32 = 4_096;
/// Addresses of pods beyond those in their records.
pub const OWN_ADDRESSES: u32 = 16_384;
/// Exact addresses per family.
pub const ADDRESSES: u32 = 1_048_576;
/// Ranges per family.
pub const PREFIXES: u32 = 65_536;
/// Service ports.
pub const SERVICE_PORTS: u32 = 262_144;
/// (policy, peer) entries.
pub const POLICY: u32 = 2_097_152;
/// Distinct tables.
pub const TABLES: u32 = 65_536;
/// Spans of all tables together. A change that concerns every table needs room for those before and after it.
pub const SPANS: u32 = 1_048_576;
/// Rule slots.
pub const RULES: u32 = 32_768;
/// Answered flows per family.
pub const FLOWS: u32 = 524_288;
/// Answered flows, of both families together, that one pod's openings may fill; for flows opened off the node the pod that
/// answered. A quarter of a family's table, so that no pod alone leaves none for the others.
pub const FLOW_QUOTA: u32 = FLOWS / 4;
/// Unanswered flows per family.
pub const OPENING: u32 = 65_536;
/// Fragment trains remembered.
pub const FRAGMENTS: u32 = 8_192;
/// Bytes of the ring of records; a power of two and a multiple of the page size.
pub const RECORDS_BYTES: u32 = 8 << 20;
/// Refused flows kept for each endpoint.
pub const REFUSED_PER_ENDPOINT: u32 = 64;
/// Most extension headers walked.
pub const EXTENSION_HEADERS: u32 = 8;
/// Longest rule name kept in a card; longer ones are refused at the door (names have at most 253 bytes).
pub const RULE_NAME: usize = 256;
