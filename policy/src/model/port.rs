//! Protocols and ports of a rule.

use std::fmt;

/// Protocols that have ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "protocol names")]
pub enum Transport {
    Tcp,
    Udp,
    Sctp,
}

impl Transport {
    /// IP protocol number.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The name Kubernetes uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// The protocol of a packet. ICMP is protocol 1 over IPv4, ICMPv6 is 58 over IPv6; crossed they are
/// [`Protocol::Other`], and so is every number without a name here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "protocol names")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmpv6,
    Other(u8),
}

impl Protocol {
    /// What protocol number `number` is over this family.
    pub fn of(number: u8, v4: bool) -> Self {
        match (number, v4) {
            (6, _) => Self::Tcp,
            (17, _) => Self::Udp,
            (132, _) => Self::Sctp,
            (1, true) => Self::Icmp,
            (58, false) => Self::Icmpv6,
            _ => Self::Other(number),
        }
    }

    /// IP protocol number.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
            Self::Icmp => 1,
            Self::Icmpv6 => 58,
            Self::Other(number) => number,
        }
    }
}

impl From<Transport> for Protocol {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Udp => Self::Udp,
            Transport::Sctp => Self::Sctp,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("TCP"),
            Self::Udp => f.write_str("UDP"),
            Self::Sctp => f.write_str("SCTP"),
            Self::Icmp => f.write_str("ICMP"),
            Self::Icmpv6 => f.write_str("ICMPv6"),
            Self::Other(number) => number.fmt(f),
        }
    }
}

/// The `protocol` of a port entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "protocol names")]
pub enum ProtocolMatch {
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmpv6,
    /// With a port: TCP, UDP and SCTP on it. Without: every IP protocol.
    Any,
    /// The IP protocol of this number, over either family, whole.
    Number(u8),
}

/// The destination ports (ICMP: types) of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortMatch {
    /// The whole protocol, port 0 on the wire included.
    All,
    /// From the first to the second, both included; 1..=65535, for ICMP one type 0..=255.
    Range(u16, u16),
}

/// One entry of `ports`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortEntry {
    /// Protocol.
    pub protocol: ProtocolMatch,
    /// Ports or types.
    pub ports: PortMatch,
}

#[cfg(test)]
mod tests {
    use super::{Protocol, Transport};

    #[test]
    fn a_transport_has_the_number_of_its_protocol() {
        for (transport, number) in [(Transport::Tcp, 6), (Transport::Udp, 17), (Transport::Sctp, 132)] {
            assert_eq!(transport.number(), number);
            assert_eq!(Protocol::from(transport).number(), number);
        }
    }
}
