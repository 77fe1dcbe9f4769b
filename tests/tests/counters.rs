//! What a rule counts (flows, packets, bytes, the last hit) is exact, and goes on as long as the rule is the same one: over
//! restarts and kills of the agent and over changes of it and of others.

use std::net::SocketAddr;
use std::time::Duration;

use cellwall_controller::lab::{Outcome, Server, Wiring};
use cellwall_tests::{Cluster, wait_for};
use jiff::{SignedDuration, Timestamp};

const REFUSED: u16 = 1001;
const PERMITTED: u16 = 1002;

fn rule(name: &str, port: u16, action: &str, priority: u16) -> String {
    format!(
        "apiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {{name: {name}}}\nspec: {{source: {{entity: Cluster}}, \
         destination: {{entity: Cluster}}, ports: [{{protocol: UDP, port: {port}}}], action: {action}, priority: {priority}}}\n"
    )
}

/// Flows, packets, bytes, and when the last one was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted {
    flows: u64,
    packets: u64,
    bytes: u64,
    last: Option<Timestamp>,
}

impl Counted {
    fn read(cluster: &Cluster, name: &str) -> Self {
        let row = cluster.rule(name);
        let [flows, packets, bytes] =
            ["flows", "packets", "bytes"].map(|key| row[key].as_u64().unwrap_or_else(|| panic!("{row}")));
        for (metric, value) in [("flows", flows), ("packets", packets), ("traffic_bytes", bytes)] {
            let told = cluster.metric(&format!("cellwall_rule_{metric}_total{{rule=\"{name}\""), "");
            assert_eq!(told, value, "{metric} of {name} in the metrics");
        }
        let last = row["last_hit"].as_str().map(|time| time.parse().expect("a time"));
        Self {
            flows,
            packets,
            bytes,
            last,
        }
    }
}

/// Asks that were made, and what the rules have to have counted for them.
struct Account {
    cluster: Cluster,
    refused: u64,
    permitted: u64,
    /// What one ask comes to, as the first one did.
    unit: [Counted; 2],
    last: [Option<Timestamp>; 2],
}

impl Account {
    fn ask(&self, port: u16) -> Outcome {
        self.cluster
            .udp("a", SocketAddr::new(self.cluster.pod("b").address(true), port))
    }

    /// One more of each.
    fn more(&mut self) {
        assert_eq!(self.ask(REFUSED), Outcome::Silence);
        assert_eq!(self.ask(PERMITTED), Outcome::Answered);
        self.refused += 1;
        self.permitted += 1;
    }

    /// Both rules have counted just what was asked since the first ask, whatever happened meanwhile; where somebody asked
    /// since the last time the last hit is later.
    fn check(&mut self, what: &str, asked: bool) {
        for (place, (name, asks)) in [("refused", self.refused), ("permitted", self.permitted)]
            .into_iter()
            .enumerate()
        {
            let now = Counted::read(&self.cluster, name);
            let unit = self.unit[place];
            assert_eq!(
                (now.flows, now.packets, now.bytes),
                (asks * unit.flows, asks * unit.packets, asks * unit.bytes),
                "{what}: {name}, asked {asks} times"
            );
            let (last, before) = (now.last.expect("a hit"), self.last[place].expect("a hit"));
            // Kept by a clock that counts from the start of the machine; the time of day is worked out for each answer.
            let off = SignedDuration::from_millis(100);
            if asked {
                assert!(last > before, "{what}: {name}, {before} and then {last}");
            } else {
                assert!(
                    last.duration_since(before).abs() < off,
                    "{what}: {name}, {before} and then {last}"
                );
            }
            self.last[place] = Some(last);
        }
        println!("{what}: {} refused, {} permitted, exact", self.refused, self.permitted);
    }

    fn terminate(&mut self) {
        let pid = self.cluster.pid().expect("an agent").try_into().expect("a process id");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).expect("a signal");
        let ended = wait_for(Duration::from_secs(5), || (!self.cluster.is_running()).then_some(()));
        assert!(ended.is_some(), "the agent does not end:\n{}", self.cluster.log());
        self.cluster.kill();
    }
}

#[test]
fn counters_of_a_rule_are_exact_over_restarts_kills_and_changes_and_begin_anew_with_a_rule_that_was_removed() {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
    cluster.save_pods();
    cluster.save("refused.yaml", &rule("refused", REFUSED, "Drop", 10));
    cluster.save("permitted.yaml", &rule("permitted", PERMITTED, "Pass", 10));
    cluster.start();
    let _server = Server::start(&cluster.netns("b"), PERMITTED).expect("a server");
    let nothing = Counted::read(&cluster, "refused");
    assert_eq!(
        (nothing.flows, nothing.packets, nothing.bytes, nothing.last),
        (0, 0, 0, None)
    );
    let mut account = Account {
        cluster,
        refused: 0,
        permitted: 0,
        unit: [nothing; 2],
        last: [None; 2],
    };
    account.more();
    account.unit = ["refused", "permitted"].map(|name| Counted::read(&account.cluster, name));
    account.last = account.unit.map(|one| one.last);
    assert_eq!(
        account.unit.map(|one| (one.flows, one.packets)),
        [(1, 1), (1, 2)],
        "an ask, and its answer"
    );
    account.check("the first ask", false);
    account.more();
    account.check("the second", true);

    account.terminate();
    account.cluster.start();
    account.check("after SIGTERM and a start", false);
    account.more();
    account.check("asked after that", true);
    account.cluster.kill();
    account.more();
    account.cluster.start();
    account.check("after SIGKILL, asked while there was no agent", true);

    // Another priority, another action and back, another port beside: the same rule.
    for action in ["Alert", "Drop"] {
        account
            .cluster
            .change("refused.yaml", &rule("refused", REFUSED, action, 30));
        account.check(&format!("edited to {action}"), false);
    }
    account.more();
    account.check("asked after the edits", true);
    // One that is edited while there is no agent.
    account.cluster.kill();
    account
        .cluster
        .save("refused.yaml", &rule("refused", REFUSED, "Drop", 31));
    account.cluster.start();
    account.more();
    account.check("edited without an agent", true);

    // Another one in front takes what comes from then on.
    account.cluster.change("front.yaml", &rule("front", REFUSED, "Drop", 5));
    assert_eq!(account.ask(REFUSED), Outcome::Silence);
    account.check("another rule in front", false);
    let front = Counted::read(&account.cluster, "front");
    assert_eq!((front.flows, front.packets), (1, 1));
    let remove = |cluster: &Cluster, name: &str| {
        let before = cluster.generation();
        std::fs::remove_file(cluster.manifests().join(name)).expect("a manifest");
        let gone = wait_for(Duration::from_secs(5), || (cluster.generation() > before).then_some(()));
        assert!(gone.is_some(), "{name} does not go:\n{}", cluster.log());
    };
    remove(&account.cluster, "front.yaml");
    account.more();
    account.check("the one in front removed", true);

    // A rule that was removed is no rule: its counters went with it.
    account.cluster.change("front.yaml", &rule("front", REFUSED, "Drop", 5));
    assert_eq!(Counted::read(&account.cluster, "front"), nothing, "added anew");
    assert_eq!(account.ask(REFUSED), Outcome::Silence);
    let front = Counted::read(&account.cluster, "front");
    assert_eq!((front.flows, front.packets, front.bytes), (1, 1, account.unit[0].bytes));
    account.check("the one in front added anew", false);
}
