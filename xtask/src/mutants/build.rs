//! A copy of the checkout with every change in it, built once: what the compiler refuses is left out.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use quote::ToTokens as _;
use syn::Item;
use syn::visit_mut::VisitMut as _;

use super::alter::{Alter, LeftOut, Mutant, is_test};

/// Rounds of building: each finds what the compiler comes to only where the rest is right.
const ROUNDS: usize = 25;

/// What was built.
pub(super) struct Built {
    pub mutants: Vec<Mutant>,
    /// Changes that do not build.
    pub left_out: BTreeSet<u32>,
    /// The test programs.
    pub programs: Vec<PathBuf>,
    /// Where they are run.
    pub directory: PathBuf,
}

/// A crate to change: its package, its directory, what of its tests is run, which tests are not put to changes, and what
/// is left alone.
pub(super) struct Subject {
    pub package: &'static str,
    pub directory: &'static str,
    pub tests: &'static [&'static str],
    pub not_put: &'static [&'static str],
    pub left_alone: &'static [&'static str],
}

/// Copies the checkout without what is ignored, changes the subject's files, and builds until it builds.
pub(super) fn build(root: &Path, work: &Path, subject: &Subject) -> anyhow::Result<Built> {
    let tree = work.join("tree");
    copy(root, &tree)?;
    let files = modules(root, subject.directory)?;
    let mut left_out = LeftOut::default();
    for round in 1..=ROUNDS {
        let mutants = alter(root, &tree, subject, &files, &left_out)?;
        ensure!(!mutants.is_empty(), "{}: nothing to change", subject.package);
        let (programs, refused) = compile(&tree, work, subject)?;
        if refused.is_empty() {
            return Ok(Built {
                mutants,
                left_out: left_out.mutants,
                programs,
                directory: tree.join(subject.directory),
            });
        }
        let before = (left_out.mutants.len(), left_out.constant.len());
        for error in &refused {
            error.leave_out(&tree, &mut left_out)?;
        }
        if left_out.constant.len() > before.1 {
            // The functions that stay as they are have no numbers: those behind them change, and are found again.
            left_out.mutants.clear();
        }
        let after = (left_out.mutants.len(), left_out.constant.len());
        println!(
            "{}: round {round}: {} changes, {} of them do not build",
            subject.package,
            mutants.len(),
            after.0
        );
        if before == after {
            bail!(
                "{}: does not build, and not because of a change: {}",
                subject.package,
                refused[0].message
            );
        }
    }
    bail!("{}: does not build after {ROUNDS} rounds", subject.package)
}

fn copy(root: &Path, tree: &Path) -> anyhow::Result<()> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()?;
    ensure!(listed.status.success(), "git ls-files: {}", listed.status);
    for name in String::from_utf8(listed.stdout)?.split_terminator('\0') {
        // A file that was removed and not yet committed is listed all the same.
        if let Ok(content) = fs::read(root.join(name)) {
            write(&tree.join(name), &content)?;
        }
    }
    Ok(())
}

/// Writes where something changes, so that what is built stays built.
fn write(to: &Path, content: &[u8]) -> anyhow::Result<()> {
    if fs::read(to).is_ok_and(|old| old == content) {
        return Ok(());
    }
    fs::create_dir_all(to.parent().context("a file is in a directory")?)?;
    fs::write(to, content).with_context(|| to.display().to_string())
}

/// Files of a crate's library, from its root along its modules, without those that only tests have.
fn modules(root: &Path, directory: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![(format!("{directory}/src/lib.rs"), format!("{directory}/src"))];
    while let Some((file, children)) = open.pop() {
        let source = fs::read_to_string(root.join(&file)).with_context(|| file.clone())?;
        for item in syn::parse_file(&source).with_context(|| file.clone())?.items {
            let Item::Mod(module) = item else { continue };
            if module.content.is_some() || is_test(&module.attrs) {
                continue;
            }
            let name = module.ident.to_string();
            let beside = format!("{children}/{name}.rs");
            let within = format!("{children}/{name}/mod.rs");
            let child = if root.join(&beside).exists() { beside } else { within };
            open.push((child, format!("{children}/{name}")));
        }
        found.push(file);
    }
    found.sort();
    Ok(found)
}

/// Writes the changed files into the copy.
fn alter(
    root: &Path,
    tree: &Path,
    subject: &Subject,
    files: &[String],
    left_out: &LeftOut,
) -> anyhow::Result<Vec<Mutant>> {
    let mut mutants = Vec::new();
    let lib = format!("{}/src/lib.rs", subject.directory);
    for file in files {
        let mut source = syn::parse_file(&fs::read_to_string(root.join(file))?)?;
        if !subject.left_alone.iter().any(|path| file.starts_with(path)) {
            Alter::new(file, left_out, &mut mutants).visit_file_mut(&mut source);
        } else if *file != lib {
            continue;
        }
        let mut text = source.to_token_stream().to_string();
        if *file == lib {
            write!(text, " pub mod mutants;")?;
        }
        write(&tree.join(file), text.as_bytes())?;
    }
    let switch = include_str!("switch.rs").replace("NUMBER_OF_CHANGES", &mutants.len().to_string());
    write(&tree.join(subject.directory).join("src/mutants.rs"), switch.as_bytes())?;
    Ok(mutants)
}

/// An error of the compiler.
struct Refused {
    message: String,
    /// Files and first bytes of what it is about.
    spans: Vec<(String, usize)>,
}

impl Refused {
    /// Leaves out the change that it is about: the last switch before it.
    fn leave_out(&self, tree: &Path, left_out: &mut LeftOut) -> anyhow::Result<()> {
        if let Some(name) = self.message.strip_prefix("cannot call non-const ") {
            let name = name.split('`').nth(1).unwrap_or_default();
            let name = name.rsplit("::").next().unwrap_or_default();
            left_out.constant.insert(name.to_owned());
            return Ok(());
        }
        for (file, byte) in &self.spans {
            let text = fs::read_to_string(tree.join(file))?;
            let before = text.get(..*byte).unwrap_or_default();
            let mut numbers = before
                .rsplit("mutants :: on (")
                .map(|rest| rest.split("u32").next().unwrap_or_default().trim());
            let number = numbers.find_map(|number| number.parse().ok());
            left_out.mutants.extend::<Option<u32>>(number);
        }
        Ok(())
    }
}

/// Builds the test programs; answers them, or why they do not build.
fn compile(tree: &Path, work: &Path, subject: &Subject) -> anyhow::Result<(Vec<PathBuf>, Vec<Refused>)> {
    let output = Command::new(env!("CARGO"))
        .args([
            "test",
            "--locked",
            "--no-run",
            "--message-format",
            "json",
            "--package",
            subject.package,
        ])
        .args(subject.tests)
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", work.join("build"))
        .env("RUSTFLAGS", "--cap-lints allow")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        .stderr(std::process::Stdio::null())
        .output()?;
    let (mut programs, mut refused) = (Vec::new(), Vec::new());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let said: serde_json::Value = serde_json::from_str(line)?;
        if let Some(program) = said["executable"].as_str() {
            programs.push(PathBuf::from(program));
        }
        let message = &said["message"];
        let spans = message["spans"].as_array().map_or(&[][..], Vec::as_slice);
        if message["level"] == "error" && !spans.is_empty() {
            let primary = spans.iter().filter(|span| span["is_primary"] == true);
            let place = |span: &serde_json::Value| {
                let byte = usize::try_from(span["byte_start"].as_u64()?).ok()?;
                Some((span["file_name"].as_str()?.to_owned(), byte))
            };
            refused.push(Refused {
                message: message["message"].as_str().unwrap_or_default().to_owned(),
                spans: primary.filter_map(place).collect(),
            });
        }
    }
    ensure!(
        output.status.success() || !refused.is_empty(),
        "{}: cargo test: {}",
        subject.package,
        output.status
    );
    Ok((programs, refused))
}
