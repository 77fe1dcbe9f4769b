//! The words of a verdict that both the reference and the kernel side speak.

use std::fmt;

/// Which side of a pod's interface gave a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// A packet the pod sent.
    FromPod,
    /// A packet on its way to the pod.
    ToPod,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FromPod => "FROM_POD",
            Self::ToPod => "TO_POD",
        })
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $text:literal,)*) => {
        /// Why a verdict is what it is. Numbers are part of the kernel ABI and never reused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason { $($(#[$doc])* $variant = $number,)* }

        impl Reason {
            /// All reasons, by number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in records and metrics.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The reason of this number.
            pub fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

reasons! {
    /// A rule decided.
    Rule = 0 "RULE",
    /// No rule applies: pass.
    NoRule = 1 "NO_RULE",
    /// A Service address: judged again where the packet reaches a pod.
    Service = 2 "SERVICE",
    /// The local node on a port that the pod's probes name.
    NodeProbe = 3 "NODE_PROBE",
    /// The pod of this interface is not known yet.
    Startup = 4 "STARTUP",
    /// The other end is a pod-range address whose pod is not known yet.
    Unresolved = 5 "UNRESOLVED",
    /// A packet that claims to be a reply and fits no flow.
    ReplyMismatch = 6 "REPLY_MISMATCH",
    /// Headers that lie, are cut short, or contradict each other.
    Malformed = 7 "MALFORMED",
    /// A source that is not the sender's.
    Spoofed = 8 "SPOOFED",
    /// Neither IPv4, IPv6 nor ARP.
    NotIp = 9 "NOT_IP",
    /// A tagged frame.
    Vlan = 10 "VLAN",
    /// A fragment that may not pass.
    Fragment = 11 "FRAGMENT",
    /// An IPv6 extension chain that is too long, cut short or out of order.
    ExtensionChain = 12 "EXTENSION_CHAIN",
    /// A loopback address on the wire.
    Loopback = 13 "LOOPBACK",
    /// Router advertisement or redirect from a pod.
    Router = 14 "ROUTER",
    /// Encapsulation from a pod to a node.
    Tunnel = 15 "TUNNEL",
    /// TCP in mid-stream without a flow, and its direction matters.
    NoState = 16 "NO_STATE",
    /// The local node, with `localNode: Pass`.
    LocalNode = 17 "LOCAL_NODE",
    /// A pod to its own address.
    SelfTraffic = 18 "SELF",
    /// Neither end is a pod.
    NotEnforced = 19 "NOT_ENFORCED",
    /// The mode is Off.
    Off = 20 "OFF",
    /// Neighbour discovery, ARP, MLD or IGMP that always passes.
    Neighbour = 21 "NEIGHBOUR",
    /// Reply or error of a flow that passed.
    Related = 22 "RELATED",
    /// The kernel side found its own tables inconsistent; dropped.
    Internal = 23 "INTERNAL",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
