//! The agent killed again and again under traffic: what no agent watches is judged all the same, by the same programs,
//! and counted on.

use std::net::SocketAddr;
use std::time::Duration;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{SchedClassifier, TcAttachType};
use cellwall_controller::lab::{Server, Wiring};
use cellwall_datapath::attach::Hook;
use cellwall_datapath::kernel::Place;
use cellwall_tests::numbered::{Heard, Numbered};
use cellwall_tests::steady::Steady;
use cellwall_tests::{Cluster, wait_for};

const REFUSED: u16 = 1001;
const PERMITTED: u16 = 1002;
/// Where one TCP connection stays open all the time.
const STEADY: u16 = 1003;
const KILLS: u32 = 10;

const RULES: &str = "
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: refused}
spec: {source: {entity: Cluster}, destination: {entity: Cluster}, ports: [{protocol: UDP, port: 1001}], action: Drop, priority: 10}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: permitted}
spec: {source: {entity: Cluster}, destination: {entity: Cluster}, ports: [{protocol: UDP, port: 1002}], action: Pass, priority: 10}
";

/// A rule about nobody here, so that a starting agent has something to write.
fn other(priority: u32) -> String {
    format!(
        "apiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {{name: other}}\nspec: {{source: {{entity: World}}, \
         destination: {{entity: Cluster}}, action: Alert, priority: {priority}}}\n"
    )
}

/// Numbered datagrams, and a TCP connection that stays open.
struct Traffic {
    numbered: Numbered,
    steady: Steady,
}

impl Traffic {
    fn start(cluster: &Cluster) -> Self {
        let to = SocketAddr::new(cluster.pod("b").v4.into(), STEADY);
        let pause = Duration::from_millis(1);
        Self {
            steady: Steady::start(cluster, "a", to),
            numbered: Numbered::start(cluster, "a", "b", [REFUSED, PERMITTED], pause),
        }
    }

    /// Waits until this many more numbers were sent.
    fn more(&self, count: u32) {
        self.numbered.more(count);
    }

    /// Ends it: what was heard, and round trips of the connection.
    fn end(self) -> (Heard, u32) {
        (self.numbered.end(), self.steady.end())
    }
}

/// What is attached to the pods' interfaces: ids of pinned programs and links, and how often the kernel's chains changed.
fn attached(cluster: &Cluster) -> (Vec<u32>, Vec<u32>, Vec<u64>) {
    let place = Place::new(cluster.instance()).expect("a place");
    let hooks = [Hook::FromPod, Hook::ToPod];
    let program = |hook| SchedClassifier::from_pin(place.program(hook)).expect("a pinned program");
    let programs = hooks
        .map(|hook| program(hook).info().expect("a program's id").id())
        .to_vec();
    let (mut links, mut revisions) = (Vec::new(), Vec::new());
    for pod in cluster.lab.pods() {
        let seen = cluster.lab.node().inside(|| {
            let ifindex = nix::net::if_::if_nametoindex(pod.host_interface.as_str()).expect("the pod's interface");
            let revision = [TcAttachType::Ingress, TcAttachType::Egress].map(|side| {
                let (revision, chain) = SchedClassifier::query_tcx(&pod.host_interface, side).expect("the chain");
                assert_eq!(chain.len(), 1, "one program on {}", pod.host_interface);
                revision
            });
            (ifindex, revision)
        });
        let (ifindex, revision) = seen.expect("the node's namespace");
        revisions.extend(revision);
        links.extend(hooks.map(|hook| {
            let link: FdLink = PinnedLink::from_pin(place.link(ifindex, hook))
                .expect("a pinned link")
                .into();
            link.info().expect("a link's id").id()
        }));
    }
    (programs, links, revisions)
}

#[test]
fn killed_ten_times_under_traffic_the_agent_leaves_no_packet_unjudged_and_no_counter_reset() {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
    cluster.save_pods();
    cluster.save("rules.yaml", RULES);
    cluster.start();
    let _server = Server::start(&cluster.netns("b"), STEADY).expect("a server");
    let packets = |cluster: &Cluster, rule: &str| cluster.rule(rule)["packets"].as_u64().expect("a number");
    let before = attached(&cluster);
    let traffic = Traffic::start(&cluster);
    let (mut counted, mut restarts) = ([0; 2], 0);
    for kill in 0..KILLS {
        traffic.more(50);
        cluster.kill();
        traffic.more(50);
        cluster.save("other.yaml", &other(kill + 1));
        // Some of the next ones are killed on their way: soon, or with the pinned maps in their hands.
        if kill % 4 != 0 {
            let adopted = cluster.log().matches("adopted").count();
            cluster.launch();
            let taken_over = || (cluster.log().matches("adopted").count() > adopted).then_some(());
            match kill % 4 {
                2 => wait_for(Duration::from_secs(20), taken_over).expect("the next agent takes over"),
                _ => traffic.more(kill * 10),
            }
            continue;
        }
        cluster.start();
        restarts += 1;
        let now = ["refused", "permitted"].map(|rule| packets(&cluster, rule));
        assert!(
            now[0] > counted[0] && now[1] > counted[1],
            "counters went back: {counted:?}, then {now:?}"
        );
        counted = now;
        assert_eq!(
            attached(&cluster),
            before,
            "programs, links and revisions of the chains after kill {kill}"
        );
    }
    cluster.kill();
    cluster.start();
    traffic.more(50);
    let (Heard { sent, missed, leaked }, trips) = traffic.end();
    let counted = ["refused", "permitted"].map(|rule| packets(&cluster, rule));
    let (programs, links, revisions) = attached(&cluster);
    println!(
        "{} kills, {} complete restarts: {sent} refused datagrams sent, {leaked} arrived, {} counted; {sent} permitted sent, \
         {missed} missing, {} counted; {trips} round trips on an open connection; programs {programs:?}, links {links:?}, \
         chain revisions {revisions:?}: as before",
        KILLS + 1,
        restarts + 1,
        counted[0],
        counted[1],
    );
    assert_eq!((leaked, missed), (0, 0), "judged by no policy, of {sent} and {sent}");
    assert_eq!(
        counted,
        [u64::from(sent); 2],
        "what the rules counted, of {sent} sent to each"
    );
    assert_eq!((programs, links, revisions), before);
}
