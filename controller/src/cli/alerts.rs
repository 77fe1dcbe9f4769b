//! `cellwall alerts`: what was refused or alerted, by day, the newest last.

use anyhow::Result;
use serde_json::Value;

use super::args::{AlertsArgs, Format, InstanceArgs};
use super::listings::end;
use super::output::{self, field, line};
use crate::api::{Request, client};

/// Prints the counts and the alerts.
pub fn run(instance: &InstanceArgs, args: &AlertsArgs) -> Result<()> {
    let request = Request::Alerts {
        since: args.since.map(|since| since.as_secs()),
        pod: args.pod.clone(),
        rule: args.rule.clone(),
        verdict: args.verdict.as_ref().map(|verdict| verdict.to_uppercase()),
    };
    if args.list.format == Format::Json {
        let mut failed = None;
        client::ask(&instance.socket(), &request, |row| {
            failed = output::json_line(&row).err();
            failed.is_none()
        })?;
        return failed.map_or(Ok(()), Err);
    }
    let (width, mut counts, mut rows) = (output::width(), Value::Null, Vec::new());
    client::ask(&instance.socket(), &request, |mut one| {
        match one.get_mut("counts") {
            Some(told) => counts = told.take(),
            None => rows.push(row(&one, width)),
        }
        true
    })?;
    line(&tell_counts(&counts))?;
    if rows.is_empty() {
        return line("no alerts");
    }
    line(&output::table_of(width, &HEADER, rows))
}

fn tell_counts(counts: &Value) -> String {
    let spans = [
        ("last 24 hours", "last_24_hours"),
        ("last 30 days", "last_30_days"),
        ("last 180 days", "last_180_days"),
    ];
    let rows = spans.map(|(name, key)| {
        let of = &counts[key];
        vec![name.to_owned(), field(of, "alerts"), field(of, "attempts")]
    });
    let text = output::table(&["", "alerts", "attempts"], rows);
    match counts["removed"].as_u64() {
        None | Some(0) => text,
        Some(removed) => format!("{text}\n{removed} older alerts were removed for want of room"),
    }
}

/// What is above the cells of alerts.
const HEADER: [&str; 8] = ["last", "first", "verdict", "by", "from", "to", "port", "tries"];

/// A table of alerts.
pub fn table(rows: &[Value], width: Option<u16>) -> String {
    output::table_of(width, &HEADER, rows.iter().map(|one| row(one, width)))
}

fn row(row: &Value, width: Option<u16>) -> Vec<String> {
    let seen = |key: &str| row[key].as_str().unwrap_or_default();
    let first = seen("first_seen");
    let port = row["port"].as_u64().map_or_else(String::new, |port| port.to_string());
    vec![
        output::time(seen("last_seen"), width),
        // The day is that of the last.
        first.get(11..19).unwrap_or(first).to_owned(),
        output::verdict_of(row),
        output::decided_by(row),
        side(&row["source"]),
        side(&row["destination"]),
        format!("{port}/{}", field(row, "protocol")),
        field(row, "attempts"),
    ]
}

/// An end by what owns it, where something does: pods come and go.
fn side(of: &Value) -> String {
    let owner = of["workload"]["kind"].as_str().zip(of["workload"]["name"].as_str());
    match (owner, of["ip"].is_null() && of["pod"].is_null()) {
        (Some((kind, name)), _) => format!("{} ({kind} {name})", end(of)),
        (None, true) => "many".to_owned(),
        (None, false) => end(of),
    }
}
