//! The reference: which rule decides, worked out for each question from the documents themselves, with no index and no
//! cache, so that it can be laid beside the rules and seen to say the same.
//!
//! [`evaluate`] answers what people ask (from whom to whom, see [`Question`]); [`at_hook`] answers what one hook of one
//! pod says of one packet that opens a flow, which is what the compiled tables and the kernel are compared with.
//! [`identify`] says who has an address; [`Identities`] says the same for those who ask all the time.
//!
//! Where the rules leave a choice, this is what holds here; every choice takes the reading that does not widen:
//!
//! - **Addresses.** Loopback addresses are nobody's, multicast and broadcast addresses too, whatever a document lists.
//!   A link-local address that is no local pod's is the node of the pod at the other end, even where another node
//!   lists it or a Service does: it never leaves a link. An address that several nodes list (every node has the same
//!   bridge address) is `LocalNode` for the pods of each of them.
//! - **Service addresses.** Where two Services list one address and port, a packet may reach the backends of both, and
//!   all of them are judged. An address that is a cluster IP of one Service and an external one of another is, at other
//!   ports, a cluster IP. A backend that is not a pod on an enforcing node is one that no hook sees again: an unresolved
//!   address and another Service's address too. A Drop that only the unresolved mode `Closed` gave names no rule, and
//!   its reason is UNRESOLVED. A node port or host port without any backend still stands for the node (SERVICE).
//! - **Tunnels.** The rule that decides for the node's address itself must be a Pass or Alert that names the protocol
//!   number, or for VXLAN and Geneve the port (alone or in a range); `UDP` as a whole names no tunnel.
//! - **Startup.** Candidates are live pods without a single address that do not use the host's network. An interface in
//!   startup is judged as each of them whole (exceptions for the local node included); its reason is STARTUP, whatever
//!   the reason for the candidate was. Where several candidates give the strictest verdict, the rule credited is the
//!   first in deciding order, and a rule before none.
//! - **Own address.** SELF is a packet to an address that the pod has; one that a later pod has taken is that pod's.
//!   It is decided at from-pod alone: a packet of the pod's own that opens a flow at to-pod went by a Service.
//! - **Two modes, two kinds of Drop.** LOOPBACK, TUNNEL and ROUTER are dropped under `AlertOnly` as well; what rules,
//!   STARTUP and UNRESOLVED drop is let through.
//! - **End to end.** A pod without any address is judged as itself, as it will be once it has one, in the family of the
//!   other end (IPv4 where that has none either). A hook on a node that reports no enforcement does not exist. Where
//!   neither end is known to be a pod (a Service address and an unresolved one are not), the answer is NOT_ENFORCED in
//!   every mode. A member of `Cluster` is a pod on the local node; a member of `Node` is at no host port, as those are
//!   one node's, but at every node port.

mod answer;
mod ends;
mod flow;
mod hook;
mod identity;
mod index;
mod objects;
mod question;
mod rules;
mod service;

pub use answer::{Answer, Backend, Considered, RuleRef, WhyNot};
pub use flow::evaluate;
pub use hook::{HookQuestion, at_hook};
pub use identity::{Identity, What, identify, objects_of_pod};
pub use index::Identities;
pub use question::{AskedProtocol, End, Question, QuestionError};

use crate::model::Protocol;

/// What opens a flow, as far as rules look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packet {
    /// None: a protocol that no rule names.
    protocol: Option<Protocol>,
    /// Destination port, or ICMP type; none where the protocol has none or nothing is known of it.
    port: Option<u16>,
    /// Family.
    v4: bool,
}

#[cfg(test)]
mod tests;
