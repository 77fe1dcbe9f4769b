//! Text as scenarios.

mod cluster;
mod policy;

use std::str::FromStr;

use super::text::decode;
use super::{Ask, Case, Expected, Line, Scenario};
use crate::evaluate::{AskedProtocol, End, HookQuestion, Question};
use crate::model::{Action, Address, Cidr, Entity, Hook, Name, Reason};

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
        ["namespace", name, rest @ ..] => Line::Document(cluster::namespace(name, rest)?),
        ["pod", name, rest @ ..] => Line::Document(cluster::pod(name, rest)?),
        ["node", name, rest @ ..] => Line::Document(cluster::node(name, rest)?),
        ["report", name, state, rest @ ..] => Line::Document(cluster::report(name, state, rest)?),
        ["service", name, rest @ ..] => Line::Document(cluster::service(name, rest)?),
        ["slice", name, rest @ ..] => Line::Document(cluster::slice(name, rest)?),
        ["object", name, rest @ ..] => Line::Document(policy::object(name, rest)?),
        ["rule", name, priority, action, source, "->", destination, rest @ ..] => {
            Line::Document(policy::rule(name, [priority, action, source, destination], rest)?)
        }
        ["defense", rest @ ..] => Line::Document(policy::defense(rest)?),
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

fn entity(word: &str) -> Read<Entity> {
    one_of(word, &Entity::ALL.map(|entity| (entity.name(), entity)))
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
