//! Text as scenarios.

use std::str::FromStr;

use super::text::decode;
use super::{Ask, Case, Expected, Line, Scenario};
use crate::evaluate::{AskedProtocol, End, HookQuestion, Question};
use crate::model::{
    Action, Address, Cidr, CidrEntry, Defense, DefenseRule, Endpoint, EndpointSlice, Entity, Glob, Hook, HostPort,
    LabelSelector, Labels, LocalNodeMode, Mode, Name, Namespace, NetworkObject, Node, NodeReport, Operator, Phase, Pod,
    PortEntry, PortMatch, ProtocolMatch, Reason, Recovery, Requirement, Selector, Service, ServicePort, Side,
    SlicePort, Startup, Transport, WorkloadSelector,
};
use crate::world::Document;

/// Why a text is not a scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ScenarioError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

type Read<T> = Result<T, String>;

pub(super) fn scenarios(text: &str) -> Result<Vec<Scenario>, ScenarioError> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let problem = |problem| ScenarioError {
            line: index + 1,
            problem,
        };
        let line = line.trim();
        if let Some(title) = line.strip_prefix("scenario ") {
            scenarios.push(Scenario {
                title: title.trim().to_owned(),
                local: "node-a".into(),
                silence_enforces: true,
                lines: Vec::new(),
            });
        } else if !line.is_empty() {
            match scenarios.last_mut() {
                Some(scenario) => read_line(scenario, line).map_err(problem)?,
                // Remarks on the whole file.
                None if line.starts_with('#') => {}
                None => return Err(problem("a file begins with `scenario TITLE`".to_owned())),
            }
        }
    }
    Ok(scenarios)
}

fn read_line(scenario: &mut Scenario, line: &str) -> Read<()> {
    if let Some(note) = line.strip_prefix('#') {
        scenario.lines.push(Line::Note(note.trim().to_owned()));
        return Ok(());
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let read = match words.as_slice() {
        ["local", name, rest @ ..] => {
            scenario.local = name_of(name)?;
            scenario.silence_enforces = match rest {
                [] => true,
                ["silence=open"] => false,
                _ => return Err("write `local NAME` or `local NAME silence=open`".to_owned()),
            };
            return Ok(());
        }
        ["namespace", name, rest @ ..] => Line::Document(namespace(name, rest)?),
        ["pod", name, rest @ ..] => Line::Document(pod(name, rest)?),
        ["node", name, rest @ ..] => Line::Document(node(name, rest)?),
        ["report", name, state, rest @ ..] => Line::Document(report(name, state, rest)?),
        ["service", name, rest @ ..] => Line::Document(service(name, rest)?),
        ["slice", name, rest @ ..] => Line::Document(slice(name, rest)?),
        ["object", name, rest @ ..] => Line::Document(object(name, rest)?),
        ["rule", name, priority, action, source, "->", destination, rest @ ..] => {
            Line::Document(rule(name, [priority, action, source, destination], rest)?)
        }
        ["defense", rest @ ..] => Line::Document(defense(rest)?),
        ["ask" | "hook", ..] => Line::Case(case(&words)?),
        _ => return Err(format!("{line:?} is no line of a scenario")),
    };
    scenario.lines.push(read);
    Ok(())
}

fn text_of(word: &str) -> Read<String> {
    decode(word).ok_or_else(|| format!("{word:?} has a `%` that no two hexadecimal digits follow"))
}

fn name_of(word: &str) -> Read<Name> {
    text_of(word).map(Name::from)
}

fn parsed<T: FromStr>(word: &str, what: &str) -> Read<T> {
    word.parse().map_err(|_| format!("{word:?} is not {what}"))
}

fn address(word: &str) -> Read<Address> {
    parsed(word, "an address")
}

fn port(word: &str) -> Read<u16> {
    parsed(word, "a port")
}

fn range(word: &str) -> Read<Cidr> {
    word.parse().map_err(|error: crate::model::CidrError| error.to_string())
}

fn pair(word: &str) -> Read<(Name, Name)> {
    let (namespace, name) = word
        .split_once('/')
        .ok_or_else(|| format!("{word:?} is not NAMESPACE/NAME"))?;
    Ok((name_of(namespace)?, name_of(name)?))
}

/// A word `key=value`, or a bare word with an empty value.
fn field(word: &str) -> (&str, &str) {
    word.split_once('=').unwrap_or((word, ""))
}

fn unknown(word: &str) -> String {
    format!("{word:?} is no field here")
}

fn one_of<T: Copy>(word: &str, choices: &[(&str, T)]) -> Read<T> {
    let found = choices.iter().find(|(name, _)| *name == word);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        format!("{word:?} is none of {}", names.join(", "))
    })
}

fn transport(word: &str) -> Read<Transport> {
    one_of(
        word,
        &[
            ("TCP", Transport::Tcp),
            ("UDP", Transport::Udp),
            ("SCTP", Transport::Sctp),
        ],
    )
}

/// The labels among the words, and the other words.
fn labels<'a>(words: &[&'a str]) -> Read<(Labels, Vec<&'a str>)> {
    let mut labels: Vec<(String, String)> = Vec::new();
    let mut rest = Vec::new();
    for word in words {
        match word.strip_prefix("label:") {
            Some(label) => {
                let (key, value) = field(label);
                labels.push((text_of(key)?, text_of(value)?));
            }
            None => rest.push(*word),
        }
    }
    Ok((Labels::new(labels), rest))
}

fn namespace(name: &str, words: &[&str]) -> Read<Document> {
    let (labels, rest) = labels(words)?;
    match rest.first() {
        Some(word) => Err(unknown(word)),
        None => Ok(Document::Namespace(Namespace {
            name: name_of(name)?,
            labels,
        })),
    }
}

fn pod(name: &str, words: &[&str]) -> Read<Document> {
    let (labels, rest) = labels(words)?;
    let (namespace, name) = pair(name)?;
    let mut pod = Pod {
        uid: format!("{namespace}/{name}").into(),
        namespace,
        name,
        labels,
        images: Vec::new(),
        addresses: Vec::new(),
        link_local: Vec::new(),
        node: None,
        host_network: false,
        phase: Phase::Running,
        created: 0,
        probe_ports: Vec::new(),
        host_ports: Vec::new(),
        owner: None,
    };
    for word in rest {
        let (key, value) = field(word);
        match key {
            "uid" => pod.uid = name_of(value)?,
            "on" => pod.node = Some(name_of(value)?),
            "at" => pod.addresses.push(address(value)?),
            "link" => pod.link_local.push(address(value)?),
            "image" => pod.images.push(name_of(value)?),
            "phase" => pod.phase = phase(value)?,
            "host" => pod.host_network = true,
            "created" => pod.created = parsed(value, "a number of seconds")?,
            "probe" => pod.probe_ports.push(port(value)?),
            "hostport" => pod.host_ports.push(host_port(value)?),
            "owner" => pod.owner = Some(name_of(value)?),
            _ => return Err(unknown(word)),
        }
    }
    Ok(Document::Pod(pod))
}

fn phase(word: &str) -> Read<Phase> {
    one_of(
        word,
        &[
            ("Running", Phase::Running),
            ("Pending", Phase::Pending),
            ("Succeeded", Phase::Succeeded),
            ("Failed", Phase::Failed),
            ("Unknown", Phase::Unknown),
        ],
    )
}

/// `[ADDRESS@]PORT/PROTOCOL>PORT`.
fn host_port(word: &str) -> Read<HostPort> {
    let wrong = || format!("{word:?} is not [ADDRESS@]PORT/PROTOCOL>PORT");
    let (bound, rest) = match word.split_once('@') {
        Some((bound, rest)) => (Some(address(bound)?), rest),
        None => (None, word),
    };
    let (outside, inside) = rest.split_once('>').ok_or_else(wrong)?;
    let (number, protocol) = outside.split_once('/').ok_or_else(wrong)?;
    Ok(HostPort {
        address: bound,
        transport: transport(protocol)?,
        port: port(number)?,
        container_port: port(inside)?,
    })
}

fn node(name: &str, words: &[&str]) -> Read<Document> {
    let mut node = Node {
        name: name_of(name)?,
        addresses: Vec::new(),
        pod_cidrs: Vec::new(),
    };
    for word in words {
        match field(word) {
            ("at", value) => node.addresses.push(address(value)?),
            ("range", value) => node.pod_cidrs.push(range(value)?),
            _ => return Err(unknown(word)),
        }
    }
    Ok(Document::Node(node))
}

fn report(name: &str, state: &str, words: &[&str]) -> Read<Document> {
    let mut addresses = Vec::new();
    for word in words {
        match field(word) {
            ("at", value) => addresses.push(address(value)?),
            _ => return Err(unknown(word)),
        }
    }
    Ok(Document::NodeReport(NodeReport {
        node: name_of(name)?,
        enforcing: one_of(state, &[("enforcing", true), ("open", false)])?,
        addresses,
    }))
}

/// `NAME:PORT/PROTOCOL`.
fn named_port(word: &str) -> Read<(Name, u16, Transport)> {
    let wrong = || format!("{word:?} is not NAME:PORT/PROTOCOL");
    let (name, rest) = word.split_once(':').ok_or_else(wrong)?;
    let (number, protocol) = rest.split_once('/').ok_or_else(wrong)?;
    Ok((name_of(name)?, port(number)?, transport(protocol)?))
}

fn service(name: &str, words: &[&str]) -> Read<Document> {
    let (namespace, name) = pair(name)?;
    let mut service = Service {
        namespace,
        name,
        cluster_ips: Vec::new(),
        external_ips: Vec::new(),
        ports: Vec::new(),
    };
    for word in words {
        match field(word) {
            ("cluster", value) => service.cluster_ips.push(address(value)?),
            ("external", value) => service.external_ips.push(address(value)?),
            ("port", value) => {
                let (front, node_port) = match value.split_once('@') {
                    Some((front, number)) => (front, Some(port(number)?)),
                    None => (value, None),
                };
                let (name, port, transport) = named_port(front)?;
                service.ports.push(ServicePort {
                    name,
                    transport,
                    port,
                    node_port,
                });
            }
            _ => return Err(unknown(word)),
        }
    }
    Ok(Document::Service(service))
}

fn slice(name: &str, words: &[&str]) -> Read<Document> {
    let (namespace, name) = pair(name)?;
    let mut slice = EndpointSlice {
        namespace,
        name,
        service: None,
        endpoints: Vec::new(),
        ports: Vec::new(),
    };
    for word in words {
        let (key, value) = field(word);
        let (ready, serving) = match key {
            "for" => {
                slice.service = Some(name_of(value)?);
                continue;
            }
            "target" => {
                let (name, port, transport) = named_port(value)?;
                slice.ports.push(SlicePort { name, transport, port });
                continue;
            }
            "ready" => (true, true),
            "ready-not-serving" => (true, false),
            "serving" => (false, true),
            "down" => (false, false),
            _ => return Err(unknown(word)),
        };
        slice.endpoints.push(Endpoint {
            address: address(value)?,
            ready,
            serving,
        });
    }
    Ok(Document::EndpointSlice(slice))
}

fn object(name: &str, words: &[&str]) -> Read<Document> {
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

fn rule(name: &str, [priority, action, source, destination]: [&str; 4], words: &[&str]) -> Read<Document> {
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

fn entity(word: &str) -> Read<Entity> {
    one_of(word, &Entity::ALL.map(|entity| (entity.name(), entity)))
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

fn defense(words: &[&str]) -> Read<Document> {
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
            _ => return Err(unknown(word)),
        }
    }
    Ok(Document::Defense(defense))
}

fn case(words: &[&str]) -> Read<Case> {
    let middle = words.iter().position(|word| *word == "=");
    let (asked, expected) = words.split_at(middle.ok_or("a question needs ` = ` and its answer")?);
    let ask = match asked {
        ["ask", from, to, rest @ ..] if rest.len() < 2 => {
            let (protocol, port) = traffic(rest.first().copied())?;
            Ask::Flow(Question {
                from: end(from)?,
                to: end(to)?,
                protocol,
                port,
            })
        }
        ["hook", hook, pod, peer, what] => {
            let peer = address(peer)?;
            let (protocol, port) = traffic(Some(what))?;
            Ask::Hook(HookQuestion {
                hook: one_of(hook, &[("FROM_POD", Hook::FromPod), ("TO_POD", Hook::ToPod)])?,
                pod: if *pod == "?" { None } else { Some(name_of(pod)?) },
                peer,
                protocol: protocol.over(peer.is_v4()).ok_or("a hook sees one protocol; name it")?,
                port,
            })
        }
        _ => {
            return Err(
                "write `ask FROM TO [PORT/PROTOCOL] = ...` or `hook HOOK UID PEER PORT/PROTOCOL = ...`".to_owned(),
            );
        }
    };
    Ok(Case {
        ask,
        expected: answer(&expected[1..])?,
    })
}

fn end(word: &str) -> Read<End> {
    if let Ok(address) = word.parse() {
        return Ok(End::Address(address));
    }
    if let Ok(entity) = entity(word) {
        return Ok(End::Member(entity));
    }
    let (namespace, name) = pair(word)?;
    Ok(End::Pod(namespace, name))
}

/// As the command line has it; nothing: a protocol that no rule names.
fn traffic(word: Option<&str>) -> Read<(AskedProtocol, Option<u16>)> {
    // The ends do not matter here.
    let question = Question::parse("Any", "Any", word).map_err(|error| error.to_string())?;
    Ok((question.protocol, question.port))
}

/// `error`, or `VERDICT REASON [RULE] [applied=PASS]`.
fn answer(words: &[&str]) -> Read<Option<Expected>> {
    if words == ["error"] {
        return Ok(None);
    }
    let actions = [Action::Pass, Action::Alert, Action::Drop].map(|action| (action.verdict(), action));
    let [verdict, reason, rest @ ..] = words else {
        return Err("an answer is `error` or `VERDICT REASON [RULE] [applied=PASS]`".to_owned());
    };
    let verdict = one_of(verdict, &actions)?;
    let reason = Reason::ALL.iter().find(|one| one.name() == *reason);
    let mut expected = Expected {
        verdict,
        applied: if verdict == Action::Drop {
            Action::Drop
        } else {
            Action::Pass
        },
        reason: *reason.ok_or_else(|| format!("{:?} is no reason", words[1]))?,
        rule: None,
    };
    for word in rest {
        match word.strip_prefix("applied=") {
            Some(applied) => expected.applied = one_of(applied, &actions)?,
            None => expected.rule = Some(name_of(word)?),
        }
    }
    Ok(Some(expected))
}
