//! Expectations: policy tests for a CI. A list of `{from, to, port, protocol, verdict, rule}`; each must hold.

use cellwall_policy::evaluate::{Question, evaluate};
use cellwall_policy::world::World;
use serde::Deserialize;
use serde_json::Value;

/// One expectation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// Who opens: namespace/pod, an address, or an entity.
    pub from: String,
    /// Whom to.
    pub to: String,
    /// Destination port, or ICMP type.
    #[serde(default)]
    pub port: Option<u32>,
    /// As in rules; TCP where only a port is given.
    #[serde(default, deserialize_with = "text_or_number")]
    pub protocol: Option<String>,
    /// PASS, ALERT or DROP.
    pub verdict: String,
    /// The rule that must decide; left out: any.
    #[serde(default)]
    pub rule: Option<String>,
}

fn text_or_number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    match Option::<Value>::deserialize(from)? {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(serde::de::Error::custom("write a protocol, like TCP or \"47\"")),
    }
}

/// Reads a list of expectations. The number in an error counts from 1.
pub fn read(list: &Value) -> Result<Vec<Expectation>, String> {
    let Value::Array(items) = list else {
        return Err("expectations are a list: - {from: shop/web, to: shop/db, port: 5432, verdict: PASS}".to_owned());
    };
    let one = |(i, item): (usize, &Value)| {
        let read: Expectation =
            serde_path_to_error::deserialize(item).map_err(|e| format!("expectation {}: {e}", i + 1))?;
        match read.verdict.to_ascii_uppercase().as_str() {
            "PASS" | "ALERT" | "DROP" => Ok(Expectation {
                verdict: read.verdict.to_ascii_uppercase(),
                ..read
            }),
            other => Err(format!(
                "expectation {}: verdict: {other:?} is not PASS, ALERT or DROP",
                i + 1
            )),
        }
    };
    items.iter().enumerate().map(one).collect()
}

/// Why an expectation does not hold; none where it does.
pub fn broken(world: &World, expected: &Expectation) -> Option<String> {
    let protocol = expected.protocol.as_deref();
    let answered = Question::of(&expected.from, &expected.to, expected.port, protocol)
        .and_then(|question| evaluate(world, &question));
    let asked = format!(
        "{} -> {} {}/{}",
        expected.from,
        expected.to,
        expected.port.map(|p| p.to_string()).unwrap_or_default(),
        protocol.unwrap_or(if expected.port.is_some() { "TCP" } else { "" })
    );
    let answer = match answered {
        Ok(answer) => answer,
        Err(error) => return Some(format!("{asked}: no answer: {error}")),
    };
    let rule = answer.rule.as_ref().map(|rule| rule.name.to_string());
    let by = |rule: Option<&str>| rule.map_or_else(String::new, |rule| format!(" by {rule}"));
    let right_rule = expected.rule.is_none() || expected.rule == rule;
    (answer.verdict.verdict() != expected.verdict || !right_rule).then(|| {
        format!(
            "{asked}: expected {}{}, is {}{} ({})",
            expected.verdict,
            by(expected.rule.as_deref()),
            answer.verdict.verdict(),
            by(rule.as_deref()),
            answer.reason
        )
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::documents;

    #[test]
    fn what_the_readme_shows_is_valid_and_holds() {
        let blocks: Vec<&str> = include_str!("../../README.md")
            .split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
            .collect();
        let [policy, pod, expectations] = blocks.as_slice() else {
            panic!("the README shows a policy, a pod and expectations");
        };
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("policy.yaml", (*policy).to_owned()),
            ("web.yaml", (*pod).to_owned()),
            ("db.yaml", pod.replace("web", "db")),
        ] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let reading = documents::read(&[directory.path().to_owned()]);
        assert!(reading.problems.is_empty(), "{:?}", reading.problems);
        let world = documents::world(&reading, "node-0");
        let list = documents::json_of(Path::new("expectations.yaml"), expectations.as_bytes()).unwrap();
        let expected = read(&list).unwrap();
        assert_eq!(expected.len(), 2);
        for one in &expected {
            assert_eq!(broken(&world, one), None);
        }
    }
}
