//! What a frame asks of the rules, seen from one hook of one pod, and remembering nothing: the question that the policy's
//! own evaluator then answers, or why no rule has a say in it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::datagram::{self, Datagram};
use super::transport::{self, ICMP, ICMPV6, SCTP, UDP};
use super::{Reason, TCP, address, arp, be16};

/// Where the frame is seen.
#[derive(Debug, Clone, Copy)]
pub struct Seat<'a> {
    /// Whether the pod sends it; else it is on its way to the pod.
    pub from_pod: bool,
    /// The pod's addresses.
    pub own: &'a [IpAddr],
    /// Whether these are all: of a pod that is not known yet, any address may be its own.
    pub is_known: bool,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asks {
    /// Refused whatever the rules say, for one of these reasons.
    Refused(BTreeSet<Reason>),
    /// Passes whatever the rules say: neighbour discovery and group membership.
    Neighbour {
        /// Whether it is the first of several fragments.
        is_first_fragment: bool,
    },
    /// The rules decide.
    Rules(Asked),
    /// Not told by one frame alone.
    LeftOut(&'static str),
}

/// A packet that the rules decide about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Source.
    pub source: IpAddr,
    /// Destination.
    pub destination: IpAddr,
    /// Number of the protocol.
    pub protocol: u8,
    /// Destination port, or ICMP type; none where the protocol has none.
    pub port: Option<u16>,
    /// Of TCP that does not open a flow: the port that the other orientation would be about.
    pub back: Option<u16>,
    /// Source port, or identifier; zero where there is none.
    pub fresh: u16,
    /// Whether it is the first of several fragments.
    pub is_first_fragment: bool,
}

/// What `frame` asks at `seat`.
pub fn asks(seat: Seat<'_>, frame: &[u8]) -> Asks {
    let tagged = matches!(be16(frame, 12), Some(0x8100 | 0x88a8 | 0x9100));
    let (Some(ethertype), true) = (be16(frame, 12), frame.len() >= 16) else {
        let tag = tagged.then_some(Reason::Vlan);
        return refused([Reason::NotIp, Reason::Malformed].into_iter().chain(tag));
    };
    let body = &frame[14..];
    match ethertype {
        0x8100 | 0x88a8 => refused([Reason::Vlan]),
        0x9100 => refused([Reason::Vlan, Reason::NotIp]),
        0x0806 => seat.arp(body),
        0x0800 => seat.ip(datagram::read4(body)),
        0x86dd => seat.ip(datagram::read6(body)),
        _ => refused([Reason::NotIp]),
    }
}

fn refused(reasons: impl IntoIterator<Item = Reason>) -> Asks {
    Asks::Refused(reasons.into_iter().collect())
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

impl Seat<'_> {
    fn owns(self, address: IpAddr) -> bool {
        self.own.contains(&address)
    }

    fn arp(self, body: &[u8]) -> Asks {
        match arp::faults_of(body, |address| !self.from_pod || self.owns(address)) {
            None => Asks::Neighbour {
                is_first_fragment: false,
            },
            Some(Reason::Spoofed) if !self.is_known => Asks::LeftOut("in the name of another, by a pod not known yet"),
            Some(reason) => refused([reason]),
        }
    }

    fn ip(self, read: datagram::Read<'_>) -> Asks {
        let Some((source, destination)) = read.ends else {
            return refused([Reason::Malformed]);
        };
        let mut faults: BTreeSet<Reason> = address::loopback(source, destination).into_iter().collect();
        let foreign = self.from_pod && !self.owns(source);
        match read.content {
            Err(reasons) => {
                faults.extend(reasons);
                if foreign {
                    faults.insert(Reason::Spoofed);
                }
                Asks::Refused(faults)
            }
            Ok(packet) => {
                if foreign && !address::asks_for_itself(&packet) {
                    faults.insert(Reason::Spoofed);
                }
                self.packet(&packet, faults)
            }
        }
    }

    /// A packet whose IP headers are as they should be; `faults` are its addresses'.
    fn packet(self, packet: &Datagram<'_>, mut faults: BTreeSet<Reason>) -> Asks {
        const IN_ANOTHERS_NAME: &str = "in the name of another, by a pod not known yet";
        if !self.is_known && faults.contains(&Reason::Spoofed) {
            return Asks::LeftOut(IN_ANOTHERS_NAME);
        }
        let is_later = packet.piece.is_some_and(|piece| piece.offset > 0);
        if is_later {
            if packet.protocol == TCP && packet.piece.is_some_and(|piece| matches!(piece.offset, 8 | 16)) {
                faults.insert(Reason::Fragment);
            } else if faults.is_empty() {
                return Asks::LeftOut("a later fragment, whose first was not seen");
            }
            // It may be wrong as a fragment besides.
            return refused(faults.into_iter().chain([Reason::Fragment]));
        }
        let is_first = packet.piece.is_some();
        let malformed = if is_first {
            transport::malformed_first(packet)
        } else {
            transport::malformed(packet)
        };
        let is_whole = malformed.is_empty();
        faults.extend(malformed);
        if self.from_pod && is_whole {
            if transport::names_anothers_target(|target| self.owns(target), packet) {
                faults.insert(Reason::Spoofed);
            }
            if transport::is_of_a_router(packet) {
                faults.insert(Reason::Router);
            }
        }
        if !self.is_known && faults.contains(&Reason::Spoofed) {
            return Asks::LeftOut(IN_ANOTHERS_NAME);
        }
        if !faults.is_empty() {
            if self.from_pod && is_whole && transport::is_tunnel(packet) {
                faults.insert(Reason::Tunnel);
            }
            return Asks::Refused(faults);
        }
        if transport::always_passes(packet) {
            return Asks::Neighbour {
                is_first_fragment: is_first,
            };
        }
        if is_mapped(packet.source) || is_mapped(packet.destination) {
            return Asks::LeftOut("an IPv4-mapped address, which has no question of its own");
        }
        Asks::Rules(question(packet, is_first))
    }
}

fn question(packet: &Datagram<'_>, is_first_fragment: bool) -> Asked {
    let segment = packet.segment;
    let word = |at| be16(segment, at).unwrap_or(0);
    let (port, back, fresh) = if transport::is(packet, ICMP) || transport::is(packet, ICMPV6) {
        (Some(u16::from(segment[0])), None, word(4))
    } else {
        match packet.protocol {
            TCP => {
                let opens = segment[13] & 0x12 == 2;
                (Some(word(2)), (!opens).then(|| word(0)), word(0))
            }
            UDP | SCTP => (Some(word(2)), None, word(0)),
            _ => (None, None, 0),
        }
    };
    Asked {
        source: packet.source,
        destination: packet.destination,
        protocol: packet.protocol,
        port,
        back,
        fresh,
        is_first_fragment,
    }
}
