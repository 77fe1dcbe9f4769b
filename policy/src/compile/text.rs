//! The compiled state as text, stable line by line: numbers as they are ([`Image`]'s `Display`), or without them
//! ([`Image::canonical`]), where two states that answer the same are the same text.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::Image;
use crate::compiled::{Cell, PeerClass, PeerId, PolicyId, RuleSlot, ServiceKey, ServiceScope, Spans, Table};

/// How numbers are written.
trait Words {
    fn peer(&self, peer: PeerId) -> String;
    fn policy(&self, policy: PolicyId) -> String;
    fn rule(&self, slot: RuleSlot) -> String;
}

/// Numbers as they are.
struct Numbers;

impl Words for Numbers {
    fn peer(&self, peer: PeerId) -> String {
        format!("{peer:?}")
    }

    fn policy(&self, policy: PolicyId) -> String {
        policy.0.to_string()
    }

    fn rule(&self, slot: RuleSlot) -> String {
        format!("rule {}", slot.0)
    }
}

/// Numbers replaced by the first thing that has them.
struct Names<'a> {
    image: &'a Image,
    peers: BTreeMap<PeerId, String>,
    policies: BTreeMap<PolicyId, String>,
}

impl<'a> Names<'a> {
    fn new(image: &'a Image) -> Self {
        let mut names = Self {
            image,
            peers: BTreeMap::new(),
            policies: BTreeMap::new(),
        };
        for (cidr, peer) in &image.prefixes {
            names.peers.entry(*peer).or_insert_with(|| cidr.to_string());
        }
        for (address, entry) in &image.addresses {
            names.peers.entry(entry.peer).or_insert_with(|| address.to_string());
        }
        let mut ports: Vec<(String, PeerId)> = Vec::new();
        for (key, peer) in &image.service_ports {
            ports.push((service_key(*key, &names), *peer));
        }
        ports.sort();
        for (key, peer) in ports {
            names.peers.entry(peer).or_insert(key);
        }
        for interface in image.interfaces.values() {
            for (policy, side) in [(interface.egress, "egress"), (interface.ingress, "ingress")] {
                let name = || format!("{}/{side}", interface.ifindex);
                names.policies.entry(policy).or_insert_with(name);
            }
        }
        names
    }
}

impl Words for Names<'_> {
    fn peer(&self, peer: PeerId) -> String {
        match self.peers.get(&peer) {
            Some(name) if peer.number() != PeerId::PLAIN => format!("{:?} as {name}", peer.class()),
            None if peer.number() != PeerId::PLAIN => format!("{:?} of nobody", peer.class()),
            _ => format!("{:?}", peer.class()),
        }
    }

    fn policy(&self, policy: PolicyId) -> String {
        self.policies
            .get(&policy)
            .cloned()
            .unwrap_or_else(|| "of nobody".to_owned())
    }

    fn rule(&self, slot: RuleSlot) -> String {
        let name = self
            .image
            .rules
            .get(&slot)
            .map(|card| card.name.escape_debug().to_string());
        name.unwrap_or_else(|| "of no name".to_owned())
    }
}

fn service_key(key: ServiceKey, words: &impl Words) -> String {
    let ServiceKey {
        scope,
        transport,
        port,
        v4,
    } = key;
    let scope = match scope {
        ServiceScope::Address(address) => address.to_string(),
        ServiceScope::Peer(peer) => words.peer(peer),
    };
    let family = if v4 { "IPv4" } else { "IPv6" };
    format!("{scope} {}/{port} {family}", transport.name())
}

fn cell(cell: Cell, words: &impl Words) -> String {
    let Cell {
        action,
        reason,
        rule,
        quiet_alert,
        quiet_drop,
        named,
    } = cell;
    let mut text = format!("{} {reason}", action.verdict());
    if let Some(slot) = rule {
        text.push(' ');
        text.push_str(&words.rule(slot));
    }
    if quiet_alert || quiet_drop {
        text.push_str(" quiet");
    }
    if named {
        text.push_str(" named");
    }
    text
}

fn spans(spans: &Spans, words: &impl Words) -> String {
    let entries: Vec<String> = spans
        .entries()
        .iter()
        .map(|(start, value)| format!("{start}: {}", cell(*value, words)))
        .collect();
    entries.join(", ")
}

fn table(table: &Table, words: &impl Words) -> String {
    let Table {
        tcp,
        udp,
        sctp,
        icmp,
        icmpv6,
        other,
    } = table;
    let parts = [
        ("TCP", tcp),
        ("UDP", udp),
        ("SCTP", sctp),
        ("ICMP", icmp),
        ("ICMPv6", icmpv6),
        ("other", other),
    ];
    if let Some(value) = tcp.as_constant()
        && parts.iter().all(|(_, part)| *part == tcp)
    {
        return cell(value, words);
    }
    parts
        .map(|(name, part)| format!("{name} {}", spans(part, words)))
        .join("; ")
}

impl Image {
    /// The state without numbers: two compilers that saw the same world in different ways write the same text.
    /// `since` is history and left out.
    pub fn canonical(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text, &Names::new(self), false);
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    }

    fn write(&self, out: &mut impl Write, words: &impl Words, history: bool) -> fmt::Result {
        for (ifindex, interface) in &self.interfaces {
            write!(out, "interface {ifindex} master {} pod ", interface.master)?;
            match &interface.pod {
                Some(uid) => write!(out, "{}", uid.escape_debug())?,
                None => write!(out, "unknown")?,
            }
            let mac: Vec<String> = interface.mac.iter().map(|byte| format!("{byte:02x}")).collect();
            write!(out, " mac {} egress {}", mac.join(":"), words.policy(interface.egress))?;
            write!(
                out,
                " ingress {} startup {} from",
                words.policy(interface.ingress),
                interface.startup
            )?;
            interface
                .addresses
                .iter()
                .try_for_each(|address| write!(out, " {address}"))?;
            writeln!(out)?;
        }
        for (address, entry) in &self.addresses {
            write!(
                out,
                "address {address} {} interface {}",
                words.peer(entry.peer),
                entry.ifindex
            )?;
            if history {
                write!(out, " since {}", entry.since)?;
            }
            writeln!(out)?;
        }
        for (cidr, peer) in &self.prefixes {
            writeln!(out, "range {cidr} {}", words.peer(*peer))?;
        }
        for (key, peer) in &self.service_ports {
            writeln!(out, "service port {} {}", service_key(*key, words), words.peer(*peer))?;
        }
        for ((policy, peer), id) in &self.policies {
            let (policy, peer) = (words.policy(*policy), words.peer(*peer));
            if history {
                writeln!(out, "policy {policy} {peer} table {}", id.0)?;
            } else {
                let found = self.tables.get(id).map(|found| table(found, words));
                writeln!(out, "policy {policy} {peer} {}", found.unwrap_or_default())?;
            }
        }
        if history {
            for (id, found) in &self.tables {
                writeln!(out, "table {} {}", id.0, table(found, words))?;
            }
        } else {
            writeln!(out, "tables {}", self.tables.len())?;
        }
        for (slot, card) in &self.rules {
            let name = card.name.escape_debug();
            let (uid, priority, action) = (card.uid.escape_debug(), card.priority, card.action);
            if history {
                write!(out, "slot {} ", slot.0)?;
            }
            writeln!(out, "rule {name} uid {uid} priority {priority} {action}")?;
        }
        Ok(())
    }

    /// Peers that have entries of their own, or that addresses have, by class.
    pub fn peers(&self, class: PeerClass) -> usize {
        let addresses = self.addresses.values().map(|entry| entry.peer);
        let all = addresses
            .chain(self.prefixes.values().copied())
            .chain(self.service_ports.values().copied());
        let of_class: std::collections::BTreeSet<PeerId> = all.filter(|peer| peer.class() == class).collect();
        of_class.len()
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &Numbers, true)
    }
}
