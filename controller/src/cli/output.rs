//! What reaches a terminal: tables, colours where they are wanted, and never a control character from input.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde_json::Value;

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

/// A table without lines, as wide as the terminal; in a pipe every row is one line.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if !colours() {
        table.force_no_tty();
    }
    table.set_content_arrangement(if io::stdout().is_terminal() {
        ContentArrangement::Dynamic
    } else {
        ContentArrangement::Disabled
    });
    table.set_header(
        header
            .iter()
            .map(|h| Cell::new(h).add_attribute(Attribute::Bold))
            .collect::<Vec<_>>(),
    );
    for row in rows {
        table.add_row(row.into_iter().map(|text| cell(&text)).collect::<Vec<_>>());
    }
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

fn cell(text: &str) -> Cell {
    let cell = Cell::new(clean(text));
    match text {
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
    values.iter().try_for_each(|value| line(&value.to_string()))
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
