//! What is to become of a frame, by the rules as they are written and by nothing else: a second opinion that shares no
//! code with the packet path. Slow, allocating, and as plain as it can be.
//!
//! It looks at one frame after the other, because fragments depend on what came before; flows do not matter here, the
//! corpus opens each with a port or an identifier of its own.

mod address;
mod arp;
pub mod asks;
mod datagram;
mod transport;
mod world;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;

use datagram::{Datagram, Piece};
pub use world::{PodAddresses, What, World};

/// Why a frame is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are those of the records")]
pub enum Reason {
    Rule,
    NotIp,
    Vlan,
    Malformed,
    ExtensionChain,
    Fragment,
    Spoofed,
    Loopback,
    Router,
    Tunnel,
}

impl Reason {
    /// The name in records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "RULE",
            Self::NotIp => "NOT_IP",
            Self::Vlan => "VLAN",
            Self::Malformed => "MALFORMED",
            Self::ExtensionChain => "EXTENSION_CHAIN",
            Self::Fragment => "FRAGMENT",
            Self::Spoofed => "SPOOFED",
            Self::Loopback => "LOOPBACK",
            Self::Router => "ROUTER",
            Self::Tunnel => "TUNNEL",
        }
    }
}

/// What is to become of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// It arrives.
    Pass,
    /// It does not, for one of these reasons: where a frame is wrong in several ways, any of them may be named.
    Refuse(BTreeSet<Reason>),
    /// It leaves the pod, and is refused where it reaches another one.
    RefuseThere(BTreeSet<Reason>),
}

impl Expected {
    fn of(reasons: impl IntoIterator<Item = Reason>) -> Self {
        let reasons: BTreeSet<Reason> = reasons.into_iter().collect();
        if reasons.is_empty() {
            Self::Pass
        } else {
            Self::Refuse(reasons)
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => out.write_str("pass"),
            Self::Refuse(reasons) | Self::RefuseThere(reasons) => {
                let names: Vec<&str> = reasons.iter().map(|reason| reason.as_str()).collect();
                let there = matches!(self, Self::RefuseThere(_));
                write!(
                    out,
                    "refuse{} ({})",
                    if there { " there" } else { "" },
                    names.join(" or ")
                )
            }
        }
    }
}

/// Who put the frame on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sender {
    /// The pod of this number: judged where it leaves the pod.
    Pod(usize),
    /// A host beside the pods that is no pod: judged where the frame reaches one.
    Stranger,
}

/// A train of fragments, as a receiver tells them apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Train {
    sender: Sender,
    /// The pod at whose end it was seen; none: on its way out of one.
    at: Option<usize>,
    source: IpAddr,
    destination: IpAddr,
    id: u32,
    protocol: u8,
}

/// What is remembered of a train.
#[derive(Debug, Clone)]
struct First {
    header: transport::Header,
    verdict: BTreeSet<Reason>,
    disputed: bool,
}

/// The second opinion.
#[derive(Debug)]
pub struct Reference {
    world: World,
    trains: HashMap<Train, First>,
    /// Pods to whose end a first fragment was led.
    led: HashSet<(Train, usize)>,
}

impl Reference {
    /// Knows the world and has seen nothing.
    pub fn new(world: World) -> Self {
        Self {
            world,
            trains: HashMap::new(),
            led: HashSet::new(),
        }
    }

    /// What is to become of this frame, the next one that `sender` sends, and that the link leads to pod `receiver`.
    pub fn judge(&mut self, sender: Sender, receiver: usize, frame: &[u8]) -> Expected {
        let Some(ethertype) = be16(frame, 12) else {
            return Expected::of([Reason::NotIp]);
        };
        let body = &frame[14..];
        // So short that there is nothing of whatever it is.
        let nothing = (body.len() < 2).then_some(Reason::Malformed);
        match ethertype {
            0x8100 | 0x88a8 => Expected::of(nothing.into_iter().chain([Reason::Vlan])),
            // A tag of old, before there was a standard.
            0x9100 => Expected::of(nothing.into_iter().chain([Reason::Vlan, Reason::NotIp])),
            0x0806 => Expected::of(arp::faults(&self.world, sender, body)),
            0x0800 => self.ip(sender, receiver, datagram::read4(body)),
            0x86dd => self.ip(sender, receiver, datagram::read6(body)),
            _ => Expected::of(nothing.into_iter().chain([Reason::NotIp])),
        }
    }

    fn ip(&mut self, sender: Sender, receiver: usize, read: datagram::Read<'_>) -> Expected {
        let Some((source, destination)) = read.ends else {
            return Expected::of([Reason::Malformed]);
        };
        let mut faults: Vec<Reason> = address::loopback(source, destination);
        match read.content {
            Err(reasons) => {
                faults.extend(reasons);
                faults.extend(address::source(&self.world, sender, source, None));
            }
            Ok(mut datagram) => {
                let astray = !self.world.pods[receiver].has(destination);
                let outside = sender == Sender::Stranger;
                let at = outside.then_some(receiver);
                if astray && outside {
                    // Whoever it is for, it reaches this pod.
                    datagram.destination = self.world.pods[receiver].of_family(destination);
                }
                faults.extend(address::source(&self.world, sender, source, Some(&datagram)));
                // A frame that is wrong in itself is none of a train.
                if faults.is_empty() {
                    faults.extend(match datagram.piece {
                        None => transport::whole(&self.world, sender, &datagram, false),
                        Some(piece) => self.fragment((sender, at, destination), &datagram, piece, false),
                    });
                } else if datagram.piece.is_none_or(|piece| piece.offset == 0) {
                    faults.extend(transport::whole(&self.world, sender, &datagram, false));
                    if datagram.piece.is_some() {
                        faults.extend(transport::first(&self.world, sender, &datagram, false));
                    }
                } else {
                    // It may be wrong as a fragment besides.
                    faults.push(Reason::Fragment);
                }
                if let Some(piece) = datagram.piece.filter(|_| faults.is_empty() && !astray && !outside) {
                    // Its end follows what it has seen itself: a first fragment may have been led to somebody else.
                    let train = train((sender, None, destination), &datagram, piece);
                    if piece.offset == 0 {
                        self.led.insert((train, receiver));
                    } else if !self.led.contains(&(train, receiver)) && transport::could_drop(&self.world, &datagram) {
                        return Expected::RefuseThere([Reason::Fragment].into());
                    }
                }
                if faults.is_empty() && astray && !outside {
                    datagram.destination = self.world.pods[receiver].of_family(destination);
                    let there = match datagram.piece {
                        None => transport::whole(&self.world, Sender::Stranger, &datagram, true),
                        Some(piece) => {
                            self.fragment((Sender::Stranger, Some(receiver), destination), &datagram, piece, true)
                        }
                    };
                    if !there.is_empty() {
                        return Expected::RefuseThere(there);
                    }
                }
            }
        }
        Expected::of(faults)
    }

    /// A fragment by this sender, at this pod's end or on its way out of one, to the destination that it says, whomever it
    /// reaches.
    fn fragment(
        &mut self,
        way: (Sender, Option<usize>, IpAddr),
        datagram: &Datagram<'_>,
        piece: Piece,
        astray: bool,
    ) -> BTreeSet<Reason> {
        let (sender, ..) = way;
        let train = train(way, datagram, piece);
        if piece.offset > 0 {
            if transport::tunnels_on(&self.world, sender, datagram) {
                return [Reason::Tunnel].into();
            }
            return self.later(&train, datagram, piece);
        }
        let faults = transport::first(&self.world, sender, datagram, astray);
        if faults.iter().any(|fault| *fault != Reason::Rule) {
            // What is wrong in itself is no first fragment of anything.
            return faults;
        }
        let header = transport::header(datagram);
        let known = self.trains.entry(train).or_insert_with(|| First {
            header: header.clone(),
            verdict: faults.iter().copied().collect(),
            disputed: false,
        });
        if known.header != header {
            known.disputed = true;
        }
        if known.disputed {
            return [Reason::Fragment].into();
        }
        faults.into_iter().collect()
    }

    fn later(&self, train: &Train, datagram: &Datagram<'_>, piece: Piece) -> BTreeSet<Reason> {
        if datagram.protocol == TCP && matches!(piece.offset, 8 | 16) {
            return [Reason::Fragment].into();
        }
        match self.trains.get(train) {
            Some(first) if first.disputed => [Reason::Fragment].into(),
            Some(first) if first.verdict.is_empty() => BTreeSet::new(),
            Some(first) => first.verdict.iter().copied().chain([Reason::Fragment]).collect(),
            None if transport::could_drop(&self.world, datagram) => [Reason::Fragment].into(),
            None => BTreeSet::new(),
        }
    }
}

/// The train of a fragment.
fn train((sender, at, destination): (Sender, Option<usize>, IpAddr), datagram: &Datagram<'_>, piece: Piece) -> Train {
    Train {
        sender,
        at,
        source: datagram.source,
        destination,
        id: piece.id,
        // Over IPv6 the fragments of one packet may name different next headers.
        protocol: if datagram.source.is_ipv4() {
            datagram.protocol
        } else {
            0
        },
    }
}

const TCP: u8 = 6;

/// Two bytes at `at`, in network byte order.
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}
