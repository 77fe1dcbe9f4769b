//! The exposition: names, units, and whatever text a label has.

use super::*;

#[test]
fn names_carry_the_prefix_and_their_units() {
    let labels = RuleLabels {
        rule: "a\"b\n".into(),
        action: "Drop".into(),
    };
    let scrape = Scrape {
        rules: vec![(
            labels,
            Totals {
                flows: 3,
                packets: 4,
                bytes: 5,
            },
        )],
        records: RecordScrape {
            lost: vec![("ring_full".into(), 7)],
            ..RecordScrape::default()
        },
        ..Scrape::default()
    };
    let text = render(&scrape, &ApplyDuration::default(), &StartupWindow::default());
    assert!(
        text.contains("cellwall_rule_flows_total{rule=\"a\\\"b\\n\",action=\"Drop\"} 3"),
        "{text}"
    );
    assert!(
        text.contains("cellwall_records_lost_total{reason=\"ring_full\"} 7"),
        "{text}"
    );
    assert!(text.contains("cellwall_policy_age_seconds 0"), "{text}");
    assert!(text.contains("cellwall_apply_duration_seconds_bucket"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn every_name_that_dashboards_read_is_there() {
    let verdict = VerdictLabels {
        verdict: "DROP".into(),
        applied: "Drop".into(),
        reason: "RULE".into(),
        hook: "FROM_POD".into(),
    };
    let rule = RuleLabels {
        rule: "deny".into(),
        action: "Drop".into(),
    };
    let scrape = Scrape {
        verdicts: vec![(verdict, Totals::default())],
        rules: vec![(rule, Totals::default())],
        maps: vec![("POLICY".into(), 1, 2)],
        maps_refused: vec![("FLOWS".into(), 0)],
        records: RecordScrape {
            given: vec![("DROP".into(), 0)],
            received: vec![(("DROP".into(), "RULE".into()), 0)],
            ring_full: vec![(("DROP".into(), "RULE".into()), 0)],
            lost: vec![("sink".into(), 0)],
            ..RecordScrape::default()
        },
        state: "Normal".into(),
        conditions: vec![("ProbePassed".into(), true)],
        api: Some(ApiScrape {
            requests: vec![("watch", "pods".into(), 0)],
            ..ApiScrape::default()
        }),
        ..Scrape::default()
    };
    let text = render(&scrape, &ApplyDuration::default(), &StartupWindow::default());
    for sample in [
        "cellwall_intercept_state{state=\"Normal\"} 1",
        "cellwall_intercept_state{state=\"Abnormal\"} 0",
        "cellwall_condition{condition=\"ProbePassed\"} 1",
        "cellwall_probe_packets_total 0",
        "cellwall_interfaces 0",
        "cellwall_interfaces_guarded 0",
        "cellwall_flows_total{verdict=\"DROP\",applied=\"Drop\",reason=\"RULE\",hook=\"FROM_POD\"} 0",
        "cellwall_packets_total{",
        "cellwall_traffic_bytes_total{",
        "cellwall_rule_flows_total{",
        "cellwall_rule_packets_total{",
        "cellwall_rule_traffic_bytes_total{",
        "cellwall_map_entries{map=\"POLICY\"} 1",
        "cellwall_map_capacity{map=\"POLICY\"} 2",
        "cellwall_map_full_total{",
        "cellwall_flows_over_quota_total 0",
        "cellwall_map_evicted_total{map=\"OPENING\"} 0",
        "cellwall_records_lost_total{reason=\"sink\"} 0",
        "cellwall_records_given_total{verdict=\"DROP\"} 0",
        "cellwall_records_received_total{verdict=\"DROP\",reason=\"RULE\"} 0",
        "cellwall_records_ring_full_total{verdict=\"DROP\",reason=\"RULE\"} 0",
        "cellwall_records_missing 0",
        "cellwall_records_overflow_total 0",
        "cellwall_alerts_waiting 0",
        "cellwall_alerts_write_failing 0",
        "cellwall_policy_generation_wanted 0",
        "cellwall_policy_generation_realised 0",
        "cellwall_policy_age_seconds 0",
        "cellwall_apply_duration_seconds_count 0",
        "cellwall_startup_window_seconds_count 0",
        "cellwall_pods_protected 0",
        "cellwall_pods_not_enforceable 0",
        "cellwall_api_reconnects_total 0",
        "cellwall_api_relists_total 0",
        "cellwall_api_requests_total{verb=\"watch\",resource=\"pods\"} 0",
        "cellwall_build_info{version=",
    ] {
        assert!(text.lines().any(|line| line.starts_with(sample)), "{sample}\n{text}");
    }
}

/// A sample's name, its labels and its value.
type Sample<'a> = (&'a str, Vec<(String, String)>, f64);

/// A sample, read as the format says. Whoever wrote it has to have escaped all that ends
/// a label, and no more.
fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, value) = rest.strip_prefix(',').unwrap_or(rest).split_once("=\"")?;
            let (mut text, mut chars) = (String::new(), value.char_indices());
            rest = loop {
                match chars.next()? {
                    (at, '"') => break &value[at + 1..],
                    (_, '\\') => text.push(match chars.next()?.1 {
                        'n' => '\n',
                        c @ ('"' | '\\') => c,
                        _ => return None,
                    }),
                    (_, c) => text.push(c),
                }
            };
            labels.push((label.to_owned(), text));
        }
        rest = rest.strip_prefix('}')?;
    }
    Some((name, labels, rest.strip_prefix(' ')?.parse().ok()?))
}

#[test]
fn labels_of_hostile_text_are_read_as_they_were_and_no_other_sample_is_forged() {
    let hostile = format!(
        "\u{1b}[2J\u{9b}\0\r\t\u{7f}\u{202e}\\\"}} 1\ncellwall_intercept_state{{state=\"Normal\"}} 1\n# EOF\n{}",
        "x".repeat(10_240)
    );
    let labels = RuleLabels {
        rule: hostile.clone(),
        action: hostile.clone(),
    };
    let requests = vec![("watch", hostile.clone(), 3)];
    let scrape = Scrape {
        rules: vec![(
            labels,
            Totals {
                flows: 7,
                packets: 8,
                bytes: 9,
            },
        )],
        maps: vec![(hostile.clone(), 1, 2)],
        state: "Abnormal".into(),
        conditions: vec![(hostile.clone(), true)],
        api: Some(ApiScrape {
            requests,
            ..ApiScrape::default()
        }),
        ..Scrape::default()
    };
    let text = render(&scrape, &ApplyDuration::default(), &StartupWindow::default());
    let samples = text
        .split('\n')
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let samples: Vec<_> = samples
        .map(|line| sample(line).unwrap_or_else(|| panic!("no sample: {line:?}")))
        .collect();
    let flows: Vec<_> = samples
        .iter()
        .filter(|(name, ..)| *name == "cellwall_rule_flows_total")
        .collect();
    let wanted = ["rule", "action"].map(|label| (label.to_owned(), hostile.clone()));
    assert_eq!(flows, [&("cellwall_rule_flows_total", wanted.to_vec(), 7.0)]);
    let normal = ("state".to_owned(), "Normal".to_owned());
    let states: Vec<f64> = samples
        .iter()
        .filter(|(name, labels, _)| *name == "cellwall_intercept_state" && labels.contains(&normal))
        .map(|(_, _, value)| *value)
        .collect();
    assert_eq!(states, [0.0], "the node's own word alone");
    let told = samples
        .iter()
        .flat_map(|(_, labels, _)| labels)
        .filter(|(_, value)| *value == hostile);
    assert_eq!(
        told.count(),
        3 * 2 + 2 + 1 + 1,
        "rules, maps, the condition, the request"
    );
    assert_eq!(text.lines().filter(|line| *line == "# EOF").count(), 1);
}
