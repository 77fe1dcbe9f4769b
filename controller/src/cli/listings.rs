//! Listings that the agent answers: rules, objects, refused, intercept-status.

use anyhow::Result;
use serde_json::Value;

use super::args::{ConfirmArgs, Format, InstanceArgs, RefusedArgs};
use super::output::{self, clean, field, line};
use crate::api::{Request, client};
use crate::status::Report;

/// Changes of state that people are shown; JSON has all that are remembered.
const TRANSITIONS: usize = 5;

/// `cellwall rules`.
pub fn rules(instance: &InstanceArgs, format: Format) -> Result<()> {
    let rows = client::ask_all(&instance.socket(), &Request::Rules)?;
    if format == Format::Json {
        return output::json(&rows);
    }
    line(&rules_table(&rows, output::width()))
}

fn rules_table(rows: &[Value], width: Option<u16>) -> String {
    let header = [
        "name", "prio", "action", "from", "to", "flows", "packets", "bytes", "last hit",
    ];
    let row = |row: &Value| {
        let hit = row["last_hit"].as_str().map_or_else(|| "never hit".to_owned(), ago);
        let action = field(row, "action");
        let is_off = row["enabled"].as_bool() == Some(false);
        vec![
            field(row, "name"),
            field(row, "priority"),
            if is_off { format!("{action}, off") } else { action },
            field(row, "source_pods"),
            field(row, "destination_pods"),
            field(row, "flows"),
            field(row, "packets"),
            field(row, "bytes"),
            hit,
        ]
    };
    output::table_of(width, &header, rows.iter().map(row))
}

/// `cellwall objects`.
pub fn objects(instance: &InstanceArgs, format: Format) -> Result<()> {
    let rows = client::ask_all(&instance.socket(), &Request::Objects)?;
    if format == Format::Json {
        return output::json(&rows);
    }
    line(&objects_table(&rows, output::width()))
}

fn objects_table(rows: &[Value], width: Option<u16>) -> String {
    let row = |row: &Value| {
        vec![
            field(row, "name"),
            field(row, "kind"),
            field(row, "pods"),
            field(row, "rules"),
            // Where there is no room for all names there is a line's end between two of them.
            field(row, "selects").replace(',', ", "),
        ]
    };
    output::table_of(
        width,
        &["name", "kind", "pods", "rules", "selects"],
        rows.iter().map(row),
    )
}

/// `cellwall refused`.
pub fn refused(instance: &InstanceArgs, args: &RefusedArgs) -> Result<()> {
    let rows = client::ask_all(&instance.socket(), &Request::Refused { pod: args.pod.clone() })?;
    if args.list.format == Format::Json {
        return output::json(&rows);
    }
    if rows.is_empty() {
        return line("nothing refused");
    }
    line(&flow_table(&rows, output::width()))
}

/// What is above the cells of flow records.
pub const FLOWS: [&str; 7] = ["time", "verdict", "by", "from", "to", "port", "tries"];

/// A table of flow records.
fn flow_table(rows: &[Value], width: Option<u16>) -> String {
    output::table_of(width, &FLOWS, rows.iter().map(|row| flow_row(row, width)))
}

/// A flow record's cells.
pub fn flow_row(row: &Value, width: Option<u16>) -> Vec<String> {
    let port = match row["destination"]["port"].as_u64() {
        Some(port) => format!("{port}/{}", field(row, "protocol")),
        None => format!("/{}", field(row, "protocol")),
    };
    vec![
        output::time(row["time"].as_str().unwrap_or_default(), width),
        output::verdict_of(row),
        output::decided_by(row),
        end(&row["source"]),
        end(&row["destination"]),
        port,
        field(row, "attempts"),
    ]
}

pub(super) fn end(end: &Value) -> String {
    match (end["namespace"].as_str(), end["pod"].as_str()) {
        (Some(namespace), Some(pod)) => format!("{namespace}/{pod}"),
        _ => match end["entity"].as_str() {
            Some(entity) => format!("{} ({entity})", field(end, "ip")),
            None => field(end, "ip"),
        },
    }
}

/// `cellwall intercept-status`: answers the exit code.
pub fn intercept_status(instance: &InstanceArgs, format: Format) -> Result<u8> {
    let answer = match client::ask_all(&instance.socket(), &Request::Status) {
        Ok(answer) => answer,
        Err(error @ client::ClientError::NoAgent { .. }) => {
            eprintln!("cellwall: {error}");
            return Ok(3);
        }
        Err(error) => return Err(error.into()),
    };
    let value = answer.into_iter().next().unwrap_or_default();
    let report: Report = serde_json::from_value(value.clone())?;
    match format {
        Format::Json => output::json_line(&value)?,
        Format::Table => tell_status(&report)?,
    }
    Ok(report.state.exit_code())
}

/// `cellwall confirm`.
pub fn confirm(instance: &InstanceArgs, args: &ConfirmArgs) -> Result<()> {
    let request = Request::Confirm {
        generation: args.generation,
        by: None,
    };
    for row in client::ask_all(&instance.socket(), &request)? {
        line(&format!(
            "generation {} is confirmed; Drop rules drop again, as generation {}",
            field(&row, "confirmed"),
            field(&row, "generation")
        ))?;
    }
    Ok(())
}

fn tell_status(report: &Report) -> Result<()> {
    line(&format!(
        "{} on {}: {} ({})",
        output::verdict(&report.state.to_string()),
        clean(&report.node),
        clean(&report.message),
        report.reason
    ))?;
    line(&format!(
        "mode {}, recovery {}, generation {} of {}, {} pods guarded, {} not enforceable, {} rules",
        report.mode,
        report.recovery,
        report.generation_realised,
        report.generation_wanted,
        report.pods_protected,
        report.pods_not_enforceable,
        report.rules_enabled
    ))?;
    let rows = report
        .conditions
        .iter()
        .map(|c| vec![c.kind.clone(), c.status.clone(), c.reason.clone(), c.message.clone()]);
    line(&output::table(&["condition", "status", "reason", "message"], rows))?;
    let last = report.transitions.len().saturating_sub(TRANSITIONS);
    if report.transitions.is_empty() {
        return Ok(());
    }
    let rows = report.transitions[last..].iter().map(|one| {
        let time = one.time.to_string();
        vec![
            time.get(..19).unwrap_or(&time).to_owned(),
            one.from.to_string(),
            one.to.to_string(),
            one.by.clone(),
            one.reason.clone(),
        ]
    });
    line("")?;
    line(&output::table(&["time", "from", "to", "by", "reason"], rows))
}

/// How long ago a time was.
fn ago(time: &str) -> String {
    let Ok(then) = time.parse::<jiff::Timestamp>() else {
        return clean(time);
    };
    let seconds = jiff::Timestamp::now().duration_since(then).as_secs().max(0);
    match seconds {
        0..=119 => format!("{seconds}s ago"),
        120..=7_199 => format!("{}m ago", seconds / 60),
        7_200..=172_799 => format!("{}h ago", seconds / 3_600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
