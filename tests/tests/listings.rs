//! The commands that list, with 100,000 records and 100,000 alerts there: how long they take, and what they look like in a
//! terminal of 80 columns and in a pipe.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use cellwall_controller::alerts::Alerts;
use cellwall_controller::lab::{Outcome, Wiring};
use cellwall_controller::records::FlowRecord;
use cellwall_tests::agent::binary;
use cellwall_tests::blast::Blast;
use cellwall_tests::{Cluster, wait_for};
use serde_json::Value;

/// Records that an agent keeps for `flows`.
const MANY: usize = 100_000;
/// What any of the commands may take here, where tests are not optimised and other tests run beside.
const MOST: Duration = Duration::from_mins(2);
/// What one may take that shows a few of many.
const FEW: Duration = Duration::from_secs(10);
/// A name that no line of 80 columns has room for beside anything.
const LONG: &str = "a-rule-whose-name-is-as-long-as-names-of-many-kinds-may-be-in-it";

const RULES: &str = "
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: b}
spec: {apps: [b]}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: closed}
spec: {source: {entity: Any}, destination: {object: b}, ports: [{protocol: UDP, port: 1001, endPort: 60000}], action: Drop, priority: 10}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: LONG}
spec: {source: {object: b}, destination: {entity: World}, action: Alert, priority: 900, enabled: false}
";

/// Every command, and how many rows it is to have, where that is known.
const LISTINGS: [(&[&str], Option<usize>); 6] = [
    (&["flows"], Some(MANY)),
    (
        &["flows", "--verdict", "DROP", "--pod", "ns-0/a", "--since", "1s"],
        None,
    ),
    (&["refused", "ns-0/a"], Some(64)),
    (&["alerts", "--pod", "shop/web-7"], Some(100)),
    (&["rules"], Some(2)),
    (&["objects"], Some(1)),
];

/// Alerts of a thousand pods, a hundred each, made of a record of the agent's own.
fn fill_alerts(cluster: &Cluster, like: &Value) {
    let alerts = Alerts::new(cluster.directory.path().join("state"), 1 << 30);
    let mut record: FlowRecord = serde_json::from_value(like.clone()).expect("a record");
    for number in 0..MANY {
        let pod = number % 1_000;
        record.source.pod = Some(format!("web-{pod}"));
        record.source.uid = Some(format!("uid-{pod}"));
        record.source.namespace = Some("shop".to_owned());
        record.destination.port = u16::try_from(number / 1_000).ok();
        alerts.add(&record);
        if number % 20_000 == 19_999 {
            alerts.flush();
        }
    }
    assert_eq!((alerts.failure(), alerts.lost(), alerts.waiting()), (None, 0, 0));
}

/// A cluster whose agent has as many records and alerts.
fn filled() -> Cluster {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"])
        .with_arguments(&["--flow-log-lines", "0"])
        .with_flow_log("/dev/null");
    cluster.save_pods();
    cluster.save("rules.yaml", &RULES.replace("LONG", LONG));
    cluster.start();
    let to = SocketAddr::new(cluster.pod("b").address(true), 1001);
    assert_eq!(cluster.udp("a", to), Outcome::Silence);
    let like = cluster
        .record(|record| record["rule"]["name"] == "closed")
        .expect("a record");
    cluster.kill();
    fill_alerts(&cluster, &like);
    cluster.start();
    // A record stands for all that was refused of one port within a second.
    let blast = Blast::datagrams(&cluster, "a", "b", 20_000..60_000).expect("packet sockets");
    let full = wait_for(Duration::from_mins(2), || {
        // Three seconds in which each of 40,000 ports gives a record, and some that are lost on a busy machine.
        std::thread::sleep(Duration::from_secs(5));
        (cluster.records().len() == MANY).then_some(())
    });
    blast.end().expect("the flood ends");
    assert!(full.is_some(), "{} records only", cluster.records().len());
    cluster
}

/// What a command writes into a pipe, and how long it takes.
fn piped(cluster: &Cluster, words: &[&str]) -> (String, Duration) {
    let began = Instant::now();
    let output = cluster.command(words).output().expect("the command runs");
    let took = began.elapsed();
    let told = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        output.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    (told, took)
}

/// What a command writes to a terminal of 80 columns, its colours taken out, and whether there were any.
fn in_a_terminal(cluster: &Cluster, words: &[&str]) -> (String, bool) {
    let command = format!(
        "stty cols 80 rows 24; exec {} {} --instance {}",
        binary().display(),
        words.join(" "),
        cluster.instance()
    );
    let mut terminal = cluster.lab.node().command("script");
    terminal
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR");
    let output = terminal
        .stdin(Stdio::null())
        .output()
        .expect("script runs; it is in Debian's bsdutils");
    let told = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{words:?}: {told}");
    let (mut plain, mut rest, mut coloured) = (String::new(), told.as_str(), false);
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        let (sgr, after) = after
            .split_once('m')
            .unwrap_or_else(|| panic!("{words:?}: no colour: {after:?}"));
        assert!(
            sgr.chars().all(|c| c.is_ascii_digit() || c == ';'),
            "{words:?}: no colour: {sgr:?}"
        );
        coloured = true;
        rest = after;
    }
    plain.push_str(rest);
    (plain.replace('\r', "").trim_matches('\u{4}').to_owned(), coloured)
}

fn look(told: &str) -> String {
    told.lines().take(4).collect::<Vec<_>>().join("\n")
}

/// In a pipe: a line a row, no escapes, nothing cut; as JSON: the same rows.
fn in_pipes(cluster: &Cluster) {
    for (words, rows) in LISTINGS {
        let (told, took) = piped(cluster, words);
        let (lines, took_json) = piped(cluster, &[words, &["--format", "json"]].concat());
        println!(
            "{words:?}: {} lines in {took:.1?}, as JSON in {took_json:.1?}\n{}\n",
            told.lines().count(),
            look(&told)
        );
        assert!(!told.chars().any(|c| c.is_control() && c != '\n'), "{words:?}");
        let most = if rows == Some(MANY) { MOST } else { FEW };
        assert!(took < most && took_json < most, "{words:?}: {took:?} and {took_json:?}");
        let read: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .filter(|row: &Value| row.get("counts").is_none())
            .collect();
        // The flood is over; of what else there is in a network a record may come between the two.
        let of_table = told.lines().skip_while(|line| !line.contains("  to")).skip(1);
        let of_table: Vec<&str> = if words[0] == "objects" {
            told.lines().skip(1).collect()
        } else {
            of_table.collect()
        };
        if let Some(rows) = rows {
            assert_eq!((read.len(), of_table.len()), (rows, rows), "{words:?}\n{}", look(&told));
        }
        for (row, line) in read
            .iter()
            .zip(&of_table)
            .take(if words[0] == "flows" { 0 } else { 100 })
        {
            let whole = [
                &row["name"],
                &row["source"]["pod"],
                &row["rule"]["name"],
                &row["selects"][0],
            ];
            for text in whole.iter().filter_map(|text| text.as_str()) {
                assert!(line.contains(text), "{words:?}: {text} is cut in {line}");
            }
        }
    }
    let (told, _) = piped(cluster, &["rules"]);
    assert!(told.contains(LONG), "{told}");
    let (told, took) = piped(cluster, &["alerts"]);
    println!("alerts: {} lines in {took:.1?}", told.lines().count());
    assert!(told.lines().count() > MANY && took < MOST, "{took:?}");
}

/// In a terminal of 80 columns: no line is longer, and with usual names a row is a line.
fn in_terminals(cluster: &Cluster) {
    for (words, rows) in LISTINGS {
        let (told, coloured) = in_a_terminal(cluster, words);
        println!("{words:?}\n{}\n", look(&told));
        let long = told.lines().find(|line| line.chars().count() > 80);
        assert_eq!(long, None, "{words:?}");
        assert!(coloured || rows.is_none(), "{words:?}: a terminal has colours");
        let rows = rows.filter(|_| words[0] != "rules").unwrap_or_default();
        // `alerts` has the counts above, and each table a header.
        let above = if words[0] == "alerts" { 5 } else { 1 };
        assert!(
            rows == 0 || told.lines().count() == rows + above,
            "{words:?}\n{}",
            look(&told)
        );
    }
}

/// `--follow` first tells what there is, and then what comes.
fn following(cluster: &Cluster) {
    let began = Instant::now();
    let mut child = cluster
        .command(&["flows", "--follow"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let kept = lines
        .by_ref()
        .take(MANY)
        .map_while(Result::ok)
        .filter(|line| line.contains("closed"))
        .count();
    let took = began.elapsed();
    assert_eq!(
        cluster.udp("a", SocketAddr::new(cluster.pod("b").address(true), 1_234)),
        Outcome::Silence
    );
    let new = lines
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.contains("1234/UDP"))
        .expect("the new one");
    child.kill().expect("it ends");
    child.wait().expect("it has ended");
    println!("flows --follow: {kept} lines in {took:.1?}, then\n{new}");
    assert!(kept > MANY / 2 && took < MOST, "{kept} lines in {took:?}");
    assert!(
        ["DROP", "closed", "ns-0/a", "ns-0/b"]
            .iter()
            .all(|text| new.contains(text)),
        "{new}"
    );
    assert!(new.len() <= 80, "{new}");
}

#[test]
fn with_100000_records_every_listing_answers_soon_fits_80_columns_and_is_whole_in_a_pipe() {
    let cluster = filled();
    in_pipes(&cluster);
    in_terminals(&cluster);
    following(&cluster);
}
