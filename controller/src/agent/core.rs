//! What the loop works on: the world, what was compiled of it, and the kernel that is to say so.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cellwall_datapath::abi::switches;
use cellwall_datapath::apply::Realiser;
use cellwall_datapath::counters;
use cellwall_datapath::kernel::{Features, Instance, Opening, Options, Place};
use cellwall_datapath::links::{self, Links};
use cellwall_policy::compile::Compiler;
use cellwall_policy::compiled::{Change, RuleCard, RuleSlot};
use cellwall_policy::diagnostic::{Diagnostic, Severity};
use cellwall_policy::model::{Mode, Name, Startup};
use cellwall_policy::world::{DocumentKey, World};
use tokio::sync::{mpsc, watch};

use super::audit::{self, Call, Knowledge};
use super::carry::Formers;
use super::cluster::Followed;
use super::faults::Faults;
use super::listing;
use super::locals::Locals;
use super::recovery::Recovery;
use super::report::Lately;
use super::windows::Windows;
use crate::alerts::Alerts;
use crate::cli::args::{InstanceArgs, PassSample, RunArgs};
use crate::documents;
use crate::metrics::{ApplyDuration, StartupWindow};
use crate::records::Directory;
use crate::records::accounts::Accounts;
use crate::status::Report;

/// Entries that the sweep looks at between two rests.
const SWEEP_CHUNK: u64 = 4_096;
/// Rest of the sweep.
const SWEEP_REST: Duration = Duration::from_millis(100);

/// Where documents come from.
pub(super) enum Source {
    /// A directory of manifests.
    Files(documents::Source),
    /// The API server.
    Cluster(Box<Followed>),
}

/// The agent's state.
pub(super) struct Core {
    pub(super) node: Name,
    pub(super) source: Source,
    pub(super) world: World,
    compiler: Compiler,
    pub(super) netlink: Links,
    pub(super) locals: Locals,
    pub(super) instance: Instance,
    pub(super) realiser: Realiser,
    pub(super) directory: Arc<Directory>,
    /// Cards of the slots in use.
    pub(super) cards: BTreeMap<RuleSlot, RuleCard>,
    /// What was found wrong with the world, and told.
    pub(super) found: BTreeSet<Diagnostic>,
    sample: PassSample,
    pub(super) fresh: bool,
    /// Whether what an agent of another layout left in the kernel is gone.
    pub(super) alone: bool,
    /// What that agent's programs remember.
    pub(super) formers: Formers,
    pub(super) applies: ApplyDuration,
    windows: Windows,
    pub(super) startups: StartupWindow,
    /// Why the wanted policy is not realised; none: it is.
    pub(super) refused: Option<String>,
    /// Interfaces that could not be guarded, and why.
    pub(super) unguarded: BTreeMap<u32, String>,
    pub(super) wanted: u32,
    pub(super) synced: Instant,
    pub(super) accounts: Arc<Accounts>,
    pub(super) alerts: Arc<Alerts>,
    pub(super) losses: Lately,
    /// Answered flows, and unanswered ones, that could not be entered.
    pub(super) unentered: Lately,
    /// Answered flows whose pod held its share.
    pub(super) over_quota: Lately,
    /// Unanswered flows that made room for newer ones.
    pub(super) evictions: Lately,
    /// Interfaces that had our programs when they were last looked at.
    pub(super) guarded: BTreeSet<u32>,
    /// What was found wrong lately, and put right.
    pub(super) faults: Faults,
    /// What looks at the kernel found.
    pub(super) audit: Knowledge,
    pub(super) recovery: Recovery,
    /// Whether Drop rules acted as Alert, for want of a confirmation, when the policy was last realised.
    waited: bool,
    /// What the kernel was found to have.
    pub(super) features: Features,
    reports: watch::Sender<Option<Arc<Report>>>,
}

impl Core {
    /// Opens the instance and takes over what is in force there.
    pub(super) fn open(
        instance: &InstanceArgs,
        args: &RunArgs,
        reports: watch::Sender<Option<Arc<Report>>>,
    ) -> Result<Self> {
        let node: Name = documents::node_name(args.node_name.as_deref())?.into();
        let place = Place::new(&instance.instance)?;
        let (mut kernel, opening) =
            Instance::open(place, Options::default()).context("the programs cannot be loaded")?;
        match opening {
            Opening::First => tracing::info!("programs loaded"),
            Opening::Adopted => tracing::info!("programs, links and maps of the agent before were adopted"),
            Opening::Replaced { hooks } => tracing::info!(hooks, "maps adopted, programs replaced in place"),
        }
        let formers = Formers::find(&mut kernel);
        let realiser = Realiser::adopt(kernel.maps()).context("the pinned maps cannot be read")?;
        let mut compiler = Compiler::new(node.clone());
        let adopted = realiser.image().adopted_rules();
        compiler.adopt_rules(adopted.map(|(slot, card)| (slot, card.name.clone(), card.uid.clone())));
        // In a cluster every agent reports; a directory of manifests tells of none.
        let world = World::new(node.clone(), !args.source.kubernetes);
        let directory = Arc::new(Directory::new(world.clone()));
        for (slot, card) in realiser.image().adopted_rules() {
            directory.rule(slot.0, card.clone());
        }
        let source = if args.source.kubernetes {
            Source::Cluster(Box::new(Followed::open(&instance.state_dir(), world.clone())))
        } else {
            Source::Files(documents::Source::open(&instance.state_dir()))
        };
        let recovery = Recovery::open(&instance.state_dir());
        Ok(Self {
            node,
            source,
            world,
            compiler,
            guarded: realiser.image().attached().map(|(ifindex, _)| ifindex).collect(),
            faults: Faults::default(),
            audit: Knowledge::default(),
            waited: recovery.is_waiting(),
            recovery,
            features: Features::probe(),
            netlink: Links::open().context("interfaces cannot be listed")?,
            locals: Locals::default(),
            wanted: realiser.generation(),
            instance: kernel,
            realiser,
            directory,
            cards: BTreeMap::new(),
            found: BTreeSet::new(),
            sample: args.flow_log_pass,
            fresh: true,
            alone: false,
            formers,
            applies: ApplyDuration::default(),
            windows: Windows::default(),
            startups: StartupWindow::default(),
            refused: None,
            unguarded: BTreeMap::new(),
            synced: Instant::now(),
            accounts: Arc::default(),
            alerts: Arc::new(Alerts::new(instance.state_dir(), args.alerts_size)),
            losses: Lately::default(),
            unentered: Lately::default(),
            over_quota: Lately::default(),
            evictions: Lately::default(),
            reports,
        })
    }

    /// Confirms the generation that decides, so that Drop rules drop again.
    pub(super) fn confirm(&mut self, generation: Option<u32>, by: &str) -> Result<u32, String> {
        // What is wrong now is to be known before anything is confirmed.
        self.tell();
        let current = self.realiser.generation();
        let confirmed = self.recovery.confirm(generation, current, by);
        confirmed.map_err(|error| error.to_string())?;
        self.realise(&[], &[]);
        self.tell();
        Ok(current)
    }

    /// A thread that looks at the kernel.
    pub(super) fn auditor(&self, calls: mpsc::Sender<Call>, stop: Arc<AtomicBool>) -> Result<()> {
        let options = self.instance.options().clone();
        // It ends by itself, soon after the loop or with the process.
        audit::start(self.place(), options, calls, stop).context("the audit cannot be started")?;
        Ok(())
    }

    pub(super) fn place(&self) -> Place {
        self.instance.place().clone()
    }

    pub(super) fn directory(&self) -> Arc<Directory> {
        self.directory.clone()
    }

    pub(super) fn accounts(&self) -> Arc<Accounts> {
        self.accounts.clone()
    }

    pub(super) fn alerts(&self) -> Arc<Alerts> {
        self.alerts.clone()
    }

    /// A thread that deletes flows that are over.
    pub(super) fn sweeper(&self, stop: Arc<AtomicBool>) -> Result<std::thread::JoinHandle<()>> {
        let accounts = self.accounts();
        counters::sweep_in_thread(self.place(), SWEEP_CHUNK, SWEEP_REST, stop, move |swept| match swept {
            Ok(swept) => drop(accounts.evicted.fetch_max(swept.evicted, Ordering::Relaxed)),
            Err(error) => tracing::warn!(%error, "flows that are over cannot be deleted"),
        })
        .context("the sweep cannot be started")
    }

    /// Interfaces, addresses or filters changed.
    pub(super) fn interfaces_changed(&mut self, change: links::Change) {
        if change.links || change.addresses || change.namespaces {
            self.converge();
        }
        if change.filters {
            self.guard();
            self.tell();
        }
    }

    /// The directory of manifests says something else.
    pub(super) fn files_changed(&mut self, scan: &crate::manifest::files::Scan) {
        let Source::Files(source) = &mut self.source else {
            return;
        };
        source.take(scan);
        for problem in source.problems() {
            if problem.is_error() {
                tracing::error!("{problem}");
            } else {
                tracing::info!("{problem}");
            }
        }
        self.converge();
        if let Source::Files(source) = &mut self.source {
            source.save();
        }
    }

    /// Brings everything to what the sources and the kernel's interfaces say now.
    pub(super) fn converge(&mut self) {
        match &self.source {
            Source::Files(source) => {
                let mut locals = Locals::look(&mut self.netlink, &self.world, source.documents());
                locals.keep_from(&self.locals, source.documents(), &self.world);
                let touched = self.world.reset(locals.complete(source.documents(), &self.node));
                self.settle(locals, &touched);
            }
            Source::Cluster(_) => self.converge_cluster(),
        }
    }

    /// Realises a world of which `touched` changed, with the interfaces that `locals` shows.
    pub(super) fn settle(&mut self, locals: Locals, touched: &[DocumentKey]) {
        let moved = locals.links != self.locals.links;
        let known = &self.locals.hosts;
        // Those that came before the world was known are new to the kernel's tables too.
        let is_new = |ifindex: &u32| self.fresh || !known.contains_key(ifindex);
        let fresh: Vec<u32> = locals.hosts.keys().copied().filter(is_new).collect();
        let former = std::mem::replace(&mut self.locals, locals);
        if self.fresh || moved || !touched.is_empty() || self.refused.is_some() {
            self.realise(touched, &fresh);
        }
        for window in self.windows.look(&self.locals.links, Instant::now()) {
            self.startups.observe(window);
        }
        self.detach(&former);
        self.carry_over();
        self.guard();
        self.carry_the_rest();
        self.retire_others();
        self.tell();
    }

    /// Realises a world of which `touched` changed, on the interfaces of before.
    pub(super) fn follow(&mut self, touched: &[DocumentKey]) {
        if !touched.is_empty() || self.refused.is_some() {
            self.realise(touched, &[]);
        }
    }

    fn realise(&mut self, touched: &[cellwall_policy::world::DocumentKey], new_links: &[u32]) {
        let began = Instant::now();
        self.audit.epoch += 1;
        let generation = self.realiser.next_generation();
        let update = self
            .compiler
            .update(&self.world, touched, &self.locals.links, generation);
        self.tell_findings(update.diagnostics);
        for change in &update.changes {
            let Change::Rule(slot, card) = change else { continue };
            match card {
                Some(card) => {
                    self.directory.rule(slot.0, card.clone());
                    self.cards.insert(*slot, card.clone());
                }
                None => {
                    self.cards.remove(slot);
                }
            }
        }
        let known: BTreeSet<u32> = self.realiser.image().attached().map(|(ifindex, _)| ifindex).collect();
        let now = u64::try_from(counters::monotonic().as_nanos()).unwrap_or(u64::MAX);
        for ifindex in new_links.iter().filter(|ifindex| !known.contains(ifindex)) {
            self.realiser.attached(*ifindex, now);
        }
        self.realiser.want(update.changes);
        self.realiser.want_switches(self.switches(), self.sample.one_in());
        self.waited = self.recovery.is_waiting();
        match self.realiser.realise(self.instance.maps_mut()) {
            Ok(report) => {
                self.fresh = false;
                self.refused = None;
                self.synced = Instant::now();
                tracing::info!(generation = report.generation, writes = report.total(), took = ?began.elapsed(), "realised");
            }
            Err(error) => {
                let text = chain(&error);
                tracing::error!("the policy is not realised, the last good one decides: {text}");
                self.refused = Some(text);
            }
        }
        self.wanted = if self.refused.is_some() {
            generation
        } else {
            self.realiser.generation()
        };
        self.applies.observe(began.elapsed());
        let pods: HashMap<u32, Option<Name>> = self.locals.links.iter().map(|l| (l.ifindex, l.pod.clone())).collect();
        self.directory
            .world_changed(self.world.clone(), self.realiser.generation(), touched, pods);
        // The grace period after a flip is waited for now, so that the next change need not.
        if let Err(error) = self.realiser.settle(self.instance.maps_mut()) {
            tracing::warn!("left-overs of the last change stay for now: {}", chain(&error));
        }
    }

    /// Tells what was found wrong with the world; again only when it came anew.
    fn tell_findings(&mut self, conflicts: Vec<Diagnostic>) {
        let mut found: BTreeSet<Diagnostic> = conflicts.into_iter().collect();
        found.extend(listing::dangling(&self.world));
        for one in found.difference(&self.found) {
            match one.severity {
                Severity::Error => tracing::error!("{one}"),
                Severity::Warning => tracing::warn!("{one}"),
            }
        }
        self.found = found;
    }

    fn switches(&self) -> u32 {
        let defense = self.world.defense();
        let mode = match defense.mode {
            Mode::Enforce if self.recovery.is_waiting() => switches::ALERT_ONLY,
            Mode::Enforce => 0,
            Mode::AlertOnly => switches::ALERT_ONLY,
            Mode::Off => switches::OFF,
        };
        mode | if defense.startup == Startup::Open {
            switches::STARTUP_OPEN
        } else {
            0
        }
    }

    /// Looks at the kernel though nothing was heard.
    pub(super) fn audit(&mut self) {
        if self.refused.is_some() || self.locals.unsettled() || self.awaits_time() {
            self.converge();
        } else {
            self.guard();
            self.tell();
        }
    }

    /// Tells how the node stands, and answers what was told. Whatever follows from it is in force by then: Drop rules
    /// drop again, or act as Alert.
    pub(super) fn tell(&mut self) -> Arc<Report> {
        let mut report = self.report();
        if self.recovery.is_waiting() != self.waited && !self.fresh {
            self.realise(&[], &[]);
            report = self.report();
        }
        let report = Arc::new(report);
        self.reports.send_replace(Some(report.clone()));
        self.publish(report.clone());
        report
    }
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
