//! What this repository asks of itself and no compiler checks. `cargo xtask tidy` prints the findings; a test of this
//! crate runs the same check, so that an untidy tree fails `cargo test`.

mod edges;
mod idle;
mod reasons;
mod rules;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

/// The text files of a checkout, in the order of their paths.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: Vec<File>,
}

/// One text file; `path` is relative to the checkout, with `/`.
#[derive(Debug)]
pub(crate) struct File {
    path: String,
    text: String,
}

/// Something to mend, and how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    /// Counted from 1.
    line: usize,
    problem: String,
    remedy: &'static str,
    weight: Weight,
}

/// Whether a finding fails the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// It does.
    Error,
    /// It is printed.
    Warning,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            problem,
            remedy,
            weight,
        } = self;
        let weight = match weight {
            Weight::Error => "error",
            Weight::Warning => "warning",
        };
        write!(out, "{path}:{line}: {weight}: {problem}; {remedy}")
    }
}

/// Prints what is untidy under `root`, and fails when something has to be mended.
pub(crate) fn run(root: &Path) -> anyhow::Result<ExitCode> {
    let tree = Tree::read(root)?;
    let findings = check(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    let errors = findings
        .iter()
        .filter(|finding| finding.weight == Weight::Error)
        .count();
    println!(
        "tidy: {} files, {errors} errors, {} warnings",
        tree.files.len(),
        findings.len() - errors
    );
    Ok(if errors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Every finding, ordered by place.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = edges::check(tree);
    findings.extend(rules::check(tree));
    findings.sort();
    findings
}

impl Tree {
    /// Everything that is not built, not git's own and text.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        tree.read_directory(root, "")?;
        tree.files.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(tree)
    }

    /// Each file's path and text.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|file| (file.path.as_str(), file.text.as_str()))
    }

    fn read_directory(&mut self, directory: &Path, prefix: &str) -> anyhow::Result<()> {
        // Cargo marks its target directories, whatever their names.
        if directory.join("CACHEDIR.TAG").exists() {
            return Ok(());
        }
        let entries = fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if [".git", ".cache", "target"].contains(&name.as_str()) || name.starts_with("mutants.out") {
                continue;
            }
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.read_directory(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file() {
                let bytes = fs::read(entry.path()).with_context(|| format!("reading {path}"))?;
                if let Ok(text) = String::from_utf8(bytes) {
                    self.files.push(File { path, text });
                }
            }
        }
        Ok(())
    }
}

/// `word` in `text`, not as a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let joined_before = word.starts_with(joins) && text[..at].ends_with(joins);
        let joined_after = word.ends_with(joins) && text[at + word.len()..].starts_with(joins);
        !joined_before && !joined_after
    })
}

/// `index` counts from 0.
fn at(file: &File, index: usize, problem: String, remedy: &'static str) -> Finding {
    Finding {
        path: file.path.clone(),
        line: index + 1,
        problem,
        remedy,
        weight: Weight::Error,
    }
}
