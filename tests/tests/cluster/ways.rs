//! Every way from pod to pod there is, asked and held against what the rules say.

use std::time::Duration;

use cellwall_controller::lab::tcp_ask;
use cellwall_tests::wait_for;

use crate::shop::{DB_HOST_PORT, DB_NODE_PORT, Shop, WEB_NODE_PORT, socket};

/// The API server's Service.
const API: &str = "10.96.0.1:443";
/// Asked at the same time.
const AT_ONCE: usize = 4;

/// One question, and the answer that it should have.
struct Way {
    from: String,
    protocol: &'static str,
    to: String,
    /// Whose address that is.
    name: String,
    want: &'static str,
}

impl Shop {
    /// Every way with what it should say: `refused` for those that the rules of `shop.yaml` refuse.
    fn ways(&self, refused: &'static str) -> Vec<Way> {
        let mut ways = Vec::new();
        let mut way = |from: &str, protocol, to: &str, name: &str, want| {
            ways.push(Way {
                from: from.to_owned(),
                protocol,
                to: to.to_owned(),
                name: name.to_owned(),
                want,
            });
        };
        for (from, to) in [("1", "1"), ("2", "2"), ("1", "2"), ("2", "1")] {
            let (web, other, name) = (format!("web-{from}"), format!("other-{from}"), format!("db-{to}"));
            for (family, name) in [(0, name.clone()), (1, format!("{name} by IPv6"))] {
                let to = self.address(&format!("db-{to}"), family);
                way(&web, "tcp", &to, &name, "answered");
                way(&other, "tcp", &to, &name, refused);
            }
            way(&web, "udp", &self.at(&name), &name, refused);
        }
        let (db, web) = ([0, 1].map(|family| self.service("db", family)), self.service("web", 0));
        for node in ["1", "2"] {
            let (from_web, from_other) = (format!("web-{node}"), format!("other-{node}"));
            let services = [
                (&*db[0], "service db"),
                (&*db[1], "service db by IPv6"),
                (API, "the API server's Service"),
            ];
            for (to, name) in services {
                way(&from_web, "tcp", to, name, "answered");
                way(&from_other, "tcp", to, name, refused);
            }
            way(&from_other, "tcp", &web, "service web", "answered");
            // A pod on the host network is its node.
            let [db, web] = ["db", "web"].map(|app| format!("{app}-{node}"));
            way("host-2", "tcp", &self.at(&db), &db, refused);
            way("host-2", "tcp", &self.at(&web), &web, "answered");
        }
        let host_port = format!("{}:{DB_HOST_PORT}", self.cluster.nodes()[0].address());
        way("web-2", "tcp", &host_port, "db-1's port of node-1", "answered");
        way("other-2", "tcp", &host_port, "db-1's port of node-1", refused);
        ways
    }

    /// What a pod is answered; where that should be an answer, it may ask again: a busy machine is late.
    fn ask_way(&self, way: &Way) -> String {
        let asked = wait_for(Duration::from_secs(10), || {
            let said = self.ask(&way.from, way.protocol, &way.to);
            (way.want != "answered" || said == way.want).then_some(said)
        });
        asked.unwrap_or_else(|| "silence".to_owned())
    }

    /// What a host outside the cluster is answered on a port of node-1.
    pub(crate) fn ask_from_outside(&self, port: u16) -> String {
        let to = socket(&self.cluster.nodes()[0].address(), port).parse();
        let outside = self.cluster.plane().netns().name();
        let outcome = tcp_ask(outside, to.expect("an address"), Duration::from_secs(2));
        format!("{:?}", outcome.expect("a network namespace"))
    }

    /// Asks every way, some at a time, and holds the answers against what they should be.
    #[track_caller]
    pub(crate) fn holds(&self, when: &str, refused: &'static str) {
        let ways = self.ways(refused);
        let said: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = ways
                .chunks(ways.len().div_ceil(AT_ONCE))
                .map(|some| scope.spawn(|| some.iter().map(|way| self.ask_way(way)).collect::<Vec<_>>()))
                .collect();
            let answers = threads.into_iter().map(|thread| thread.join().expect("an answer"));
            answers.flatten().collect()
        });
        let mut wrong = Vec::new();
        for (way, said) in ways.iter().zip(&said) {
            let line = format!("{} -> {} {}: {said}", way.from, way.name, way.protocol);
            println!("{when}: {line}");
            if *said != way.want {
                wrong.push(format!("{line}, not {}", way.want));
            }
        }
        if !wrong.is_empty() {
            let flows = ["node-1", "node-2"].map(|node| self.cellwall(node, &["flows"]));
            panic!("{when}:\n{}\n{}", wrong.join("\n"), flows.join("\n"));
        }
        let outside = if refused == "answered" { "Answered" } else { "Silence" };
        for (port, name, want) in [
            (DB_NODE_PORT, "db's node port", outside),
            (DB_HOST_PORT, "db-1's port of node-1", outside),
            (WEB_NODE_PORT, "web's node port", "Answered"),
        ] {
            assert_eq!(self.ask_from_outside(port), want, "{when}: {name}, from outside");
        }
    }
}
