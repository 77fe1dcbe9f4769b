//! Questions and answers of `explain`: one line in, one JSON object out, for files and for the agent alike.

use cellwall_policy::evaluate::{Answer, AskedProtocol, Question, evaluate};
use cellwall_policy::model::Action;
use cellwall_policy::world::World;
use serde_json::{Value, json};

/// A question as it was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// FROM.
    pub from: String,
    /// TO.
    pub to: String,
    /// PORT\[/PROTOCOL\].
    pub port: Option<String>,
}

impl Asked {
    /// Reads a line: FROM TO \[PORT\[/PROTOCOL\]\], with white space between.
    pub fn parse(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [from, to] => Ok(Self {
                from: (*from).to_owned(),
                to: (*to).to_owned(),
                port: None,
            }),
            [from, to, port] => Ok(Self {
                from: (*from).to_owned(),
                to: (*to).to_owned(),
                port: Some((*port).to_owned()),
            }),
            _ => Err("a question is FROM TO [PORT[/PROTOCOL]]".to_owned()),
        }
    }

    /// The line that [`Asked::parse`] reads.
    pub fn line(&self) -> String {
        let port = self.port.as_deref().unwrap_or_default();
        format!("{} {} {port}", self.from, self.to)
    }
}

/// Answers a line. An answer has `verdict`, one that could not be given has `error`.
pub fn answer_line(world: &World, line: &str) -> Value {
    match Asked::parse(line) {
        Ok(asked) => answer(world, &asked),
        Err(error) => {
            let mut words = line.split_whitespace();
            json!({ "from": words.next().unwrap_or_default(), "to": words.next().unwrap_or_default(), "error": error })
        }
    }
}

/// Answers a question.
pub fn answer(world: &World, asked: &Asked) -> Value {
    let answered = Question::parse(&asked.from, &asked.to, asked.port.as_deref())
        .and_then(|question| evaluate(world, &question).map(|answer| (question, answer)));
    match answered {
        Ok((question, answer)) => render(asked, &question, &answer),
        Err(error) => json!({ "from": asked.from, "to": asked.to, "error": error.to_string() }),
    }
}

fn render(asked: &Asked, question: &Question, answer: &Answer) -> Value {
    let protocol = match question.protocol {
        AskedProtocol::Unnamed => Value::Null,
        named => named.to_string().into(),
    };
    let considered: Vec<Value> = answer
        .considered
        .iter()
        .map(|one| {
            let mut row =
                json!({ "rule": &*one.rule, "why_not": one.why_not.map(cellwall_policy::evaluate::WhyNot::name) });
            if let Some(backend) = &one.backend {
                row["backend"] = backend.to_string().into();
            }
            row
        })
        .collect();
    json!({
        "from": asked.from,
        "to": asked.to,
        "port": question.port,
        "protocol": protocol,
        "verdict": answer.verdict.verdict(),
        "applied": if answer.applied == Action::Drop { "Drop" } else { "Pass" },
        "action": answer.rule.as_ref().map(|rule| rule.action.to_string()),
        "reason": answer.reason.name(),
        "rule": answer.rule.as_ref().map(|rule| json!({ "name": &*rule.name, "priority": rule.priority })),
        "considered": considered,
    })
}
