//! Which crate may use which: the architecture, read from the manifests.

use toml::{Table, Value};

use super::{File, Finding, Tree, Weight};

/// Every crate with those of ours that it may name. An edge that is not here needs a reason and a line here.
const ALLOWED: [(&str, &[&str]); 11] = [
    ("cellwall-crds", &[]),
    ("cellwall-policy", &[]),
    ("cellwall-datapath-common", &[]),
    (
        "cellwall-datapath-ebpf",
        &["cellwall-datapath-common", "cellwall-frames"],
    ),
    ("cellwall-datapath", &["cellwall-policy", "cellwall-datapath-common"]),
    (
        "cellwall-controller",
        &["cellwall-crds", "cellwall-policy", "cellwall-datapath"],
    ),
    (
        "cellwall-tests",
        &[
            "cellwall-crds",
            "cellwall-policy",
            "cellwall-datapath-common",
            "cellwall-datapath-ebpf",
            "cellwall-datapath",
            "cellwall-controller",
            "cellwall-frames",
        ],
    ),
    ("cellwall-frames", &[]),
    ("cellwall-fuzz", &["cellwall-tests"]),
    ("cellwall-test-pod", &[]),
    ("xtask", &["cellwall-crds"]),
];

/// All that the pure core may be built from: nothing here reads a file, a clock or a socket.
const POLICY_USES: [&str; 4] = ["ipnetwork", "rustc-hash", "serde", "thiserror"];

const SECTIONS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Findings about every manifest of the workspace.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.files
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml"))
        .flat_map(|file| match file.text.parse::<Table>() {
            Ok(manifest) => check_manifest(file, &manifest),
            Err(error) => vec![finding(
                file,
                "",
                format!("not TOML: {}", error.message()),
                "mend the syntax",
            )],
        })
        .collect()
}

fn check_manifest(file: &File, manifest: &Table) -> Vec<Finding> {
    let name = manifest
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(Value::as_str)
        .unwrap_or("");
    let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
        return vec![finding(
            file,
            "name",
            format!("crate `{name}` is not in the table of crates"),
            "give it a line in xtask/src/tidy/edges.rs",
        )];
    };
    // What is a workspace of its own has nothing to take from this one.
    let alone = manifest.contains_key("workspace");
    let mut findings = Vec::new();
    if !alone && manifest.get("lints").and_then(|lints| lints.get("workspace")) != Some(&Value::Boolean(true)) {
        let problem = format!("`{name}` does not take the workspace's lints");
        findings.push(finding(
            file,
            "[lints]",
            problem,
            "add `[lints]` with `workspace = true`",
        ));
    }
    for (section, key, spec) in dependencies(manifest) {
        let used = spec.get("package").and_then(Value::as_str).unwrap_or(key);
        if ALLOWED.iter().any(|(ours, _)| *ours == used) && !allowed.contains(&used) {
            let problem = format!("`{name}` must not use `{used}`");
            findings.push(finding(
                file,
                key,
                problem,
                "dependencies run one way; see ALLOWED in xtask/src/tidy/edges.rs",
            ));
        }
        if name == "cellwall-policy" && section == "dependencies" && !POLICY_USES.contains(&used) {
            let problem = format!("the pure core must not use `{used}`");
            findings.push(finding(file, key, problem, "hand the result in from outside"));
        }
        if !alone && spec.get("workspace") != Some(&Value::Boolean(true)) {
            let problem = format!("`{key}` has a version of its own");
            findings.push(finding(
                file,
                key,
                problem,
                "name it in [workspace.dependencies] and write `workspace = true`",
            ));
        }
    }
    findings
}

/// (section, key, specification) of every dependency, those for single targets included.
fn dependencies(manifest: &Table) -> Vec<(&'static str, &str, &Value)> {
    let targets = manifest
        .get("target")
        .and_then(Value::as_table)
        .into_iter()
        .flat_map(Table::values);
    let places = std::iter::once(manifest).chain(targets.filter_map(Value::as_table));
    let mut found = Vec::new();
    for place in places {
        for section in SECTIONS {
            let entries = place.get(section).and_then(Value::as_table).into_iter().flatten();
            found.extend(entries.map(|(key, spec)| (section, key.as_str(), spec)));
        }
    }
    found
}

/// At the first line that begins with `key`, else at the first.
fn finding(file: &File, key: &str, problem: String, remedy: &'static str) -> Finding {
    let is_key = |line: &str| {
        let rest = line.trim_start().strip_prefix(key);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-' || c == '_'))
    };
    let line = file.text.lines().position(is_key).map_or(1, |index| index + 1);
    Finding {
        path: file.path.clone(),
        line,
        problem,
        remedy,
        weight: Weight::Error,
    }
}
