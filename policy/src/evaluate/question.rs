//! What people ask: from whom to whom, on which port.

use std::fmt;
use std::str::FromStr;

use crate::model::{Address, Entity, Name, Protocol};

/// A question: would a flow from one end to the other be let through?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Initiator.
    pub from: End,
    /// Responder.
    pub to: End,
    /// Protocol.
    pub protocol: AskedProtocol,
    /// Destination port, for ICMP the type. None: what only entries for the whole protocol match.
    pub port: Option<u16>,
}

/// One end of a question.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// A pod by namespace and name.
    Pod(Name, Name),
    /// Whoever has this address.
    Address(Address),
    /// A member of the entity of which nothing else is known: it is in no object.
    Member(Entity),
}

/// The protocol asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "protocol names")]
pub enum AskedProtocol {
    /// One that no rule names: only rules for every protocol apply.
    Unnamed,
    Tcp,
    Udp,
    Sctp,
    /// Over IPv4.
    Icmp,
    /// Over IPv6.
    Icmpv6,
    /// Whatever this number is over the family of the question.
    Number(u8),
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message says it")]
pub enum QuestionError {
    #[error(
        "{text:?} is no end of a flow; write namespace/pod, an address like 192.0.2.1, or one of Any, Cluster, World, \
         Node, LocalNode"
    )]
    NotAnEnd { text: String },
    #[error("{text:?} is a range; ask about one of its addresses")]
    Range { text: String },
    #[error("{text:?} is not a port; write PORT, PORT/PROTOCOL or /PROTOCOL, like 443, 53/UDP or /ICMP")]
    NotAPort { text: String },
    #[error("port {port} is past 65535, an ICMP type past 255")]
    PortTooLarge { port: u32 },
    #[error("{text:?} is not a protocol; write TCP, UDP, SCTP, ICMP, ICMPv6 or a number up to 255")]
    NotAProtocol { text: String },
    #[error("a question is about one protocol; write {port}/TCP, {port}/UDP or {port}/SCTP instead of {port}/Any")]
    AnyWithPort { port: u16 },
    #[error("protocol {number} has no ports; leave out {port}, write /{number}")]
    PortOfPortless { number: u8, port: u16 },
    #[error("there is no pod {namespace:?}/{name:?}")]
    NoSuchPod { namespace: Name, name: Name },
    #[error("pod {namespace:?}/{name:?} has ended and has no addresses any more")]
    PodEnded { namespace: Name, name: Name },
    #[error("{from} and {to} have no address family in common")]
    NoCommonFamily { from: End, to: End },
    #[error("{protocol} needs {family}, and {end} has no such address")]
    WrongFamily {
        protocol: AskedProtocol,
        family: &'static str,
        end: End,
    },
}

impl Question {
    /// Reads a question as the command line has it: two ends and `PORT[/PROTOCOL]`.
    pub fn parse(from: &str, to: &str, port_protocol: Option<&str>) -> Result<Self, QuestionError> {
        let (port, protocol) = match port_protocol.map(|text| (text, text.split_once('/'))) {
            None => (None, None),
            Some((text, None)) => (Some(read_port(text)?), None),
            Some((text, Some((port, protocol)))) => {
                if protocol.is_empty() {
                    return Err(QuestionError::NotAPort { text: text.to_owned() });
                }
                let port = (!port.is_empty()).then(|| read_port(port)).transpose()?;
                (port, Some(protocol))
            }
        };
        Self::of(from, to, port, protocol)
    }

    /// Builds a question from its four parts, read already apart. Without a protocol a port is TCP's; without both the
    /// question is about a protocol that no rule names.
    pub fn of(from: &str, to: &str, port: Option<u32>, protocol: Option<&str>) -> Result<Self, QuestionError> {
        let protocol = match (protocol, port) {
            (Some(text), _) => text.parse()?,
            (None, Some(_)) => AskedProtocol::Tcp,
            (None, None) => AskedProtocol::Unnamed,
        };
        Ok(Self {
            from: from.parse()?,
            to: to.parse()?,
            protocol,
            port: port.map(|port| protocol.check_port(port)).transpose()?,
        })
    }
}

fn read_port(text: &str) -> Result<u32, QuestionError> {
    let digits = !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| QuestionError::NotAPort { text: text.to_owned() })
}

impl AskedProtocol {
    /// What it is over a family; none: a protocol that no rule names.
    pub fn over(self, v4: bool) -> Option<Protocol> {
        match self {
            Self::Unnamed => None,
            Self::Tcp => Some(Protocol::Tcp),
            Self::Udp => Some(Protocol::Udp),
            Self::Sctp => Some(Protocol::Sctp),
            Self::Icmp => Some(Protocol::Icmp),
            Self::Icmpv6 => Some(Protocol::Icmpv6),
            Self::Number(number) => Some(Protocol::of(number, v4)),
        }
    }

    /// The only family it exists over, where there is one: true for IPv4.
    pub(super) fn family(self) -> Option<bool> {
        match self {
            Self::Icmp => Some(true),
            Self::Icmpv6 => Some(false),
            _ => None,
        }
    }

    fn check_port(self, port: u32) -> Result<u16, QuestionError> {
        let largest = match self {
            Self::Icmp | Self::Icmpv6 | Self::Number(1 | 58) => 255,
            _ => 65535,
        };
        let port = u16::try_from(port)
            .ok()
            .filter(|port| *port <= largest)
            .ok_or(QuestionError::PortTooLarge { port })?;
        match self {
            Self::Unnamed => Err(QuestionError::AnyWithPort { port }),
            Self::Number(number) if ![1, 6, 17, 58, 132].contains(&number) => {
                Err(QuestionError::PortOfPortless { number, port })
            }
            _ => Ok(port),
        }
    }
}

impl FromStr for AskedProtocol {
    type Err = QuestionError;

    /// As in rules, in any case of letters, or a number. `Any` is a protocol that no rule names.
    fn from_str(text: &str) -> Result<Self, QuestionError> {
        let wrong = || QuestionError::NotAProtocol { text: text.to_owned() };
        Ok(match text.to_ascii_uppercase().as_str() {
            "ANY" => Self::Unnamed,
            "TCP" => Self::Tcp,
            "UDP" => Self::Udp,
            "SCTP" => Self::Sctp,
            "ICMP" => Self::Icmp,
            "ICMPV6" => Self::Icmpv6,
            digits if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Self::Number(digits.parse().map_err(|_| wrong())?)
            }
            _ => return Err(wrong()),
        })
    }
}

impl fmt::Display for AskedProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unnamed => "Any",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Icmp => "ICMP",
            Self::Icmpv6 => "ICMPv6",
            Self::Number(number) => return number.fmt(f),
        })
    }
}

impl FromStr for End {
    type Err = QuestionError;

    fn from_str(text: &str) -> Result<Self, QuestionError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if let Some(entity) = Entity::ALL.into_iter().find(|entity| entity.name() == text) {
            return Ok(Self::Member(entity));
        }
        let wrong = || QuestionError::NotAnEnd { text: text.to_owned() };
        let (namespace, name) = text.split_once('/').ok_or_else(wrong)?;
        if namespace.parse::<Address>().is_ok() {
            return Err(QuestionError::Range { text: text.to_owned() });
        }
        if namespace.is_empty() || name.is_empty() || name.contains('/') {
            return Err(wrong());
        }
        Ok(Self::Pod(namespace.into(), name.into()))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(namespace, name) => write!(f, "{}/{}", namespace.escape_debug(), name.escape_debug()),
            Self::Address(address) => address.fmt(f),
            Self::Member(entity) => entity.fmt(f),
        }
    }
}
