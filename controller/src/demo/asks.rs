//! The questions of the demo: each is asked on the wire, and of the reference; both must say the same.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::stage::Stage;
use crate::api::{Request, client};
use crate::cli::output::{self, line};
use crate::lab::{GATEWAY_V4, NODE_V4, OUTSIDE_V4, OUTSIDE_V6, Outcome, tcp_ask, udp_ask};

/// Who asks whom: (from, to, port, protocol, IPv4).
const ASKS: [(&str, &str, u16, &str, bool); 17] = [
    ("web", "api", 8080, "TCP", true),
    ("web", "api", 8080, "UDP", false),
    ("api", "db", 5432, "TCP", true),
    ("api", "db", 5432, "TCP", false),
    ("api", "db", 22, "TCP", true),
    ("web", "db", 5432, "TCP", true),
    ("backup", "db", 5432, "TCP", true),
    ("backup", "db", 5432, "UDP", true),
    ("backup", "api", 8080, "TCP", false),
    ("visitor", "web", 80, "TCP", true),
    ("visitor", "outside", 80, "TCP", true),
    ("outside", "web", 80, "TCP", true),
    ("outside", "web", 80, "TCP", false),
    ("outside", "db", 5432, "TCP", true),
    ("api", "node", 22, "TCP", true),
    ("node", "web", 80, "TCP", true),
    ("node", "db", 5432, "TCP", true),
];

/// How long a client waits for what may be refused.
const PATIENCE: Duration = Duration::from_millis(300);

pub(super) fn ask_all(stage: &mut Stage) -> Result<()> {
    let mut rows = Vec::new();
    for ask in ASKS {
        rows.push(one(stage, ask).with_context(|| format!("asking {} -> {}:{}/{}", ask.0, ask.1, ask.2, ask.3))?);
    }
    line(&output::table(
        &["from", "to", "port", "saw", "verdict", "reason", "rule", "manifests"],
        rows,
    ))
}

fn one(stage: &mut Stage, (from, to, port, protocol, v4): (&str, &str, u16, &str, bool)) -> Result<Vec<String>> {
    let target = SocketAddr::new(stage.address(to, v4), port);
    let netns = stage.netns(from);
    let outcome = match protocol {
        "UDP" => udp_ask(&netns, target, PATIENCE)?,
        _ => tcp_ask(&netns, target, PATIENCE)?,
    };
    // The node has several addresses; the record says which one the kernel chose.
    let source = if from == "node" {
        None
    } else {
        Some(stage.address(from, v4))
    };
    let record = stage.record_of(source, target, protocol)?;
    let initiator = record
        .as_ref()
        .and_then(|r| r["source"]["ip"].as_str())
        .map(str::to_owned);
    let initiator = initiator.unwrap_or_else(|| stage.address(from, v4).to_string());
    let question = format!("{initiator} {} {port}/{protocol}", target.ip());
    let expected = client::ask_all(
        &stage.socket,
        &Request::Explain {
            questions: vec![question],
        },
    )?;
    let expected = expected.first().cloned().unwrap_or_default();
    let record = record.unwrap_or_default();
    let says = |value: &Value| {
        (
            value["verdict"].clone(),
            value["rule"]["name"].clone(),
            value["reason"].clone(),
        )
    };
    let passes = matches!(expected["verdict"].as_str(), Some("PASS" | "ALERT"));
    let agrees = says(&record) == says(&expected) && passes == (outcome == Outcome::Answered);
    stage.count(agrees, 1);
    Ok(vec![
        from.to_owned(),
        to.to_owned(),
        format!("{port}/{protocol}{}", if v4 { "" } else { " v6" }),
        if outcome == Outcome::Answered {
            "an answer"
        } else {
            "silence"
        }
        .to_owned(),
        output::field(&record, "verdict"),
        output::field(&record, "reason"),
        output::field(&record["rule"], "name"),
        if agrees {
            "agree".to_owned()
        } else {
            format!("SAY {}", output::field(&expected, "verdict"))
        },
    ])
}

impl Stage {
    /// The address of a pod, of the node or of the host outside.
    fn address(&self, name: &str, v4: bool) -> IpAddr {
        match (name, v4) {
            ("outside", true) => OUTSIDE_V4.into(),
            ("outside", false) => OUTSIDE_V6.into(),
            ("node", true) => NODE_V4.into(),
            ("node", false) => crate::lab::NODE_V6.into(),
            ("gateway", _) => GATEWAY_V4.into(),
            (pod, v4) => self.pod(pod).address(v4),
        }
    }

    fn netns(&self, name: &str) -> String {
        match name {
            "outside" => self.lab().outside().name().to_owned(),
            "node" => self.lab().node().name().to_owned(),
            pod => self.pod(pod).netns.clone(),
        }
    }
}
