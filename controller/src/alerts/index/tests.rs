//! The index: it finds what reading everything finds, follows every change, and is made where it was missing.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use redb::{Database, ReadableDatabase};

use super::super::store::{FILE, Store};
use super::super::tests::{ROOM, all, commit, hours_ago, pod, record};
use super::*;
use crate::records::FlowRecord;

/// Records of twelve days, of five pods to two, by two rules.
fn records() -> Vec<FlowRecord> {
    let record = |number: u16| {
        let mut record = record(number, hours_ago(i64::from(number % 12) * 24));
        record.source = pod(&format!("web-{}", number % 5));
        record.destination.pod = Some(format!("db-{}", number % 2));
        record.rule.as_mut().unwrap().name = format!("rule-{}", number / 12 % 3);
        record
    };
    (0..120).map(record).collect()
}

fn found(store: &Store, since: Timestamp, term: Term, fits: impl Fn(&Alert) -> bool) -> Vec<Alert> {
    let mut found = Vec::new();
    let each = |alert| {
        found.push(alert);
        true
    };
    store.list(since, Some(term), fits, each).unwrap();
    found
}

fn raw(directory: &Path, change: impl FnOnce(&WriteTransaction)) {
    let database = Database::open(directory.join(FILE)).unwrap();
    let write = database.begin_write().unwrap();
    change(&write);
    write.commit().unwrap();
}

/// Makes of a store one of before there was an index.
pub(in crate::alerts) fn forget(directory: &Path) {
    raw(directory, |write| {
        assert!(write.delete_table(FOUND).unwrap());
        assert!(write.delete_table(MADE_FOR).unwrap());
    });
}

/// Entries in a store that is not open, those that its alerts should have, and the bytes that its days say.
fn entries(directory: &Path) -> (BTreeSet<Entry>, BTreeSet<Entry>, u64, u64) {
    let database = Database::open(directory.join(FILE)).unwrap();
    let read = database.begin_read().unwrap();
    let there = read.open_table(FOUND).unwrap();
    let there = there.iter().unwrap().map(|entry| *entry.unwrap().0.value()).collect();
    let (mut wanted, mut bytes) = (BTreeSet::new(), 0);
    for alert in read.open_table(ALERTS).unwrap().iter().unwrap() {
        let (key, value) = alert.unwrap();
        let terms = Term::all_of(&decoded(value.value()).unwrap());
        bytes += weight(value.value().len(), terms.len());
        wanted.extend(terms.iter().map(|term| term.entry(key.value())));
    }
    let days = read.open_table(DAYS).unwrap();
    let told = days.iter().unwrap().map(|day| day.unwrap().1.value().2).sum();
    (there, wanted, told, bytes)
}

fn assert_whole(directory: &Path, alerts: usize) {
    let (there, wanted, told, bytes) = entries(directory);
    assert_eq!(there, wanted);
    assert_eq!(told, bytes, "the sums of bytes");
    assert_eq!(there.len(), 3 * alerts, "two pods and a rule each");
}

#[test]
fn what_is_found_by_a_pod_or_a_rule_is_what_reading_everything_finds() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), ROOM).unwrap();
    commit(&store, records());
    let read = |since: Timestamp, fits: &dyn Fn(&Alert) -> bool| {
        let all = all(&store).into_iter();
        all.filter(|alert| alert.last_seen >= since && fits(alert))
            .collect::<Vec<_>>()
    };
    for since in [Timestamp::UNIX_EPOCH, hours_ago(5 * 24)] {
        for name in ["shop/web-1", "shop/db-0", "shop/nobody", "shop", "a/b/c"] {
            let fits = |alert: &Alert| alert.is_about(name);
            assert_eq!(
                found(&store, since, Term::pod(name), fits),
                read(since, &fits),
                "{name}"
            );
        }
        let fits = |alert: &Alert| alert.rule.as_ref().is_some_and(|rule| rule.name == "rule-2");
        let by_rule = found(&store, since, Term::rule("rule-2"), fits);
        assert!(by_rule.len() > 10 && by_rule.len() <= 40, "{}", by_rule.len());
        assert_eq!(by_rule, read(since, &fits));
    }
    drop(store);
    assert_whole(directory.path(), 120);
}

#[test]
fn entries_go_with_their_alerts_and_follow_a_pod_that_has_another_name() {
    let directory = tempfile::tempdir().unwrap();
    // Room for about sixty alerts.
    let store = Store::open(directory.path(), 20_000).unwrap();
    commit(&store, [record(1, hours_ago(200 * 24))]);
    for number in 0..5 {
        commit(&store, records().into_iter().skip(number * 20).take(20));
    }
    let mut renamed = record(9_000, Timestamp::now());
    commit(&store, [renamed.clone()]);
    renamed.last_seen += SignedDuration::from_millis(1);
    renamed.source.pod = Some("renamed".to_owned());
    commit(&store, [renamed]);
    let of = |name: &str| {
        found(&store, Timestamp::UNIX_EPOCH, Term::pod(name), |alert| {
            alert.is_about(name)
        })
    };
    assert!(of("shop/web").is_empty(), "the name before");
    assert_eq!(of("shop/renamed").len(), 1);
    assert!(
        store.counts(Timestamp::now()).unwrap().removed > 0,
        "some were too much"
    );
    let left = all(&store).len();
    drop(store);
    assert_whole(directory.path(), left);
}

#[test]
fn a_store_without_an_index_or_with_an_older_one_has_it_made_when_it_is_opened_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let older: [&dyn Fn(); 3] = [
        // As before there was an index.
        &|| {
            forget(place);
            raw(place, |write| {
                let mut days = write.open_table(DAYS).unwrap();
                let first = days.first().unwrap().map(|(day, sum)| (day.value(), sum.value()));
                let (day, (alerts, attempts, bytes)) = first.unwrap();
                // Of the alert alone, as they were then.
                days.insert(day, (alerts, attempts, bytes - alerts * 3 * 28)).unwrap();
            });
        },
        // Written by a program of then: an alert whose entries are missing.
        &|| {
            raw(place, |write| {
                let mut found = write.open_table(FOUND).unwrap();
                for entry in Term::all_of(&Alert::of(&record(5_000, Timestamp::now())).unwrap()) {
                    let key = Alert::of(&record(5_000, Timestamp::now())).unwrap().key();
                    assert!(found.remove(&entry.entry(&key)).unwrap().is_some());
                }
                let mut made_for = write.open_table(MADE_FOR).unwrap();
                let (alerts, attempts, bytes) = made_for.get(()).unwrap().unwrap().value();
                made_for.insert((), (alerts - 1, attempts - 1, bytes)).unwrap();
            });
        },
        // As it is now: nothing to do.
        &|| {},
    ];
    let store = Store::open(directory.path(), ROOM).unwrap();
    commit(&store, records());
    commit(&store, [record(5_000, Timestamp::now())]);
    let (before, counts) = (all(&store), store.counts(Timestamp::now()).unwrap());
    drop(store);
    for change in older {
        change();
        let store = Store::open(directory.path(), ROOM).unwrap();
        assert_eq!(all(&store), before);
        assert_eq!(
            store.counts(Timestamp::now()).unwrap().last_180_days,
            counts.last_180_days
        );
        let of_web = found(&store, Timestamp::UNIX_EPOCH, Term::pod("shop/web"), |_| true);
        assert_eq!(of_web.len(), 1, "the one of its own");
        drop(store);
        assert_whole(directory.path(), 121);
    }
}
