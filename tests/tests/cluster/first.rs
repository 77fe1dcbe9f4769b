//! Pods that send from their first millisecond, created through the API server on both nodes and started by kubelet and
//! containerd: how long each was judged by less than its policy, for each `startup` and with the plugin of `deploy/cni`.
//!
//! `CELLWALL_CLUSTER_FIRST_PACKETS` is how many pods for each (3). A node starts one at a time.

use std::time::Duration;

use cellwall_tests::cluster::POD_IMAGE;
use cellwall_tests::first_packets::{PERMITTED, REFUSED, Way, Window, how_often, tell};

use crate::latency::identity;
use crate::shop::{Shop, socket};
use crate::traffic::Running;
use crate::{install, programmed};

/// How long a pod may take to run, or to go.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a pod goes on once it runs and is known.
const AFTER: Duration = Duration::from_secs(2);
/// Whose policy is known from its first packet is held up no longer: a server that is busy may miss one or two.
const AT_ONCE: Duration = Duration::from_millis(20);
const NODES: [&str; 2] = ["1", "2"];

/// What came from one pod at one port.
struct Heard {
    pod: String,
    port: u16,
    count: usize,
    first: usize,
    first_at: Duration,
    last: usize,
    last_at: Duration,
}

/// A line of `pod hear`.
fn heard(line: &str) -> Heard {
    let mut words = line.split(' ');
    let pod = words.next().expect("a pod").to_owned();
    let mut number = || -> u64 {
        let word = words.next().unwrap_or_else(|| panic!("too short: {line}"));
        word.parse().expect("a number")
    };
    let few = |number: u64| usize::try_from(number).expect("few");
    Heard {
        pod,
        port: u16::try_from(number()).expect("a port"),
        count: few(number()),
        first: few(number()),
        first_at: Duration::from_nanos(number()),
        last: few(number()),
        last_at: Duration::from_nanos(number()),
    }
}

/// What a pod met, by what was heard of it at one place.
fn window(pod: &str, lines: &[Heard]) -> Window {
    let at = |port| lines.iter().find(|line| line.pod == pod && line.port == port);
    let (refused, permitted) = (at(REFUSED), at(PERMITTED));
    Window {
        leaked: refused.map_or(0, |line| line.count),
        last_leak: refused.map_or(Duration::ZERO, |line| line.last_at),
        first_passed: permitted.map(|line| line.first_at),
        lost: permitted.map_or(0, |line| line.last + 1 - line.first - line.count),
    }
}

fn name(way: Way, number: usize) -> String {
    format!("first-{way:?}-{number}").to_lowercase()
}

impl Shop {
    /// Each way in turn; the agents are those of `deploy` before, and of `deploy/cni` after.
    pub(crate) fn tells_what_first_packets_meet(&self) {
        let pods = how_often("CELLWALL_CLUSTER_FIRST_PACKETS", 3);
        for way in [Way::Open, Way::Guarded, Way::Closed, Way::Plugin] {
            if way == Way::Plugin {
                install(self, "deploy/cni");
                self.waits_for_the_plugin();
            }
            self.judges_by(way);
            self.first_packets(way, pods);
        }
    }

    /// Each node's network configuration ends with the plugin.
    fn waits_for_the_plugin(&self) {
        for node in self.cluster.nodes() {
            let there = cellwall_tests::wait_for(PATIENCE, || {
                let found = node
                    .command("grep")
                    .args(["-c", "whenAway", "-r", "/etc/cni/net.d"])
                    .output();
                found.expect("grep runs").status.success().then_some(())
            });
            assert!(there.is_some(), "no plugin on {}", node.name());
        }
    }

    /// A `startup`, and the rule that refuses, in force on both nodes.
    fn judges_by(&self, way: Way) {
        self.run(&["delete", "drule", "first-packets", "--ignore-not-found"]);
        self.kubectl.apply(&format!(
            "apiVersion: cellwall.io/v1alpha1\nkind: ClusterDefense\nmetadata: {{name: default}}\n\
             spec: {{mode: Enforce, startup: {}}}\n---\n\
             apiVersion: cellwall.io/v1alpha1\nkind: NetworkObject\nmetadata: {{name: first}}\n\
             spec: {{namespaces: [shop], apps: [first]}}\n",
            way.startup()
        ));
        // The kinds are followed apart: this one is the last to be written.
        std::thread::sleep(AFTER);
        self.kubectl.apply(&format!(
            "apiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {{name: first-packets}}\n\
             spec: {{source: {{object: first}}, destination: {{object: other}}, \
             ports: [{{protocol: UDP, port: {REFUSED}}}], action: Drop, priority: 5}}\n"
        ));
        programmed(self, &["first-packets"]);
    }

    fn first_packets(&self, way: Way, pods: usize) {
        let ears = NODES.map(|node| {
            let ports = [REFUSED, PERMITTED].map(|port| port.to_string());
            let ear = self.start(&format!("other-{node}"), &["hear", &ports[0], &ports[1]]);
            assert_eq!(ear.line(PATIENCE).as_deref(), Some("hearing"));
            ear
        });
        std::thread::scope(|scope| {
            for (first, node) in NODES.into_iter().enumerate() {
                scope.spawn(move || {
                    let agent = self.follow_agent(&format!("node-{node}"));
                    for number in (first..pods).step_by(NODES.len()) {
                        self.starts_and_ends(&name(way, number), node, &agent);
                    }
                });
            }
        });
        let lines = ears.map(|ear| ear.finish().iter().map(|line| heard(line)).collect::<Vec<_>>());
        // What a pod met at the server of its own node, and at the other.
        let mut near = Vec::new();
        let mut far = Vec::new();
        for number in 0..pods {
            let own = number % NODES.len();
            near.push(window(&name(way, number), &lines[own]));
            far.push(window(&name(way, number), &lines[1 - own]));
        }
        let leaking = tell(&format!("{way:?}, to a pod of its node"), &near);
        let leaking_far = tell(&format!("{way:?}, to a pod of the other node"), &far);
        let all = || near.iter().chain(&far);
        assert!(
            all().all(|window| window.first_passed.is_some()),
            "what is permitted passes in the end: {near:?} {far:?}"
        );
        match way {
            Way::Open => assert!(leaking > 0, "until it is known everything passes: {near:?}"),
            // Each was alone on its node when it began.
            Way::Guarded | Way::Closed => assert_eq!((leaking, leaking_far), (0, 0), "{near:?} {far:?}"),
            Way::Plugin => {
                assert_eq!((leaking, leaking_far), (0, 0), "{near:?} {far:?}");
                // Its node knew it before it ran; the other hears of its address from the API server.
                assert!(
                    near.iter()
                        .all(|window| window.first_passed.is_some_and(|at| at < AT_ONCE)),
                    "{near:?}"
                );
            }
        }
    }

    /// One pod's life: it stops sending before its addresses are nobody's.
    fn starts_and_ends(&self, name: &str, node: &str, agent: &Running) {
        let to = NODES.iter().flat_map(|node| {
            let pod = self.pods.iter().find(|pod| pod.name == format!("other-{node}"));
            let address = &pod.expect("a pod of this name").addresses[0];
            [REFUSED, PERMITTED].map(|port| format!("\"{}\"", socket(address, port)))
        });
        let to = to.collect::<Vec<_>>().join(", ");
        self.kubectl.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: first}}}}\nspec:\n  \
             nodeName: node-{node}\n  terminationGracePeriodSeconds: 10\n  automountServiceAccountToken: false\n  \
             containers: [{{name: it, image: \"{POD_IMAGE}\", imagePullPolicy: Never, args: [first, {to}]}}]\n"
        ));
        identity(agent, name);
        let phase = ["get", "pod", name, "-n", "shop", "-o", "jsonpath={.status.phase}"];
        self.cluster.wait_until(PATIENCE, &phase, |text| text == "Running");
        std::thread::sleep(AFTER);
        self.run(&["delete", "pod", name, "-n", "shop", "--timeout=60s"]);
    }
}
