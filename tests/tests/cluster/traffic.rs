//! Traffic that goes on while something else is done, and what became of each packet.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::shop::{SYSTEM, Shop};

/// A program in a pod that goes on until it is finished.
pub(crate) struct Running {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Running {
    /// What it says next.
    pub(crate) fn line(&self, patience: Duration) -> Option<String> {
        self.lines.recv_timeout(patience).ok()
    }

    /// Ends it; answers what it has said that nobody has read.
    pub(crate) fn finish(mut self) -> Vec<String> {
        // The end of its input is what it waits for.
        drop(self.input.take());
        let lines = self.lines.iter().collect();
        let status = self.child.wait().expect("kubectl can be waited for");
        assert!(status.success(), "{lines:?}");
        lines
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed does not wait for it; one that ended is gone already.
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }
}

impl Shop {
    /// Starts the pods' program in a pod; see `tests/pod`.
    pub(crate) fn start(&self, pod: &str, words: &[&str]) -> Running {
        let all = [&["exec", "-i", "-n", "shop", pod, "--", "/pod"], words].concat();
        self.follow(&all)
    }

    /// Starts a `kubectl` that goes on.
    pub(crate) fn follow(&self, words: &[&str]) -> Running {
        let mut child = self
            .kubectl
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("kubectl starts");
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().expect("it was piped"));
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // Nobody reads any more: the test is over.
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Running {
            input: child.stdin.take(),
            child,
            lines,
        }
    }

    /// What a node's agent says from now on.
    pub(crate) fn follow_agent(&self, node: &str) -> Running {
        let pod = self.agent_on(node);
        let agent = self.follow(&["logs", "-n", SYSTEM, &pod, "-c", "agent", "-f", "--tail=1"]);
        // It has said something before; from then on nothing is missed.
        let said = agent.line(Duration::from_secs(30));
        assert!(said.is_some(), "{pod} says nothing");
        agent
    }

    /// How many packets a node's agent counts for a rule.
    fn counted(&self, node: &str, rule: &str) -> u64 {
        let text = self.cellwall(node, &["rules", "--format", "json"]);
        let rules = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut found = rules.filter(|one| one["name"] == rule);
        found
            .next()
            .and_then(|one| one["packets"].as_u64())
            .expect("the rule is there")
    }

    /// Replaces the agents of both nodes, by a restart and by another image, under traffic that is refused and traffic
    /// that is let through: on a node and between the nodes.
    pub(crate) fn rolls_out_under_traffic(&self) {
        let before = ["node-1", "node-2"].map(|node| self.counted(node, "nobody-else"));
        let refused = [("other-1", "db-1"), ("other-2", "db-1")].map(|(from, to)| {
            let to = self.at(to);
            self.start(from, &["observe", "udp", &to])
        });
        let passing = [("web-1", "db-1"), ("web-2", "db-1"), ("web-1", "db-2")].map(|(from, to)| {
            let to = self.at(to);
            self.start(from, &["count", "tcp", &to])
        });
        let started = Instant::now();
        self.run(&["rollout", "restart", "daemonset/cellwall", "-n", SYSTEM]);
        self.rollout();
        println!("restarted under traffic after {:.1} s", started.elapsed().as_secs_f32());
        for node in self.cluster.nodes() {
            node.tag_image("docker.io/library/cellwall:0.1.0", "docker.io/library/cellwall:next");
        }
        self.run(&[
            "set",
            "image",
            "daemonset/cellwall",
            "agent=cellwall:next",
            "-n",
            SYSTEM,
        ]);
        self.rollout();
        println!(
            "another image under traffic after {:.1} s",
            started.elapsed().as_secs_f32()
        );
        let mut sent = Vec::new();
        for one in refused {
            let lines = one.finish();
            println!("refused: {lines:?}");
            let last = lines.last().and_then(|line| line.strip_prefix("sent "));
            let (all, answered) = last.and_then(|line| line.split_once(", answered ")).expect("a summary");
            assert_eq!(answered, "0", "a datagram got through: {lines:?}");
            sent.push(all.parse::<u64>().expect("a number"));
        }
        for one in passing {
            let lines = one.finish();
            println!("let through: {lines:?}");
            let last = lines.last().expect("a summary");
            assert!(
                last.ends_with(", not answered 0") && !last.starts_with("answered 0,"),
                "{lines:?}"
            );
        }
        // Every refused datagram was counted where it was sent: none was judged by anything else.
        for ((node, before), sent) in ["node-1", "node-2"].iter().zip(before).zip(sent) {
            let counted = self.counted(node, "nobody-else") - before;
            println!("{node}: {sent} datagrams sent, {counted} refused by nobody-else");
            assert_eq!(counted, sent, "{node}");
        }
    }
}
