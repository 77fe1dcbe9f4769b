//! Interfaces and addresses, ours and those inside pods' network namespaces, over route netlink.
//!
//! Nothing here enters a namespace: the kernel tells a veth's peer namespace as a number of our own
//! ([`NamespaceId`]), and lists the links and addresses inside it to whoever has CAP_NET_ADMIN over it. What lies
//! inside may *find* a pod and never *name* it, for the pod's root may put any address there.

mod namespace;
mod watch;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{DecodeError, NlaBuffer};

pub use namespace::{NamespaceError, RUN_NETNS};
pub use watch::{Change, Watch};

use crate::netlink::{NetlinkError, Request, Route, attributes, text, word};

/// Fixed part of a link message (`ifinfomsg`).
const LINK_HEADER: usize = 16;
/// Fixed part of an address message (`ifaddrmsg`).
const ADDRESS_HEADER: usize = 8;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_TARGET_NETNSID: u16 = 46;
const IFLA_INFO_KIND: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_TARGET_NETNSID: u16 = 10;
/// Leaves the interfaces' statistics out of the list.
const RTEXT_FILTER_SKIP_STATS: u32 = 8;
const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;
const ARPHRD_LOOPBACK: u16 = 772;
const IFF_UP: u32 = 1;

/// Another network namespace, as the kernel numbers it for ours. The number is given anew when its namespace is
/// gone; [`Watch`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamespaceId(i32);

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
        let mut request = Request::new("list the interfaces", RTM_GETLINK, &[0; LINK_HEADER]);
        if let Some(NamespaceId(id)) = namespace {
            request = request.attribute(IFLA_TARGET_NETNSID, &id.to_ne_bytes());
        }
        let request = request.attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
        self.route.dump(&request, |links: &mut Vec<Link>, payload| {
            links.push(read_link(payload)?);
            Ok(())
        })
    }

    fn addresses_of(&mut self, namespace: Option<NamespaceId>) -> Result<Vec<Address>, NetlinkError> {
        let mut request = Request::new("list the addresses", RTM_GETADDR, &[0; ADDRESS_HEADER]);
        if let Some(NamespaceId(id)) = namespace {
            request = request.attribute(IFA_TARGET_NETNSID, &id.to_ne_bytes());
        }
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
    let hardware = u16::from_ne_bytes([byte(payload, 2)?, byte(payload, 3)?]);
    let mut link = Link {
        ifindex: word(payload, 4)?,
        name: String::new(),
        kind: String::new(),
        mac: None,
        master: None,
        peer: None,
        up: word(payload, 8)? & IFF_UP != 0,
        loopback: hardware == ARPHRD_LOOPBACK,
    };
    let (mut other, mut namespace) = (None, None);
    for attribute in attributes(payload, LINK_HEADER) {
        let attribute = attribute?;
        let value = attribute.value();
        match attribute.kind() {
            IFLA_ADDRESS => link.mac = value.try_into().ok(),
            IFLA_IFNAME => link.name = text(value),
            IFLA_LINK => other = Some(word(value, 0)?),
            IFLA_MASTER => link.master = Some(word(value, 0)?).filter(|master| *master != 0),
            IFLA_LINK_NETNSID => namespace = Some(NamespaceId(word(value, 0)?.cast_signed())),
            IFLA_LINKINFO => link.kind = read_kind(value)?,
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
        let attribute: NlaBuffer<&[u8]> = attribute?;
        if attribute.kind() == IFLA_INFO_KIND {
            return Ok(text(attribute.value()));
        }
    }
    Ok(String::new())
}

fn read_address(payload: &[u8]) -> Result<Option<Address>, DecodeError> {
    let (prefix, ifindex) = (byte(payload, 1)?, word(payload, 4)?);
    let (mut own, mut other) = (None, None);
    for attribute in attributes(payload, ADDRESS_HEADER) {
        let attribute = attribute?;
        match attribute.kind() {
            IFA_LOCAL => own = ip(attribute.value()),
            IFA_ADDRESS => other = ip(attribute.value()),
            _ => {}
        }
    }
    // On a point-to-point link IFA_ADDRESS is the far end; IPv6 without a far end has IFA_ADDRESS alone.
    Ok(own.or(other).map(|ip| Address { ifindex, ip, prefix }))
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = <[u8; 16]>::try_from(bytes).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    v4.or(v6).ok()
}

fn byte(bytes: &[u8], offset: usize) -> Result<u8, DecodeError> {
    bytes
        .get(offset)
        .copied()
        .ok_or_else(|| DecodeError::buffer_too_small(bytes.len(), offset + 1))
}
