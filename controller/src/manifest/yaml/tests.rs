//! The reader against texts of every kind, good and hostile.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Vec<Node>, Fault> {
    read(text, &mut MAX_NODES.clone())
}

fn one(text: &str) -> Node {
    let mut nodes = parse(text).expect("valid YAML");
    assert_eq!(nodes.len(), 1, "{text:?}");
    nodes.remove(0)
}

/// The faults of a text's nodes, as `line:column message`.
fn faults(text: &str) -> Vec<String> {
    let shown = |fault: Fault| {
        let position = fault.position.expect("a place");
        format!("{}:{} {}", position.line, position.column, fault.message)
    };
    parse(text)
        .expect("valid YAML")
        .iter()
        .flat_map(Node::all_faults)
        .map(shown)
        .collect()
}

fn refusal(text: &str) -> String {
    let fault = parse(text).map(|nodes| nodes.len()).expect_err("refused");
    let place = fault.position.map_or("-".to_owned(), |position| {
        format!("{}:{}", position.line, position.column)
    });
    format!("{place} {}", fault.message)
}

const RULE: &str = "apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata:
  name: web-to-db # why it is there
  labels: {app.kubernetes.io/name: web, \"b\":c}
spec:
  ports:
  - port: 1
    endPort: 2
  - protocol: UDP
  -
    port: 5
  source: |
    text
  empty:
";

#[test]
fn every_field_knows_its_line() {
    let rule = one(RULE);
    let lines = [
        ("kind", 2),
        ("metadata.name", 4),
        ("metadata.labels.app.kubernetes.io/name", 5),
        ("metadata.labels[\"app.kubernetes.io/name\"]", 5),
        ("spec", 6),
        ("spec.ports", 7),
        ("spec.ports[0]", 8),
        ("spec.ports[0].endPort", 9),
        ("spec.ports[2]", 12),
        ("spec.ports[2].port", 12),
        ("spec.source", 13),
        ("spec.empty", 15),
    ];
    for (path, line) in lines {
        assert_eq!(rule.line_of(path), Some(line), "{path}");
    }
    assert_eq!(rule.line_of("metadata.labels[app.kubernetes.io/name]"), Some(5));
    assert_eq!(rule.nearest_to("spec.ports[2].endPort").line, 12);
    assert_eq!(rule.nearest_to("spec.ports[7].endPort").line, 7);
    assert_eq!(rule.nearest_to("nowhere").line, 1);
    for absent in [
        "spec.",
        "spec.port",
        "spec.ports[3]",
        "spec.ports[x]",
        "spec.ports[0",
        "kind.x",
        "spec.ports.0",
    ] {
        assert_eq!(rule.line_of(absent), None, "{absent}");
    }
}

#[test]
fn values_are_those_of_kubectl() {
    let text =
        "a: yes\nb: 010\nc: 1_000\nd: 'yes'\ne: 1e3\nf: 2001-12-14\ng: ~\nh: 1.5\ni: !!str 12\n8080: x\ntrue: y z";
    let expected = r#"{"8080":"x","a":true,"b":8,"c":1000,"d":"yes","e":1000,"f":"2001-12-14","g":null,"h":1.5,"i":"12","true":"y z"}"#;
    assert_eq!(one(text).to_json().to_string(), expected);
}

#[test]
fn empty_documents_are_left_out() {
    let nodes = parse("---\n# nothing\n---\n\n---\na: 1\n...\n---\n~\n--- {}\n").unwrap();
    assert_eq!(nodes.len(), 2);
    assert_eq!(nodes[0].line, 6);
    assert!(parse("").unwrap().is_empty());
    assert!(parse("# only a comment").unwrap().is_empty());
}

#[test]
fn crlf_and_lone_cr_count_as_lines() {
    assert_eq!(one("a: 1\r\nb:\r\n  c: 2\r\n").line_of("b.c"), Some(3));
    assert_eq!(one("a: 1\rb: 2").line_of("b"), Some(2));
}

#[test]
fn a_key_given_twice_is_named_with_both_lines() {
    assert_eq!(faults("a: 1\nb: 2\n\"a\": 3\n"), ["3:1 the key \"a\" is given twice"]);
    assert_eq!(one("a: 1\na: 2").to_json().to_string(), "{\"a\":1}");
    assert_eq!(
        faults("x:\n- {a: 1, b: {c: 1, c: 2}}"),
        ["2:20 the key \"c\" is given twice"]
    );
}

#[test]
fn keys_that_are_not_text_to_everyone_are_faults() {
    for (key, words) in [
        ("on", "the key \"on\" is true in YAML 1.1, text in YAML 1.2"),
        ("y", "the key \"y\" is true in YAML 1.1, text in YAML 1.2"),
        (
            "010",
            "the key \"010\" is the number 8 in YAML 1.1, the number 10 in YAML 1.2",
        ),
        ("0X1F", "the key \"0X1F\" is the number 31 to kubectl, text in YAML 1.2"),
        ("1.0", "the key \"1.0\" is the number 1, not text"),
        ("True", "the key \"True\" is true, not text"),
        ("~", "the key \"~\" is null, not text"),
        ("+1", "the key \"+1\" is the number 1, not text"),
    ] {
        assert_eq!(faults(&format!("labels:\n  {key}: x\n")), [format!("2:3 {words}")]);
        assert_eq!(faults(&format!("labels:\n  '{key}': x\n")), [""; 0]);
    }
    assert_eq!(faults("a: {8080: x, true: y}"), [""; 0]);
}

#[test]
fn merge_keys_and_foreign_tags_and_numbers_that_json_lacks_are_faults() {
    assert_eq!(faults("a: &a {x: 1}\nb:\n  <<: *a\n  z: 2\n"), ["3:3 a merge key (<<)"]);
    assert_eq!(faults("'<<': 1"), [""; 0]);
    assert_eq!(faults("a: !secret x"), ["1:4 the tag !secret on \"x\""]);
    assert_eq!(faults("a: !!binary aGk="), ["1:4 the tag !!binary on \"aGk=\""]);
    assert_eq!(faults("a: !!int '5'"), ["1:4 the tag !!int on \"5\""]);
    assert_eq!(faults("a: !!set {x}"), ["1:4 the tag !!set"]);
    assert_eq!(
        faults("a: !!int 5\nb: !!map {}\nc: !!seq []\nd: !!null ~\ne: !!bool true\nf: !!float 1.5"),
        [""; 0]
    );
    assert_eq!(faults("a: .inf\nb: .nan").len(), 2);
    assert_eq!(faults("%TAG !! tag:example.com,2000:\n---\na: !!str x").len(), 1);
}

#[test]
fn aliases_stand_for_what_they_name_within_their_document() {
    assert_eq!(one("a: &x {p: [1]}\nb: *x\nc: *x").to_json()["c"]["p"][0], 1);
    assert_eq!(
        refusal("a: &x 1\n---\nb: *x"),
        "3:4 an alias stands for a value of another document, or for one that it is a part of"
    );
    assert!(refusal("a: &x [*x]").starts_with("1:8 an alias stands for"));
    assert!(refusal("a: *nowhere").starts_with("1:4 not valid YAML"));
    assert_eq!(refusal("a: &x k\n*x : 1"), "2:1 an alias stands for a key");
}

#[test]
fn a_billion_laughs_are_refused_at_once() {
    let mut text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..30 {
        let inner = format!("*a{} , ", level - 1).repeat(10);
        writeln!(text, "a{level}: &a{level} [{}]", inner.trim_end_matches(", ")).unwrap();
    }
    assert!(
        refusal(&text).contains("more than 500000 values in one file, aliases expanded"),
        "{}",
        refusal(&text)
    );
    let long = format!("a: &a {}\nb: [{}]", "x".repeat(4_000_000), "*a, ".repeat(100_000));
    assert!(refusal(&long).contains("more than 500000 values"));
    let nested = format!("{}1{}", "&a [".repeat(63), "]".repeat(63));
    assert!(parse(&nested).is_ok());
}

#[test]
fn what_is_not_yaml_is_named_with_its_line() {
    assert_eq!(
        refusal("a: b: c"),
        "1:5 not valid YAML: mapping values are not allowed in this context"
    );
    assert_eq!(
        refusal("a:\n\tb: 1\n"),
        "2:2 not valid YAML: tabs disallowed within this context (block indentation)"
    );
    assert!(refusal("a: {b: 1").starts_with("1:"));
    assert!(refusal("a: 1\nb: \"x").starts_with("2:4 "));
    assert_eq!(refusal("? [a]\n: b"), "1:3 a key that is a mapping or a sequence");
    assert_eq!(refusal("{{a: b}: c}"), "1:2 a key that is a mapping or a sequence");
}

#[test]
fn nesting_has_a_bound() {
    assert!(parse(&format!("{}x{}", "[".repeat(64), "]".repeat(64))).is_ok());
    assert_eq!(
        refusal(&format!("{}x{}", "[".repeat(65), "]".repeat(65))),
        "1:65 nested more than 64 levels deep"
    );
    assert!(refusal(&"- ".repeat(100_000)).ends_with("nested more than 64 levels deep"));
    let mut block = String::new();
    (0..100).for_each(|level| writeln!(block, "{}k:", " ".repeat(level)).unwrap());
    assert!(refusal(&block).ends_with("nested more than 64 levels deep"));
    let chain = "a: &a [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]\nb: &b [[[[[[[[[[[[[[[[[[[[*a]]]]]]]]]]]]]]]]]]]]\nc: [[[[[[[[[[[[[[[[[[[[[[[[[*b]]]]]]]]]]]]]]]]]]]]]]]]]";
    assert!(refusal(chain).ends_with("nested more than 64 levels deep"));
}

#[test]
fn long_brackets_are_refused_before_they_fill_the_memory() {
    let text = format!("- [{}]", "x,".repeat(300_000));
    assert!(
        refusal(&text).contains("a collection in brackets"),
        "{}",
        refusal(&text)
    );
    assert!(parse(&format!("- [{}]", "x,".repeat(100_000))).is_ok());
    let mut list = String::from("items:\n");
    (0..100_000).for_each(|i| writeln!(list, "- {{a: [{i}, x], b: y}}").unwrap());
    assert!(refusal(&list).contains("more than 500000 values"));
}

#[test]
fn a_text_is_cut_where_its_documents_begin() {
    let text = "a: 1\n---\nb: |\n  ---\n  x\n--- # c\nc: 1\r\n---\r\nd: 1\n----\n";
    let cut: Vec<_> = parts(text).iter().map(|part| (part.lines_before, part.text)).collect();
    assert_eq!(
        cut,
        [
            (0, "a: 1\n"),
            (1, "---\nb: |\n  ---\n  x\n"),
            (5, "--- # c\nc: 1\r\n"),
            (7, "---\r\nd: 1\n----\n")
        ]
    );
    assert_eq!(parts("%YAML 1.2\n---\na: 1\n---\nb: 1").len(), 1);
    assert_eq!(
        parts(""),
        [Part {
            lines_before: 0,
            text: ""
        }]
    );
}

/// Patterns that make naive readers slow, each repeated so often that quadratic time would show.
#[test]
fn no_long_text_takes_long() {
    let size = 64 * 1024;
    let patterns = [
        ("[", "a,"),
        ("{", "a: b,"),
        ("", "[],"),
        ("x: ", "a "),
        ("x: ", "a\n "),
        ("\"", "a\\n"),
        ("\"", "a\n"),
        ("", "---\n"),
        ("", "- a\n"),
        ("", "? a\n"),
        ("", "# a\n"),
        ("a: |\n", "\n"),
        ("a: |\n", " "),
        ("a", ":"),
        ("", "&a "),
        ("", "!a "),
        ("", "- "),
        ("", "["),
        ("a: b\n", "\n \n"),
        ("[", "? a,"),
        ("{", "[a]: b,"),
        ("[", "a\n,\n"),
        ("", "%a b\n"),
        ("", "*a\n"),
        ("a: ", "\r"),
        ("", "a:\n"),
        ("'", "''"),
        ("a: >\n", " x\n\n"),
        ("", "\u{20ac}"),
        ("", "...\n"),
        ("[", "\"a\":1,"),
    ];
    for (start, pattern) in patterns {
        let text = format!("{start}{}", pattern.repeat(size / pattern.len()));
        let began = Instant::now();
        let mut budget = MAX_NODES;
        let _ = parts(&text)
            .iter()
            .try_for_each(|part| read(part.text, &mut budget).map(drop));
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{pattern:?}: {:?}",
            began.elapsed()
        );
    }
}

/// The line of a collection. A block scalar without content is told where it ends, which depends on what follows.
fn place(node: &Node, lines_before: u32) -> Option<u32> {
    node.as_scalar().is_none().then(|| node.line + lines_before)
}

/// Text that looks like YAML often enough to get past the first character.
fn yamlish() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        "[a-z]{1,3}",
        Just("- ".to_owned()),
        Just(": ".to_owned()),
        Just("\n".to_owned()),
        Just("\n  ".to_owned()),
        Just("---\n".to_owned()),
        Just("\n---\n".to_owned()),
        Just("...\n".to_owned()),
        Just("\"".to_owned()),
        Just("'".to_owned()),
        Just("|\n".to_owned()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just(", ".to_owned()),
        Just("# ".to_owned()),
        Just("&a ".to_owned()),
        Just("*a ".to_owned()),
        Just("!!str ".to_owned()),
        Just("? ".to_owned()),
        Just("\t".to_owned()),
        Just("\r\n".to_owned()),
        Just("%".to_owned()),
        Just("\u{e9}".to_owned()),
        Just(">".to_owned()),
        Just("<<: ".to_owned()),
    ];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = parse(&text);
    }

    #[test]
    fn reading_in_parts_is_reading_as_a_whole(text in yamlish()) {
        let whole = parse(&text);
        let mut budget = MAX_NODES;
        let mut nodes = Vec::new();
        let mut failed = false;
        for part in parts(&text) {
            match read(part.text, &mut budget) {
                Ok(found) => nodes.extend(found.into_iter().map(|node| (place(&node, part.lines_before), node.to_json()))),
                Err(_) => failed = true,
            }
        }
        prop_assert_eq!(whole.is_err(), failed, "{:?}", whole);
        if let Ok(whole) = whole {
            let whole: Vec<_> = whole.iter().map(|node| (place(node, 0), node.to_json())).collect();
            prop_assert_eq!(whole, nodes);
        }
    }
}
