//! Records to a collector that speaks the protocol: what arrives is what was sent, and what does not is counted.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse as _;
use axum::routing::post;
use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsPartialSuccess;

use super::*;
use crate::records::{FlowEnd, Party};

/// A collector: answers each request with the next status of a list, 200 when there is none left, and keeps what it took.
#[derive(Clone, Default)]
struct Receiver {
    answers: Arc<Mutex<Vec<u16>>>,
    rejected: i64,
    taken: Arc<Mutex<Vec<ExportLogsServiceRequest>>>,
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> axum::response::Response {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let status = receiver.answers.lock().unwrap().pop().unwrap_or(200);
    if status != 200 {
        return StatusCode::from_u16(status).unwrap().into_response();
    }
    receiver
        .taken
        .lock()
        .unwrap()
        .push(ExportLogsServiceRequest::decode(body).unwrap());
    let partial = ExportLogsPartialSuccess {
        rejected_log_records: receiver.rejected,
        error_message: String::new(),
    };
    let answer = ExportLogsServiceResponse {
        partial_success: (receiver.rejected > 0).then_some(partial),
    };
    ([("content-type", "application/x-protobuf")], answer.encode_to_vec()).into_response()
}

async fn listen(receiver: Receiver) -> Uri {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/v1/logs", post(take)).with_state(receiver);
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/v1/logs").parse().unwrap()
}

fn record(attempts: u64) -> Arc<FlowRecord> {
    let time = Timestamp::from_second(1_800_000_000).unwrap();
    Arc::new(FlowRecord {
        time,
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
        source: FlowEnd {
            ip: Some("192.0.2.1".parse().unwrap()),
            port: None,
            party: Arc::new(Party {
                pod: Some("web\u{1b}[31m".into()),
                ..Party::default()
            }),
        },
        destination: FlowEnd::default(),
        attempts,
        first_seen: time,
        last_seen: time,
        overflow: false,
    })
}

async fn wait(done: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within ten seconds");
}

#[tokio::test]
async fn a_collector_gets_each_record_with_its_time_attributes_and_the_json_as_body() {
    let receiver = Receiver::default();
    // Busy for once, so that the request comes a second time.
    receiver.answers.lock().unwrap().push(503);
    let accounts = Arc::new(Accounts::default());
    let collector = Collector::start(listen(receiver.clone()).await, "node-0".into(), accounts.clone());
    collector.write(&[record(3), record(4)]);
    wait(|| !receiver.taken.lock().unwrap().is_empty()).await;
    let taken = receiver.taken.lock().unwrap().remove(0);
    let resource = taken.resource_logs[0].resource.as_ref().unwrap();
    assert_eq!(resource.attributes[1], text("k8s.node.name", "node-0"));
    let logs = &taken.resource_logs[0].scope_logs[0].log_records;
    assert_eq!(logs.len(), 2);
    assert_eq!(logs[0].time_unix_nano, 1_800_000_000_000_000_000);
    assert!(logs[0].attributes.contains(&number("cellwall.attempts", 3)));
    assert!(logs[0].attributes.contains(&text("source.address", "192.0.2.1")));
    assert!(
        logs[0]
            .attributes
            .contains(&text("source.k8s.pod.name", "web\u{1b}[31m"))
    );
    let Some(Any::StringValue(body)) = logs[1].body.as_ref().and_then(|body| body.value.clone()) else {
        panic!("{:?}", logs[1].body);
    };
    assert_eq!(serde_json::from_str::<FlowRecord>(&body).unwrap(), *record(4));
    assert_eq!(accounts.lost(Loss::Collector), 0);
}

#[tokio::test]
async fn what_a_collector_does_not_take_is_counted_by_attempts() {
    let receiver = Receiver::default();
    receiver.answers.lock().unwrap().push(400);
    let accounts = Arc::new(Accounts::default());
    let collector = Collector::start(listen(receiver).await, "node-0".into(), accounts.clone());
    collector.write(&[record(3), record(4)]);
    wait(|| accounts.lost(Loss::Collector) == 7).await;

    let accounts = Arc::new(Accounts::default());
    let rejecting = Receiver {
        rejected: 1,
        ..Receiver::default()
    };
    let collector = Collector::start(listen(rejecting).await, "node-0".into(), accounts.clone());
    collector.write(&[record(1), record(1)]);
    wait(|| accounts.lost(Loss::Collector) == 1).await;
}

#[tokio::test]
async fn a_collector_that_is_away_makes_nobody_wait() {
    let accounts = Arc::new(Accounts::default());
    // A port that nobody listens on.
    let collector = Collector::start(
        "http://127.0.0.1:9/v1/logs".parse().unwrap(),
        "n".into(),
        accounts.clone(),
    );
    let began = std::time::Instant::now();
    for _ in 0..10_000 {
        collector.write(&[record(1)]);
    }
    assert!(began.elapsed() < Duration::from_secs(2));
    wait(|| accounts.lost(Loss::Collector) == 10_000).await;
}
