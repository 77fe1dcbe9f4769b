//! What became of the records, for the status and for metrics.

use cellwall_datapath::counters;

use super::core::{Core, chain};
use crate::metrics::{ByReason, RecordScrape};
use crate::records::accounts::Loss;
use crate::records::directory::reason;
use crate::status::Condition;

impl Core {
    /// Records lost and the sums of them; whether alerts are written.
    pub(super) fn logs_intact(&mut self) -> Condition {
        let kind = "LogsIntact";
        let events = match counters::events(self.instance.maps()) {
            Ok(events) => events,
            Err(error) => return Condition::unknown(kind, "NotRun", chain(&error)),
        };
        let ring: u64 = events.lost.iter().sum();
        let given = ring + events.sent.iter().sum::<u64>();
        let killed = self.accounts.lost(Loss::Killed);
        let unread = self.accounts.unread();
        let lost = ring + unread + self.accounts.all_lost();
        let missing = self.accounts.missing();
        let sums = format!(
            "{lost} of {given} records lost since the maps were made{}",
            by_where(ring, unread, killed)
        );
        if let Some(why) = self.alerts.failure() {
            let message = format!(
                "alerts are not written: {why}; {} wait and {} attempts were lost; verdicts are unaffected; make room in the state directory",
                self.alerts.waiting(),
                self.alerts.lost()
            );
            return Condition::new(kind, false, "RecordsLost", message);
        }
        if missing > 0 {
            let message = format!("{sums}; {missing} more are neither received nor counted as lost: please report it");
            return Condition::new(kind, false, "RecordsLost", message);
        }
        // What an agent took along that was killed is told, and is nothing that goes on.
        if self.losses.grows(lost - killed - unread + self.alerts.lost()) {
            let message = format!(
                "{sums}, the last within a minute; verdicts are unaffected; read the flow log faster or record less"
            );
            return Condition::new(kind, false, "RecordsLost", message);
        }
        Condition::new(kind, true, "NothingLost", sums)
    }

    /// What metrics tell of records and alerts.
    pub(super) fn scrape_records(&self) -> RecordScrape {
        let maps = self.instance.maps();
        let kinds = ["PASS", "ALERT", "DROP", "DROP"];
        let named = |kind: u8, number: u8| (kinds[usize::from(kind) % kinds.len()].to_owned(), reason(number.into()));
        let lost = counters::lost(maps).unwrap_or_default();
        let ring_full: ByReason = lost
            .iter()
            .map(|((kind, number), count)| (named(*kind, *number), *count))
            .collect();
        let mut given = Vec::new();
        for (verdict, sent) in kinds.iter().zip(counters::sent(maps).unwrap_or_default()) {
            let full = ring_full.iter().filter(|((of, _), _)| of == verdict);
            given.push(((*verdict).to_owned(), sent + full.map(|(_, count)| count).sum::<u64>()));
        }
        let received = self.accounts.received().into_iter();
        let mut by_where = vec![
            ("ring_full".to_owned(), lost.values().sum()),
            ("unread".to_owned(), self.accounts.unread()),
            ("alerts".to_owned(), self.alerts.lost()),
        ];
        by_where.extend(Loss::ALL.map(|how| (how.name().to_owned(), self.accounts.lost(how))));
        RecordScrape {
            given,
            received: received
                .map(|(kind, number, count)| (named(kind, number), count))
                .collect(),
            ring_full,
            lost: by_where,
            missing: self.accounts.missing(),
            overflow: self.accounts.overflown(),
            alerts_waiting: self.alerts.waiting(),
            alerts_failing: self.alerts.failure().is_some(),
        }
    }
}

/// Where records were lost that are no fault of the log's reader.
fn by_where(ring: u64, unread: u64, killed: u64) -> String {
    let all = [
        (ring, "found the ring full"),
        (killed, "were held by an agent that was killed"),
        (unread, "were taken by no reader that lived to count them"),
    ];
    let told: Vec<String> = all
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if told.is_empty() {
        String::new()
    } else {
        format!(" ({})", told.join(", "))
    }
}
