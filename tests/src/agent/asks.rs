//! What is asked of a cluster: on the wire, and of its agent.

use std::net::SocketAddr;
use std::time::Duration;

use cellwall_controller::api::{Request, client};
use cellwall_controller::lab::{Outcome, tcp_ask, udp_ask};
use serde_json::Value;

use super::{Cluster, patience, wait_for};

impl Cluster {
    /// Opens a TCP connection between two places of the lab and answers what the client saw.
    pub fn tcp(&self, from: &str, to: SocketAddr) -> Outcome {
        tcp_ask(&self.netns(from), to, patience(Duration::from_millis(400))).expect("the client runs")
    }

    /// Sends a datagram and answers what the client saw.
    pub fn udp(&self, from: &str, to: SocketAddr) -> Outcome {
        udp_ask(&self.netns(from), to, patience(Duration::from_millis(400))).expect("the client runs")
    }

    /// Network namespace of a pod, of the `node` or of the host `outside`.
    pub fn netns(&self, name: &str) -> String {
        match name {
            "node" => self.lab.node().name().to_owned(),
            "outside" => self.lab.outside().name().to_owned(),
            pod => self.pod(pod).netns,
        }
    }

    /// The text of a scrape.
    pub fn metrics(&self) -> String {
        crate::scrape(&self.netns("node"), "127.0.0.1:9469").expect("the agent tells its metrics")
    }

    /// The sum of the samples of a metric whose lines begin so and have this among their labels.
    pub fn metric(&self, begin: &str, label: &str) -> u64 {
        let text = self.metrics();
        let samples = text
            .lines()
            .filter(|line| line.starts_with(begin) && line.contains(label));
        let number = |line: &str| line.rsplit(' ').next().and_then(|number| number.parse::<u64>().ok());
        samples
            .map(|line| number(line).unwrap_or_else(|| panic!("no number: {line}")))
            .sum()
    }

    /// All records of late.
    pub fn records(&self) -> Vec<Value> {
        client::ask_all(&self.socket(), &Request::FLOWS).expect("the agent answers")
    }

    /// The newest record that fits, waited for a moment.
    pub fn record(&self, fits: impl Fn(&Value) -> bool) -> Option<Value> {
        wait_for(Duration::from_secs(2), || {
            self.records().into_iter().rev().find(|r| fits(r))
        })
    }

    /// Answers of `explain`.
    pub fn explain(&self, question: &str) -> Value {
        let questions = vec![question.to_owned()];
        let answers = client::ask_all(&self.socket(), &Request::Explain { questions }).expect("the agent answers");
        answers.into_iter().next().expect("an answer")
    }

    /// The last refusals of a pod of the lab.
    pub fn refused(&self, name: &str) -> Vec<Value> {
        let pod = format!("ns-0/{name}");
        client::ask_all(&self.socket(), &Request::Refused { pod }).expect("the agent answers")
    }

    /// Packets and flows of a rule.
    pub fn rule(&self, name: &str) -> Value {
        let rules = client::ask_all(&self.socket(), &Request::Rules).expect("the agent answers");
        rules
            .into_iter()
            .find(|rule| rule["name"] == name)
            .expect("a rule of this name")
    }
}
