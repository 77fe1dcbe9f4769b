//! What needs a reason beside it: `unsafe`, and calls that may panic.

use super::source::Line;
use super::{File, Finding, at, has_word};

/// The only crates with `unsafe`, each block with its reason.
const UNSAFE_ROOMS: [&str; 2] = ["datapath-common/", "datapath-ebpf/"];

/// `unsafe` only in its rooms, and there with its reason.
pub(super) fn unsafe_code(file: &File, lines: &[Line]) -> Vec<Finding> {
    let allowed = UNSAFE_ROOMS.iter().any(|room| file.path.starts_with(room));
    let mut findings = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(what) = unsafe_item(&line.code) else { continue };
        if !allowed {
            let remedy = "call the safe wrapper of a crate; only datapath-common and datapath-ebpf are unsafe";
            findings.push(at(file, index, "`unsafe`".into(), remedy));
        } else if what.needs_reason && !reason_above(lines, index, "SAFETY") {
            let remedy = "say in `// SAFETY: ...` above it why it holds";
            findings.push(at(file, index, "`unsafe` without a reason".into(), remedy));
        }
    }
    findings
}

struct UnsafeItem {
    /// A declaration (`unsafe fn`, `unsafe trait`) puts the duty on its callers, and documents it.
    needs_reason: bool,
}

fn unsafe_item(code: &str) -> Option<UnsafeItem> {
    // An unmangled name or a section of its own is an attribute, not a block: the linker's business.
    if !has_word(code, "unsafe") || code.trim_start().starts_with("#[unsafe(") {
        return None;
    }
    let after = code.split_once("unsafe").map_or("", |(_, after)| after.trim_start());
    let declares = ["fn", "trait", "extern"].iter().any(|word| after.starts_with(word));
    Some(UnsafeItem {
        needs_reason: !declares,
    })
}

/// A comment with `word` on the line, or in the comments, attributes and beginnings of the statement right above it.
fn reason_above(lines: &[Line], index: usize, word: &str) -> bool {
    let above = lines[..index].iter().rev().take_while(|line| {
        let code = line.code.trim();
        let opens = ["=> {", "=>", "=", "("].iter().any(|end| code.ends_with(end));
        (code.is_empty() && !line.comment.is_empty())
            || code.starts_with("#[")
            || code.starts_with("unsafe impl")
            || opens
    });
    std::iter::once(&lines[index])
        .chain(above)
        .any(|line| has_word(&line.comment, word))
}

/// `unwrap` and `expect` outside tests say why they cannot fail.
pub(super) fn panics(file: &File, lines: &[Line]) -> Vec<Finding> {
    let why = |line: &Line| {
        line.comment
            .strip_prefix("// why")
            .is_some_and(|reason| reason.len() > 3)
    };
    let mut findings = Vec::new();
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| !line.test) {
        let Some(call) = [".unwrap()", ".expect("]
            .into_iter()
            .find(|call| line.code.contains(call))
        else {
            continue;
        };
        let previous = index.checked_sub(1).map(|before| &lines[before]);
        if !why(line) && !previous.is_some_and(why) {
            let remedy = "return a typed error, or say on the line why it cannot happen: `// why: ...`";
            findings.push(at(file, index, format!("`{call}` without a reason"), remedy));
        }
    }
    findings
}
