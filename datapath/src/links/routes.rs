//! Where the default routes lead: such an interface is the node's own way out, whatever lies behind it.

use std::collections::BTreeSet;

use netlink_packet_core::DecodeError;

use super::Links;
use crate::netlink::{NetlinkError, Request, attributes, word};

/// Fixed part of a route message (`rtmsg`).
const HEADER: usize = 12;
const RTM_GETROUTE: u16 = 26;
const RTA_OIF: u16 = 4;
const RTA_MULTIPATH: u16 = 9;
const RT_TABLE_MAIN: u8 = 254;
/// Offsets in `rtmsg`.
const DESTINATION_LENGTH: usize = 1;
const TABLE: usize = 4;
/// Size of a `rtnexthop`, and where it has its interface.
const HOP: usize = 8;
const HOP_INTERFACE: usize = 4;

impl Links {
    /// Indexes of the interfaces that the default routes of both families use, in the main table.
    pub fn default_routes(&mut self) -> Result<BTreeSet<u32>, NetlinkError> {
        let mut all = BTreeSet::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut fixed = [0; HEADER];
            // why: both families are small positive numbers
            fixed[0] = u8::try_from(family).unwrap_or_default();
            fixed[TABLE] = RT_TABLE_MAIN;
            let request = Request::new("list the routes", RTM_GETROUTE, &fixed);
            let routes = self.route.dump(&request, |found: &mut BTreeSet<u32>, payload| {
                found.extend(default_interfaces(payload)?);
                Ok(())
            });
            match routes {
                Ok(found) => all.extend(found),
                // A family that the kernel does not have, a table without a route.
                Err(error)
                    if matches!(
                        error.refusal(),
                        Some(libc::EAFNOSUPPORT | libc::ENOENT | libc::EOPNOTSUPP)
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }
}

/// The interfaces of a route, if it is a default route of the main table.
fn default_interfaces(payload: &[u8]) -> Result<Vec<u32>, DecodeError> {
    let mut found = Vec::new();
    if payload.get(DESTINATION_LENGTH) != Some(&0) || payload.get(TABLE) != Some(&RT_TABLE_MAIN) {
        return Ok(found);
    }
    for attribute in attributes(payload, HEADER) {
        let attribute = attribute?;
        match attribute.kind() {
            RTA_OIF => found.push(word(attribute.value(), 0)?),
            RTA_MULTIPATH => {
                let mut rest = attribute.value();
                while rest.len() >= HOP {
                    found.push(word(rest, HOP_INTERFACE)?);
                    let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
                    rest = rest.get(length.max(HOP).next_multiple_of(4)..).unwrap_or_default();
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{HEADER, RT_TABLE_MAIN, TABLE, default_interfaces};

    fn route(destination_length: u8, table: u8, kind: u8, value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        (bytes[1], bytes[TABLE]) = (destination_length, table);
        let length = u8::try_from(value.len() + 4).unwrap();
        bytes.extend_from_slice(&[length, 0, kind, 0]);
        bytes.extend_from_slice(value);
        bytes
    }

    #[test]
    fn only_default_routes_of_the_main_table_count() {
        let seven = 7_u32.to_ne_bytes();
        assert_eq!(default_interfaces(&route(0, RT_TABLE_MAIN, 4, &seven)).unwrap(), [7]);
        assert!(
            default_interfaces(&route(24, RT_TABLE_MAIN, 4, &seven))
                .unwrap()
                .is_empty()
        );
        assert!(default_interfaces(&route(0, 255, 4, &seven)).unwrap().is_empty());
    }

    #[test]
    fn every_hop_of_a_route_with_several_counts() {
        let hop = |interface: u8| [8, 0, 0, 0, interface, 0, 0, 0];
        let hops = [hop(3), hop(9)].concat();
        assert_eq!(default_interfaces(&route(0, RT_TABLE_MAIN, 9, &hops)).unwrap(), [3, 9]);
        assert_eq!(
            default_interfaces(&route(0, RT_TABLE_MAIN, 9, &hops[..9])).unwrap(),
            [3]
        );
    }
}
