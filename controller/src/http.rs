//! Health and metrics over HTTP: four paths, read only, nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use crate::status::Report;

/// How long an agent may take until its first report: it verifies programs and reads back what the kernel holds, which a
/// large or busy node takes its time for.
const STARTING: Duration = Duration::from_mins(5);

/// What the handlers see.
#[derive(Debug, Clone)]
pub struct Health {
    /// The latest report; none until the first one.
    pub report: watch::Receiver<Option<Arc<Report>>>,
    /// Asks the loop for the metrics, read from the kernel at that moment.
    pub scrape: mpsc::Sender<oneshot::Sender<String>>,
    /// When the process began.
    pub began: Instant,
}

/// Binds the address.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, health: Health) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/intercept-status", get(intercept_status))
        .route("/metrics", get(metrics))
        .with_state(health);
    axum::serve(listener, router).await
}

/// Alive: the loop answers within a second; before it runs, the start may take [`STARTING`].
async fn healthz(State(health): State<Health>) -> Response {
    if health.report.borrow().is_none() {
        return if health.began.elapsed() < STARTING {
            (StatusCode::OK, "starting\n").into_response()
        } else {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the agent does not get to its first report\n",
            )
                .into_response()
        };
    }
    match ask(&health).await {
        Some(_) => (StatusCode::OK, "ok\n").into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the agent's loop does not answer\n").into_response(),
    }
}

/// Ready: what is valid of the current policy is realised in the kernel for every local pod.
async fn readyz(State(health): State<Health>) -> Response {
    let report = health.report.borrow().clone();
    match report {
        Some(report) if report.unready.is_empty() => (StatusCode::OK, "ok\n").into_response(),
        Some(report) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{}\n", report.unready.join("\n")),
        )
            .into_response(),
        None => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the first policy is not realised yet\n",
        )
            .into_response(),
    }
}

async fn intercept_status(State(health): State<Health>) -> Response {
    let report = health.report.borrow().clone();
    match report.map(|report| crate::json_line::text(&*report)) {
        Some(Ok(text)) => ([(header::CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "no report yet\n").into_response(),
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match ask(&health).await {
        Some(text) => ([(header::CONTENT_TYPE, TYPE)], text).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the agent's loop does not answer\n").into_response(),
    }
}

async fn ask(health: &Health) -> Option<String> {
    let (sender, receiver) = oneshot::channel();
    let asked = async {
        health.scrape.send(sender).await.ok()?;
        receiver.await.ok()
    };
    tokio::time::timeout(Duration::from_secs(1), asked).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// What `/healthz` and `/readyz` answer before the first report of an agent that began then.
    async fn asked(began: Instant) -> [String; 2] {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_reports, report) = watch::channel(None);
        let (scrape, _visits) = mpsc::channel(1);
        tokio::spawn(serve(listener, Health { report, scrape, began }));
        let mut answers = [const { String::new() }; 2];
        for (answer, path) in answers.iter_mut().zip(["/healthz", "/readyz"]) {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let question = format!("GET {path} HTTP/1.0\r\n\r\n");
            stream.write_all(question.as_bytes()).await.unwrap();
            stream.read_to_string(answer).await.unwrap();
        }
        answers
    }

    #[tokio::test]
    async fn an_agent_that_reads_the_maps_back_is_healthy_and_not_ready_but_not_for_ever() {
        let [health, ready] = asked(Instant::now()).await;
        assert!(
            health.starts_with("HTTP/1.0 200") && health.ends_with("starting\n"),
            "{health}"
        );
        assert!(ready.starts_with("HTTP/1.0 503"), "{ready}");
        let [health, _] = asked(Instant::now().checked_sub(STARTING).unwrap()).await;
        assert!(health.starts_with("HTTP/1.0 503"), "{health}");
    }
}
