//! Tests that assert nothing. Judged by their text: an assertion, a macro that may be one, or a call of a function of the
//! same file that asserts. "Never panics" asserts by returning.

use std::collections::BTreeSet;

use super::source::Line;
use super::{File, Finding, at};

const FAIL: [&str; 8] = ["assert", "expect", "panic", "prop_", "unwrap", "?;", "Err(", "ensure!"];
/// Macros that cannot fail.
const IDLE: [&str; 8] = [
    "print!",
    "println!",
    "eprintln!",
    "dbg!",
    "format!",
    "vec!",
    "matches!",
    "write!",
];

/// The tests of a file that cannot fail.
pub(super) fn tests(file: &File, lines: &[Line]) -> Vec<Finding> {
    let asserting = asserting_functions(lines);
    let marked = lines.iter().enumerate().filter(|(_, line)| is_mark(&line.code));
    marked
        .filter(|(index, _)| !body(lines, *index).iter().any(|line| can_fail(line, &asserting)))
        .map(|(index, _)| {
            at(
                file,
                index,
                "a test that cannot fail".into(),
                "assert what it is named after",
            )
        })
        .collect()
}

fn is_mark(code: &str) -> bool {
    code.contains("#[test]") || code.contains("::test]")
}

/// The lines after `index` up to the brace that closes at its indentation.
fn body(lines: &[Line], index: usize) -> &[Line] {
    let code = &lines[index].code;
    let close = format!("{}}}", " ".repeat(code.len() - code.trim_start().len()));
    let rest = &lines[index + 1..];
    let end = rest.iter().position(|line| line.code.starts_with(&close));
    &rest[..end.unwrap_or(rest.len())]
}

fn can_fail(line: &Line, asserting: &BTreeSet<String>) -> bool {
    let without_idle = IDLE.iter().fold(line.code.clone(), |code, name| code.replace(name, ""));
    let calls = |name: &String| {
        let call = format!("{name}(");
        line.code
            .match_indices(&call)
            .any(|(at, _)| !line.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    without_idle.contains("!(") || FAIL.iter().any(|word| line.code.contains(word)) || asserting.iter().any(calls)
}

/// Names of the functions, tests apart, that assert, or call one that does.
fn asserting_functions(lines: &[Line]) -> BTreeSet<String> {
    let functions: Vec<_> = (0..lines.len())
        .filter(|index| index.checked_sub(1).is_none_or(|above| !is_mark(&lines[above].code)))
        .filter_map(|index| Some((function_name(&lines[index].code)?, body(lines, index))))
        .collect();
    let mut asserting = BTreeSet::new();
    loop {
        let before = asserting.len();
        for (name, body) in &functions {
            if body.iter().any(|line| can_fail(line, &asserting)) {
                asserting.insert((*name).to_owned());
            }
        }
        if asserting.len() == before {
            return asserting;
        }
    }
}

fn function_name(code: &str) -> Option<&str> {
    let (_, after) = code.split_once("fn ")?;
    let end = after.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    (end > 0).then(|| &after[..end])
}
