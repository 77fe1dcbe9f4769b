//! The rules about single files.

use std::collections::BTreeSet;

use super::source::{self, Line};
use super::{File, Finding, Tree, Weight, at, has_word, idle, reasons};

/// A file above this is worth a thought.
const LONG: usize = 300;
/// A file above this needs `// Long because: ...` in its header.
const TOO_LONG: usize = 500;
/// Where the reason for a long file has to stand.
const HEADER: usize = 40;

/// Code that is not to be committed, and what to do instead. Written in halves, so that this file is not found.
const UNFINISHED: [(&str, &str); 4] = [
    (concat!("todo", "!("), "finish it, or refuse with a typed error"),
    (
        concat!("unimplemented", "!("),
        "finish it, or refuse with a typed error",
    ),
    (
        concat!("#[ig", "nore"),
        "a test runs or it is deleted; what a machine cannot do is counted as not run",
    ),
    (SHARED, "delete what nobody calls"),
];

/// With its reason, right for a module that several test programs take in, each a part of it.
const SHARED: &str = concat!("allow(dead", "_code");

/// Words in comments that promise work.
const PROMISES: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// What means something only on the machine where it was written.
const FOREIGN: [&str; 8] = [
    concat!("/wo", "rk/"),
    concat!("sha", "red/"),
    concat!("/tmp", "/cw"),
    concat!("SEMAN", "TICS.md"),
    concat!("ATTACK-", "CASES.md"),
    concat!("PLAT", "FORM.md"),
    concat!("INTER", "FACE.md"),
    concat!("PERFOR", "MANCE.md"),
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 6] = ["common", "helper", "helpers", "misc", "util", "utils"];

/// Findings about every file.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let rust: Vec<_> = tree
        .files
        .iter()
        .filter(|file| is_rust(file))
        .map(|file| (file, source::read(&file.text)))
        .collect();
    let mut test_files = BTreeSet::new();
    for (file, (_, modules)) in &rust {
        test_files.extend(modules.iter().map(|module| child(&file.path, module)));
    }
    let mut findings: Vec<_> = tree.files.iter().flat_map(foreign_words).collect();
    for (file, (lines, _)) in &rust {
        let test = is_test_path(&file.path) || test_files.iter().any(|path| is_below(&file.path, path));
        findings.extend(check_rust(file, lines, test));
    }
    findings
}

fn check_rust(file: &File, lines: &[Line], test: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(length(file, lines));
    findings.extend(module_doc(file, lines));
    findings.extend(module_names(file, lines));
    findings.extend(unfinished(file, lines));
    findings.extend(reasons::unsafe_code(file, lines));
    findings.extend(idle::tests(file, lines));
    if !test {
        findings.extend(reasons::panics(file, lines));
    }
    findings
}

fn is_rust(file: &File) -> bool {
    file.path
        .rsplit_once('.')
        .is_some_and(|(_, extension)| extension == "rs")
}

fn is_test_path(path: &str) -> bool {
    path.starts_with("tests/")
        || ["/tests/", "/benches/", "/fuzz_targets/"]
            .iter()
            .any(|part| path.contains(part))
        || path.ends_with("/tests.rs")
        || path.ends_with("_test.rs")
}

/// Path, without `.rs`, of the module `name` declared in the file at `path`.
fn child(path: &str, name: &str) -> String {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    match stem.rsplit_once('/') {
        Some((directory, "lib" | "main" | "mod")) => format!("{directory}/{name}"),
        _ => format!("{stem}/{name}"),
    }
}

fn is_below(path: &str, module: &str) -> bool {
    path.strip_prefix(module)
        .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

fn length(file: &File, lines: &[Line]) -> Option<Finding> {
    let count = file.text.lines().count();
    let reason = lines.iter().take(HEADER).any(|line| {
        let reason = line.comment.strip_prefix("// Long because:");
        reason.is_some_and(|reason| !reason.trim().is_empty())
    });
    let weight = match count {
        _ if reason || count <= LONG => return None,
        _ if count <= TOO_LONG => Weight::Warning,
        _ => Weight::Error,
    };
    let remedy = "move a part of it out, or say why not in the header: `// Long because: ...`";
    Some(Finding {
        weight,
        ..at(file, 0, format!("{count} lines"), remedy)
    })
}

fn module_doc(file: &File, lines: &[Line]) -> Option<Finding> {
    let before_code = lines
        .iter()
        .take_while(|line| line.code.trim().is_empty() || line.code.starts_with("#!"));
    let documented = before_code
        .into_iter()
        .any(|line| line.comment.starts_with("//!") || line.comment.starts_with("/*!"));
    (!documented).then(|| {
        at(
            file,
            0,
            "no module doc".into(),
            "begin with `//!` and say what it is for",
        )
    })
}

fn module_names(file: &File, lines: &[Line]) -> Vec<Finding> {
    let remedy = "name it after what it holds";
    let declared = lines
        .iter()
        .enumerate()
        .filter_map(|(index, line)| Some((index, source::module_name(&line.code)?)));
    declared
        .filter(|(_, name)| EMPTY_NAMES.contains(&name.as_str()))
        .map(|(index, name)| at(file, index, format!("module `{name}`"), remedy))
        .collect()
}

fn unfinished(file: &File, lines: &[Line]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        for (mark, remedy) in UNFINISHED {
            let shared = mark == SHARED && is_test_path(&file.path) && line.code.contains("reason");
            if line.code.contains(mark) && !shared {
                findings.push(at(file, index, format!("`{mark}`"), remedy));
            }
        }
        for word in PROMISES.into_iter().filter(|word| has_word(&line.comment, word)) {
            findings.push(at(
                file,
                index,
                format!("`{word}`"),
                "do it now, or open an issue and delete the line",
            ));
        }
    }
    findings
}

fn foreign_words(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for word in FOREIGN.into_iter().filter(|word| has_word(line, word)) {
            let remedy = "say the rule itself: the repository stands alone";
            findings.push(at(file, index, format!("`{word}`"), remedy));
        }
    }
    findings
}
