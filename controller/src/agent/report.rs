//! The intercept status, read back from the kernel.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cellwall_datapath::abi::limits;
use cellwall_datapath::attach::Hook;
use cellwall_datapath::counters;
use cellwall_policy::diagnostic::Problem;
use cellwall_policy::model::{Mode, Recovery};

use super::core::{Core, Source, chain};
use super::faults::unsound;
use crate::status::{Condition, MapFill, ProgramState, Report, State};

/// How long a watch may be down before the policy counts as stale.
const STALE: Duration = Duration::from_mins(1);
/// How long the first lists may take before it does.
const STALE_START: Duration = Duration::from_secs(10);
/// Fill of a map from which on a person should look, in percent.
const NEARLY_FULL: u64 = 90;
/// How long what has happened is told.
const SHOWN: Duration = Duration::from_mins(1);

/// Conditions about what enforces: a node that recovers from one of these may have to be confirmed.
const GRAVE: [&str; 4] = ["KernelSupported", "ProgramsAttached", "PolicySynced", "ProbePassed"];

/// A count, and when it was last seen to grow.
#[derive(Debug, Default)]
pub(super) struct Lately(u64, Option<Instant>);

impl Lately {
    /// Takes the count as it is now: whether it has grown within [`SHOWN`].
    pub(super) fn grows(&mut self, count: u64) -> bool {
        if count > self.0 {
            *self = Self(count, Some(Instant::now()));
        }
        self.1.is_some_and(|since| since.elapsed() < SHOWN)
    }
}

impl Core {
    /// How the node stands now. The state may turn with it, and what follows from that is realised by [`Core::tell`] alone:
    /// nobody else asks for this.
    pub(super) fn report(&mut self) -> Report {
        let (attached, programs, pods_alone) = self.programs_attached();
        let conditions = vec![
            self.kernel_supported(),
            attached,
            self.policy_synced(),
            self.probe_passed(),
            self.capacity_ok(),
            self.logs_intact(),
            self.addresses_unique(),
        ];
        let conditions = self.faults.entered(conditions);
        let grave = conditions.iter().any(|one| {
            let counts = !self.fresh || one.reason == "PolicyStale";
            one.status == "False"
                && GRAVE.contains(&&*one.kind)
                && counts
                && !(one.kind == "ProgramsAttached" && pods_alone)
        });
        let mut unready = self.locals.missing.clone();
        unready.extend(self.awaited());
        unready.extend(self.unguarded.values().cloned());
        unready.extend(
            self.refused
                .iter()
                .map(|why| format!("the policy is not realised: {why}")),
        );
        let guarded: HashSet<&str> = self
            .locals
            .links
            .iter()
            .filter_map(|link| link.pod.as_deref())
            .collect();
        let local = self
            .world
            .pods()
            .filter(|pod| self.world.is_local(pod) && pod.phase.is_live());
        let not_enforceable = local.filter(|pod| pod.host_network).count();
        let defense = self.world.defense();
        let report = Report {
            node: self.node.to_string(),
            state: State::Normal,
            reason: String::new(),
            message: String::new(),
            conditions,
            mode: match defense.mode {
                Mode::Enforce => "Enforce",
                Mode::AlertOnly => "AlertOnly",
                Mode::Off => "Off",
            }
            .to_owned(),
            generation_wanted: self.wanted,
            generation_realised: self.realiser.generation(),
            policy_age_seconds: self.policy_age().as_secs(),
            pods_protected: guarded.len(),
            pods_not_enforceable: not_enforceable,
            rules_enabled: self.world.rules().filter(|rule| rule.enabled).count(),
            unready,
            recovery: match defense.recovery {
                Recovery::Automatic => "Automatic",
                Recovery::Manual => "Manual",
            }
            .to_owned(),
            policy_hash: self.audit.hash.clone(),
            interfaces: self.locals.hosts.len(),
            programs,
            probed: self.audit.probed,
            maps: self.map_fill(),
            transitions: Vec::new(),
        };
        self.recovery.conclude(report, &defense, grave, self.fresh)
    }

    fn map_fill(&self) -> Vec<MapFill> {
        let fill = self.realiser.encoder().fill().into_iter();
        fill.map(|(map, (used, capacity))| MapFill {
            map: map.name().to_owned(),
            used,
            capacity,
        })
        .collect()
    }

    /// How long ago the policy in force was last known to be the wanted one.
    pub(super) fn policy_age(&self) -> Duration {
        let unrealised = self.refused.as_ref().map(|_| self.synced.elapsed()).unwrap_or_default();
        match &self.source {
            Source::Files(_) => unrealised,
            Source::Cluster(followed) => followed.mirror.age().max(unrealised),
        }
    }

    /// What the first policy waits for; none once all of it is known.
    fn awaited(&self) -> Option<String> {
        let Source::Cluster(followed) = &self.source else {
            return None;
        };
        let awaited = followed.mirror.awaited();
        let kinds: Vec<&str> = awaited.iter().map(|(kind, _)| kind.plural()).collect();
        let why = awaited.iter().find_map(|(_, why)| *why);
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        (!kinds.is_empty()).then(|| format!("not listed yet: {}{why}", kinds.join(", ")))
    }

    /// The condition where what is in force may not be what the API server has.
    fn stale(&self) -> Option<Condition> {
        let Source::Cluster(followed) = &self.source else {
            return None;
        };
        let kind = "PolicySynced";
        let age = followed.mirror.age();
        let generation = self.realiser.generation();
        if let Some(awaited) = self.awaited() {
            let failed = followed.mirror.down().is_some();
            if !failed && followed.mirror.running() < STALE_START {
                return Some(Condition::unknown(kind, "Starting", awaited));
            }
            return Some(Condition::new(
                kind,
                false,
                "PolicyStale",
                format!(
                    "generation {generation}, {} s old, goes on deciding; {awaited}; see that the API server runs and that \
                     this agent may list them",
                    age.as_secs()
                ),
            ));
        }
        let (what, since, why) = followed.mirror.down().filter(|(_, since, _)| *since >= STALE)?;
        Some(Condition::new(
            kind,
            false,
            "PolicyStale",
            format!(
                "generation {generation} goes on deciding; {} were not heard of for {} s: {why}; see that the API server \
                 runs and can be reached from this node",
                what.plural(),
                since.as_secs()
            ),
        ))
    }

    fn kernel_supported(&self) -> Condition {
        let kind = "KernelSupported";
        let missing: Vec<&str> = self.features.missing().collect();
        if !missing.is_empty() {
            let message = format!("this kernel lacks {}; run a newer one", missing.join(", "));
            return Condition::new(kind, false, "FeatureMissing", message);
        }
        let without: Vec<&str> = self.features.done_without().collect();
        let without = if without.is_empty() {
            String::new()
        } else {
            format!("; done without: {}", without.join(", "))
        };
        let how = format!(
            "{} features probed; programs load and are attached by {:?}{without}",
            self.features.0.len(),
            self.instance.mechanism()
        );
        Condition::new(kind, true, "FeaturesPresent", how)
    }

    /// The condition, the programs as the kernel has them, and whether what is wrong is wrong with pods alone.
    fn programs_attached(&self) -> (Condition, Vec<ProgramState>, bool) {
        let kind = "ProgramsAttached";
        let all = self.locals.hosts.len();
        let (mut sound, mut unseen) = (0, 0);
        let mut of_hook = [0; 2];
        let mut bad: Vec<(&'static str, String)> = Vec::new();
        for link in self.locals.hosts.values() {
            let name = cellwall_crds::escaped(&link.name);
            match self.instance.inspect(link) {
                Ok(hooks) => {
                    let found: Vec<_> = hooks.iter().map(|hook| unsound(&name, hook)).collect();
                    for (count, found) in of_hook.iter_mut().zip(&found) {
                        *count += usize::from(found.is_none());
                    }
                    sound += usize::from(found.iter().all(Option::is_none));
                    unseen += usize::from(hooks.iter().any(|hook| hook.ahead.is_none()));
                    bad.extend(found.into_iter().flatten());
                }
                Err(error) => bad.push(("AttachFailed", format!("{name}: {}", chain(&error)))),
            }
        }
        let programs = self.programs(of_hook);
        let pods_alone = bad.is_empty();
        bad.extend(self.locals.missing.iter().map(|text| ("AttachFailed", text.clone())));
        let unknown = self.locals.links.iter().filter(|link| link.pod.is_none()).count();
        let Some((reason, _)) = bad.first() else {
            let tags: Vec<&str> = programs.iter().map(|program| program.tag.as_str()).collect();
            let message = format!(
                "{}; tags as built: {}",
                attached(sound, all, unseen, unknown),
                tags.join(" and ")
            );
            return (Condition::new(kind, true, "AllAttached", message), programs, false);
        };
        let texts: Vec<&str> = bad.iter().map(|(_, text)| text.as_str()).collect();
        let message = format!("{sound} of {all} pod interfaces; {}", texts.join("; "));
        (Condition::new(kind, false, reason, message), programs, pods_alone)
    }

    /// Both programs, of which so many were read back.
    fn programs(&self, attached: [usize; 2]) -> Vec<ProgramState> {
        let hooks = [Hook::FromPod, Hook::ToPod].into_iter().zip(attached);
        let state = |(hook, attached): (Hook, usize)| {
            let (id, tag) = self.instance.program(hook).ok()?;
            Some(ProgramState {
                hook: hook.to_string(),
                id,
                // As `bpftool` writes it: the bytes in their order.
                tag: format!("{:016x}", tag.swap_bytes()),
                attached,
            })
        };
        hooks.filter_map(state).collect()
    }

    fn probe_passed(&self) -> Condition {
        let kind = "ProbePassed";
        match &self.audit.not_run {
            Some(why) => Condition::unknown(kind, "NotRun", why.clone()),
            None => Condition::new(
                kind,
                true,
                "VerdictsAgree",
                format!("{} packets so far, each judged as the policy says", self.audit.probed),
            ),
        }
    }

    fn policy_synced(&self) -> Condition {
        let kind = "PolicySynced";
        let problems = self.found.len()
            + match &self.source {
                Source::Files(source) => source.problems().len(),
                Source::Cluster(followed) => followed.mirror.refused().count(),
            };
        let noted = match &self.source {
            _ if problems == 0 => String::new(),
            Source::Files(_) => format!("; {problems} findings in the manifests, see the log or `cellwall check`"),
            Source::Cluster(_) => format!("; {problems} findings, see the log and the objects' conditions"),
        };
        if let Some(stale) = self.stale() {
            return stale;
        }
        if let Some(why) = &self.audit.unread {
            let message =
                format!("the kernel's maps cannot be read back: {why}; start the agent again if that stays so");
            return Condition::unknown(kind, "NotRun", message);
        }
        let read = self.audit.hash.as_ref();
        let read = read.map_or_else(String::new, |hash| format!(", read back from the maps as {hash}"));
        match &self.refused {
            None => Condition::new(
                kind,
                true,
                "Synced",
                format!("generation {}{read}{noted}", self.realiser.generation()),
            ),
            Some(why) => Condition::new(
                kind,
                false,
                "WriteFailed",
                format!(
                    "generation {} decides, {} does not fit: {why}",
                    self.realiser.generation(),
                    self.wanted
                ),
            ),
        }
    }

    /// Addresses that several pods say they have, and those that pods gave themselves.
    fn addresses_unique(&self) -> Condition {
        let contested = self.found.iter().filter(|one| one.problem == Problem::AddressConflict);
        let mut conflicts: Vec<String> = contested.map(|one| one.message.clone()).collect();
        if let Source::Cluster(followed) = &self.source {
            conflicts.extend(followed.bindings.conflicts.iter().cloned());
        }
        if conflicts.is_empty() {
            return Condition::new("AddressesUnique", true, "NoConflict", "every address has one owner");
        }
        Condition::new("AddressesUnique", false, "AddressConflict", conflicts.join("; "))
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
        if self.over_quota.grows(events.flows_quota) {
            let message = format!(
                "{} flows of pods that hold {} answered ones each, the last within a minute ({}); they stay among the unanswered, \
                 where newer ones may take their place: look at what these pods do (`cellwall flows`)",
                events.flows_quota,
                limits::FLOW_QUOTA,
                self.at_their_quota(),
            );
            return Condition::new(kind, false, "FlowsFull", message);
        }
        let evicted = self.accounts.evicted.load(Ordering::Relaxed);
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

    /// The pods that hold as many answered flows as one may, by name.
    fn at_their_quota(&self) -> String {
        let held = counters::held(self.instance.maps()).unwrap_or_default();
        let full = held.iter().filter(|(_, held)| **held >= limits::FLOW_QUOTA.into());
        let names: Vec<String> = full
            .map(|(ifindex, _)| {
                let link = self.locals.links.iter().find(|link| link.ifindex == *ifindex);
                let pod = link
                    .and_then(|link| link.pod.as_ref())
                    .and_then(|uid| self.world.pod(uid));
                pod.map_or_else(
                    || format!("interface {ifindex}"),
                    |pod| format!("{}/{}", pod.namespace, pod.name),
                )
            })
            .collect();
        if names.is_empty() {
            "none now".to_owned()
        } else {
            names.join(", ")
        }
    }
}

/// What is said of `all` interfaces where nothing is wrong; of `unseen` the kernel does not tell who else is there, and
/// of `unknown` it is not known yet whose they are.
fn attached(sound: usize, all: usize, unseen: usize, unknown: usize) -> String {
    let chain = if unseen == 0 {
        ", first in the chain".to_owned()
    } else {
        format!("; whether another program is ahead of ours is not seen on {unseen}: give the agent CAP_SYS_ADMIN")
    };
    let whose = if unknown == 0 {
        String::new()
    } else {
        format!("; whose {unknown} of them are is not known yet: `startup` decides there")
    };
    format!("{sound} of {all} pod interfaces{chain}{whose}")
}

#[cfg(test)]
mod tests {
    use super::attached;

    #[test]
    fn first_in_the_chain_is_said_only_where_it_was_seen() {
        assert_eq!(attached(2, 2, 0, 0), "2 of 2 pod interfaces, first in the chain");
        assert!(attached(2, 2, 1, 0).contains("not seen on 1"));
        assert!(!attached(2, 2, 1, 0).contains("first"));
    }

    #[test]
    fn an_interface_that_nobody_is_known_behind_is_told() {
        assert!(attached(2, 2, 0, 1).ends_with("whose 1 of them are is not known yet: `startup` decides there"));
    }
}
