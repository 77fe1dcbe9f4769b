//! Every verdict leaves a trace: what became of each record adds up, whatever the reader, the disk or a kill does to the
//! agent; alerts stay.
//!
//! `CELLWALL_RECORDS` is how many verdicts the flood gives (400,000).

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cellwall_controller::api::{Request, client};
use cellwall_controller::lab::{Outcome, Wiring};
use cellwall_tests::blast::Blast;
use cellwall_tests::{Cluster, wait_for};
use nix::mount::{MsFlags, mount, umount};
use serde_json::Value;

const RULES: &str = "
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: b}
spec: {apps: [b]}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: closed}
spec: {source: {entity: Any}, destination: {object: b}, ports: [{protocol: Any, port: 1001}, {protocol: UDP, port: 20000, endPort: 60000}], action: Drop, priority: 10}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: watched}
spec: {source: {entity: Any}, destination: {object: b}, ports: [{protocol: Any, port: 1002}], action: Alert, priority: 10}
";

const DROP: u16 = 1001;
const ALERT: u16 = 1002;

fn started(cluster: &mut Cluster) {
    cluster.save_pods();
    cluster.save("rules.yaml", RULES);
    cluster.start();
}

/// The counts, and the alerts.
fn alerts(cluster: &Cluster) -> (Value, Vec<Value>) {
    let request = Request::Alerts {
        since: None,
        pod: None,
        rule: None,
        verdict: None,
    };
    let mut rows = client::ask_all(&cluster.socket(), &request).expect("the agent answers");
    let counts = rows.remove(0)["counts"].take();
    (counts, rows)
}

/// Waits until the alert of a rule stands for so many attempts.
fn wait_for_alert(cluster: &Cluster, rule: &str, attempts: u64) -> Value {
    let found = wait_for(Duration::from_secs(5), || {
        let (_, rows) = alerts(cluster);
        rows.into_iter()
            .find(|row| row["rule"]["name"] == rule && row["attempts"].as_u64() >= Some(attempts))
    });
    found.unwrap_or_else(|| panic!("no {attempts} attempts: {:?}", alerts(cluster)))
}

fn to_b(cluster: &Cluster, port: u16) -> SocketAddr {
    SocketAddr::new(cluster.pod("b").address(true), port)
}

/// What the agent tells of records: given, received, found the ring full, unread, and what the check is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sums {
    given: u64,
    received: u64,
    ring_full: u64,
    unread: u64,
    missing: u64,
}

impl Sums {
    fn read(cluster: &Cluster, verdict: &str) -> Self {
        let lost = |reason: &str| cluster.metric("cellwall_records_lost_total{", reason);
        Self {
            given: cluster.metric("cellwall_records_given_total{", verdict),
            received: cluster.metric("cellwall_records_received_total{", verdict),
            ring_full: cluster.metric("cellwall_records_ring_full_total{", verdict),
            unread: lost("\"unread\""),
            missing: cluster.metric("cellwall_records_missing", ""),
        }
    }

    fn agrees(&self) -> bool {
        self.given == self.received + self.ring_full + self.unread && self.missing == 0
    }
}

/// The sums of all verdicts when all has been read.
fn settled(cluster: &Cluster) -> Sums {
    let found = wait_for(Duration::from_secs(20), || {
        let sums = Sums::read(cluster, "");
        sums.agrees().then_some(sums)
    });
    found.unwrap_or_else(|| panic!("never agreed: {:?}\n{}", Sums::read(cluster, ""), cluster.metrics()))
}

/// Refused frames from `a` to 40,000 ports of `b` at full speed until there were so many verdicts.
fn flood(cluster: &Cluster, verdicts: u64) {
    let before = cluster.rule("closed")["flows"].as_u64().expect("a number");
    let blast = Blast::datagrams(cluster, "a", "b", 20_000..60_000).expect("packet sockets");
    let done = wait_for(Duration::from_mins(10), || {
        std::thread::sleep(Duration::from_millis(20));
        (cluster.rule("closed")["flows"].as_u64()? - before >= verdicts).then_some(())
    });
    blast.end().expect("the flood ends");
    assert!(done.is_some(), "the flood is too slow");
}

#[test]
fn attempts_are_one_alert_a_day_which_a_killed_agent_leaves_behind() {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
    started(&mut cluster);
    for _ in 0..3 {
        assert_eq!(cluster.udp("a", to_b(&cluster, DROP)), Outcome::Silence);
    }
    cluster.udp("a", to_b(&cluster, ALERT));
    let dropped = wait_for_alert(&cluster, "closed", 3);
    let told = |alert: &Value| {
        let fields =
            ["verdict", "action", "applied", "protocol"].map(|key| alert[key].as_str().unwrap_or_default().to_owned());
        (
            fields.join(" "),
            alert["attempts"].as_u64().unwrap_or(0),
            alert["dropped"].as_u64().unwrap_or(9),
        )
    };
    assert_eq!(told(&dropped), ("DROP Drop Drop UDP".to_owned(), 3, 3), "{dropped}");
    assert_eq!(
        (&dropped["source"]["pod"], &dropped["destination"]["pod"]),
        (&"a".into(), &"b".into())
    );
    let alerted = wait_for_alert(&cluster, "watched", 1);
    assert_eq!(told(&alerted), ("ALERT Alert Pass UDP".to_owned(), 1, 0), "{alerted}");
    let before = alerts(&cluster);
    assert_eq!(
        before.0["last_24_hours"],
        serde_json::json!({"alerts": 2, "attempts": 4})
    );
    cluster.kill();
    cluster.start();
    let after = alerts(&cluster);
    assert_eq!(after.1, before.1, "as before the kill");
    assert_eq!(cluster.udp("a", to_b(&cluster, DROP)), Outcome::Silence);
    assert_eq!(
        wait_for_alert(&cluster, "closed", 4)["first_seen"],
        dropped["first_seen"]
    );
    let listed = cluster
        .command(&["alerts", "--since", "24h"])
        .output()
        .expect("the command runs");
    let text = String::from_utf8_lossy(&listed.stdout);
    println!("{text}");
    assert!(
        text.contains("last 24 hours") && text.contains("closed") && text.contains("ns-0/a"),
        "{text}"
    );
}

/// Reads a pipe, stands still for five seconds in the middle, and answers how many attempts the lines stood for.
fn stalled_reader(path: &Path, stall: &Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    let (path, stall) = (path.to_owned(), stall.clone());
    std::thread::spawn(move || {
        let mut attempts = 0;
        for line in BufReader::new(File::open(path).expect("a pipe"))
            .lines()
            .map_while(Result::ok)
        {
            let record: Value = serde_json::from_str(&line).expect("every line is whole");
            attempts += record["attempts"].as_u64().expect("a number");
            if stall.swap(false, Ordering::Relaxed) {
                std::thread::sleep(Duration::from_secs(5));
            }
        }
        attempts
    })
}

#[test]
fn of_a_flood_with_a_reader_that_stands_still_every_verdict_is_received_or_counted_lost() {
    let wanted = std::env::var("CELLWALL_RECORDS").map_or(400_000, |text| text.parse().expect("a number"));
    let directory = tempfile::tempdir().expect("a directory");
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("a pipe");
    let stall = Arc::new(AtomicBool::new(false));
    let reader = stalled_reader(&pipe, &stall);
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]).with_flow_log(&pipe.to_string_lossy());
    started(&mut cluster);
    flood(&cluster, wanted / 2);
    stall.store(true, Ordering::Relaxed);
    flood(&cluster, wanted / 2);
    let sums = settled(&cluster);
    let refused = cluster.rule("closed")["flows"].as_u64().expect("a number");
    let drops = Sums::read(&cluster, "verdict=\"DROP\"");
    assert_eq!(
        drops.received + drops.ring_full,
        refused,
        "each refused packet, by the rule's own counter: {drops:?}"
    );
    assert_eq!(
        cluster.metric("cellwall_records_received_total{", "RULE")
            + cluster.metric("cellwall_records_ring_full_total{", "RULE"),
        cluster.metric("cellwall_flows_total{", "reason=\"RULE\""),
        "by reason"
    );
    let folded = wait_for(Duration::from_secs(10), || {
        let (_, rows) = alerts(&cluster);
        let attempts: u64 = rows.iter().filter_map(|row| row["attempts"].as_u64()).sum();
        (attempts == drops.received).then_some(rows.len())
    });
    let folded = folded.expect("the alerts stand for all that was received");
    let pid = nix::unistd::Pid::from_raw(cluster.pid().expect("an agent").try_into().expect("a process id"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("a signal");
    let lines = reader.join().expect("the reader");
    println!("{refused} verdicts of the flood: {sums:?}; {lines} attempts in the flow log's lines; {folded} alerts");
    // Of what else there is in a network a record may come after the sums were read.
    assert!(
        (sums.received..sums.received + 50).contains(&lines),
        "what was received is in the lines"
    );
}

#[test]
fn what_a_killed_agent_took_along_is_counted() {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]).with_flow_log("/dev/null");
    started(&mut cluster);
    for _ in 0..2 {
        flood(&cluster, 20_000);
        cluster.kill();
        cluster.start();
        let sums = settled(&cluster);
        let refused = cluster.rule("closed")["flows"].as_u64().expect("a number");
        assert!(refused >= 20_000 && sums.given >= refused, "{sums:?} of {refused}");
        println!(
            "after a kill: {sums:?}, {} held",
            cluster.metric("cellwall_records_lost_total{", "\"killed\"")
        );
    }
}

/// A small file system that is unmounted when it is dropped.
struct Small(PathBuf);

impl Small {
    fn new(path: &Path, size: &str) -> Self {
        std::fs::create_dir_all(path).expect("a directory");
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(size)).expect("a file system");
        Self(path.to_owned())
    }

    /// Fills it to the last byte.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = File::create(&path).expect("a file");
        while file.write_all(&[0; 4_096]).is_ok() {}
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // The agent may still be about to let go of its files.
        let _ = umount(&self.0).or_else(|_| nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH));
    }
}

fn logs_intact(cluster: &Cluster) -> Value {
    let status = cluster.status().expect("a status");
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions
        .into_iter()
        .find(|one| one["type"] == "LogsIntact")
        .expect("the condition")
}

#[test]
fn on_a_full_disk_verdicts_stay_the_loss_is_told_and_alerts_come_back() {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
    let state = cluster.directory.path().join("state");
    let small = Small::new(&state, "size=12m");
    let log = state.join("flows.jsonl");
    cluster = cluster.with_flow_log(&log.to_string_lossy());
    started(&mut cluster);
    assert_eq!(cluster.udp("a", to_b(&cluster, DROP)), Outcome::Silence);
    wait_for_alert(&cluster, "closed", 1);
    let ballast = small.fill();
    let lost = || cluster.metric("cellwall_records_lost_total{", "\"sink\"");
    // Pages that the store has already may take some more.
    let failed = wait_for(Duration::from_secs(30), || {
        for _ in 0..50 {
            cluster.udp("a", to_b(&cluster, DROP));
            if logs_intact(&cluster)["status"] == "False" && lost() > 0 {
                return Some(());
            }
        }
        None
    });
    assert!(failed.is_some(), "{}\n{}", logs_intact(&cluster), cluster.log());
    assert_eq!(
        cluster.udp("a", to_b(&cluster, DROP)),
        Outcome::Silence,
        "verdicts are what they were"
    );
    println!("{}", logs_intact(&cluster)["message"]);
    std::fs::remove_file(ballast).expect("room");
    let attempts = cluster.rule("closed")["flows"].as_u64().expect("a number");
    wait_for_alert(&cluster, "closed", attempts);
    assert_eq!(cluster.metric("cellwall_alerts_write_failing", ""), 0);
    assert!(settled(&cluster).agrees());
    let lines = std::fs::read_to_string(&log).expect("the flow log");
    assert!(
        lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()),
        "no half line:\n{lines}"
    );
    let written: u64 = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["attempts"].as_u64())
        .sum();
    let sums = Sums::read(&cluster, "");
    assert!(
        written + lost() <= sums.received,
        "{written} written, {} lost, {sums:?}",
        lost()
    );
    cluster.kill();
    drop(small);
}
