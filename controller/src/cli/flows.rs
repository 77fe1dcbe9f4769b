//! `cellwall flows`: records, newest last.

use anyhow::Result;
use serde_json::Value;

use super::args::{FlowsArgs, Format, InstanceArgs};
use super::listings::{FLOWS, flow_row};
use super::output::{self, line};
use crate::api::{Request, client};
use crate::records::recent::Only;

/// Prints the records kept, and with `--follow` those to come.
pub fn run(instance: &InstanceArgs, args: &FlowsArgs) -> Result<()> {
    let request = Request::Flows {
        follow: args.follow,
        only: Only {
            since: args.since.map(|since| since.as_secs()),
            pod: args.pod.clone(),
            rule: args.rule.clone(),
            verdict: args.verdict.as_ref().map(|verdict| verdict.to_uppercase()),
        },
    };
    if args.follow || args.list.format == Format::Json {
        let mut failed = None;
        client::ask(&instance.socket(), &request, |record| {
            failed = one(args.list.format, &record).err();
            failed.is_none()
        })?;
        return failed.map_or(Ok(()), Err);
    }
    // Of many records only what is shown is kept.
    let (width, mut rows) = (output::width(), Vec::new());
    client::ask(&instance.socket(), &request, |record| {
        rows.push(flow_row(&record, width));
        true
    })?;
    if rows.is_empty() {
        return line("no records");
    }
    line(&output::table_of(width, &FLOWS, rows))
}

fn one(format: Format, record: &Value) -> Result<()> {
    if let Some(missed) = record.get("missed") {
        eprintln!("cellwall: too slow, {missed} records were not shown; they are in the flow log");
        return Ok(());
    }
    match format {
        Format::Json => output::json_line(record),
        Format::Table => line(&output::row(&flow_row(record, output::width()))),
    }
}
