//! Interfaces and addresses, ours and those inside pods' network namespaces, over route netlink.
//!
//! Nothing here enters a namespace: the kernel tells a veth's peer namespace as a number of our own
//! ([`NamespaceId`]), and lists the links and addresses inside it to whoever has CAP_NET_ADMIN over it. What lies
//! inside may *find* a pod and never *name* it, for the pod's root may put any address there.

mod namespace;
mod routes;
mod watch;

use std::net::IpAddr;

use netlink_packet_core::{DecodeError, Parseable, ParseableParametrized};
use netlink_packet_route::address::{AddressAttribute, AddressHeader, AddressMessage};
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkHeader, LinkLayerType, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

pub use namespace::{NamespaceError, RUN_NETNS};
pub use watch::{Change, Watch};

use crate::netlink::{NetlinkError, Request, Route, attributes, text};

/// Fixed part of a link message (`ifinfomsg`).
const LINK_HEADER: usize = 16;
/// Fixed part of an address message (`ifaddrmsg`).
const ADDRESS_HEADER: usize = 8;

// The attributes that we ask for.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// Another network namespace, as the kernel numbers it for ours. The number is given anew when its namespace is
/// gone; [`Watch`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamespaceId(i32);

impl NamespaceId {
    /// The number that the kernel gave.
    pub const fn new(number: i32) -> Self {
        Self(number)
    }

    /// The number, to be known again by another process in the same namespace.
    pub const fn number(self) -> i32 {
        self.0
    }
}

impl std::fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "netnsid {}", self.0)
    }
}

/// The other end of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer {
    /// Where it is; none: in the same namespace.
    pub namespace: Option<NamespaceId>,
    /// Its index there.
    pub ifindex: u32,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index within its namespace.
    pub ifindex: u32,
    /// Name; bytes that are no UTF-8 are replaced.
    pub name: String,
    /// Driver (`veth`, `bridge`, ...), empty for hardware and loopback.
    pub kind: String,
    /// Hardware address where it is six bytes long.
    pub mac: Option<[u8; 6]>,
    /// Bridge or other master it is a port of.
    pub master: Option<u32>,
    /// The other end (veth), or the parent (VLAN, macvlan and the like).
    pub peer: Option<Peer>,
    /// Administratively up.
    pub up: bool,
    /// The loopback interface.
    pub loopback: bool,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The interface's index.
    pub ifindex: u32,
    /// The address itself (of a point-to-point link the local end).
    pub ip: IpAddr,
    /// Prefix length.
    pub prefix: u8,
}

/// A host-side interface whose other end is inside a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEnd {
    /// The interface on our side, where the programs go.
    pub link: Link,
    /// The interface inside; none where it vanished between two lists.
    pub inside: Option<Link>,
}

/// A pod's network namespace, seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLinks {
    /// The namespace.
    pub namespace: NamespaceId,
    /// Every interface of ours with an end inside, by index.
    pub ends: Vec<HostEnd>,
    /// Ways out of the namespace that have no end on our side: hardware moved inside, macvlan, ipvlan, a veth into
    /// a third namespace. Nothing on them can be guarded.
    pub unguarded: Vec<Link>,
    /// Addresses inside, loopback left out.
    pub addresses: Vec<Address>,
}

/// Asks the kernel about interfaces.
pub struct Links {
    route: Route,
}

impl Links {
    /// Opens a socket in the calling thread's network namespace; all answers are about that one from then on.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self { route: Route::open()? })
    }

    /// Every interface of our own namespace. Peer namespaces without a number are given one in passing.
    pub fn list(&mut self) -> Result<Vec<Link>, NetlinkError> {
        self.links(None)
    }

    /// Every interface inside a namespace; needs CAP_NET_ADMIN over it.
    pub fn list_inside(&mut self, namespace: NamespaceId) -> Result<Vec<Link>, NetlinkError> {
        self.links(Some(namespace))
    }

    /// Every address of our own interfaces, loopback's included.
    pub fn addresses(&mut self) -> Result<Vec<Address>, NetlinkError> {
        self.addresses_of(None)
    }

    /// Every address inside a namespace, loopback's included.
    pub fn addresses_inside(&mut self, namespace: NamespaceId) -> Result<Vec<Address>, NetlinkError> {
        self.addresses_of(Some(namespace))
    }

    /// The namespace's interfaces on our side and inside, paired. `host` is a list of [`Links::list`], so that many
    /// pods are looked at with one.
    pub fn pod(&mut self, host: &[Link], namespace: NamespaceId) -> Result<PodLinks, NetlinkError> {
        let inside = self.list_inside(namespace)?;
        let mut addresses = self.addresses_inside(namespace)?;
        addresses.retain(|address| {
            !inside
                .iter()
                .any(|link| link.loopback && link.ifindex == address.ifindex)
        });
        let mut ends: Vec<HostEnd> = host
            .iter()
            .filter(|link| link.kind == "veth")
            .filter_map(|link| {
                let peer = link.peer.filter(|peer| peer.namespace == Some(namespace))?;
                let inside = inside.iter().find(|link| link.ifindex == peer.ifindex).cloned();
                Some(HostEnd {
                    link: link.clone(),
                    inside,
                })
            })
            .collect();
        ends.sort_by_key(|end| end.link.ifindex);
        let paired = |link: &Link| {
            ends.iter()
                .any(|end| end.inside.as_ref().is_some_and(|i| i.ifindex == link.ifindex))
        };
        let unguarded = inside
            .iter()
            .filter(|link| leads_out(link) && !paired(link))
            .cloned()
            .collect();
        Ok(PodLinks {
            namespace,
            ends,
            unguarded,
            addresses,
        })
    }

    fn links(&mut self, namespace: Option<NamespaceId>) -> Result<Vec<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        let inside = namespace.map(|NamespaceId(id)| LinkAttribute::IfNetnsId(id));
        message.attributes.extend(inside);
        // Leaves the interfaces' statistics out of the list.
        let brief = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
        message.attributes.push(brief);
        let request = Request::of("list the interfaces", &RouteNetlinkMessage::GetLink(message));
        self.route.dump(&request, |links: &mut Vec<Link>, payload| {
            links.push(read_link(payload)?);
            Ok(())
        })
    }

    fn addresses_of(&mut self, namespace: Option<NamespaceId>) -> Result<Vec<Address>, NetlinkError> {
        let mut message = AddressMessage::default();
        let inside = namespace.map(|NamespaceId(id)| AddressAttribute::TargetNetNsId(id));
        message.attributes.extend(inside);
        let request = Request::of("list the addresses", &RouteNetlinkMessage::GetAddress(message));
        self.route.dump(&request, |addresses: &mut Vec<Address>, payload| {
            addresses.extend(read_address(payload)?);
            Ok(())
        })
    }
}

/// Whether packets can leave the namespace by this interface without passing another of its interfaces: devices on
/// top of another one inside (VLANs, bridges, tunnels) cannot.
fn leads_out(link: &Link) -> bool {
    let elsewhere = link.peer.is_some_and(|peer| peer.namespace.is_some());
    !link.loopback && (elsewhere || link.kind.is_empty())
}

fn read_link(payload: &[u8]) -> Result<Link, DecodeError> {
    let header = LinkHeader::parse(payload)?;
    let mut link = Link {
        ifindex: header.index,
        name: String::new(),
        kind: String::new(),
        mac: None,
        master: None,
        peer: None,
        up: header.flags.contains(LinkFlags::Up),
        loopback: header.link_layer_type == LinkLayerType::Loopback,
    };
    let (mut other, mut namespace) = (None, None);
    for attribute in attributes(payload, LINK_HEADER) {
        let attribute = attribute?;
        match attribute.kind() {
            // A pod's root may give an interface a name that is no UTF-8.
            IFLA_IFNAME => link.name = text(attribute.value()),
            // Its other parts differ by driver.
            IFLA_LINKINFO => link.kind = read_kind(attribute.value())?,
            IFLA_ADDRESS | IFLA_LINK | IFLA_MASTER | IFLA_LINK_NETNSID => {
                match LinkAttribute::parse_with_param(&attribute, header.interface_family)? {
                    LinkAttribute::Address(mac) => link.mac = mac.try_into().ok(),
                    LinkAttribute::Link(index) => other = Some(index),
                    LinkAttribute::Controller(index) => link.master = Some(index).filter(|master| *master != 0),
                    LinkAttribute::LinkNetNsId(id) => namespace = Some(NamespaceId(id)),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    // A link whose peer's namespace has no number here (-1) has its peer elsewhere all the same.
    link.peer = other
        .filter(|other| *other != 0)
        .map(|ifindex| Peer { namespace, ifindex });
    Ok(link)
}

fn read_kind(info: &[u8]) -> Result<String, DecodeError> {
    for attribute in attributes(info, 0) {
        let attribute = attribute?;
        if attribute.kind() == IFLA_INFO_KIND {
            return Ok(InfoKind::parse(&attribute)?.to_string());
        }
    }
    Ok(String::new())
}

fn read_address(payload: &[u8]) -> Result<Option<Address>, DecodeError> {
    let header = AddressHeader::parse(payload)?;
    // Other families (MCTP, Phonet) have addresses of other lengths.
    if !matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6) {
        return Ok(None);
    }
    let (mut own, mut other) = (None, None);
    for attribute in attributes(payload, ADDRESS_HEADER) {
        let attribute = attribute?;
        if !matches!(attribute.kind(), IFA_LOCAL | IFA_ADDRESS) {
            continue;
        }
        match AddressAttribute::parse(&attribute)? {
            AddressAttribute::Local(ip) => own = Some(ip),
            AddressAttribute::Address(ip) => other = Some(ip),
            _ => {}
        }
    }
    // On a point-to-point link IFA_ADDRESS is the far end; IPv6 without a far end has IFA_ADDRESS alone.
    let (ifindex, prefix) = (header.index, header.prefix_len);
    Ok(own.or(other).map(|ip| Address { ifindex, ip, prefix }))
}

#[cfg(test)]
mod tests {
    use super::{read_address, read_link};

    fn with_attribute(fixed: &[u8], kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [fixed, &length.to_ne_bytes(), &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_name_that_is_no_text_costs_neither_the_interface_nor_the_list() {
        let link = read_link(&with_attribute(&[0; 16], super::IFLA_IFNAME, b"e\xff\0")).unwrap();
        assert_eq!(link.name, "e\u{fffd}");
    }

    #[test]
    fn an_address_of_another_family_is_passed_over() {
        const AF_MCTP: u8 = 45;
        let message = with_attribute(&[AF_MCTP, 0, 0, 0, 0, 0, 0, 0], super::IFA_LOCAL, &[9]);
        assert_eq!(read_address(&message).unwrap(), None);
    }

    #[test]
    fn a_message_cut_short_is_an_error() {
        assert!(read_link(&[0; 15]).is_err());
        assert!(read_address(&[2, 0, 0, 0]).is_err());
        let whole = with_attribute(&[0; 16], super::IFLA_MASTER, &[1, 0, 0, 0]);
        assert!(read_link(&whole[..whole.len() - 1]).is_err());
    }
}
