//! What holds for every input: reading never panics and never widens.

use cellwall_crds::{
    ClusterDefenseSpec, Document, KINDS, LabelSelector, NetworkObjectSpec, PortEntry, Protocol, Validate, read,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Any JSON, with the words of our kinds among the keys and texts.
fn anything() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        proptest::sample::select(
            &[
                "apiVersion",
                "kind",
                "metadata",
                "name",
                "spec",
                "status",
                "namespaces",
                "apps",
                "images",
                "podSelector",
                "matchLabels",
                "matchExpressions",
                "key",
                "operator",
                "values",
                "cidrs",
                "cidr",
                "except",
                "source",
                "destination",
                "object",
                "entity",
                "ports",
                "port",
                "endPort",
                "protocol",
                "action",
                "priority",
                "enabled",
                "mode",
                "podCIDRs",
                "In",
                "Exists",
                "Any",
                "Drop",
                "TCP",
                "47",
                "*",
                "192.0.2.0/24",
                "default",
            ][..]
        )
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..100i64).prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            btree_map(word.clone(), inner, 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn good(kind: &str) -> Value {
    let spec = match kind {
        "NetworkObject" => json!({
            "namespaces": ["shop"], "apps": ["web"], "images": ["*"],
            "podSelector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]},
        }),
        "DefenseRule" => json!({
            "source": {"object": "web"}, "destination": {"entity": "Any"}, "action": "Drop", "priority": 10,
            "ports": [{"port": 80, "endPort": 90}, {"protocol": "47"}], "enabled": true,
        }),
        "ClusterDefense" => json!({"mode": "Enforce", "podCIDRs": ["10.0.0.0/8"], "confirmedGeneration": 3}),
        _ => {
            return json!({
                "apiVersion": "cellwall.io/v1alpha1", "kind": kind, "metadata": {"name": "default"},
                "status": {"state": "Normal", "addresses": ["192.0.2.1"], "enforcing": true},
            });
        }
    };
    json!({"apiVersion": "cellwall.io/v1alpha1", "kind": kind, "metadata": {"name": "default"}, "spec": spec})
}

/// Every place in a value, as a JSON pointer.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            places(
                value,
                &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")),
                out,
            );
        }),
        Value::Array(entries) => {
            entries
                .iter()
                .enumerate()
                .for_each(|(i, value)| places(value, &format!("{at}/{i}"), out));
        }
        _ => {}
    }
}

fn to_value(document: &Document) -> Value {
    match document {
        Document::NetworkObject(object) => serde_json::to_value(object),
        Document::DefenseRule(rule) => serde_json::to_value(rule),
        Document::ClusterDefense(defense) => serde_json::to_value(defense),
        Document::InterceptStatus(status) => serde_json::to_value(status),
    }
    .expect("a document is plain data")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reading_anything_ends_in_a_document_or_in_words(value in anything()) {
        match read(&value) {
            Ok(document) => prop_assert!(KINDS.contains(&document.kind())),
            Err(violations) => prop_assert!(!violations.is_empty()),
        }
    }

    #[test]
    fn a_good_object_with_one_place_replaced_is_still_good_or_refused(
        kind in proptest::sample::select(&KINDS[..]), place in any::<proptest::sample::Index>(), new in anything(),
    ) {
        let mut value = good(kind);
        let mut all: Vec<String> = Vec::new();
        places(&value, "", &mut all);
        *value.pointer_mut(place.get(&all).as_str()).expect("the place exists") = new;
        match read(&value) {
            Ok(document) => {
                let again = read(&to_value(&document));
                prop_assert_eq!(again.as_ref(), Ok(&document), "what was read reads the same again");
            }
            Err(violations) => {
                prop_assert!(!violations.is_empty());
                for violation in violations {
                    prop_assert!(!violation.to_string().chars().any(char::is_control), "{:?}", violation);
                }
            }
        }
    }

    #[test]
    fn a_specification_survives_json(
        namespaces in proptest::option::of(vec(".{0,4}", 0..3)),
        labels in proptest::option::of(btree_map(".{0,3}", ".{0,3}", 0..3)),
    ) {
        let pod_selector = labels.map(|labels| LabelSelector { match_labels: Some(labels), match_expressions: None });
        let spec = NetworkObjectSpec { namespaces, pod_selector, ..NetworkObjectSpec::default() };
        let text = serde_json::to_string(&spec).expect("plain data");
        prop_assert_eq!(serde_json::from_str::<NetworkObjectSpec>(&text).expect("it reads back"), spec);
    }

    #[test]
    fn every_protocol_number_has_one_text(number in any::<u16>(), zeros in 0..3usize) {
        let text = format!("{}{number}", "0".repeat(zeros));
        let expected = u8::try_from(number).ok().filter(|_| zeros == 0).map(Protocol::Number);
        prop_assert_eq!(text.parse::<Protocol>().ok(), expected);
    }
}

/// Case 54: what is empty or null restricts to nothing; only what is absent does not restrict.
#[test]
fn an_empty_or_null_list_never_becomes_an_absent_one() {
    for field in [
        "namespaces",
        "apps",
        "images",
        "podSelector",
        "namespaceSelector",
        "cidrs",
    ] {
        for empty in [
            json!(null),
            if field.ends_with("Selector") {
                json!({})
            } else {
                json!([])
            },
        ] {
            let spec: NetworkObjectSpec =
                serde_json::from_value(Value::Object(Map::from_iter([(field.to_owned(), empty)]))).expect("it is read");
            let back = serde_json::to_value(&spec).expect("plain data");
            assert!(
                back.get(field).is_some_and(|value| !value.is_null()),
                "{field} became absent"
            );
        }
    }
    let defense: ClusterDefenseSpec = serde_json::from_value(json!({"podCIDRs": null})).expect("it is read");
    assert_eq!(defense.pod_cidrs, Some(Vec::new()));
}

#[test]
fn a_null_port_is_no_port_entry_even_for_serde() {
    let error = serde_json::from_value::<PortEntry>(json!({"port": null})).expect_err("a null port is refused");
    assert!(error.to_string().contains("null"), "{error}");
}

#[test]
fn a_typed_object_is_held_against_the_same_rules() {
    for kind in KINDS {
        let document = read(&good(kind)).expect("a good object is good");
        let violations = match &document {
            Document::NetworkObject(object) => object.validate(),
            Document::DefenseRule(rule) => rule.validate(),
            Document::ClusterDefense(defense) => defense.validate(),
            Document::InterceptStatus(status) => status.validate(),
        };
        assert_eq!(violations, []);
        assert_eq!(document.name(), "default");
    }
}

#[test]
fn a_thousand_unknown_fields_are_not_a_thousand_lines() {
    let mut value = good("NetworkObject");
    let fields = value["spec"].as_object_mut().expect("a spec");
    fields.extend((0..1000).map(|i| (format!("field{i}"), json!(i))));
    assert_eq!(read(&value).expect_err("refused").len(), 100);
}
