//! `cellwall flows`: records, newest last.

use anyhow::Result;
use serde_json::Value;

use super::args::{FlowsArgs, Format, InstanceArgs};
use super::listings::flow_table;
use super::output::{self, line};
use crate::api::{Request, client};

/// Prints the records kept, and with `--follow` those to come.
pub fn run(instance: &InstanceArgs, args: &FlowsArgs) -> Result<()> {
    let request = Request::Flows { follow: args.follow };
    if args.follow || args.list.format == Format::Json {
        let mut failed = None;
        client::ask(&instance.socket(), &request, |record| {
            let printed = if fits(args, &record) {
                one(args.list.format, &record)
            } else {
                Ok(())
            };
            failed = printed.err();
            failed.is_none()
        })?;
        return failed.map_or(Ok(()), Err);
    }
    let records: Vec<Value> = client::ask_all(&instance.socket(), &request)?
        .into_iter()
        .filter(|record| fits(args, record))
        .collect();
    if records.is_empty() {
        return line("no records");
    }
    line(&flow_table(&records))
}

fn one(format: Format, record: &Value) -> Result<()> {
    if let Some(missed) = record.get("missed") {
        eprintln!("cellwall: too slow, {missed} records were not shown; they are in the flow log");
        return Ok(());
    }
    match format {
        Format::Json => line(&record.to_string()),
        // While following every record is a line of its own: columns cannot be aligned with what is yet to come.
        Format::Table => {
            let table = flow_table(std::slice::from_ref(record));
            line(table.lines().nth(1).unwrap_or_default())
        }
    }
}

fn fits(args: &FlowsArgs, record: &Value) -> bool {
    if record.get("missed").is_some() {
        return true;
    }
    let pod = |end: &str| {
        let (namespace, name) = (record[end]["namespace"].as_str(), record[end]["pod"].as_str());
        match (&args.pod, namespace, name) {
            (Some(wanted), Some(namespace), Some(name)) => *wanted == format!("{namespace}/{name}"),
            _ => false,
        }
    };
    let recent = args.since.is_none_or(|since| {
        let seen: Option<jiff::Timestamp> = record["last_seen"].as_str().and_then(|time| time.parse().ok());
        seen.is_some_and(|seen| jiff::Timestamp::now().duration_since(seen).unsigned_abs() <= since)
    });
    let verdict = args
        .verdict
        .as_ref()
        .is_none_or(|v| output::field(record, "verdict").eq_ignore_ascii_case(v));
    let rule = args.rule.as_ref().is_none_or(|rule| record["rule"]["name"] == **rule);
    recent && verdict && rule && (args.pod.is_none() || pod("source") || pod("destination"))
}
