//! A flow record, field by field as it is printed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One record: a JSON object on a line of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRecord {
    /// When the verdict was given, UTC.
    pub time: Timestamp,
    /// Node whose hook gave it.
    pub node: String,
    /// What the policy says: PASS, ALERT, DROP.
    pub verdict: String,
    /// The rule's configured action; null without a rule.
    pub action: Option<String>,
    /// What happened to the packet: Pass or Drop.
    pub applied: String,
    /// Why.
    pub reason: String,
    /// The rule that decided.
    pub rule: Option<RuleName>,
    /// Generation of the policy that judged.
    pub generation: u32,
    /// FROM_POD or TO_POD.
    pub hook: String,
    /// Name of the protocol, or its number as text.
    pub protocol: String,
    /// Flags of the TCP packet, `SYN`, `SYN|ACK`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_flags: Option<String>,
    /// Type of the ICMP message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// Who opened the flow.
    pub source: FlowEnd,
    /// Whom it was opened to.
    pub destination: FlowEnd,
    /// Refused packets, or passed flows, that this record stands for.
    pub attempts: u64,
    /// Time of the first of them.
    pub first_seen: Timestamp,
    /// Time of the last of them.
    pub last_seen: Timestamp,
    /// It stands for all that one pod, rule and reason gave beyond the lines that a pod may have: to or from many others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overflow: bool,
}

/// What owns a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Deployment, DaemonSet, StatefulSet, Job, ...
    pub kind: String,
    /// Name, in the pod's namespace.
    pub name: String,
}

/// The rule of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleName {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Priority.
    pub priority: u16,
}

/// One end of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct FlowEnd {
    /// Null where the frame was not understood.
    pub ip: Option<IpAddr>,
    /// Null where the protocol has none.
    pub port: Option<u16>,
    /// Who that is: one and the same for all records of the end, of which many are kept.
    #[serde(flatten)]
    pub party: Arc<Party>,
}

/// Who an end is. `pod` and what belongs to it are null for what is no pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Party {
    pub namespace: Option<String>,
    pub pod: Option<String>,
    pub uid: Option<String>,
    pub app: Option<String>,
    /// What owns the pod; left out where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    pub images: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// NetworkObjects that the end is in.
    pub objects: Vec<String>,
    /// Cluster, World, Node or LocalNode; null for what is none of them.
    pub entity: Option<String>,
}

impl Deref for FlowEnd {
    type Target = Party;

    fn deref(&self) -> &Party {
        &self.party
    }
}

impl DerefMut for FlowEnd {
    fn deref_mut(&mut self) -> &mut Party {
        Arc::make_mut(&mut self.party)
    }
}

impl FlowEnd {
    /// Whether this is the pod `namespace/name`.
    pub fn is_pod(&self, name: &str) -> bool {
        is_pod(self.namespace.as_deref(), self.pod.as_deref(), name)
    }
}

/// Whether an end with this namespace and pod is `namespace/name`.
pub fn is_pod(namespace: Option<&str>, pod: Option<&str>, name: &str) -> bool {
    let own = namespace.zip(pod);
    own.is_some() && own == name.split_once('/')
}

/// TCP flags in the order they are written in a header, from the low bit.
pub fn tcp_flags(bits: u8) -> String {
    const NAMES: [(u8, &str); 8] = [
        (2, "SYN"),
        (16, "ACK"),
        (1, "FIN"),
        (4, "RST"),
        (8, "PSH"),
        (32, "URG"),
        (64, "ECE"),
        (128, "CWR"),
    ];
    let set: Vec<&str> = NAMES
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    set.join("|")
}

/// Name of a protocol over a family, or its number as text.
pub fn protocol(number: u8, v4: bool) -> String {
    cellwall_policy::model::Protocol::of(number, v4).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_protocols_are_named_as_people_write_them() {
        assert_eq!(tcp_flags(0x02), "SYN");
        assert_eq!(tcp_flags(0x12), "SYN|ACK");
        assert_eq!(tcp_flags(0), "");
        assert_eq!(protocol(6, true), "TCP");
        assert_eq!(protocol(58, false), "ICMPv6");
        assert_eq!(protocol(58, true), "58");
        assert_eq!(protocol(47, true), "47");
    }

    #[test]
    fn a_record_has_the_keys_that_scripts_read() {
        let record = FlowRecord {
            time: Timestamp::UNIX_EPOCH,
            node: "node-0".into(),
            verdict: "DROP".into(),
            action: None,
            applied: "Drop".into(),
            reason: "SPOOFED".into(),
            rule: None,
            generation: 1,
            hook: "FROM_POD".into(),
            protocol: "TCP".into(),
            tcp_flags: Some("SYN".into()),
            icmp_type: None,
            source: FlowEnd::default(),
            destination: FlowEnd::default(),
            attempts: 1,
            first_seen: Timestamp::UNIX_EPOCH,
            last_seen: Timestamp::UNIX_EPOCH,
            overflow: false,
        };
        let line = serde_json::to_string(&record).unwrap();
        let end = r#"{"ip":null,"port":null,"namespace":null,"pod":null,"uid":null,"app":null,"images":[],"labels":{},"objects":[],"entity":null}"#;
        let expected = format!(
            r#"{{"time":"1970-01-01T00:00:00Z","node":"node-0","verdict":"DROP","action":null,"applied":"Drop","reason":"SPOOFED","rule":null,"generation":1,"hook":"FROM_POD","protocol":"TCP","tcp_flags":"SYN","source":{end},"destination":{end},"attempts":1,"first_seen":"1970-01-01T00:00:00Z","last_seen":"1970-01-01T00:00:00Z"}}"#
        );
        assert_eq!(line, expected);
        let rule = RuleName {
            name: "deny".into(),
            uid: "u-0".into(),
            priority: 7,
        };
        assert_eq!(
            serde_json::to_string(&rule).unwrap(),
            r#"{"name":"deny","uid":"u-0","priority":7}"#
        );
    }
}
