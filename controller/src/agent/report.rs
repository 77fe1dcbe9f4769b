//! The intercept status, read back from the kernel.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cellwall_datapath::attach::HookState;
use cellwall_datapath::counters;
use cellwall_policy::model::Mode;

use super::core::{Core, chain};
use crate::status::{Condition, Report, State};

/// Fill of a map from which on a person should look, in percent.
const NEARLY_FULL: u64 = 90;
/// How long what has happened is told.
const SHOWN: Duration = Duration::from_mins(1);

/// A count, and when it was last seen to grow.
#[derive(Debug, Default)]
pub(super) struct Lately(u64, Option<Instant>);

impl Lately {
    /// Takes the count as it is now: whether it has grown within [`SHOWN`].
    fn grows(&mut self, count: u64) -> bool {
        if count > self.0 {
            *self = Self(count, Some(Instant::now()));
        }
        self.1.is_some_and(|since| since.elapsed() < SHOWN)
    }
}

impl Core {
    pub(super) fn report(&mut self) -> Report {
        let conditions = vec![
            self.kernel_supported(),
            self.programs_attached(),
            self.policy_synced(),
            Condition::unknown(
                "ProbePassed",
                "NotRun",
                "packets are not run through the live programs by this version",
            ),
            self.capacity_ok(),
            self.logs_intact(),
        ];
        let mut unready = self.locals.missing.clone();
        unready.extend(self.unguarded.values().cloned());
        unready.extend(
            self.refused
                .iter()
                .map(|why| format!("the policy is not realised: {why}")),
        );
        let guarded = |uid: &str| self.locals.links.iter().any(|l| l.pod.as_deref() == Some(uid));
        let local = self
            .world
            .pods()
            .filter(|pod| self.world.is_local(pod) && pod.phase.is_live());
        let not_enforceable = local.filter(|pod| pod.host_network).count();
        Report {
            node: self.node.to_string(),
            state: State::Normal,
            reason: String::new(),
            message: String::new(),
            conditions,
            mode: match self.world.defense().mode {
                Mode::Enforce => "Enforce",
                Mode::AlertOnly => "AlertOnly",
                Mode::Off => "Off",
            }
            .to_owned(),
            generation_wanted: self.wanted,
            generation_realised: self.realiser.generation(),
            policy_age_seconds: if self.refused.is_some() {
                self.synced.elapsed().as_secs()
            } else {
                0
            },
            pods_protected: self.world.pods().filter(|pod| guarded(&pod.uid)).count(),
            pods_not_enforceable: not_enforceable,
            rules_enabled: self.world.rules().filter(|rule| rule.enabled).count(),
            unready,
        }
        .concluded()
    }

    fn kernel_supported(&self) -> Condition {
        let how = format!("programs load and are attached by {:?}", self.instance.mechanism());
        Condition::new("KernelSupported", true, "Loaded", how)
    }

    fn programs_attached(&self) -> Condition {
        let kind = "ProgramsAttached";
        let all = self.locals.hosts.len();
        let (mut sound, mut unseen) = (0, 0);
        let mut bad = Vec::new();
        for link in self.locals.hosts.values() {
            match self.instance.inspect(link) {
                Ok(hooks) if hooks.iter().all(HookState::is_sound) => {
                    sound += 1;
                    unseen += usize::from(hooks.iter().any(|hook| hook.ahead.is_none()));
                }
                Ok(hooks) => bad.push(format!("{}: {hooks:?}", link.name)),
                Err(error) => bad.push(format!("{}: {}", link.name, chain(&error))),
            }
        }
        bad.extend(self.locals.missing.iter().cloned());
        if bad.is_empty() {
            return Condition::new(kind, true, "AllAttached", attached(sound, all, unseen));
        }
        Condition::new(
            kind,
            false,
            "NotAllAttached",
            format!("{sound} of {all} pod interfaces; {}", bad.join("; ")),
        )
    }

    fn policy_synced(&self) -> Condition {
        let kind = "PolicySynced";
        let problems = self.source.problems().len() + self.found.len();
        let noted = if problems == 0 {
            String::new()
        } else {
            format!("; {problems} findings in the manifests, see the log or `cellwall check`")
        };
        match &self.refused {
            None => Condition::new(
                kind,
                true,
                "Realised",
                format!("generation {}{noted}", self.realiser.generation()),
            ),
            Some(why) => Condition::new(
                kind,
                false,
                "NotRealised",
                format!(
                    "generation {} decides, {} does not fit: {why}",
                    self.realiser.generation(),
                    self.wanted
                ),
            ),
        }
    }

    fn capacity_ok(&mut self) -> Condition {
        let kind = "CapacityOk";
        let full: Vec<String> = self
            .realiser
            .encoder()
            .fill()
            .into_iter()
            .filter(|(_, (used, most))| used * 100 > most * NEARLY_FULL)
            .map(|(map, (used, most))| format!("{}: {used} of {most}", map.name()))
            .collect();
        if !full.is_empty() {
            let message = format!("{}; use fewer objects or rules", full.join(", "));
            return Condition::new(kind, false, "NearlyFull", message);
        }
        let events = match counters::events(self.instance.maps()) {
            Ok(events) => events,
            Err(error) => return Condition::unknown(kind, "Unreadable", chain(&error)),
        };
        let unentered = events.flows_full + events.opening_full;
        if self.unentered.grows(unentered) {
            let message = format!(
                "{unentered} flows found their table full, the last within a minute; each of their packets is judged by itself: \
                 look for a pod that opens very many connections (`cellwall flows`)"
            );
            return Condition::new(kind, false, "FlowsFull", message);
        }
        let evicted = self.tally.evicted.load(Ordering::Relaxed);
        let flood = if self.evictions.grows(evicted) {
            format!(
                "; {evicted} unanswered flows made room for newer ones, the last within a minute: a flood or a scan; answered \
                 flows are not touched by it"
            )
        } else {
            String::new()
        };
        Condition::new(
            kind,
            true,
            "RoomLeft",
            format!("every map is below {NEARLY_FULL} %{flood}"),
        )
    }

    fn logs_intact(&mut self) -> Condition {
        let kind = "LogsIntact";
        let lost = match counters::events(self.instance.maps()) {
            Ok(events) => events.lost.iter().sum::<u64>() + self.unwritten(),
            Err(error) => return Condition::unknown(kind, "Unreadable", chain(&error)),
        };
        if self.losses.grows(lost) {
            let message = format!(
                "{lost} records lost, the last within a minute; verdicts are unaffected; read the flow log faster or record less"
            );
            return Condition::new(kind, false, "RecordsLost", message);
        }
        let message = format!("{lost} records lost since the maps were made");
        Condition::new(kind, true, "NothingLost", message)
    }
}

/// What is said of `all` interfaces where nothing is wrong; of `unseen` the kernel does not tell who else is there.
fn attached(sound: usize, all: usize, unseen: usize) -> String {
    if unseen == 0 {
        return format!("{sound} of {all} pod interfaces, first in the chain");
    }
    format!(
        "{sound} of {all} pod interfaces; whether another program is ahead of ours is not seen on {unseen}: give the agent CAP_SYS_ADMIN"
    )
}

#[cfg(test)]
mod tests {
    use super::attached;

    #[test]
    fn first_in_the_chain_is_said_only_where_it_was_seen() {
        assert_eq!(attached(2, 2, 0), "2 of 2 pod interfaces, first in the chain");
        assert!(attached(2, 2, 1).contains("not seen on 1"));
        assert!(!attached(2, 2, 1).contains("first"));
    }
}
