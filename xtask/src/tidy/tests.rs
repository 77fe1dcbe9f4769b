//! The checker on small trees, and on this one.

mod edges;

use super::{File, Tree, Weight, check};

/// The findings about a tree of these files, as the tool prints them.
fn findings(files: &[(&str, &str)]) -> Vec<String> {
    let files = files.iter().map(|(path, text)| File {
        path: (*path).to_owned(),
        text: (*text).to_owned(),
    });
    check(&Tree { files: files.collect() })
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// The places and problems of one Rust file with a module doc in front.
fn about(path: &str, code: &str) -> Vec<String> {
    let text = format!("//! Fixture.\n{code}");
    let remedies = |line: String| line.split("; ").next().unwrap_or_default().to_owned();
    findings(&[(path, &text)]).into_iter().map(remedies).collect()
}

#[test]
fn this_repository_is_tidy() {
    let tree = Tree::read(crate::root()).unwrap();
    let errors: Vec<_> = check(&tree)
        .into_iter()
        .filter(|finding| finding.weight == Weight::Error)
        .collect();
    let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert!(errors.is_empty(), "\n{}", text.join("\n"));
}

#[test]
fn this_repository_is_read_whole() {
    let tree = Tree::read(crate::root()).unwrap();
    for path in ["Cargo.toml", "policy/src/lib.rs", "xtask/src/tidy/tests.rs"] {
        assert!(tree.files.iter().any(|file| file.path == path), "{path} was not read");
    }
    assert!(!tree.files.iter().any(|file| file.path.starts_with("target/")));
}

#[test]
fn a_long_file_warns_and_a_very_long_one_fails() {
    let lines = |count: usize| "\n".repeat(count - 1);
    assert_eq!(about("crds/src/a.rs", &lines(300)), Vec::<String>::new());
    assert_eq!(
        about("crds/src/a.rs", &lines(301)),
        ["crds/src/a.rs:1: warning: 301 lines"]
    );
    assert_eq!(
        about("crds/src/a.rs", &lines(501)),
        ["crds/src/a.rs:1: error: 501 lines"]
    );
    let reasoned = format!("// Long because: one table.\n{}", lines(600));
    assert_eq!(about("crds/src/a.rs", &reasoned), Vec::<String>::new());
    let unreasoned = format!("// Long because:\n{}", lines(600));
    assert_eq!(
        about("crds/src/a.rs", &unreasoned),
        ["crds/src/a.rs:1: error: 601 lines"]
    );
}

#[test]
fn a_file_without_a_module_doc_is_found() {
    let found = findings(&[("crds/src/a.rs", "// A comment.\nuse x;\n//! Too late.\n")]);
    assert!(
        found[0].starts_with("crds/src/a.rs:1: error: no module doc"),
        "{found:?}"
    );
    assert!(findings(&[("crds/src/a.rs", "#![no_std]\n//! Fixture.\n")]).is_empty());
}

#[test]
fn unfinished_code_is_found_and_its_name_in_a_text_is_not() {
    let macros = [
        concat!("todo", "!()"),
        concat!("unimplemented", "!()"),
        concat!("#[ig", "nore]"),
    ];
    for mark in macros {
        let found = about("crds/src/a.rs", &format!("fn a() {{\n    {mark}\n}}\n"));
        assert_eq!(found.len(), 1, "{mark}: {found:?}");
        assert!(found[0].starts_with("crds/src/a.rs:3: error: "), "{found:?}");
        assert!(about("crds/src/a.rs", &format!("const A: &str = r#\"{mark}\"#;\n")).is_empty());
    }
}

#[test]
fn a_promise_in_a_comment_is_found_as_a_word_only() {
    let promise = concat!("TO", "DO");
    assert_eq!(about("crds/src/a.rs", &format!("// {promise}: later\n")).len(), 1);
    assert_eq!(
        about("crds/src/a.rs", &format!("/* a\n {promise} */\n")),
        [format!("crds/src/a.rs:3: error: `{promise}`")]
    );
    assert!(about("crds/src/a.rs", &format!("// PRO{promise}COL\n")).is_empty());
}

#[test]
fn unsafe_is_found_outside_its_rooms() {
    let code = "// SAFETY: whatever.\nunsafe { a() }\n";
    assert_eq!(
        about("controller/src/a.rs", code),
        ["controller/src/a.rs:3: error: `unsafe`"]
    );
    assert!(about("datapath-ebpf/src/a.rs", code).is_empty());
    assert!(about("controller/src/a.rs", "// unsafe { }\n#![deny(unsafe_code)]\n").is_empty());
}

#[test]
fn unsafe_in_its_rooms_needs_a_reason_right_above() {
    let far = "// SAFETY: for the first.\nunsafe { a() }\nlet b = 1;\nunsafe { c() }\n";
    assert_eq!(
        about("datapath-ebpf/src/a.rs", far),
        ["datapath-ebpf/src/a.rs:5: error: `unsafe` without a reason"]
    );
    let over_attribute = "// SAFETY: a\n// b\n#[cfg(x)]\nunsafe impl A for B {}\nunsafe impl A for C {}\n";
    assert!(about("datapath-common/src/a.rs", over_attribute).is_empty());
    let in_an_arm = "// SAFETY: a\n($b:expr) => {\n    unsafe { $b }\n};\n";
    assert!(about("datapath-ebpf/src/a.rs", in_an_arm).is_empty());
    assert!(about("datapath-common/src/a.rs", "/// # Safety\n/// a\nunsafe fn a() {}\n").is_empty());
}

#[test]
fn code_that_nobody_calls_is_found_but_for_modules_that_test_programs_take_in() {
    let allow = concat!("#![allow(dead", "_code, reason = \"each takes a part\")]\n");
    assert_eq!(about("policy/src/a.rs", allow).len(), 1);
    assert!(about("policy/tests/a/mod.rs", allow).is_empty());
    assert_eq!(
        about("policy/tests/a/mod.rs", concat!("#![allow(dead", "_code)]\n")).len(),
        1
    );
}

#[test]
fn a_module_named_after_nothing_is_found() {
    let name = "utils";
    assert_eq!(
        about("crds/src/lib.rs", &format!("pub mod {name};\n")),
        ["crds/src/lib.rs:2: error: module `utils`"]
    );
    assert!(about("crds/src/lib.rs", "pub mod common_name;\n").is_empty());
}

#[test]
fn a_panic_needs_its_why_on_the_line_or_the_one_before() {
    let bare = about(
        "policy/src/a.rs",
        "fn a() {\n    b.unwrap();\n    c.expect(\"x\");\n}\n",
    );
    assert_eq!(
        bare,
        [
            "policy/src/a.rs:3: error: `.unwrap()` without a reason",
            "policy/src/a.rs:4: error: `.expect(` without a reason"
        ]
    );
    assert!(
        about(
            "policy/src/a.rs",
            "fn a() {\n    b.unwrap(); // why: b was just set\n}\n"
        )
        .is_empty()
    );
    assert!(
        about(
            "policy/src/a.rs",
            "fn a() {\n    // why: b was just set\n    b.unwrap();\n}\n"
        )
        .is_empty()
    );
    assert!(
        about(
            "policy/src/a.rs",
            "fn a() {\n    b.unwrap_or(1);\n    c(\".unwrap()\");\n}\n"
        )
        .is_empty()
    );
    assert_eq!(
        about("policy/src/a.rs", "fn a() {\n    b.unwrap(); // why\n}\n").len(),
        1
    );
}

#[test]
fn a_panic_in_a_test_needs_no_why() {
    let inline = "#[cfg(test)]\nmod tests {\n    fn a() {\n        b.unwrap();\n    }\n}\n";
    assert!(about("policy/src/a.rs", inline).is_empty());
    let after = format!("{inline}fn c() {{\n    d.unwrap();\n}}\n");
    assert_eq!(
        about("policy/src/a.rs", &after),
        ["policy/src/a.rs:9: error: `.unwrap()` without a reason"]
    );
    for path in ["policy/src/a/tests.rs", "policy/tests/a.rs", "tests/src/a.rs"] {
        assert!(about(path, "fn a() {\n    b.unwrap();\n}\n").is_empty(), "{path}");
    }
}

#[test]
fn a_module_declared_for_tests_is_a_test_wherever_it_lies() {
    let parent = "//! Fixture.\n#[cfg(test)]\nmod cases;\nmod other;\n";
    let child = "//! Fixture.\nfn a() {\n    b.unwrap();\n}\n";
    let files = |path| [("policy/src/a.rs", parent), (path, child)];
    assert!(findings(&files("policy/src/a/cases.rs")).is_empty());
    assert!(findings(&files("policy/src/a/cases/deep.rs")).is_empty());
    assert_eq!(findings(&files("policy/src/a/other.rs")).len(), 1);
    assert_eq!(findings(&files("policy/src/cases.rs")).len(), 1);
}

#[test]
fn a_test_that_cannot_fail_is_found() {
    let idle = "#[test]\nfn a() {\n    b();\n}\n";
    assert_eq!(
        about("policy/src/a.rs", idle),
        ["policy/src/a.rs:2: error: a test that cannot fail"]
    );
    let printing = "#[test]\nfn a() {\n    println!(\"{}\", b());\n}\n";
    assert_eq!(about("policy/src/a.rs", printing).len(), 1);
    assert!(about("policy/src/a.rs", "#[test]\nfn a() {\n    same!(b, c);\n}\n").is_empty());
    assert!(
        about(
            "policy/src/a.rs",
            "#[test]\nfn arbitrary_text_never_panics() {\n    b();\n}\n"
        )
        .is_empty()
    );
    let calling = |body: &str| format!("fn b(c: u8) {{\n    {body}\n}}\n#[test]\nfn a() {{\n    b(1);\n}}\n");
    assert!(about("policy/src/a.rs", &calling("assert!(c > 0);")).is_empty());
    assert_eq!(
        about("policy/src/a.rs", &calling("print(c);")),
        ["policy/src/a.rs:5: error: a test that cannot fail"]
    );
    let nested = "mod tests {\n    #[test]\n    fn a() {\n        if b {\n        }\n        assert!(c);\n    }\n}\n";
    assert!(about("policy/src/a.rs", nested).is_empty());
}

#[test]
fn literals_and_comments_hide_nothing_and_are_not_code() {
    let code = "fn a<'a>(b: &'a str) -> char {\n    let c = '\"';\n    let d = '\\'';\n    let e = \"/* \\\" \";\n    \
                let f = br##\"\"# {\"##;\n    /* \" /* nested */ } */ g.unwrap();\n}\n";
    assert_eq!(
        about("policy/src/a.rs", code),
        ["policy/src/a.rs:7: error: `.unwrap()` without a reason"]
    );
}

#[test]
fn a_word_of_one_machine_is_found_in_any_file() {
    for word in [
        concat!("/wo", "rk/main"),
        concat!("SEMAN", "TICS.md"),
        concat!("see sha", "red/x"),
    ] {
        let found = findings(&[("README.md", &format!("fine\n{word}\n"))]);
        assert_eq!(found.len(), 1, "{word}: {found:?}");
        assert!(found[0].starts_with("README.md:2: error: "), "{found:?}");
    }
    assert!(findings(&[("README.md", concat!("a frame", "work/x, pre", "sha", "red/y\n"))]).is_empty());
}
