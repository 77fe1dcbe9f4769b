//! Records to a collector: OpenTelemetry's logs by OTLP over HTTP, as protobuf, with the messages of the project's own
//! crate. Its SDK is not used, since it drops what a queue has no room for without saying how much.
//!
//! A record is one log record: its JSON is the body, what one filters by is an attribute too. What the collector does not
//! take in three attempts, or what finds the queue full, is counted as lost; nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tokio::sync::mpsc;

use super::FlowRecord;
use super::accounts::{Accounts, Loss};

/// Batches that wait for the collector.
const QUEUE: usize = 64;
/// Records in one request.
const REQUEST: usize = 1_024;
/// Attempts at one request, and the rest between the first two.
const ATTEMPTS: u32 = 3;
const REST: Duration = Duration::from_millis(500);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer that are read.
const ANSWER: usize = 1 << 20;

type Body = axum::body::Body;

/// The way to the collector.
#[derive(Debug, Clone)]
pub struct Collector {
    queue: mpsc::Sender<Vec<Arc<FlowRecord>>>,
    accounts: Arc<Accounts>,
}

impl Collector {
    /// Starts the task that sends to `endpoint`, the whole URL (`http://HOST:4318/v1/logs`). Needs a runtime.
    pub fn start(endpoint: Uri, node: String, accounts: Arc<Accounts>) -> Self {
        let (queue, batches) = mpsc::channel(QUEUE);
        let sender = Sender {
            client: Client::builder(TokioExecutor::new()).build_http(),
            endpoint,
            node,
            accounts: accounts.clone(),
            failing: false,
        };
        tokio::spawn(sender.run(batches));
        Self { queue, accounts }
    }

    /// Hands records over, without waiting.
    pub fn write(&self, records: &[Arc<FlowRecord>]) {
        if !records.is_empty() && self.queue.try_send(records.to_vec()).is_err() {
            self.accounts.lose(Loss::Collector, attempts(records));
        }
    }
}

fn attempts(records: &[Arc<FlowRecord>]) -> u64 {
    records.iter().map(|record| record.attempts).sum()
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message says it")]
enum SendError {
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Late,
    #[error("it cannot be reached")]
    Unreachable { source: hyper_util::client::legacy::Error },
    #[error("it answers {status}")]
    Refused { status: StatusCode },
}

impl SendError {
    /// Whether the protocol lets one try again.
    fn is_passing(&self) -> bool {
        match self {
            Self::Late | Self::Unreachable { .. } => true,
            Self::Refused { status } => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }
}

struct Sender {
    client: Client<HttpConnector, Body>,
    endpoint: Uri,
    node: String,
    accounts: Arc<Accounts>,
    failing: bool,
}

impl Sender {
    async fn run(mut self, mut batches: mpsc::Receiver<Vec<Arc<FlowRecord>>>) {
        while let Some(mut records) = batches.recv().await {
            while records.len() < REQUEST
                && let Ok(more) = batches.try_recv()
            {
                records.extend(more);
            }
            for some in records.chunks(REQUEST) {
                self.send(some).await;
            }
        }
    }

    async fn send(&mut self, records: &[Arc<FlowRecord>]) {
        let bytes = request(records, &self.node).encode_to_vec();
        let mut rest = REST;
        for attempt in 1..=ATTEMPTS {
            match self.attempt(bytes.clone()).await {
                Ok(rejected) => {
                    // A collector says how many it rejected, and not which.
                    self.accounts.lose(Loss::Collector, rejected);
                    if std::mem::take(&mut self.failing) {
                        tracing::info!(endpoint = %self.endpoint, "the collector takes records again");
                    }
                    return;
                }
                Err(error) if attempt < ATTEMPTS && error.is_passing() => {
                    tokio::time::sleep(rest).await;
                    rest *= 2;
                }
                Err(error) => {
                    self.accounts.lose(Loss::Collector, attempts(records));
                    if !std::mem::replace(&mut self.failing, true) {
                        let why = anyhow::Error::new(error);
                        tracing::error!(endpoint = %self.endpoint, "the collector does not take records; they are counted as lost: {why:#}");
                    }
                    return;
                }
            }
        }
    }

    /// One attempt: how many records the collector rejected.
    async fn attempt(&self, bytes: Vec<u8>) -> Result<u64, SendError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.endpoint.clone())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .body(Body::from(bytes))
            // why: a method, a parsed URI and a constant header make a request
            .expect("a request");
        let asked = async {
            let answer = self
                .client
                .request(request)
                .await
                .map_err(|source| SendError::Unreachable { source })?;
            let status = answer.status();
            if !status.is_success() {
                return Err(SendError::Refused { status });
            }
            let body = axum::body::to_bytes(Body::new(answer.into_body()), ANSWER)
                .await
                .unwrap_or_default();
            let told = ExportLogsServiceResponse::decode(body)
                .ok()
                .and_then(|answer| answer.partial_success);
            Ok(told.map_or(0, |partial| u64::try_from(partial.rejected_log_records).unwrap_or(0)))
        };
        tokio::time::timeout(PATIENCE, asked)
            .await
            .unwrap_or(Err(SendError::Late))
    }
}

fn request(records: &[Arc<FlowRecord>], node: &str) -> ExportLogsServiceRequest {
    let resource = Resource {
        attributes: vec![text("service.name", "cellwall"), text("k8s.node.name", node)],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "cellwall".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope),
                log_records: records.iter().map(|record| log_record(record)).collect(),
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    }
}

fn log_record(record: &FlowRecord) -> LogRecord {
    let severity = match record.verdict.as_str() {
        "PASS" => SeverityNumber::Info,
        _ => SeverityNumber::Warn,
    };
    let nanos = |time: jiff::Timestamp| u64::try_from(time.as_nanosecond()).unwrap_or(0);
    let mut attributes = vec![
        text("cellwall.verdict", &record.verdict),
        text("cellwall.applied", &record.applied),
        text("cellwall.reason", &record.reason),
        number("cellwall.attempts", record.attempts),
        text("network.transport", &record.protocol.to_lowercase()),
    ];
    attributes.extend(record.rule.as_ref().map(|rule| text("cellwall.rule", &rule.name)));
    for (side, end) in [("source", &record.source), ("destination", &record.destination)] {
        let of = |what: &str| format!("{side}.{what}");
        attributes.extend(end.ip.map(|ip| text(&of("address"), &ip.to_string())));
        attributes.extend(end.port.map(|port| number(&of("port"), port.into())));
        attributes.extend(
            end.namespace
                .as_deref()
                .map(|name| text(&of("k8s.namespace.name"), name)),
        );
        attributes.extend(end.pod.as_deref().map(|name| text(&of("k8s.pod.name"), name)));
    }
    LogRecord {
        time_unix_nano: nanos(record.time),
        observed_time_unix_nano: nanos(jiff::Timestamp::now()),
        severity_number: severity.into(),
        severity_text: record.verdict.clone(),
        event_name: "cellwall.flow".to_owned(),
        // why: a record serializes, as every line of the flow log shows
        body: Some(any(&serde_json::to_string(record).unwrap_or_default())),
        attributes,
        ..LogRecord::default()
    }
}

fn any(text: &str) -> AnyValue {
    AnyValue {
        value: Some(Any::StringValue(text.to_owned())),
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(any(value)),
        ..KeyValue::default()
    }
}

fn number(key: &str, value: u64) -> KeyValue {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Any::IntValue(value)),
        }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests;
