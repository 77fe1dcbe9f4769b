//! Health and metrics over HTTP: four paths, read only, nothing else.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use crate::status::Report;

/// What the handlers see.
#[derive(Debug, Clone)]
pub struct Health {
    /// The latest report; none until the first one.
    pub report: watch::Receiver<Option<Arc<Report>>>,
    /// Asks the loop for the metrics, read from the kernel at that moment.
    pub scrape: mpsc::Sender<oneshot::Sender<String>>,
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

/// Alive: the loop answers within a second.
async fn healthz(State(health): State<Health>) -> Response {
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
    match report.map(|report| serde_json::to_string(&*report)) {
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
    tokio::time::timeout(std::time::Duration::from_secs(1), asked)
        .await
        .ok()
        .flatten()
}
