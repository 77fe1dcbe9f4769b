//! What tables look like: in a terminal of 80 columns, in a pipe, and whatever texts they are made of.

use serde_json::json;

use super::super::alerts;
use super::*;

/// A row of each table, with these names. Of times, those of today are short.
fn tables(rule: &str, pod: &str, width: Option<u16>) -> [String; 4] {
    let now = jiff::Timestamp::now().to_string();
    let end =
        |pod: &str| json!({"ip": "192.0.2.7", "port": 40_000, "namespace": "shop", "pod": pod, "entity": "Cluster"});
    let flow = json!({
        "time": now, "first_seen": now, "last_seen": now, "verdict": "DROP", "applied": "Drop", "reason": "RULE",
        "rule": {"name": rule}, "protocol": "TCP", "port": 5_432, "attempts": 100_000, "source": end(pod),
        "destination": {"port": 5_432, "namespace": "shop", "pod": "db-0"},
    });
    let counted = json!({
        "name": rule, "priority": 1000, "action": "Drop", "enabled": false, "source_pods": 100, "destination_pods": 12,
        "flows": 1_000_000, "packets": 10_000_000, "bytes": 10_000_000_000_u64, "last_hit": null,
    });
    let pods: Vec<String> = (0..8).map(|number| format!("shop/{pod}-{number}")).collect();
    let object = json!({"name": rule, "kind": "workloads", "pods": 8, "rules": 2, "selects": pods});
    [
        flow_table(std::slice::from_ref(&flow), width),
        alerts::table(&[flow], width),
        rules_table(&[counted], width),
        objects_table(&[object], width),
    ]
}

#[test]
fn at_80_columns_no_line_is_longer_and_rows_of_usual_names_are_one_line() {
    let usual = tables("nobody-else", "web-0", Some(80));
    for (number, table) in usual.iter().enumerate() {
        println!("{table}\n");
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        // What an object selects has as many lines as it needs; a name is in one of them.
        let rows = if number == 3 { 4 } else { 2 };
        assert!(table.lines().count() <= rows, "{table}");
        assert!(table.contains("nobody-else"), "{table}");
    }
    assert!(
        (0..8).all(|number| usual[3].contains(&format!("shop/web-0-{number}"))),
        "{}",
        usual[3]
    );
    for table in tables(&"long-name-".repeat(6), "web-7d9f8b6c5d-x2x4z", Some(80)) {
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    }
}

#[test]
fn in_a_pipe_a_row_is_one_line_and_nothing_is_cut() {
    let (rule, pod) = ("long-name-".repeat(25), format!("web-{}", "x".repeat(240)));
    for table in tables(&rule, &pod, None) {
        assert_eq!(table.lines().count(), 2, "{table}");
        assert!(table.contains(&rule), "{table}");
        assert!(!table.contains('\u{1b}'), "no colours: {table:?}");
    }
    assert!(tables(&rule, &pod, None)[0].contains(&format!("shop/{pod}")));
}

#[test]
fn texts_that_would_move_a_terminals_cursor_are_shown_and_not_obeyed() {
    let hostile = format!(
        "\u{1b}[2J\u{9b}31m\r\n\t\0\u{7f}\u{202e}\u{200b}|{}",
        "x".repeat(10_240)
    );
    for width in [None, Some(80)] {
        for table in tables(&hostile, &hostile, width) {
            let bad = table.chars().find(|c| *c != '\n' && cellwall_crds::is_invisible(*c));
            assert_eq!(bad, None, "{table:?}");
            let told: String = table.split_whitespace().collect();
            assert!(
                width.is_some() || told.contains("\\u{1b}[2J\\u{9b}31m\\u{d}\\u{a}\\u{9}\\u{0}\\u{7f}"),
                "{told}"
            );
        }
    }
    let cells = flow_row(
        &json!({"verdict": hostile, "time": hostile, "protocol": hostile}),
        Some(80),
    );
    let line = output::row(&cells);
    assert!(!line.chars().any(cellwall_crds::is_invisible), "{line:?}");
}

#[test]
fn what_was_applied_and_why_are_told_where_verdict_and_rule_do_not_say_it() {
    let told = |verdict: &str, applied: &str, reason: &str, rule: Option<&str>| {
        let row = json!({"verdict": verdict, "applied": applied, "reason": reason, "rule": rule.map(|name| json!({"name": name}))});
        [output::verdict_of(&row), output::decided_by(&row)]
    };
    assert_eq!(told("DROP", "Drop", "RULE", Some("r")), ["DROP", "r"]);
    assert_eq!(told("DROP", "Pass", "RULE", Some("r")), ["DROP, passed", "r"]);
    assert_eq!(told("ALERT", "Pass", "RULE", Some("r")), ["ALERT", "r"]);
    assert_eq!(
        told("PASS", "Drop", "STARTUP", Some("r")),
        ["PASS, dropped", "r (STARTUP)"]
    );
    assert_eq!(told("DROP", "Drop", "SPOOFED", None), ["DROP", "SPOOFED"]);
}

#[test]
fn a_time_in_a_terminal_is_without_its_day_today_and_without_its_year_before() {
    let now = jiff::Timestamp::now().to_string();
    assert_eq!(output::time(&now, Some(80)), now[11..19]);
    assert_eq!(output::time(&now, None), now[..19]);
    assert_eq!(output::time("2001-02-03T04:05:06.7Z", Some(80)), "02-03 04:05:06");
    assert_eq!(output::time("λλλλλλλλλλλλλλλ", Some(80)), "λλλλλλλλλλλλλλλ");
}
