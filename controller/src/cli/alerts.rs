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
            failed = line(&row.to_string()).err();
            failed.is_none()
        })?;
        return failed.map_or(Ok(()), Err);
    }
    let mut rows = client::ask_all(&instance.socket(), &request)?.into_iter();
    let counts = rows.next().unwrap_or_default();
    line(&tell_counts(&counts["counts"]))?;
    let rows: Vec<Value> = rows.collect();
    if rows.is_empty() {
        return line("no alerts");
    }
    line(&table(&rows))
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

/// A table of alerts.
pub fn table(rows: &[Value]) -> String {
    let header = [
        "last", "first", "verdict", "applied", "rule", "from", "to", "port", "attempts",
    ];
    output::table(&header, rows.iter().map(row))
}

fn row(row: &Value) -> Vec<String> {
    let time = |key: &str, from: usize| {
        let text = row[key].as_str().unwrap_or_default();
        text.get(from..19).unwrap_or(text).to_owned()
    };
    let port = row["port"].as_u64().map_or_else(String::new, |port| port.to_string());
    let rule = match row["rule"]["name"].as_str() {
        Some(rule) => rule.to_owned(),
        None => field(row, "reason"),
    };
    vec![
        time("last_seen", 0),
        // The day is that of the last.
        time("first_seen", 11),
        field(row, "verdict"),
        field(row, "applied"),
        rule,
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
