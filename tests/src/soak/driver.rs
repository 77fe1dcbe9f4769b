//! What happens to the node: rules flip, pods come and go, the agent dies, a pod floods, the API server is away.

mod flood;
mod outage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cellwall_controller::api::{Request, client};
use cellwall_policy::generate::Dice;

use super::model::{APPS, Action, Incarnation, Model, PORTS, Rule, Timeline, name, objects};
use super::observed::Observed;
use super::store::{NAMESPACE, Store};
use super::traffic::{Arrivals, Servers};
use super::{NUMBERED, Options};
use crate::{Cluster, patience};

/// Rules beside the two of the numbered datagrams.
const RULES: usize = 24;
/// Pods that stay, for the numbered datagrams.
const STAYING: usize = 2;
/// How long a change may take until it is in force.
const LONGEST: Duration = Duration::from_mins(3);
/// How often it is told how far things are.
const TELL: Duration = Duration::from_secs(30);

/// Drives one node.
pub(super) struct Driver<'a> {
    cluster: &'a mut Cluster,
    store: Store,
    timeline: Arc<Timeline>,
    observed: Arc<Observed>,
    options: Options,
    dice: Dice,
    arrivals: Arrivals,
    servers: BTreeMap<String, Servers>,
    born: u64,
    launched: Instant,
    /// When the API server goes next, where there is one.
    next_outage: Instant,
}

impl<'a> Driver<'a> {
    /// Makes pods and rules, starts the agent, and waits until all is in force.
    pub(super) fn open(
        cluster: &'a mut Cluster,
        store: Store,
        timeline: Arc<Timeline>,
        observed: Arc<Observed>,
        options: &Options,
    ) -> Self {
        let mut driver = Self {
            cluster,
            store,
            timeline,
            observed,
            options: options.clone(),
            dice: Dice::new(options.seed),
            arrivals: Arrivals::default(),
            servers: BTreeMap::new(),
            born: 0,
            launched: Instant::now(),
            next_outage: Instant::now(),
        };
        driver.store.apply(driver.cluster, "numbered.yaml", &numbered());
        driver.store.apply(driver.cluster, "objects.yaml", &objects());
        let mut model = Model::default();
        for _ in 0..RULES {
            model.rules.push(driver.rule());
        }
        for _ in 0..options.pods {
            model.pods.push(driver.birth());
        }
        driver.store.rules(driver.cluster, &Model::default(), &model);
        driver.timeline.begin(model);
        driver.launch();
        driver.confirm();
        driver.plan_outage();
        driver
    }

    pub(super) fn cluster(&self) -> &Cluster {
        self.cluster
    }

    pub(super) fn arrivals(&self) -> Arrivals {
        self.arrivals.clone()
    }

    /// Until the time is over, the agent was killed as often as wanted, and an API server was away once at least.
    pub(super) fn go_on(&mut self, mut tell: impl FnMut(&str)) {
        let (began, mut told) = (Instant::now(), Instant::now());
        let wanted = usize::from(self.store.plane().is_some());
        while began.elapsed() < self.options.duration
            || self.observed.times("agent killed") < self.options.kills
            || self.observed.outages() < wanted
        {
            self.store.renew();
            match self.dice.between(0, 9) {
                _ if self.outage_is_due() => self.outage(),
                0..=3 => self.kill(),
                4..=6 => self.flip(),
                7 => self.kill_in_a_change(),
                8 => self.replace_a_pod(),
                _ if self.options.floods => self.flood(),
                _ => self.pause(100, 100),
            }
            if told.elapsed() >= TELL {
                tell(&self.observed.so_far());
                told = Instant::now();
            }
        }
    }

    /// Ends the servers, so that the pods may go.
    pub(super) fn close(&mut self) {
        self.servers.clear();
    }

    fn rule(&mut self) -> Rule {
        let app = |dice: &mut Dice| usize::try_from(dice.between(0, APPS.len() as u64 - 1)).expect("a small number");
        Rule {
            from: app(&mut self.dice),
            to: app(&mut self.dice),
            port: *self.dice.pick(&PORTS),
            action: *self
                .dice
                .pick(&[Action::Drop, Action::Drop, Action::Alert, Action::Pass]),
            enabled: self.dice.chance(3, 4),
        }
    }

    fn launch(&mut self) {
        self.cluster.launch();
        self.launched = Instant::now();
    }

    /// Rests for so many milliseconds.
    fn pause(&mut self, least: u64, most: u64) {
        std::thread::sleep(Duration::from_millis(self.dice.between(least, most)));
    }

    /// A pod comes, with its servers; its manifest is written.
    fn birth(&mut self) -> Incarnation {
        self.born += 1;
        let place = format!("p{}", self.born);
        let lab = self.cluster.lab.add_pod(&place).expect("a pod");
        self.servers
            .insert(place.clone(), Servers::start(&lab.netns, &self.arrivals));
        let app = usize::try_from(self.dice.between(0, APPS.len() as u64 - 1)).expect("a small number");
        self.store.pod_comes(self.cluster, APPS[app], &lab);
        Incarnation { name: place, app, lab }
    }

    /// Waits until the agent says that the newest model is in force.
    fn confirm(&mut self) {
        let model = self.timeline.newest();
        let deadline = Instant::now() + patience(LONGEST);
        while !self.is_in_force(&model) {
            assert!(
                Instant::now() < deadline,
                "a change is not in force after {LONGEST:?}: {:?}\n{}",
                self.cluster.status(),
                self.cluster.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        self.timeline.confirm();
    }

    fn is_in_force(&self, model: &Model) -> bool {
        let Ok(rules) = client::ask_all(&self.cluster.socket(), &Request::Rules) else {
            return false;
        };
        let said = |place: usize, rule: &Rule| {
            rules.iter().any(|said| {
                said["name"] == name(place)
                    && said["action"] == format!("{:?}", rule.action)
                    && said["enabled"] == rule.enabled
            })
        };
        let known = model.rules.iter().enumerate().all(|(place, rule)| said(place, rule));
        // As many pods as there should be may be others than these: each has to be known by its name.
        let questions = model
            .pods
            .iter()
            .map(|pod| format!("{NAMESPACE}/{} {NAMESPACE}/anna 1/UDP", pod.name));
        let asked = Request::Explain {
            questions: questions.collect(),
        };
        let Ok(answers) = client::ask_all(&self.cluster.socket(), &asked) else {
            return false;
        };
        if answers.len() != model.pods.len() || answers.iter().any(|answer| answer["error"].is_string()) {
            return false;
        }
        let status = self.cluster.status().unwrap_or_default();
        let ready = status["unready"].as_array().is_some_and(Vec::is_empty);
        known && ready && status["pods_protected"] == model.pods.len() + STAYING
    }

    /// A change of the rules begins: it is written.
    fn change_rules(&mut self) {
        let before = self.timeline.newest();
        let mut model = (*before).clone();
        for _ in 0..self.dice.between(1, 3) {
            let place = usize::try_from(self.dice.between(0, RULES as u64 - 1)).expect("a small number");
            model.rules[place] = self.rule();
        }
        self.timeline.begin(model.clone());
        self.store.rules(self.cluster, &before, &model);
    }

    fn flip(&mut self) {
        self.change_rules();
        self.confirm();
        self.observed.event("rules flipped", 1);
    }

    fn kill_now(&mut self) {
        self.cluster.kill();
        self.observed.event("agent killed", 1);
    }

    /// SIGKILL at rest; the next one is let become ready, or dies on its way.
    fn kill(&mut self) {
        self.kill_and_launch();
        self.confirm();
        self.observed.adopted(self.launched.elapsed());
    }

    fn kill_and_launch(&mut self) {
        self.kill_now();
        self.pause(0, 50);
        self.launch();
        while self.dice.chance(1, 2) {
            self.pause(0, 600);
            self.kill_now();
            self.observed.event("of these on its way to be ready", 1);
            self.launch();
        }
    }

    /// SIGKILL while a change is being written.
    fn kill_in_a_change(&mut self) {
        self.change_rules();
        std::thread::sleep(Duration::from_micros(self.dice.between(0, 30_000)));
        self.kill_now();
        self.observed.event("of these while a change was written", 1);
        self.launch();
        self.confirm();
        self.observed.adopted(self.launched.elapsed());
    }

    /// A pod goes, with its interface; another comes that has its address and the name of its interface.
    fn replace_a_pod(&mut self) {
        let mut model = (*self.timeline.newest()).clone();
        let place = usize::try_from(self.dice.between(0, model.pods.len() as u64 - 1)).expect("a small number");
        let gone = model.pods.remove(place);
        self.timeline.begin(model.clone());
        self.servers.remove(&gone.name);
        self.store.pod_goes(self.cluster, &gone.name);
        self.cluster.lab.remove_pod(&gone.name);
        if self.dice.chance(1, 2) {
            self.confirm();
        }
        let come = self.birth();
        model.pods.push(come);
        self.timeline.begin(model);
        self.confirm();
        self.observed.event("pods replaced by others with their address", 1);
    }
}

/// The rules of the numbered datagrams, before all others.
fn numbered() -> String {
    let [refused, permitted] = NUMBERED;
    let rule = |name: &str, port: u16, action: &str| {
        format!(
            "apiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {{name: {name}}}\nspec: {{source: {{entity: Cluster}}, \
             destination: {{entity: Cluster}}, ports: [{{protocol: UDP, port: {port}}}], action: {action}, priority: 1000}}\n"
        )
    };
    format!(
        "{}---\n{}",
        rule("numbered-refused", refused, "Drop"),
        rule("numbered-permitted", permitted, "Pass")
    )
}
