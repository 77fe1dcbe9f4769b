//! Address blocks as text: what an API server's `isCIDR` accepts, and nothing else.

use crate::rule::limit;
use ipnetwork::IpNetwork;
use std::net::{IpAddr, Ipv6Addr};

/// Reads an address block in the canonical form that manifests need: prefix length given, no host bits, no IPv4-mapped
/// address. None for anything else.
pub fn parse_cidr(text: &str) -> Option<IpNetwork> {
    parse_block(text).filter(|block| has_no_host_bits(*block))
}

/// Reads an address block that may have host bits.
pub(crate) fn parse_block(text: &str) -> Option<IpNetwork> {
    let (address, prefix) = text.split_once('/')?;
    if text.len() > limit::CIDR {
        return None;
    }
    let length = prefix
        .parse::<u8>()
        .ok()
        .filter(|length| length.to_string() == prefix)?;
    IpNetwork::new(parse_address(address)?, length).ok()
}

/// Reads an address without a zone; an IPv4-mapped one is refused, because it would stand beside its IPv4 form.
pub(crate) fn parse_address(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok()?;
    let mapped = matches!(address, IpAddr::V6(v6) if is_mapped(v6));
    (!mapped).then_some(address)
}

fn is_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

/// Whether no address bit is set after the prefix length.
pub(crate) fn has_no_host_bits(block: IpNetwork) -> bool {
    block.network() == block.ip()
}

/// Whether `part` lies inside `whole` and is not all of it.
pub(crate) fn is_smaller_inside(part: IpNetwork, whole: IpNetwork) -> bool {
    part.is_ipv4() == whole.is_ipv4() && part.prefix() > whole.prefix() && whole.contains(part.ip())
}
