//! What is found in texts.

use super::*;
use crate::manifest::yaml;

fn pieces(text: &str) -> Pieces {
    Pieces::of(yaml::read(text, &mut yaml::MAX_NODES.clone()).expect("valid YAML"))
}

fn ids(pieces: &Pieces) -> Vec<String> {
    pieces
        .definitions
        .iter()
        .map(|definition| definition.id.to_string())
        .collect()
}

/// The only broken document, as `line message; remedy`.
fn broken(text: &str) -> String {
    let pieces = pieces(text);
    assert_eq!((pieces.broken.len(), pieces.definitions.len()), (1, 0), "{pieces:?}");
    let fault = &pieces.broken[0];
    format!(
        "{} {}; {}",
        fault.position.expect("a place").line,
        fault.message,
        fault.remedy
    )
}

#[test]
fn documents_are_known_by_kind_namespace_and_name() {
    let text = "{apiVersion: v1, kind: Pod, metadata: {name: web-0, namespace: shop}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}}
---
{apiVersion: cellwall.io/v1alpha1, kind: DefenseRule, metadata: {name: web-to-db, namespace: shop}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-1, namespace: ''}}
";
    let expected = [
        "Pod shop/web-0",
        "Service default/web",
        "DefenseRule web-to-db",
        "EndpointSlice default/web-1",
    ];
    assert_eq!(ids(&pieces(text)), expected);
}

#[test]
fn lists_are_taken_apart_with_the_places_kept() {
    let text = "apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: a}
- apiVersion: v1
  kind: PodList
  items:
  - metadata:
      name: b
  - metadata: {name: c}
    kind: Pod
- apiVersion: v1
  kind: ConfigMap
";
    let pieces = pieces(text);
    assert_eq!(ids(&pieces), ["Pod default/a", "Pod default/b", "Pod default/c"]);
    assert_eq!(pieces.definitions[1].node.line_of("metadata.name"), Some(11));
    assert_eq!(pieces.definitions[1].node.to_json()["apiVersion"], "v1");
    assert_eq!(pieces.unknown["v1 ConfigMap"], (1, Position { line: 14, column: 3 }));
    assert!(Pieces::of(yaml::read("kind: List\nitems:\n", &mut 100).unwrap()) == Pieces::default());
    assert_eq!(
        broken("kind: List\nitems: {}"),
        "2 the items of a List are not a sequence; "
    );
}

#[test]
fn a_fault_inside_a_list_belongs_to_its_item() {
    let text = "kind: List\nitems:\n- {kind: Pod, apiVersion: v1, metadata: {name: a}, spec: {a: 1, a: 2}}\n- {kind: Pod, apiVersion: v1, metadata: {name: b}}\n";
    let pieces = pieces(text);
    assert_eq!(
        pieces
            .definitions
            .iter()
            .map(|definition| definition.faults.len())
            .collect::<Vec<_>>(),
        [1, 0]
    );
    assert!(pieces.broken.is_empty());
}

#[test]
fn unknown_kinds_are_counted_and_their_faults_are_not_ours() {
    let text = "kind: ConfigMap\napiVersion: v1\ndata: {on: x, <<: {}, a: 1, a: 2}\n---\nkind: ConfigMap\napiVersion: v1\n---\n\
        apiVersion: serving.example.com/v1\nkind: Service\nmetadata: {name: x}\n---\napiVersion: cellwall.io/v1alpha1\nkind: InterceptStatus\n";
    let pieces = pieces(text);
    assert!(pieces.definitions.is_empty() && pieces.broken.is_empty());
    let counts: Vec<_> = pieces
        .unknown
        .iter()
        .map(|(kind, (count, at))| (kind.as_str(), *count, at.line))
        .collect();
    let expected = [
        ("cellwall.io/v1alpha1 InterceptStatus", 1, 12),
        ("serving.example.com/v1 Service", 1, 8),
        ("v1 ConfigMap", 2, 1),
    ];
    assert_eq!(counts, expected);
}

#[test]
fn a_wrong_api_version_of_a_known_kind_is_a_fault() {
    for (version, message) in [
        ("cellwall.io/v1", "apiVersion \"cellwall.io/v1\" is not read"),
        ("''", "apiVersion is missing"),
    ] {
        let pieces = pieces(&format!(
            "apiVersion: {version}\nkind: DefenseRule\nmetadata: {{name: x}}"
        ));
        assert_eq!(pieces.definitions[0].faults[0].message, message);
        assert_eq!(
            pieces.definitions[0].faults[0].remedy,
            "write apiVersion: cellwall.io/v1alpha1"
        );
    }
    assert_eq!(
        pieces("{apiVersion: v2, kind: Pod, metadata: {name: x}}").definitions[0]
            .faults
            .len(),
        1
    );
}

#[test]
fn documents_that_cannot_be_told_apart_are_broken() {
    let long = format!("kind: Pod\nmetadata:\n  name: {}", "x".repeat(2000));
    let remedy = "use at most 253 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit";
    let cases = [
        (
            "- a",
            "1 a document that is not a mapping; a document begins with apiVersion and kind".to_owned(),
        ),
        (
            "text",
            "1 a document that is not a mapping; a document begins with apiVersion and kind".to_owned(),
        ),
        (
            "a: 1",
            "1 a document without kind; give its apiVersion and kind".to_owned(),
        ),
        (
            "kind:\na: 1",
            "1 a document without kind; give its apiVersion and kind".to_owned(),
        ),
        (
            "a: 1\nkind: on",
            "2 kind: \"on\" is true in YAML 1.1, text in YAML 1.2; quote it: \"on\"".to_owned(),
        ),
        ("kind: [Pod]", "1 kind is not text; ".to_owned()),
        (
            "kind: Pod\nkind: Node",
            "2 the key \"kind\" is given twice; remove one of them".to_owned(),
        ),
        ("kind: Pod", "1 Pod: it has no name; give it a metadata.name".to_owned()),
        (
            "kind: Pod\nmetadata: {namespace: a}",
            "2 Pod: it has no name; give it a metadata.name".to_owned(),
        ),
        (
            "kind: Pod\nmetadata: x",
            "2 Pod: it has no name; give it a metadata.name".to_owned(),
        ),
        (
            "kind: Pod\nmetadata:\n  name: 8080",
            "3 Pod: metadata.name: \"8080\" is the number 8080, not text; quote it: \"8080\"".to_owned(),
        ),
        (
            "kind: Pod\nmetadata:\n  name: off",
            "3 Pod: metadata.name: \"off\" is false in YAML 1.1, text in YAML 1.2; quote it: \"off\"".to_owned(),
        ),
        (
            "kind: Pod\nmetadata: {name: a}\nmetadata: {name: b}",
            "3 Pod: the key \"metadata\" is given twice; remove one of them".to_owned(),
        ),
        (
            "kind: Pod\nmetadata: {name: a, name: b}",
            "2 Pod: metadata.the key \"name\" is given twice; remove one of them".to_owned(),
        ),
        (
            "kind: Pod\nmetadata: {name: Web_0}",
            format!("2 Pod: metadata.name \"Web_0\" is not a name that Kubernetes accepts; {remedy}"),
        ),
        (
            "kind: Pod\nmetadata: {name: a, namespace: -x}",
            format!("2 Pod: metadata.namespace \"-x\" is not a name that Kubernetes accepts; {remedy}"),
        ),
        (
            "kind: Pod\nmetadata: {name: \"a\\x1b[2J\"}",
            format!("2 Pod: metadata.name \"a\\u{{1b}}[2J\" is not a name that Kubernetes accepts; {remedy}"),
        ),
        (
            &long,
            format!(
                "3 Pod: metadata.name \"{}...\" (2000 characters) is not a name that Kubernetes accepts; {remedy}",
                "x".repeat(60)
            ),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(broken(text), expected);
    }
}

#[test]
fn problems_name_the_document_and_the_line_in_the_file() {
    let pieces = pieces("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  a: 1\n  a: 2\n");
    let definition = pieces.definitions[0].clone();
    let document = Document {
        definition,
        file: Path::new("shop.yaml").into(),
        lines_before: 100,
    };
    assert_eq!(document.line(), 101);
    assert_eq!(document.line_of("metadata.name"), 104);
    let shown: Vec<_> = document.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["shop.yaml:107: Pod default/a: the key \"a\" is given twice, first in line 106; remove one of them"]
    );
    let problem = document.problem_at("spec.b[3]", "is missing", "give it").to_string();
    assert_eq!(problem, "shop.yaml:105: Pod default/a: spec.b[3]: is missing; give it");
}
