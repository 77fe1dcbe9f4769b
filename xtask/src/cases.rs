//! The page of attack cases, `docs/attack-cases.md`: its prose is written by hand, the lists of tests under each case
//! are made from the names of the tests (`case_05_...`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::tidy::Tree;

/// The page, from the checkout's root.
pub(crate) const PAGE: &str = "docs/attack-cases.md";
/// What begins a line of a list of tests.
const ITEM: &str = "- `case_";
/// Where a test of this part of the tree runs. The first that fits counts.
const KINDS: [(&str, &str); 7] = [
    ("tests/", "in the kernel"),
    ("datapath-ebpf/", "packet path, built for the host"),
    ("datapath/", "maps"),
    ("policy/", "rules"),
    ("crds/", "resources"),
    ("controller/", "agent"),
    ("", "elsewhere"),
];

/// Names of tests by the number of their case, each with where it runs.
pub(crate) type Tests = BTreeMap<String, BTreeSet<(String, &'static str)>>;

/// Every test of the tree that is named after a case.
pub(crate) fn tests<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Tests {
    let mut tests = Tests::new();
    for (path, text) in files {
        // Fixtures of the checker itself are no tests.
        let is_rust = Path::new(path).extension().is_some_and(|extension| extension == "rs");
        if !is_rust || path.starts_with("xtask/") {
            continue;
        }
        let kind = KINDS.iter().find(|(prefix, _)| path.starts_with(prefix));
        for line in text.lines() {
            let Some(name) = line
                .trim_start()
                .strip_prefix("fn ")
                .filter(|name| name.starts_with("case_"))
            else {
                continue;
            };
            let end = name
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(name.len());
            let name = &name[..end];
            let number = name["case_".len()..].split('_').next().unwrap_or_default();
            let kind = kind.map_or("elsewhere", |(_, kind)| kind);
            tests
                .entry(number.to_owned())
                .or_default()
                .insert((name.to_owned(), kind));
        }
    }
    tests
}

/// The page with its lists as `tests` are. Fails where a test's case has no section.
pub(crate) fn page(text: &str, tests: &Tests) -> Result<String> {
    let mut out = String::new();
    let mut seen = BTreeSet::new();
    for section in split(text) {
        let number = number_of(section);
        let body: Vec<&str> = section.lines().filter(|line| !line.starts_with(ITEM)).collect();
        out.push_str(body.join("\n").trim_end());
        out.push('\n');
        for (name, kind) in number.and_then(|number| tests.get(number)).into_iter().flatten() {
            let gap = if ends_in_item(&out) { "" } else { "\n" };
            // why: writing to a String cannot fail
            let _ = writeln!(out, "{gap}- `{name}` ({kind})");
        }
        out.push('\n');
        seen.extend(number);
    }
    let missing: Vec<_> = tests.keys().filter(|number| !seen.contains(number.as_str())).collect();
    ensure!(missing.is_empty(), "{PAGE} has no section for {missing:?}");
    Ok(format!("{}\n", out.trim_end()))
}

fn ends_in_item(text: &str) -> bool {
    text.lines().next_back().is_some_and(|line| line.starts_with(ITEM))
}

/// Sections of the page that say neither which tests show the case nor why none does.
#[cfg(test)]
pub(crate) fn bare(text: &str) -> Vec<&str> {
    split(text)
        .into_iter()
        .filter(|section| number_of(section).is_some())
        .filter(|section| !section.contains(ITEM) && !section.contains("\nNot shown: "))
        .filter_map(|section| section.lines().next())
        .collect()
}

/// The page cut before each heading of a case.
fn split(text: &str) -> Vec<&str> {
    let mut sections = Vec::new();
    let mut from = 0;
    for (at, _) in text.match_indices("\n## ") {
        sections.push(&text[from..=at]);
        from = at + 1;
    }
    sections.push(&text[from..]);
    sections
}

fn number_of(section: &str) -> Option<&str> {
    let number = section.strip_prefix("## ")?.split(' ').next()?;
    number.starts_with(|c: char| c.is_ascii_digit()).then_some(number)
}

/// Writes the lists.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let tree = Tree::read(root)?;
    let path = root.join(PAGE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {PAGE}"))?;
    let tests = tests(tree.texts());
    std::fs::write(&path, page(&text, &tests)?).with_context(|| format!("writing {PAGE}"))?;
    let count: usize = tests.values().map(BTreeSet::len).sum();
    println!("{PAGE}: {count} tests of {} cases", tests.len());
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests_of_the_page {
    use super::*;

    #[test]
    fn every_test_named_after_a_case_is_on_the_page_and_nothing_else_is() {
        let tree = Tree::read(crate::root()).unwrap();
        let text = std::fs::read_to_string(crate::root().join(PAGE)).unwrap();
        let fresh = page(&text, &tests(tree.texts())).unwrap();
        assert!(text == fresh, "{PAGE} is out of date: run `cargo xtask cases`");
    }

    #[test]
    fn every_case_on_the_page_is_shown_or_says_why_not() {
        let text = std::fs::read_to_string(crate::root().join(PAGE)).unwrap();
        assert_eq!(bare(&text), [] as [&str; 0]);
    }

    #[test]
    fn a_list_is_made_anew_and_the_prose_stays() {
        let tests = tests([
            ("policy/a.rs", "    fn case_05_b() {"),
            ("tests/a.rs", "fn case_05_a() {"),
        ]);
        let text = "# Page\n\n## 05 Fragments\nProse.\n\n- `case_05_gone` (rules)\n\n## 06 Tiny\nProse.\n";
        let made = page(text, &tests).unwrap();
        let list = "- `case_05_a` (in the kernel)\n- `case_05_b` (rules)\n";
        assert_eq!(
            made,
            format!("# Page\n\n## 05 Fragments\nProse.\n\n{list}\n## 06 Tiny\nProse.\n")
        );
        assert_eq!(page(&made, &tests).unwrap(), made);
        assert_eq!(bare(&made), ["## 06 Tiny"]);
        assert!(page("# Page\n", &tests).is_err());
    }
}
