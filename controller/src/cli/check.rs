//! `cellwall check`: are these manifests right?

use anyhow::{Context, Result};
use cellwall_policy::diagnostic::{self, Severity};
use serde_json::{Value, json};

use super::args::{CheckArgs, Format};
use super::output::{line, paint};
use crate::documents;
use crate::expect;

/// Answers whether there are no errors and every expectation holds.
pub fn run(args: &CheckArgs) -> Result<bool> {
    let node = documents::node_name(args.node_name.as_deref())?;
    let read = documents::read(&args.paths);
    let world = documents::world(&read, &node);
    let mut findings = Findings {
        format: args.list.format,
        errors: 0,
        warnings: 0,
        notes: 0,
    };
    for problem in &read.problems {
        let severity = problem.severity.name();
        findings.tell(
            severity,
            &problem.tagged(),
            &json!({ "severity": severity, "file": problem.file, "line": problem.line, "message": problem.message,
                "remedy": problem.remedy }),
        )?;
    }
    for found in diagnostic::examine(&world) {
        let severity = match found.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let place = read.place(found.kind, &found.name);
        let text = place
            .as_ref()
            .map_or_else(String::new, |(file, at)| format!("{}:{at}: ", file.display()));
        findings.tell(
            severity,
            &format!("{text}{found}"),
            &json!({ "severity": severity, "file": place.as_ref().map(|p| &p.0), "line": place.as_ref().map(|p| p.1),
                "kind": found.kind, "name": found.name, "field": found.field, "message": found.message }),
        )?;
    }
    let mut held = 0;
    if let Some(file) = &args.expect {
        let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let expectations = documents::json_of(file, &text)?;
        let expectations = expect::read(&expectations)
            .map_err(anyhow::Error::msg)
            .with_context(|| file.display().to_string())?;
        for expected in &expectations {
            match expect::broken(&world, expected) {
                None => held += 1,
                Some(why) => {
                    let found = json!({ "severity": "error", "file": file, "line": null, "message": why });
                    findings.tell("error", &format!("error: expectation broken: {why}"), &found)?;
                }
            }
        }
    }
    findings.summary(read.documents.len(), args.expect.as_ref().map(|_| held))
}

struct Findings {
    format: Format,
    errors: usize,
    warnings: usize,
    notes: usize,
}

impl Findings {
    fn tell(&mut self, severity: &str, text: &str, value: &Value) -> Result<()> {
        let colour = match severity {
            "error" => {
                self.errors += 1;
                "31"
            }
            "warning" => {
                self.warnings += 1;
                "33"
            }
            _ => {
                self.notes += 1;
                "2"
            }
        };
        match self.format {
            Format::Json => line(&value.to_string()),
            Format::Table => line(&paint(text, colour)),
        }
    }

    fn summary(&self, documents: usize, held: Option<usize>) -> Result<bool> {
        if self.format == Format::Table {
            let held = held.map_or_else(String::new, |held| format!(", {held} expectations hold"));
            line(&format!(
                "{documents} documents: {} errors, {} warnings, {} notes{held}",
                self.errors, self.warnings, self.notes
            ))?;
        }
        Ok(self.errors == 0)
    }
}
