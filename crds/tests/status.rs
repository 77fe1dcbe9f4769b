//! Status and conditions: what one version writes, another reads.

use cellwall_crds::{
    Condition, ConditionStatus, ConditionType, Document, InterceptState, InterceptStatus, InterceptStatusReport, Mode,
    Reason, Violation, escaped, is_ours, read, set_condition, shortened,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

fn condition(status: ConditionStatus, second: i64) -> Condition {
    Condition {
        r#type: ConditionType::PolicySynced,
        status,
        reason: Reason::Synced,
        message: format!("at second {second}"),
        observed_generation: None,
        last_transition_time: Time(Timestamp::from_second(second).expect("a second is in range")),
    }
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let mut conditions = Vec::new();
    set_condition(&mut conditions, condition(ConditionStatus::True, 1));
    set_condition(&mut conditions, condition(ConditionStatus::True, 2));
    assert_eq!(conditions.len(), 1);
    assert_eq!(
        conditions[0].last_transition_time,
        condition(ConditionStatus::True, 1).last_transition_time
    );
    assert_eq!(conditions[0].message, "at second 2");
    set_condition(&mut conditions, condition(ConditionStatus::False, 3));
    assert_eq!(conditions, [condition(ConditionStatus::False, 3)]);
}

#[test]
fn a_report_survives_json_and_reading() {
    let mut status = InterceptStatus::new("node-0", cellwall_crds::InterceptStatusSpec {});
    status.status = Some(InterceptStatusReport {
        state: Some(InterceptState::NormalToBeConfirmed),
        reason: Some(Reason::AwaitingConfirmation),
        message: Some("run `cellwall confirm`".into()),
        enforcing: true,
        addresses: vec!["192.0.2.1".into(), "2001:db8::1".into()],
        generation_wanted: Some(7),
        generation_realised: Some(6),
        conditions: vec![condition(ConditionStatus::True, 4)],
        ..InterceptStatusReport::default()
    });
    let value = serde_json::to_value(&status).expect("a report is plain data");
    assert_eq!(
        value["status"]["conditions"][0]["lastTransitionTime"],
        "1970-01-01T00:00:04Z"
    );
    assert!(value.get("spec").is_none(), "there is nothing for people to set");
    assert_eq!(read(&value), Ok(Document::InterceptStatus(status)));
}

#[test]
fn words_of_a_later_version_do_not_hide_a_nodes_addresses() {
    let value = json!({
        "apiVersion": "cellwall.io/v1alpha1", "kind": "InterceptStatus", "metadata": {"name": "node-0"},
        "status": {
            "reason": "SomethingNew", "enforcing": true, "addresses": ["192.0.2.1"], "later": {},
            "conditions": [{
                "type": "Later", "status": "True", "reason": "AlsoLater", "message": "",
                "lastTransitionTime": "2026-01-02T03:04:05Z",
            }],
        },
    });
    let Ok(Document::InterceptStatus(status)) = read(&value) else {
        panic!("it is refused")
    };
    let report = status.status.expect("it has a report");
    assert_eq!(report.addresses, ["192.0.2.1"]);
    assert_eq!(report.reason, Some(Reason::Unrecognised));
    assert_eq!(report.conditions[0].r#type, ConditionType::Unrecognised);
}

#[test]
fn a_word_that_does_not_exist_is_an_error_that_names_those_that_do() {
    let error = "enforce".parse::<Mode>().expect_err("letter case counts");
    assert_eq!(error.to_string(), "`enforce` is not one of Enforce, AlertOnly, Off");
}

#[test]
fn everything_of_our_group_is_ours_and_nothing_else() {
    for (api_version, kind, ours) in [
        ("cellwall.io/v1alpha1", "NetworkObject", true),
        ("cellwall.io/v9", "NetworkObject", true),
        ("cellwall.io/v1alpha1", "Whatever", true),
        ("cellwall.io", "NetworkObject", true),
        ("", "DefenseRule", true),
        ("", "Pod", false),
        ("v1", "Pod", false),
        ("v1", "NetworkObject", false),
        ("example.com/v1", "DefenseRule", false),
        ("xcellwall.io/v1alpha1", "DefenseRule", false),
    ] {
        assert_eq!(is_ours(api_version, kind), ours, "{api_version} {kind}");
    }
}

#[test]
fn what_a_terminal_would_act_on_is_shown_and_not_sent() {
    for (raw, shown) in [
        ("web", "web"),
        ("\u{1b}[31mred", "\\u{1b}[31mred"),
        ("a\nb\tc", "a\\u{a}b\\u{9}c"),
        ("\u{202e}gnp", "\\u{202e}gnp"),
        ("\u{9b}2J", "\\u{9b}2J"),
        ("zero\u{200b}width", "zero\\u{200b}width"),
        ("größe", "größe"),
    ] {
        assert_eq!(escaped(raw), shown);
    }
    assert_eq!(escaped(&"x".repeat(100)), "x".repeat(100));
    assert_eq!(shortened(&"\n".repeat(81)), format!("{}...", "\\u{a}".repeat(80)));
}

#[test]
fn a_violation_reads_as_field_value_fault_and_remedy() {
    let violation = Violation {
        path: "spec.priority".into(),
        found: Some("`0`".into()),
        message: "too small".into(),
        remedy: "write more".into(),
    };
    assert_eq!(violation.to_string(), "spec.priority: found `0`: too small; write more");
    let bare = Violation {
        path: String::new(),
        found: None,
        ..violation
    };
    assert_eq!(bare.to_string(), "too small; write more");
}
