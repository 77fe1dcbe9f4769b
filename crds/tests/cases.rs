//! Good and bad objects with the exact words of every refusal.
//!
//! The cases are data (`cases.json`, one a line), so that the same objects can be put to a real API server. Where
//! a case has `server`, that says how an API server differs. `UPDATE_CASES=1` writes what is said now; read the difference.

use cellwall_crds::read;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    why: String,
    object: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    refused: Vec<String>,
}

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases.json");

fn cases() -> Vec<Case> {
    serde_json::from_str(&std::fs::read_to_string(FILE).expect("cases.json can be read")).expect("cases.json parses")
}

fn words(object: &Value) -> Vec<String> {
    read(object)
        .err()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn every_case_is_refused_with_its_words_and_no_others() {
    if std::env::var_os("UPDATE_CASES").is_some() {
        let lines: Vec<_> = cases()
            .into_iter()
            .map(|case| Case {
                refused: words(&case.object),
                ..case
            })
            .map(|case| serde_json::to_string(&case).expect("a case is plain data"))
            .collect();
        std::fs::write(FILE, format!("[\n{}\n]\n", lines.join(",\n"))).expect("cases.json can be written");
    }
    let mut wrong = Vec::new();
    for case in cases() {
        let said = words(&case.object);
        if said != case.refused {
            wrong.push(format!(
                "{}:\n  expected {:#?}\n  said {said:#?}",
                case.why, case.refused
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_word_of_a_refusal_acts_on_a_terminal() {
    for case in cases() {
        for line in words(&case.object) {
            assert!(
                line.chars().all(|c| !c.is_control() && c != '\u{202e}'),
                "{}: {line:?}",
                case.why
            );
        }
    }
}

#[test]
fn every_refusal_names_a_remedy() {
    for case in cases() {
        for violation in read(&case.object).err().unwrap_or_default() {
            assert!(
                !violation.message.is_empty() && !violation.remedy.is_empty(),
                "{}: {violation:?}",
                case.why
            );
        }
    }
}

#[test]
fn case_60_a_block_with_host_bits_is_refused_whatever_its_family_and_told_its_remedy() {
    for (text, network) in [
        ("10.161.0.0/8", "10.0.0.0/8"),
        ("198.51.100.1/24", "198.51.100.0/24"),
        ("2001:db8::1/64", "2001:db8::/64"),
        ("0.0.0.1/0", "0.0.0.0/0"),
    ] {
        let object = |cidr: &str| {
            serde_json::json!({
                "apiVersion": "cellwall.io/v1alpha1", "kind": "NetworkObject",
                "metadata": { "name": "block" }, "spec": { "cidrs": [{ "cidr": cidr }] },
            })
        };
        let refused = words(&object(text));
        assert_eq!(refused.len(), 1, "{text}: {refused:?}");
        assert!(
            refused[0].contains("bits set after the prefix length; clear them"),
            "{refused:?}"
        );
        assert_eq!(words(&object(network)), [] as [String; 0], "{network}");
    }
}
