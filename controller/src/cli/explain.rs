//! `cellwall explain`: what would happen, and why.

use std::io::BufRead;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::args::{ExplainArgs, Format, InstanceArgs};
use super::output::{self, clean, field, line};
use crate::api::{Request, client};
use crate::documents;
use crate::questions::{Asked, answer_line};

/// Lines read before they are sent to the agent together.
const BATCH: usize = 1_000;

/// Answers whether every question had an answer.
pub fn run(instance: &InstanceArgs, args: &ExplainArgs) -> Result<bool> {
    let mut answerer = Answerer::new(instance, args)?;
    if args.from != "-" {
        let asked = Asked {
            from: args.from.clone(),
            to: args.to.clone().unwrap_or_default(),
            port: args.port.clone(),
        };
        let answers = answerer.answer(vec![asked.line()])?;
        return print(args.list.format, &answers);
    }
    let mut good = true;
    let mut lines = std::io::stdin().lock().lines();
    loop {
        let mut batch = Vec::new();
        for text in lines.by_ref().take(BATCH) {
            let text = text.context("cannot read the questions")?;
            if !text.trim().is_empty() {
                batch.push(text);
            }
        }
        if batch.is_empty() {
            return Ok(good);
        }
        good &= print(args.list.format, &answerer.answer(batch)?)?;
    }
}

enum Answerer<'a> {
    Files(Box<cellwall_policy::world::World>),
    Agent(&'a InstanceArgs),
}

impl<'a> Answerer<'a> {
    fn new(instance: &'a InstanceArgs, args: &ExplainArgs) -> Result<Self> {
        Ok(match &args.manifests {
            None => Self::Agent(instance),
            Some(directory) => {
                let node = documents::node_name(args.node_name.as_deref())?;
                Self::Files(Box::new(offline(directory, &node)))
            }
        })
    }

    fn answer(&mut self, lines: Vec<String>) -> Result<Vec<Value>> {
        match self {
            Self::Files(world) => Ok(lines.iter().map(|text| answer_line(world, text)).collect()),
            Self::Agent(instance) => Ok(client::ask_all(
                &instance.socket(),
                &Request::Explain { questions: lines },
            )?),
        }
    }
}

/// The world of a directory: what is valid of it; what is not is told on standard error.
fn offline(directory: &Path, node: &str) -> cellwall_policy::world::World {
    let read = documents::read(&[directory.to_owned()]);
    for problem in &read.problems {
        eprintln!("{problem}");
    }
    documents::world(&read, node)
}

fn print(format: Format, answers: &[Value]) -> Result<bool> {
    let good = answers.iter().all(|answer| answer.get("error").is_none());
    match format {
        Format::Json => output::json(answers)?,
        Format::Table => answers.iter().try_for_each(tell)?,
    }
    Ok(good)
}

fn tell(answer: &Value) -> Result<()> {
    let ends = format!("{} -> {}", clean(&field(answer, "from")), clean(&field(answer, "to")));
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        eprintln!("{ends}: {}", clean(error));
        return Ok(());
    }
    let port = match (answer["port"].as_u64(), answer["protocol"].as_str()) {
        (Some(port), Some(protocol)) => format!(" {port}/{protocol}"),
        (None, Some(protocol)) => format!(" /{protocol}"),
        _ => String::new(),
    };
    let verdict = field(answer, "verdict");
    let rule = answer["rule"]["name"].as_str().map(|name| {
        format!(
            " by rule {} (priority {}, {})",
            clean(name),
            answer["rule"]["priority"],
            field(answer, "action")
        )
    });
    let applied = field(answer, "applied");
    let differs = (verdict == "DROP") != (applied == "Drop");
    line(&format!(
        "{ends}{port}: {}{}{}",
        output::verdict(&verdict),
        rule.unwrap_or_else(|| format!(" ({})", field(answer, "reason"))),
        if differs {
            format!(", applied: {applied} (the mode lets it through)")
        } else {
            String::new()
        },
    ))?;
    let considered = answer["considered"].as_array().cloned().unwrap_or_default();
    if considered.is_empty() {
        return Ok(());
    }
    let rows = considered.iter().map(|one| {
        let why = one["why_not"]
            .as_str()
            .map_or_else(|| "applies".to_owned(), |why| format!("no: {why}"));
        vec![
            format!("  {}", field(one, "rule")),
            why,
            one["backend"].as_str().unwrap_or_default().to_owned(),
        ]
    });
    line(&output::table(&["  rule", "applies", "backend"], rows))
}
