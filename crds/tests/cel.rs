//! The CEL of the manifests against the Rust rules: the same objects refused, at the same field, in the same words.
//!
//! The CEL is run by kube-cel, which knows Kubernetes' extensions; limits that a schema states without CEL are not
//! compared here.

use cellwall_crds::{
    Action, CidrBlock, ClusterDefense, ClusterDefenseSpec, DefenseRule, DefenseRuleSpec, Entity, LabelSelector,
    LabelSelectorRequirement, NetworkObject, NetworkObjectSpec, Operator, Peer, PortEntry, Protocol, Validate,
    Violation, definitions,
};
use kube_cel::{CompiledSchema, ErrorKind, ValidationErrors, compile_schema, validate_compiled};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// Field and words of a refusal.
type Refusals = BTreeSet<(String, String)>;

/// A kind's schema, ready to be run.
struct Kind {
    schema: CompiledSchema,
    /// All messages that CEL can say about it.
    words: BTreeSet<String>,
}

fn schema(kind: &str) -> Value {
    let crd = definitions()
        .into_iter()
        .find(|crd| crd.spec.names.kind == kind)
        .expect("the kind exists");
    let schema = crd.spec.versions[0]
        .schema
        .as_ref()
        .and_then(|schema| schema.open_api_v3_schema.as_ref());
    serde_json::to_value(schema).expect("a schema is plain data")
}

impl Kind {
    fn named(kind: &str) -> Self {
        let schema = schema(kind);
        let mut words = BTreeSet::new();
        collect_words(&schema, &mut words);
        let schema = compile_schema(&schema);
        assert!(
            schema.compilation_errors().is_empty(),
            "{kind}: {:?}",
            schema.compilation_errors()
        );
        Self { schema, words }
    }

    fn by_cel(&self, object: &impl Serialize) -> Refusals {
        let object = serde_json::to_value(object).expect("an object is plain data");
        let refused = validate_compiled(&self.schema, &object, None).err();
        // kube-cel has no `dyn`, which one rule needs to see nulls; a typed object holds none.
        let errors = refused.iter().flat_map(ValidationErrors::as_slice);
        let errors =
            errors.filter(|error| error.kind != ErrorKind::UnsupportedReference || !error.rule.contains("dyn("));
        errors
            .map(|error| (plain(&error.field_path), error.message.clone()))
            .collect()
    }

    fn by_rust(&self, violations: &[Violation]) -> Refusals {
        violations
            .iter()
            .map(|violation| {
                (
                    plain(&violation.path),
                    format!("{}; {}", violation.message, violation.remedy),
                )
            })
            .filter(|(_, text)| self.words.contains(text))
            .collect()
    }
}

fn collect_words(schema: &Value, out: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            let rules = fields
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            out.extend(rules.filter_map(|rule| rule["message"].as_str().map(str::to_owned)));
            fields.values().for_each(|value| collect_words(value, out));
        }
        Value::Array(entries) => entries.iter().for_each(|value| collect_words(value, out)),
        _ => {}
    }
}

/// Holds 2000 values against both.
fn agree<T: Serialize + Validate + std::fmt::Debug>(kind: &str, values: &impl Strategy<Value = T>) {
    let kind = Kind::named(kind);
    let config = ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let outcome = TestRunner::new(config).run(values, |value| {
        prop_assert_eq!(kind.by_cel(&value), kind.by_rust(&value.validate()));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// One form of a path: label keys are entries for us and fields for kube-cel, and a rule about the name stands at the
/// root of the schema.
fn plain(path: &str) -> String {
    match path.split_once(".matchLabels") {
        Some((before, key)) if !key.is_empty() => format!("{before}.matchLabels[]"),
        _ => path.replace("metadata.name", ""),
    }
}

fn glob() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z*?]{1,4}"]
}

fn cidr() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("192.0.2.0/24".to_owned()),
        Just("2001:db8::/32".to_owned()),
        (0..3u8, 23..34u8).prop_map(|(host, length)| format!("192.0.2.{}/{length}", host * 64)),
        (30..36u8).prop_map(|length| format!("2001:db8:8000::/{length}")),
        Just("::ffff:192.0.2.0/120".to_owned()),
        "[0-9./:]{0,12}",
    ]
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("app.kubernetes.io/name".to_owned()),
        "[a-zA-Z0-9._/-]{0,4}",
        Just("a".repeat(63))
    ]
}

fn selector() -> impl Strategy<Value = LabelSelector> {
    let operator = proptest::sample::select(Operator::ALL);
    let requirement = (label(), operator, option::of(vec(label(), 0..3)))
        .prop_map(|(key, operator, values)| LabelSelectorRequirement { key, operator, values });
    (
        option::of(btree_map(label(), label(), 0..3)),
        option::of(vec(requirement, 0..3)),
    )
        .prop_map(|(match_labels, match_expressions)| LabelSelector {
            match_labels,
            match_expressions,
        })
}

fn block() -> impl Strategy<Value = CidrBlock> {
    (cidr(), option::of(vec(cidr(), 0..3))).prop_map(|(cidr, except)| CidrBlock { cidr, except })
}

fn network_object() -> impl Strategy<Value = NetworkObject> {
    let globs = || option::weighted(0.3, vec(glob(), 0..3));
    let selectors = || option::weighted(0.3, selector());
    (
        globs(),
        globs(),
        globs(),
        selectors(),
        selectors(),
        option::weighted(0.3, vec(block(), 0..4)),
    )
        .prop_map(|(namespaces, apps, images, pod_selector, namespace_selector, cidrs)| {
            let spec = NetworkObjectSpec {
                namespaces,
                apps,
                images,
                pod_selector,
                namespace_selector,
                cidrs,
            };
            NetworkObject::new("object-0", spec)
        })
}

fn protocol() -> impl Strategy<Value = Protocol> {
    let number = proptest::sample::select(&[0u8, 1, 6, 17, 47, 58, 132, 255][..]).prop_map(Protocol::Number);
    prop_oneof![
        proptest::sample::select(&Protocol::WORDS[..]).prop_map(|(_, protocol)| protocol),
        number
    ]
}

fn ports() -> impl Strategy<Value = Vec<PortEntry>> {
    let port = || {
        prop_oneof![
            79..83i64,
            proptest::sample::select(&[-1i64, 0, 1, 8, 255, 256, 65535, 65536][..])
        ]
    };
    let entry =
        (protocol(), option::of(port()), option::weighted(0.3, port())).prop_map(|(protocol, port, end_port)| {
            PortEntry {
                protocol,
                port,
                end_port,
            }
        });
    vec(entry, 0..6)
}

fn peer() -> impl Strategy<Value = Peer> {
    let object = prop_oneof!["[a-z0-9.-]{0,4}", Just("web".to_owned())];
    let entity = proptest::sample::select(Entity::ALL);
    (option::of(object), option::of(entity)).prop_map(|(object, entity)| Peer { object, entity })
}

fn rule() -> impl Strategy<Value = DefenseRule> {
    (peer(), peer(), option::of(ports()), -1..1003i64).prop_map(|(source, destination, ports, priority)| {
        let spec = DefenseRuleSpec {
            source,
            destination,
            ports,
            action: Action::Drop,
            priority,
            enabled: true,
        };
        DefenseRule::new("rule-0", spec)
    })
}

fn cluster_defense() -> impl Strategy<Value = ClusterDefense> {
    let name = prop_oneof![Just("default"), Just("other")];
    (name, option::of(vec(cidr(), 0..3)), option::of(-2..3i64)).prop_map(|(name, pod_cidrs, confirmed_generation)| {
        ClusterDefense::new(
            name,
            ClusterDefenseSpec {
                pod_cidrs,
                confirmed_generation,
                ..ClusterDefenseSpec::default()
            },
        )
    })
}

#[test]
fn cel_and_rust_refuse_the_same_objects_in_the_same_words() {
    agree("NetworkObject", &network_object());
}

#[test]
fn cel_and_rust_refuse_the_same_rules_in_the_same_words() {
    agree("DefenseRule", &rule());
}

#[test]
fn cel_and_rust_refuse_the_same_defenses_in_the_same_words() {
    agree("ClusterDefense", &cluster_defense());
}

#[test]
fn every_rule_of_the_manifests_is_written_for_kubernetes_1_31() {
    // Macros and functions that came later would make an older API server refuse the CRD.
    for kind in cellwall_crds::KINDS {
        let text = schema(kind).to_string();
        for young in ["transformList", "existsOne(", "cel.bind", "sortBy", "isSemver"] {
            assert!(!text.contains(young), "{kind} uses {young}");
        }
    }
}
