//! Addresses and address ranges, canonical by construction.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnetwork::IpNetwork;

/// An address; an IPv4-mapped IPv6 address is the IPv4 address, so that one endpoint never has two spellings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(IpAddr);

impl Address {
    /// The canonical form of `address`.
    pub fn new(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    /// The address itself.
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// Whether this is an IPv4 address.
    pub fn is_v4(self) -> bool {
        self.0.is_ipv4()
    }

    /// Multicast, or the IPv4 limited broadcast address: in no entity but `Any`.
    pub fn is_multicast_or_broadcast(self) -> bool {
        self.0.is_multicast() || self.0 == IpAddr::V4(Ipv4Addr::BROADCAST)
    }

    /// 169.254.0.0/16 or fe80::/10.
    pub fn is_link_local(self) -> bool {
        match self.0 {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        }
    }

    /// 127.0.0.0/8 or ::1.
    pub fn is_loopback(self) -> bool {
        self.0.is_loopback()
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        Self::new(address)
    }
}

impl From<Ipv4Addr> for Address {
    fn from(address: Ipv4Addr) -> Self {
        Self(IpAddr::V4(address))
    }
}

impl From<Ipv6Addr> for Address {
    fn from(address: Ipv6Addr) -> Self {
        Self::new(IpAddr::V6(address))
    }
}

impl FromStr for Address {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<IpAddr>().map(Self::new)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not a canonical range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message says it")]
pub enum CidrError {
    #[error("{text:?} is not an address range; write it like 192.0.2.0/24 or 2001:db8::/32")]
    NotARange { text: String },
    #[error("{text:?} has no prefix length; write {text}/{full} for the one address")]
    NoPrefix { text: String, full: u8 },
    #[error("{text:?} has bits set after the prefix; write {canonical}")]
    HostBits { text: String, canonical: String },
    #[error("{text:?} is an IPv4-mapped range; write it as IPv4")]
    Mapped { text: String },
}

/// An address range without host bits, never IPv4-mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr(IpNetwork);

impl Cidr {
    /// The range of one address.
    pub fn single(address: Address) -> Self {
        Self(IpNetwork::from(address.ip()))
    }

    /// The range of `prefix` bits that `address` lies in; a prefix longer than the address is the address alone.
    pub fn around(address: Address, prefix: u8) -> Self {
        let single = Self::single(address);
        let network = IpNetwork::new(address.ip(), prefix).and_then(|any| IpNetwork::new(any.network(), prefix));
        network.map_or(single, Self)
    }

    /// First address of the range.
    pub fn network(self) -> Address {
        Address(self.0.ip())
    }

    /// Prefix length in bits.
    pub fn prefix(self) -> u8 {
        self.0.prefix()
    }

    /// Whether this is an IPv4 range.
    pub fn is_v4(self) -> bool {
        self.0.is_ipv4()
    }

    /// Whether `address` lies in the range; families never mix.
    pub fn contains(self, address: Address) -> bool {
        self.0.contains(address.ip())
    }

    /// Whether all of `other` lies in the range (a range covers itself).
    pub fn covers(self, other: Self) -> bool {
        self.is_v4() == other.is_v4() && self.prefix() <= other.prefix() && self.contains(other.network())
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let owned = || text.to_owned();
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Err(CidrError::NoPrefix {
                text: owned(),
                full: if ip.is_ipv4() { 32 } else { 128 },
            });
        }
        let range = text
            .parse::<IpNetwork>()
            .map_err(|_| CidrError::NotARange { text: owned() })?;
        // ipnetwork also reads netmasks and signs ("192.0.2.0/255.255.255.0", "/+24"): one spelling only.
        let digits = text.rsplit('/').next().unwrap_or_default();
        if digits.is_empty()
            || !digits.bytes().all(|b| b.is_ascii_digit())
            || (digits.len() > 1 && digits.starts_with('0'))
        {
            return Err(CidrError::NotARange { text: owned() });
        }
        if let IpAddr::V6(ip) = range.ip()
            && ip.to_ipv4_mapped().is_some()
        {
            return Err(CidrError::Mapped { text: owned() });
        }
        if range.ip() != range.network() {
            let canonical = format!("{}/{}", range.network(), range.prefix());
            return Err(CidrError::HostBits {
                text: owned(),
                canonical,
            });
        }
        Ok(Self(range))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A range with holes: `except` takes addresses out of this entry only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CidrEntry {
    /// The range.
    pub cidr: Cidr,
    /// Smaller ranges inside it that do not belong.
    pub except: Vec<Cidr>,
}

impl CidrEntry {
    /// Whether the entry contains `address`.
    pub fn contains(&self, address: Address) -> bool {
        self.cidr.contains(address) && !self.except.iter().any(|hole| hole.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::{Cidr, CidrEntry, CidrError};

    #[test]
    fn a_prefix_length_has_one_spelling() {
        for text in [
            "192.0.2.0/024",
            "192.0.2.0/+24",
            "192.0.2.0/255.255.255.0",
            "192.0.2.0/",
            "0.0.0.0/00",
        ] {
            let error = CidrError::NotARange { text: text.to_owned() };
            assert_eq!(text.parse::<Cidr>(), Err(error));
        }
        for text in ["192.0.2.0/24", "0.0.0.0/0", "192.0.2.0/32", "2001:db8::/100"] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_entry_contains_its_range_without_the_holes() {
        let entry = CidrEntry {
            cidr: "192.0.2.0/24".parse().unwrap(),
            except: ["192.0.2.64/26", "192.0.2.128/25"]
                .map(|hole| hole.parse().unwrap())
                .into(),
        };
        for (address, contained) in [
            ("192.0.2.0", true),
            ("192.0.2.63", true),
            ("192.0.2.64", false),
            ("192.0.2.255", false),
            ("192.0.3.0", false),
        ] {
            assert_eq!(entry.contains(address.parse().unwrap()), contained, "{address}");
        }
    }
}
