//! What the port entries of a rule may say.

use super::{hold, list};
use crate::rule::{self, limit};
use crate::{PortEntry, Protocol, Violation};

const PATH: &str = "spec.ports";

pub(super) fn check(ports: &[PortEntry], out: &mut Vec<Violation>) {
    list(PATH, ports, limit::PORTS, "divide it over several rules", out, entry);
    let ports = &ports[..ports.len().min(limit::PORTS)];
    for (j, b) in ports.iter().enumerate() {
        for (i, a) in ports.iter().enumerate().take(j) {
            if overlap(a, b) {
                let found = format!("{PATH}[{i}] ({}) and {PATH}[{j}] ({})", text(a), text(b));
                out.push(Violation {
                    found: Some(found),
                    ..rule::PORTS_OVERLAP.broken(PATH)
                });
            }
        }
    }
}

fn entry(path: &str, entry: &PortEntry, out: &mut Vec<Violation>) {
    let PortEntry {
        protocol,
        port,
        end_port,
    } = *entry;
    let icmp = matches!(protocol, Protocol::Icmp | Protocol::Icmpv6);
    let number = matches!(protocol, Protocol::Number(_));
    let is_port = |port: i64| (1..=65535).contains(&port);
    let ordered = end_port.zip(port).is_none_or(|(last, first)| last >= first);
    hold(
        &rule::PORT_OF_NUMBER,
        path,
        !number || (port.is_none() && end_port.is_none()),
        out,
    );
    hold_number(&rule::PORT_RANGE, path, port, icmp || port.is_none_or(is_port), out);
    hold_number(
        &rule::ICMP_TYPE_RANGE,
        path,
        port,
        !icmp || port.is_none_or(|port| (0..=255).contains(&port)),
        out,
    );
    hold_number(&rule::END_PORT_RANGE, path, end_port, end_port.is_none_or(is_port), out);
    hold_number(
        &rule::END_PORT_ALONE,
        path,
        end_port,
        end_port.is_none() || port.is_some(),
        out,
    );
    hold_number(&rule::END_PORT_BELOW, path, end_port, ordered, out);
    hold_number(
        &rule::END_PORT_OF_ICMP,
        path,
        end_port,
        end_port.is_none() || !icmp,
        out,
    );
}

fn hold_number(rule: &rule::Rule, path: &str, found: Option<i64>, holds: bool, out: &mut Vec<Violation>) {
    if !holds {
        out.push(Violation {
            found: found.map(|number| format!("`{number}`")),
            ..rule.broken(path)
        });
    }
}

/// Whether some packet is in both entries.
fn overlap(a: &PortEntry, b: &PortEntry) -> bool {
    protocols_meet(a, b) && ports_meet(a, b)
}

fn protocols_meet(a: &PortEntry, b: &PortEntry) -> bool {
    // `Any` with a port is the three protocols that have ports.
    let any_covers = |any: &PortEntry, other: &PortEntry| {
        any.protocol == Protocol::Any
            && (any.port.is_none()
                || matches!(other.protocol.number(), Some(6 | 17 | 132))
                || other.protocol == any.protocol)
    };
    let same_number = a.protocol.number().is_some() && a.protocol.number() == b.protocol.number();
    any_covers(a, b) || any_covers(b, a) || same_number
}

fn ports_meet(a: &PortEntry, b: &PortEntry) -> bool {
    match (a.port, b.port) {
        (Some(first_a), Some(first_b)) => {
            first_a <= b.end_port.unwrap_or(first_b) && first_b <= a.end_port.unwrap_or(first_a)
        }
        _ => true,
    }
}

fn text(entry: &PortEntry) -> String {
    match (entry.port, entry.end_port) {
        (Some(first), Some(last)) => format!("`{} {first}-{last}`", entry.protocol),
        (Some(port), None) => format!("`{} {port}`", entry.protocol),
        (None, _) => format!("`{}`", entry.protocol),
    }
}
