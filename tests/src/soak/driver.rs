//! What happens to the node: rules flip, pods come and go, the agent dies, a pod floods.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cellwall_controller::api::{Request, client};
use cellwall_policy::generate::Dice;

use super::model::{APPS, Action, Incarnation, Model, PORTS, Rule, Timeline, name};
use super::observed::Observed;
use super::traffic::{Arrivals, Servers};
use super::{NUMBERED, Options};
use crate::blast::Blast;
use crate::frames::{link_address, make};
use crate::{Cluster, patience};

/// Rules beside the two of the numbered datagrams.
const RULES: usize = 24;
/// Pods that stay, for the numbered datagrams.
const STAYING: usize = 2;
/// How long a change may take until it is in force.
const LONGEST: Duration = Duration::from_mins(3);
/// How often it is told how far things are.
const TELL: Duration = Duration::from_secs(30);
/// How long a flood lasts.
const FLOOD: Duration = Duration::from_millis(400);

/// Drives one node.
pub(super) struct Driver<'a> {
    cluster: &'a mut Cluster,
    timeline: Arc<Timeline>,
    observed: Arc<Observed>,
    options: Options,
    dice: Dice,
    arrivals: Arrivals,
    servers: BTreeMap<String, Servers>,
    born: u64,
    launched: Instant,
}

impl<'a> Driver<'a> {
    /// Makes pods and rules, starts the agent, and waits until all is in force.
    pub(super) fn open(
        cluster: &'a mut Cluster,
        timeline: Arc<Timeline>,
        observed: Arc<Observed>,
        options: &Options,
    ) -> Self {
        let mut driver = Self {
            cluster,
            timeline,
            observed,
            options: options.clone(),
            dice: Dice::new(options.seed),
            arrivals: Arrivals::default(),
            servers: BTreeMap::new(),
            born: 0,
            launched: Instant::now(),
        };
        driver.cluster.save("numbered.yaml", &numbered());
        let mut model = Model::default();
        for _ in 0..RULES {
            model.rules.push(driver.rule());
        }
        for _ in 0..options.pods {
            model.pods.push(driver.birth());
        }
        driver.cluster.save("rules.yaml", &model.manifest());
        driver.timeline.begin(model);
        driver.launch();
        driver.confirm();
        driver
    }

    pub(super) fn cluster(&self) -> &Cluster {
        self.cluster
    }

    pub(super) fn arrivals(&self) -> Arrivals {
        self.arrivals.clone()
    }

    /// Until the time is over and the agent was killed as often as wanted.
    pub(super) fn go_on(&mut self, mut tell: impl FnMut(&str)) {
        let (began, mut told) = (Instant::now(), Instant::now());
        while began.elapsed() < self.options.duration || self.observed.times("agent killed") < self.options.kills {
            match self.dice.between(0, 9) {
                0..=3 => self.kill(),
                4..=6 => self.flip(),
                7 => self.kill_in_a_change(),
                8 => self.replace_a_pod(),
                _ if self.options.floods => self.flood(),
                _ => std::thread::sleep(Duration::from_millis(100)),
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

    /// A pod comes, with its servers; its manifest is saved.
    fn birth(&mut self) -> Incarnation {
        self.born += 1;
        let place = format!("p{}", self.born);
        let lab = self.cluster.lab.add_pod(&place).expect("a pod");
        self.servers
            .insert(place.clone(), Servers::start(&lab.netns, &self.arrivals));
        let app = usize::try_from(self.dice.between(0, APPS.len() as u64 - 1)).expect("a small number");
        let manifest = crate::pod("ns-0", &place, &lab.netns);
        let labelled = manifest.replace(&format!("app: \"{place}\""), &format!("app: {}", APPS[app]));
        self.cluster.save(&format!("pod-{place}.yaml"), &labelled);
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
            .map(|pod| format!("ns-0/{} ns-0/anna 1/UDP", pod.name));
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

    /// A change of the rules begins: it is saved.
    fn change_rules(&mut self) {
        let mut model = (*self.timeline.newest()).clone();
        for _ in 0..self.dice.between(1, 3) {
            let place = usize::try_from(self.dice.between(0, RULES as u64 - 1)).expect("a small number");
            model.rules[place] = self.rule();
        }
        let text = model.manifest();
        self.timeline.begin(model);
        self.cluster.save("rules.yaml", &text);
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
        self.kill_now();
        std::thread::sleep(Duration::from_millis(self.dice.between(0, 50)));
        self.launch();
        while self.dice.chance(1, 2) {
            std::thread::sleep(Duration::from_millis(self.dice.between(0, 600)));
            self.kill_now();
            self.observed.event("of these on its way to be ready", 1);
            self.launch();
        }
        self.confirm();
        self.observed.adopted(self.launched.elapsed());
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
        let manifest = self.cluster.manifests().join(format!("pod-{}.yaml", gone.name));
        std::fs::remove_file(manifest).expect("the manifest was there");
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

    /// One pod opens as many connections as it can, to hosts that are not there.
    fn flood(&mut self) {
        let model = self.timeline.newest();
        let pod = &self.dice.pick(&model.pods).lab;
        let own = link_address(&pod.netns, "eth0").expect("the pod's interface");
        let gateway = link_address(&self.cluster.netns("node"), &pod.host_interface).expect("its other end");
        let from = pod.v4;
        let frame = move |_thread: u8, number: u64, frame: &mut Vec<u8>| {
            let [.., high, low] = number.to_be_bytes();
            let source = u16::from_be_bytes([high, low]) | 1024;
            let segment = make::tcp(source, 80, 2, &[]);
            let to = std::net::Ipv4Addr::new(203, 0, 113, low).into();
            let mut packet = make::ip(from.into(), to, 6, &segment);
            make::sum_v4(&mut packet);
            *frame = make::ethernet(gateway, own, 0x0800, &packet);
        };
        let blast = Blast::start(&pod.netns, 1, frame).expect("a flood");
        std::thread::sleep(FLOOD);
        let blasted = blast.end().expect("the flood ends");
        self.observed.event("floods", 1);
        self.observed.event("frames of floods", blasted.sent);
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
