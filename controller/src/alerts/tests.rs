//! Alerts: what folds into one, what is counted, what goes first, and what a killed process or a full disk leaves.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::alert::day_of;
use super::index::Term;
use super::store::FILE;
use super::sums::Count;
use super::*;
use crate::records::{FlowEnd, FlowRecord, Party, RuleName, flow::Workload};

pub(super) const ROOM: u64 = 256 << 20;

fn number(variable: &str, usual: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(usual, |text| text.parse().expect("a number"))
}

pub(super) fn pod(name: &str) -> FlowEnd {
    FlowEnd {
        ip: Some("192.0.2.7".parse().unwrap()),
        port: None,
        party: Arc::new(Party {
            namespace: Some("shop".into()),
            pod: Some(name.into()),
            uid: Some(format!("uid-of-{name}")),
            workload: Some(Workload {
                kind: "Deployment".into(),
                name: "web".into(),
            }),
            ..Party::default()
        }),
    }
}

/// A record of one refused attempt from `web` to `db` at this port and time.
pub(super) fn record(port: u16, time: Timestamp) -> FlowRecord {
    FlowRecord {
        time,
        node: "node-0".into(),
        verdict: "DROP".into(),
        action: Some("Drop".into()),
        applied: "Drop".into(),
        reason: "RULE".into(),
        rule: Some(RuleName {
            name: "closed".into(),
            uid: "u-0".into(),
            priority: 7,
        }),
        generation: 1,
        hook: "FROM_POD".into(),
        protocol: "TCP".into(),
        tcp_flags: None,
        icmp_type: None,
        source: pod("web"),
        destination: FlowEnd {
            port: Some(port),
            ..pod("db")
        },
        attempts: 1,
        first_seen: time,
        last_seen: time,
        overflow: false,
    }
}

pub(super) fn hours_ago(hours: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(hours)
}

pub(super) fn commit(store: &Store, records: impl IntoIterator<Item = FlowRecord>) {
    let mut batch: HashMap<Key, Alert> = HashMap::new();
    for record in records {
        let alert = Alert::of(&record).unwrap();
        match batch.get_mut(&alert.key()) {
            Some(known) => known.merge(&alert),
            None => drop(batch.insert(alert.key(), alert)),
        }
    }
    store.commit(&batch, Timestamp::now()).unwrap();
}

pub(super) fn all(store: &Store) -> Vec<Alert> {
    let mut found = Vec::new();
    store
        .list(
            Timestamp::UNIX_EPOCH,
            None,
            |_| true,
            |alert| {
                found.push(alert);
                true
            },
        )
        .unwrap();
    found
}

#[test]
fn attempts_of_one_day_are_one_alert_with_owners_and_times() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), ROOM).unwrap();
    let noon: Timestamp = Timestamp::from_second(i64::from(day_of(Timestamp::now()) - 1) * 86_400 + 43_200).unwrap();
    let later = noon + SignedDuration::from_mins(5);
    let let_through = FlowRecord {
        applied: "Pass".into(),
        ..record(80, later)
    };
    let tomorrow = record(80, noon + SignedDuration::from_hours(12));
    commit(&store, [record(80, noon), record(81, noon)]);
    commit(&store, [let_through, tomorrow]);
    let found = all(&store);
    assert_eq!(found.len(), 3, "{found:?}");
    let folded = found
        .iter()
        .find(|alert| alert.attempts == 2)
        .expect("the two of one day");
    assert_eq!((folded.first_seen, folded.last_seen, folded.dropped), (noon, later, 1));
    assert_eq!(folded.applied, "Pass", "what was applied last");
    let owner = folded
        .source
        .workload
        .as_ref()
        .map(|owner| (owner.kind.as_str(), owner.name.as_str()));
    assert_eq!(owner, Some(("Deployment", "web")));
    assert!(
        Alert::of(&FlowRecord {
            verdict: "PASS".into(),
            ..record(80, noon)
        })
        .is_none()
    );
}

#[test]
fn counts_are_those_of_the_last_24_hours_30_days_and_180_days() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), ROOM).unwrap();
    for (port, hours) in [(1, 0), (2, 23), (3, 25), (4, 29 * 24), (5, 31 * 24), (6, 179 * 24)] {
        commit(&store, [record(port, hours_ago(hours))]);
    }
    // Once more of the first: one alert still, and another attempt.
    commit(&store, [record(1, hours_ago(0))]);
    let counts = store.counts(Timestamp::now()).unwrap();
    let count = |alerts, attempts| Count { alerts, attempts };
    assert_eq!(counts.last_24_hours, count(2, 3));
    assert_eq!(counts.last_30_days, count(4, 5));
    assert_eq!(counts.last_180_days, count(6, 7));
}

#[test]
fn what_is_older_than_180_days_goes_and_so_does_the_oldest_where_room_is_short() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), 20_000).unwrap();
    commit(&store, [record(1, hours_ago(200 * 24))]);
    commit(&store, [record(2, hours_ago(24))]);
    assert_eq!(all(&store).len(), 1, "the one of 200 days ago is gone");
    for port in 3..600 {
        commit(&store, [record(port, Timestamp::now())]);
    }
    let found = all(&store);
    assert!(found.len() > 20 && found.len() < 400, "{} of 600", found.len());
    assert_eq!(found.last().unwrap().port, Some(599), "the newest stays");
    let counts = store.counts(Timestamp::now()).unwrap();
    assert_eq!(counts.last_180_days.alerts, found.len() as u64, "the sums follow");
    assert_eq!(counts.removed + found.len() as u64, 598);
    let oldest = found.iter().map(|alert| alert.port.unwrap()).min().unwrap();
    assert!(
        found.len() == usize::from(600 - oldest),
        "those that went are the oldest"
    );
}

/// Noon, so many days from today on.
fn at(days: u32) -> Timestamp {
    let day = day_of(Timestamp::now()) + days;
    Timestamp::from_second(i64::from(day) * 86_400 + 43_200).unwrap()
}

/// Commits an alert of this day by a clock that says so, `hours` after `began`.
fn commit_on(store: &Store, days: u32, began: Instant, hours: u64) {
    let alert = Alert::of(&record(80, at(days))).unwrap();
    let batch = HashMap::from([(alert.key(), alert)]);
    let running = began + Duration::from_hours(hours);
    store.commit_at(&batch, at(days), running).unwrap();
}

#[test]
fn a_clock_that_jumps_ahead_by_a_year_and_back_removes_no_alert_and_its_own_are_not_of_late() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), ROOM).unwrap();
    let began = Instant::now();
    for day in 0..=170 {
        commit_on(&store, day, began, 0);
    }
    commit_on(&store, 170 + 365, began, 0);
    commit_on(&store, 170 + 365, began, 1);
    drop(store);
    let store = Store::open(directory.path(), ROOM).unwrap();
    commit_on(&store, 170 + 365, Instant::now(), 0);
    commit_on(&store, 171, began, 2);
    let found = all(&store);
    assert_eq!(found.len(), 173, "171 days, that of the jump, and the next");
    let counts = store.counts(at(171)).unwrap();
    assert_eq!((counts.last_24_hours.alerts, counts.last_180_days.alerts), (2, 172));
    // Set back to 1970 it removes nothing either, and nothing is counted that is yet to come.
    store.commit_at([], Timestamp::UNIX_EPOCH, began).unwrap();
    assert_eq!(all(&store).len(), 173);
    assert_eq!(store.counts(Timestamp::UNIX_EPOCH).unwrap().last_180_days.alerts, 0);
}

#[test]
fn after_a_long_rest_old_alerts_go_a_day_in_an_hour_until_the_clock_is_reached() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), ROOM).unwrap();
    let began = Instant::now();
    for day in 0..5 {
        commit_on(&store, day, began, 0);
    }
    for hour in 1..=180 {
        commit_on(&store, 400, began, hour);
    }
    let seen: Vec<Timestamp> = all(&store).iter().map(|alert| alert.last_seen).collect();
    assert_eq!(seen, [at(4), at(400)], "by the store it is day 184");
}

#[test]
fn a_pod_that_scans_everything_is_told_in_one_alert_beyond_its_share() {
    let directory = tempfile::tempdir().unwrap();
    let alerts = Alerts::new(directory.path().to_owned(), ROOM);
    let now = Timestamp::now();
    for port in 0..10_000 {
        alerts.add(&record(port, now));
    }
    alerts.add(&FlowRecord {
        source: pod("quiet"),
        ..record(80, now)
    });
    let mut found = Vec::new();
    let told = |alert| {
        found.push(alert);
        true
    };
    alerts.list(&Query::default(), told).unwrap();
    assert_eq!(
        found.iter().map(|alert| alert.attempts).sum::<u64>(),
        10_001,
        "no attempt is lost"
    );
    assert_eq!(found.len(), 4_096 + 1 + 1);
    let many = found
        .iter()
        .find(|alert| alert.destination.ip.is_none())
        .expect("the rest");
    assert_eq!((many.attempts, many.port), (10_000 - 4_096, None));
    assert!(found.iter().any(|alert| alert.is_about("shop/quiet")));
}

#[test]
fn hostile_text_of_ten_kilobytes_comes_back_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), ROOM).unwrap();
    let hostile = format!("\u{1b}[2J\u{9b}31m\u{202e}\u{7f}\u{7}\0\n\"\\{}", "x".repeat(10_240));
    let mut record = record(80, Timestamp::now());
    record.source.pod = Some(hostile.clone());
    record.rule.as_mut().unwrap().name = hostile.clone();
    commit(&store, [record]);
    let found = all(&store).pop().unwrap();
    assert_eq!(found.source.pod.as_deref(), Some(hostile.as_str()));
    let line = crate::json_line::text(&found).unwrap();
    assert!(!line.chars().any(cellwall_crds::is_invisible), "{line:?}");
    assert_eq!(serde_json::from_str::<Alert>(&line).unwrap(), found);
    let table = crate::cli::alerts::table(&[serde_json::to_value(&found).unwrap()], None);
    let bad = |c: char| c != '\n' && cellwall_crds::is_invisible(c);
    assert!(!table.chars().any(bad), "{table:?}");
}

#[test]
fn a_file_that_is_no_store_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(FILE), vec![b'x'; 100_000]).unwrap();
    let store = Store::open(directory.path(), ROOM).unwrap();
    commit(&store, [record(80, Timestamp::now())]);
    assert_eq!(all(&store).len(), 1);
    assert!(directory.path().join("alerts.redb.broken").exists());
}

/// Not a test of its own: what the one below starts and kills. It acknowledges on standard output what is on disk.
#[test]
fn writer_that_is_killed() {
    let Some(directory) = std::env::var_os("CELLWALL_TEST_ALERTS_WRITER") else {
        assert!(std::env::args().count() > 0);
        return;
    };
    let store = Store::open(Path::new(&directory), ROOM).unwrap();
    let known = all(&store).len();
    for port in (u16::try_from(known).unwrap()..).take(20_000) {
        commit(&store, [record(port, Timestamp::now())]);
        println!("\nacknowledged {port}");
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill_in_the_middle_of_writing() {
    let directory = tempfile::tempdir().unwrap();
    let times = number("CELLWALL_ALERT_KILLS", 5);
    let (mut last, mut slowest) = (0, Duration::ZERO);
    for time in 0..times {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "alerts::tests::writer_that_is_killed", "--nocapture"])
            .env("CELLWALL_TEST_ALERTS_WRITER", directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = None;
        let wanted = 3 + time * 7 % 23;
        for (seen, line) in (1..).zip(
            lines
                .map_while(Result::ok)
                .filter(|line| line.starts_with("acknowledged")),
        ) {
            acknowledged = line.rsplit(' ').next().and_then(|port| port.parse::<u16>().ok());
            if seen == wanted {
                // A moment later, so that it is at any point of the next one.
                std::thread::sleep(Duration::from_micros(time * 137 % 2_000));
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let acknowledged = acknowledged.expect("some were acknowledged");
        let opening = Instant::now();
        let store = Store::open(directory.path(), ROOM).unwrap();
        slowest = slowest.max(opening.elapsed());
        let found = all(&store);
        assert!(
            found.len() > usize::from(acknowledged),
            "kill {time}: {} of {acknowledged}",
            found.len()
        );
        assert!(found.iter().all(|alert| alert.attempts == 1));
        let counts = store.counts(Timestamp::now()).unwrap();
        assert_eq!(
            counts.last_24_hours.alerts,
            found.len() as u64,
            "kill {time}: the sums agree"
        );
        assert!(acknowledged > last || time == 0);
        last = acknowledged;
    }
    println!("{times} kills, {last} alerts acknowledged, none lost; opened within {slowest:?}");
}

#[test]
fn counts_of_many_alerts_are_answered_at_once() {
    let many = number("CELLWALL_ALERTS", 20_000);
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), 1 << 40).unwrap();
    let now = Timestamp::now();
    let began = Instant::now();
    let mut batch = HashMap::new();
    for number in 0..many {
        let ago = SignedDuration::from_secs(i64::try_from(number * 15_500_000 / many).unwrap());
        let mut record = record(u16::try_from(number % 50_000).unwrap(), now - ago);
        record.source = pod(&format!("web-{}", number % 1_000));
        let alert = Alert::of(&record).unwrap();
        batch.insert(alert.key(), alert);
        if batch.len() == 10_000 || number + 1 == many {
            store.commit(&batch, now).unwrap();
            batch.clear();
        }
    }
    let wrote = began.elapsed();
    drop(store);
    let began = Instant::now();
    let store = Store::open(directory.path(), 1 << 40).unwrap();
    let opened = began.elapsed();
    let began = Instant::now();
    let counts = store.counts(now).unwrap();
    let counted = began.elapsed();
    let began = Instant::now();
    let mut found = 0_u64;
    let (since, web) = (now - SignedDuration::from_hours(30 * 24), "shop/web-7");
    let fits = |alert: &Alert| alert.is_about(web);
    let mut each = |_| {
        found += 1;
        true
    };
    store.list(since, Some(Term::pod(web)), fits, &mut each).unwrap();
    let listed = began.elapsed();
    let size = std::fs::metadata(directory.path().join(FILE)).unwrap().len();
    drop(store);
    index::tests::forget(directory.path());
    let began = Instant::now();
    let store = Store::open(directory.path(), 1 << 40).unwrap();
    let indexed = began.elapsed();
    let mut again = 0_u64;
    let fits = |alert: &Alert| alert.is_about(web);
    let each = |_| {
        again += 1;
        true
    };
    store.list(since, Some(Term::pod(web)), fits, each).unwrap();
    assert_eq!(again, found, "by the index that was made anew");
    println!(
        "{many} alerts of 180 days: written in {wrote:.1?}, {} MiB, opened in {opened:.1?}; {counts:?} in {counted:.1?}; {found} of one pod \
         and 30 days listed in {listed:.1?}; without an index opened in {indexed:.1?}",
        size >> 20
    );
    assert_eq!(
        counts.last_180_days,
        Count {
            alerts: many,
            attempts: many
        }
    );
    assert!(found > 0 && counts.last_24_hours.alerts < counts.last_30_days.alerts);
    assert!(counted < Duration::from_secs(2), "{counted:?}");
    // Reading a million takes seconds.
    assert!(listed < Duration::from_millis(250), "{listed:?}");
}
