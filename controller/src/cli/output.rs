//! What reaches a terminal: tables, colours where they are wanted, and never a control character from input.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde_json::Value;

/// Width of a terminal that does not say its own.
const USUAL_WIDTH: u16 = 80;

/// Whether standard output wants colour: it is a terminal, and `NO_COLOR` is not set to anything.
pub fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Text painted where colours are wanted.
pub fn paint(text: &str, sgr: &str) -> String {
    if colours() {
        format!("\u{1b}[{sgr}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// A verdict in its colour.
pub fn verdict(text: &str) -> String {
    match text {
        "PASS" | "Pass" | "Normal" | "answered" => paint(text, "32"),
        "ALERT" | "Alert" | "NormalToBeConfirmed" => paint(text, "33"),
        "DROP" | "Drop" | "Abnormal" | "silence" => paint(text, "31"),
        other => other.to_owned(),
    }
}

/// Width of the terminal that standard output is; none: it is no terminal.
pub fn width() -> Option<u16> {
    let width = || Table::new().width().unwrap_or(USUAL_WIDTH);
    io::stdout().is_terminal().then(width)
}

/// A table for standard output, see [`table_of`].
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    table_of(width(), header, rows)
}

/// A table without lines. In a terminal of a width no line is longer: texts that have no room go on in the next line of
/// their column. Elsewhere every row is one line, and nothing is cut.
pub fn table_of(width: Option<u16>, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if !colours() {
        table.force_no_tty();
    }
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width);
    } else {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(
        header
            .iter()
            .map(|h| Cell::new(h).add_attribute(Attribute::Bold))
            .collect::<Vec<_>>(),
    );
    for row in rows {
        table.add_row(row.into_iter().map(|text| cell(&text)).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, if width.is_some() { 1 } else { 2 }));
    }
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

fn cell(text: &str) -> Cell {
    let cell = Cell::new(clean(text));
    match text.split(',').next().unwrap_or_default() {
        "PASS" | "Pass" | "True" => cell.fg(Color::Green),
        "ALERT" | "Alert" | "Unknown" => cell.fg(Color::Yellow),
        "DROP" | "Drop" | "False" => cell.fg(Color::Red),
        _ => cell,
    }
}

/// Text of foreign origin, harmless on a terminal. Our own colours are put in afterwards.
pub fn clean(text: &str) -> String {
    cellwall_crds::escaped(text)
}

/// Prints text and a line end; a reader that went away (`| head`) ends the process quietly.
pub fn line(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => Ok(result?),
    }
}

/// Prints JSON, one value a line.
pub fn json(values: &[Value]) -> anyhow::Result<()> {
    values.iter().try_for_each(json_line)
}

/// Prints a value as a line of JSON.
pub fn json_line(value: &Value) -> anyhow::Result<()> {
    line(&crate::json_line::text(value)?)
}

/// A row whose columns nobody can align with those of rows that are yet to come.
pub fn row(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|text| verdict(&clean(text))).collect();
    cells.join("  ")
}

/// A time as people read it. In a terminal, where room is short: that of today without the day.
pub fn time(text: &str, width: Option<u16>) -> String {
    let seconds = text.get(..19).unwrap_or(text);
    let (Some(_), Some((day, time))) = (width, seconds.split_once('T')) else {
        return seconds.to_owned();
    };
    let today = jiff::Timestamp::now().to_string();
    match day.get(5..) {
        Some(short) if !today.starts_with(day) => format!("{short} {time}"),
        _ => time.to_owned(),
    }
}

/// What the policy says, and what happened where that is something else.
pub fn verdict_of(row: &Value) -> String {
    let (verdict, applied) = (field(row, "verdict"), field(row, "applied"));
    match (verdict.as_str(), applied.as_str()) {
        ("DROP", "Pass") => format!("{verdict}, passed"),
        ("PASS" | "ALERT", "Drop") => format!("{verdict}, dropped"),
        _ => verdict,
    }
}

/// The rule that decided, and the reason where it says more; the reason alone where no rule did.
pub fn decided_by(row: &Value) -> String {
    let reason = field(row, "reason");
    match row["rule"]["name"].as_str() {
        Some(rule) if reason == "RULE" => rule.to_owned(),
        Some(rule) => format!("{rule} ({reason})"),
        None => reason,
    }
}

/// A field of a JSON row as table text; nothing for null.
pub fn field(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => {
            let texts: Vec<String> = list
                .iter()
                .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
                .collect();
            if texts.is_empty() {
                "-".to_owned()
            } else {
                texts.join(",")
            }
        }
        Some(other) => other.to_string(),
    }
}
