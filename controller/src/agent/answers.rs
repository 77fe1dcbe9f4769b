//! Answers to what is asked on the socket, and to a scrape.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use cellwall_datapath::abi::Counter;
use cellwall_datapath::counters;
use serde_json::Value;

use super::core::{Core, Source, chain};
use super::listing;
use crate::api::Request;
use crate::clock::wall;
use crate::metrics::{self, ApiScrape, RuleLabels, Scrape, Totals, VerdictLabels};
use crate::questions::answer_line;
use crate::records::directory::{action, reason};
use crate::records::fold::Told;

impl Core {
    pub(super) fn answer(&mut self, request: &Request) -> Result<Vec<Value>, String> {
        if self.is_staged() && !matches!(request, Request::Status | Request::Refused { .. } | Request::Attach(_)) {
            return Err("the API server's objects are not known yet; see `cellwall intercept-status`".to_owned());
        }
        match request {
            Request::Explain { questions } => {
                let world = self.judged_world();
                Ok(questions.iter().map(|question| answer_line(&world, question)).collect())
            }
            Request::Rules => self.rules(),
            Request::Objects => Ok(listing::objects(&self.world)),
            Request::Status => serde_json::to_value(self.tell().as_ref())
                .map(|value| vec![value])
                .map_err(|e| e.to_string()),
            Request::Refused { pod } => self.refused_of(pod),
            Request::Confirm { generation, by } => {
                let confirmed = self.confirm(*generation, by.as_deref().unwrap_or("somebody"))?;
                Ok(vec![serde_json::json!({
                    "confirmed": confirmed,
                    "generation": self.realiser.generation(),
                })])
            }
            Request::Attach(attachment) => {
                let stands = self.attach(attachment)?;
                serde_json::to_value(stands)
                    .map(|value| vec![value])
                    .map_err(|e| e.to_string())
            }
            Request::Flows { .. } | Request::Alerts { .. } | Request::Stop => Err("answered elsewhere".to_owned()),
        }
    }

    fn rules(&self) -> Result<Vec<Value>, String> {
        let slots: Vec<u32> = self.cards.keys().map(|slot| slot.0).collect();
        let counted = counters::rules(self.instance.maps(), &slots).map_err(|e| chain(&e))?;
        let by_name = self.cards.values().map(|card| card.name.clone()).zip(counted).collect();
        Ok(listing::rules(&self.world, &by_name, wall))
    }

    fn refused_of(&self, pod: &str) -> Result<Vec<Value>, String> {
        let (namespace, name) = pod.split_once('/').ok_or("write the pod as NAMESPACE/NAME")?;
        let found = self
            .world
            .pods()
            .find(|p| *p.namespace == *namespace && *p.name == *name);
        let found = found.ok_or_else(|| format!("there is no pod {}", cellwall_crds::escaped(pod)))?;
        let guarded = &self.realiser.image().interfaces;
        let links = self.locals.links.iter();
        let of_pod = links.filter(|link| link.pod.as_ref() == Some(&found.uid));
        let since = |ifindex| guarded.get(&ifindex).map(|entry| (ifindex, entry.record.attached));
        let interfaces: BTreeMap<u32, u64> = of_pod.filter_map(|link| since(link.ifindex)).collect();
        if interfaces.is_empty() {
            return Err(format!(
                "pod {} is not guarded by this node",
                cellwall_crds::escaped(pod)
            ));
        }
        let kept = counters::refused_at(self.instance.maps(), &interfaces).map_err(|e| chain(&e))?;
        let records: Vec<_> = kept
            .iter()
            .map(|record| self.directory.describe(&Told::from(*record), wall))
            .collect();
        records
            .iter()
            .map(|record| serde_json::to_value(record).map_err(|e| e.to_string()))
            .collect()
    }

    /// The metrics, as the kernel and the agent have them now.
    pub(super) fn scrape(&mut self) -> String {
        let report = self.tell();
        let mut scrape = Scrape {
            generation_wanted: report.generation_wanted,
            generation_realised: report.generation_realised,
            policy_age_seconds: report.policy_age_seconds,
            pods_protected: report.pods_protected,
            pods_not_enforceable: report.pods_not_enforceable,
            evicted: self.accounts.evicted.load(Ordering::Relaxed),
            api: match &self.source {
                Source::Files(_) => None,
                Source::Cluster(followed) => Some(ApiScrape {
                    reconnects: followed.mirror.reconnects(),
                    relists: followed.mirror.relists(),
                    requests: followed.requests.counts(),
                }),
            },
            state: report.state.to_string(),
            conditions: report
                .conditions
                .iter()
                .map(|one| (one.kind.clone(), one.status == "True"))
                .collect(),
            probed: report.probed,
            interfaces: report.interfaces,
            interfaces_guarded: report.programs.iter().map(|one| one.attached).min().unwrap_or(0),
            ..Scrape::default()
        };
        for one in counters::reasons(self.instance.maps()).unwrap_or_default() {
            let labels = VerdictLabels {
                verdict: action(one.action.into()).verdict().to_owned(),
                applied: if one.dropped { "Drop" } else { "Pass" }.to_owned(),
                reason: reason(one.reason.into()),
                hook: if one.hook == 0 { "FROM_POD" } else { "TO_POD" }.to_owned(),
            };
            scrape.verdicts.push((labels, totals(&one.counter)));
        }
        let slots: Vec<u32> = self.cards.keys().map(|slot| slot.0).collect();
        let counted = counters::rules(self.instance.maps(), &slots).unwrap_or_default();
        for (card, counter) in self.cards.values().zip(&counted) {
            let labels = RuleLabels {
                rule: card.name.to_string(),
                action: card.action.to_string(),
            };
            scrape.rules.push((labels, totals(counter)));
        }
        let fill = report.maps.iter();
        scrape.maps = fill.map(|one| (one.map.clone(), one.used, one.capacity)).collect();
        if let Ok(events) = counters::events(self.instance.maps()) {
            for (name, value) in [
                ("FLOWS", events.flows_full),
                ("OPENING", events.opening_full),
                ("FRAGMENTS", events.fragments_full),
            ] {
                scrape.maps_refused.push((name.to_owned(), value));
            }
            scrape.flows_over_quota = events.flows_quota;
        }
        scrape.records = self.scrape_records();
        metrics::render(&scrape, &self.applies, &self.startups)
    }
}

fn totals(counter: &Counter) -> Totals {
    let Counter {
        flows,
        packets,
        bytes,
        last: _,
    } = *counter;
    Totals { flows, packets, bytes }
}
