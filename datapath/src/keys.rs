//! Keys of the maps: what they name, their bytes, and the digest by which a value is tied to its key.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cellwall_datapath_common::policy::{OwnAddressKey, digest2, digest16};
use cellwall_datapath_common::{self as abi, PeerKey, PrefixKey4, PrefixKey6};
use cellwall_policy::compiled::{PeerId, PolicyId, RuleSlot, ServiceKey, ServiceScope};
use cellwall_policy::model::{Address, Cidr, Transport};

use crate::image::RawKey;
use crate::layout::Layout;
use crate::port::MapName;

/// In [`abi::ServiceKey::kind`]: the scope is a peer.
const PEER_SCOPE: u8 = 16;

/// What an entry of a map is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    /// `ADDRESSES4`, `ADDRESSES6`.
    Address(Address),
    /// `PREFIXES4`, `PREFIXES6`.
    Prefix(Cidr),
    /// `SERVICE_PORTS`.
    ServicePort(ServiceKey),
    /// `POLICY`.
    Policy(PolicyId, PeerId),
    /// `ENDPOINT_EXTRA`, by interface.
    Extra(u32),
    /// An element of `ENDPOINT_INDEX`, not of the interface whose number it holds.
    Index(u32),
    /// `OWN_ADDRESSES`.
    Own(u32, Address),
    /// `RULE_CARDS`.
    Card(RuleSlot),
}

impl Key {
    /// Map and bytes.
    pub(crate) fn raw(self) -> RawKey {
        let (map, key) = match self {
            Self::Address(address) => match address.ip() {
                IpAddr::V4(ip) => (MapName::Addresses4, ip.octets().to_vec()),
                IpAddr::V6(ip) => (MapName::Addresses6, ip.octets().to_vec()),
            },
            Self::Prefix(cidr) => {
                let prefix = u32::from(cidr.prefix());
                match cidr.network().ip() {
                    IpAddr::V4(ip) => (
                        MapName::Prefixes4,
                        PrefixKey4 {
                            prefix,
                            address: ip.octets(),
                        }
                        .to_bytes(),
                    ),
                    IpAddr::V6(ip) => (
                        MapName::Prefixes6,
                        PrefixKey6 {
                            prefix,
                            address: ip.octets(),
                        }
                        .to_bytes(),
                    ),
                }
            }
            Self::ServicePort(key) => (MapName::ServicePorts, service(key).to_bytes()),
            Self::Policy(policy, peer) => (
                MapName::Policy,
                PeerKey {
                    policy: policy.0,
                    peer: peer.0,
                }
                .to_bytes(),
            ),
            Self::Extra(ifindex) => (MapName::EndpointExtra, ifindex.to_bytes()),
            Self::Index(element) => (MapName::EndpointIndex, element.to_bytes()),
            Self::Own(ifindex, address) => (
                MapName::OwnAddresses,
                OwnAddressKey {
                    address: mapped(address),
                    ifindex,
                }
                .to_bytes(),
            ),
            Self::Card(slot) => (MapName::RuleCards, slot.0.to_bytes()),
        };
        RawKey { map, key }
    }

    /// The key that `raw` spells; none where nothing of ours would spell it.
    pub(crate) fn of(raw: &RawKey) -> Option<Self> {
        let key = raw.key.as_slice();
        let found = match raw.map {
            MapName::Addresses4 | MapName::Addresses6 => Self::Address(address(key)?),
            MapName::Prefixes4 => {
                let PrefixKey4 { prefix, address } = Layout::from_bytes(key)?;
                Self::Prefix(Cidr::around(Ipv4Addr::from(address).into(), u8::try_from(prefix).ok()?))
            }
            MapName::Prefixes6 => {
                let PrefixKey6 { prefix, address } = Layout::from_bytes(key)?;
                Self::Prefix(Cidr::around(Ipv6Addr::from(address).into(), u8::try_from(prefix).ok()?))
            }
            MapName::ServicePorts => Self::ServicePort(service_of(Layout::from_bytes(key)?)?),
            MapName::Policy => {
                let PeerKey { policy, peer } = Layout::from_bytes(key)?;
                Self::Policy(PolicyId(policy), PeerId(peer))
            }
            MapName::EndpointExtra => Self::Extra(u32::from_bytes(key)?),
            MapName::EndpointIndex => Self::Index(u32::from_bytes(key)?),
            MapName::OwnAddresses => {
                let own: OwnAddressKey = Layout::from_bytes(key)?;
                Self::Own(own.ifindex, address(&own.address)?)
            }
            MapName::RuleCards => Self::Card(RuleSlot(u32::from_bytes(key)?)),
            _ => return None,
        };
        // A second spelling of one thing (an IPv4-mapped key, say) is read by nobody.
        (found.raw() == *raw).then_some(found)
    }

    /// The digest in the seal of the key's value. Readers of a trie do not know which prefix answered: 0.
    pub(crate) fn digest(self) -> u32 {
        match self {
            Self::Address(address) => match address.ip() {
                IpAddr::V4(ip) => digest2(u32::from_ne_bytes(ip.octets()), 4),
                IpAddr::V6(ip) => digest16(words(ip.octets())),
            },
            Self::ServicePort(key) => {
                let abi::ServiceKey {
                    scope,
                    port,
                    protocol,
                    kind,
                } = service(key);
                digest2(
                    digest16(words(scope)),
                    u32::from(port) << 16 | u32::from(protocol) << 8 | u32::from(kind),
                )
            }
            Self::Policy(policy, peer) => digest2(policy.0, peer.0),
            Self::Extra(ifindex) => digest2(ifindex, 0),
            Self::Prefix(_) | Self::Index(_) | Self::Own(..) | Self::Card(_) => 0,
        }
    }
}

fn words(octets: [u8; 16]) -> [u32; 4] {
    let (quads, _) = octets.as_chunks::<4>();
    std::array::from_fn(|place| quads.get(place).map_or(0, |quad| u32::from_ne_bytes(*quad)))
}

/// An address in 16 bytes, IPv4 as IPv4-mapped.
fn mapped(address: Address) -> [u8; 16] {
    match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn address(octets: &[u8]) -> Option<Address> {
    let v4 = || <[u8; 4]>::try_from(octets).map(|octets| Address::from(Ipv4Addr::from(octets)));
    v4().or_else(|_| <[u8; 16]>::try_from(octets).map(|octets| Address::from(Ipv6Addr::from(octets))))
        .ok()
}

fn service(key: ServiceKey) -> abi::ServiceKey {
    let family = if key.v4 { 4 } else { 6 };
    let (scope, kind) = match key.scope {
        ServiceScope::Address(address) => (mapped(address), family),
        ServiceScope::Peer(peer) => {
            let mut scope = [0; 16];
            scope[12..].copy_from_slice(&peer.0.to_le_bytes());
            (scope, family | PEER_SCOPE)
        }
    };
    abi::ServiceKey {
        scope,
        port: key.port,
        protocol: key.transport.number(),
        kind,
    }
}

fn service_of(key: abi::ServiceKey) -> Option<ServiceKey> {
    let transports = [Transport::Tcp, Transport::Udp, Transport::Sctp];
    let scope = match key.kind & PEER_SCOPE {
        0 => ServiceScope::Address(address(&key.scope)?),
        _ => ServiceScope::Peer(PeerId(u32::from_le_bytes(*key.scope.last_chunk()?))),
    };
    Some(ServiceKey {
        scope,
        transport: transports
            .into_iter()
            .find(|transport| transport.number() == key.protocol)?,
        port: key.port,
        v4: key.kind & !PEER_SCOPE == 4,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_56_every_key_reads_back_from_its_bytes() {
        let address: Address = "192.0.2.1".parse().unwrap();
        let peer = PeerId(0x1000_0002);
        let service = |scope| {
            Key::ServicePort(ServiceKey {
                scope,
                transport: Transport::Udp,
                port: 53,
                v4: true,
            })
        };
        let keys = [
            Key::Address(address),
            Key::Address("2001:db8::1".parse().unwrap()),
            Key::Prefix("198.51.100.0/24".parse().unwrap()),
            Key::Prefix("2001:db8::/32".parse().unwrap()),
            Key::Prefix("0.0.0.0/0".parse().unwrap()),
            service(ServiceScope::Address(address)),
            service(ServiceScope::Peer(peer)),
            Key::Policy(PolicyId(1), peer),
            Key::Extra(7),
            Key::Index(7),
            Key::Own(7, address),
            Key::Card(RuleSlot(3)),
        ];
        for key in keys {
            let raw = key.raw();
            assert_eq!(raw.key.len(), raw.map.key_size());
            assert_eq!(Key::of(&raw), Some(key));
        }
    }

    #[test]
    fn a_second_spelling_of_a_key_is_no_key() {
        let mapped = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets().to_vec();
        assert_eq!(
            Key::of(&RawKey {
                map: MapName::Addresses6,
                key: mapped
            }),
            None
        );
        let host_bits = PrefixKey4 {
            prefix: 24,
            address: [192, 0, 2, 1],
        }
        .to_bytes();
        assert_eq!(
            Key::of(&RawKey {
                map: MapName::Prefixes4,
                key: host_bits
            }),
            None
        );
    }
}
