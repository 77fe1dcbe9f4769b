//! Lines about objects, rules and switches.

use super::{Read, entity, field, name_of, one_of, parsed, port, range, text_of, unknown};
use crate::model::{
    Action, CidrEntry, Defense, DefenseRule, Glob, LabelSelector, LocalNodeMode, Mode, NetworkObject, Operator,
    PortEntry, PortMatch, ProtocolMatch, Recovery, Requirement, Selector, Side, Startup, WorkloadSelector,
};
use crate::world::Document;

pub(super) fn object(name: &str, words: &[&str]) -> Read<Document> {
    let name = name_of(name)?;
    let mut uid = name.clone();
    let mut workloads = WorkloadSelector::default();
    let mut ranges: Option<Vec<CidrEntry>> = None;
    for word in words {
        if let Some(requirement) = word.strip_prefix("pods:") {
            let selector = workloads.pod_selector.get_or_insert_default();
            selector.requirements.push(required(requirement)?);
            continue;
        }
        if let Some(requirement) = word.strip_prefix("nss:") {
            let selector = workloads.namespace_selector.get_or_insert_default();
            selector.requirements.push(required(requirement)?);
            continue;
        }
        match field(word).0 {
            "uid" => uid = name_of(field(word).1)?,
            "namespaces" => glob(workloads.namespaces.get_or_insert_default(), word)?,
            "apps" => glob(workloads.apps.get_or_insert_default(), word)?,
            "images" => glob(workloads.images.get_or_insert_default(), word)?,
            "pods" => workloads.pod_selector = Some(LabelSelector::default()),
            "nss" => workloads.namespace_selector = Some(LabelSelector::default()),
            "cidr" => cidr(ranges.get_or_insert_default(), word)?,
            _ => return Err(unknown(word)),
        }
    }
    let selector = match ranges {
        None => Selector::Workloads(workloads),
        Some(ranges) if workloads == WorkloadSelector::default() => Selector::Cidrs(ranges),
        Some(_) => return Err("ranges exclude every other field".to_owned()),
    };
    Ok(Document::NetworkObject(NetworkObject { name, uid, selector }))
}

/// Adds the glob of a word `field=GLOB`; the bare field adds none.
fn glob(list: &mut Vec<Glob>, word: &str) -> Read<()> {
    if let Some((_, text)) = word.split_once('=') {
        list.push(Glob::new(&text_of(text)?).map_err(|error| error.to_string())?);
    }
    Ok(())
}

/// Adds the entry of a word `cidr=RANGE-HOLE-HOLE`; the bare field adds none.
fn cidr(list: &mut Vec<CidrEntry>, word: &str) -> Read<()> {
    if let Some((_, text)) = word.split_once('=') {
        let mut parts = text.split('-').map(range);
        let first = parts.next().unwrap_or_else(|| Err(unknown(word)))?;
        list.push(CidrEntry {
            cidr: first,
            except: parts.collect::<Read<_>>()?,
        });
    }
    Ok(())
}

/// `KEY=A|B`, `KEY!=A|B`, `KEY` or `!KEY`.
fn required(word: &str) -> Read<Requirement> {
    let (operator, key, values) = match (word.strip_prefix('!'), word.split_once('=')) {
        (Some(key), _) => (Operator::DoesNotExist, key, ""),
        (None, None) => (Operator::Exists, word, ""),
        (None, Some((key, values))) => match key.strip_suffix('!') {
            Some(key) => (Operator::NotIn, key, values),
            None => (Operator::In, key, values),
        },
    };
    let values = match operator {
        Operator::In | Operator::NotIn if values != "()" => values.split('|').map(name_of).collect::<Read<_>>()?,
        _ => Vec::new(),
    };
    Ok(Requirement {
        key: name_of(key)?,
        operator,
        values,
    })
}

pub(super) fn rule(name: &str, [priority, action, source, destination]: [&str; 4], words: &[&str]) -> Read<Document> {
    let name = name_of(name)?;
    let mut rule = DefenseRule {
        uid: name.clone(),
        name,
        source: side(source)?,
        destination: side(destination)?,
        ports: None,
        action: one_of(
            action,
            &[("Pass", Action::Pass), ("Alert", Action::Alert), ("Drop", Action::Drop)],
        )?,
        priority: parsed(priority, "a priority")?,
        enabled: true,
    };
    for word in words {
        match (rule.ports.as_mut(), field(word)) {
            (Some(entries), _) => entries.push(entry(word)?),
            (None, ("on", _)) => rule.ports = Some(Vec::new()),
            (None, ("disabled", _)) => rule.enabled = false,
            (None, ("uid", uid)) => rule.uid = name_of(uid)?,
            (None, _) => return Err(unknown(word)),
        }
    }
    Ok(Document::DefenseRule(rule))
}

fn side(word: &str) -> Read<Side> {
    match word.strip_prefix('@') {
        Some(object) => Ok(Side::Object(name_of(object)?)),
        None => entity(word).map(Side::Entity),
    }
}

/// `PROTOCOL`, `PROTOCOL/PORT` or `PROTOCOL/FIRST-LAST`.
fn entry(word: &str) -> Read<PortEntry> {
    let (protocol, ports) = match word.split_once('/') {
        None => (word, PortMatch::All),
        Some((protocol, ports)) => {
            let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
            (protocol, PortMatch::Range(port(first)?, port(last)?))
        }
    };
    let protocol = match protocol {
        "TCP" => ProtocolMatch::Tcp,
        "UDP" => ProtocolMatch::Udp,
        "SCTP" => ProtocolMatch::Sctp,
        "ICMP" => ProtocolMatch::Icmp,
        "ICMPv6" => ProtocolMatch::Icmpv6,
        "Any" => ProtocolMatch::Any,
        number => ProtocolMatch::Number(parsed(number, "a protocol")?),
    };
    Ok(PortEntry { protocol, ports })
}

pub(super) fn defense(words: &[&str]) -> Read<Document> {
    let mut defense = Defense::default();
    for word in words {
        match field(word) {
            ("mode", value) => {
                let modes = [
                    ("Enforce", Mode::Enforce),
                    ("AlertOnly", Mode::AlertOnly),
                    ("Off", Mode::Off),
                ];
                defense.mode = one_of(value, &modes)?;
            }
            ("recovery", value) => {
                let choices = [("Automatic", Recovery::Automatic), ("Manual", Recovery::Manual)];
                defense.recovery = one_of(value, &choices)?;
            }
            ("local-node", value) => {
                let modes = [
                    ("Probes", LocalNodeMode::Probes),
                    ("Pass", LocalNodeMode::Pass),
                    ("Enforce", LocalNodeMode::Enforce),
                ];
                defense.local_node = one_of(value, &modes)?;
            }
            ("startup", value) => {
                let choices = [
                    ("Open", Startup::Open),
                    ("Guarded", Startup::Guarded),
                    ("Closed", Startup::Closed),
                ];
                defense.startup = one_of(value, &choices)?;
            }
            ("range", value) => defense.pod_cidrs.push(range(value)?),
            ("confirmed", value) => defense.confirmed = Some(value.parse().map_err(|_| unknown(word))?),
            _ => return Err(unknown(word)),
        }
    }
    Ok(Document::Defense(defense))
}
