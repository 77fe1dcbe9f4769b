//! The connection to the API server, and what is seen on it: a watch that the server answers stands.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use http::{Method, Request, Response, Uri};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use tower::{Layer, Service};

use super::Kind;
use super::feed::{Heard, Teller};

/// A connection that is quiet for this long is asked whether it still stands.
const QUIET: Duration = Duration::from_secs(10);
/// How often it is asked, and how often in vain before it counts as broken.
const ASKED: (Duration, u32) = (Duration::from_secs(5), 3);
/// What was sent and not acknowledged for this long breaks it too.
const UNHEARD: Duration = Duration::from_secs(20);
/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// The way to the API server.
#[derive(Clone)]
pub struct Connection {
    /// Asks it.
    pub client: Client,
    /// What was asked.
    pub requests: Requests,
}

/// How often what was asked of the API server: verb and resource, in its own words.
#[derive(Debug, Clone, Default)]
pub struct Requests(Arc<Mutex<BTreeMap<(&'static str, String), u64>>>);

impl Requests {
    fn count(&self, method: &Method, uri: &Uri) {
        // One that panicked while it counted has counted nothing.
        if let Ok(mut counts) = self.0.lock() {
            *counts.entry(asked(method, uri)).or_default() += 1;
        }
    }

    /// Verb, resource, how often.
    pub fn counts(&self) -> Vec<(&'static str, String, u64)> {
        let counts = self.0.lock().map(|counts| counts.clone()).unwrap_or_default();
        counts
            .into_iter()
            .map(|((verb, resource), count)| (verb, resource, count))
            .collect()
    }
}

/// The API server that `KUBECONFIG` names, else the one of the pod's service account. Nothing is asked of it yet: it
/// may be away.
pub async fn connect(teller: Teller) -> anyhow::Result<Connection> {
    let config = Config::infer()
        .await
        .context("no API server is known: run this in a pod with a service account, or set KUBECONFIG")?;
    connect_to(config, teller)
}

/// The API server of this configuration.
pub fn connect_to(config: Config, teller: Teller) -> anyhow::Result<Connection> {
    let requests = Requests::default();
    // A watch is silent for minutes; of a server that is gone without a word only these questions tell.
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_keepalive(Some(QUIET));
    connector.set_keepalive_interval(Some(ASKED.0));
    connector.set_keepalive_retries(Some(ASKED.1));
    connector.set_tcp_user_timeout(Some(UNHEARD));
    let connector = config
        .rustls_https_connector_with_connector(connector)
        .context("the API server cannot be spoken to")?;
    let service = tower::ServiceBuilder::new()
        .layer(Observer(teller, requests.clone()))
        .layer(config.base_uri_layer())
        .option_layer(
            config
                .auth_layer()
                .context("the API server's credentials cannot be used")?,
        )
        .map_err(tower::BoxError::from)
        .service(legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(connector));
    let client = Client::new(service, config.default_namespace);
    Ok(Connection { client, requests })
}

/// Tells when the server has answered a watch (one that is quiet says nothing itself), and counts what is asked.
#[derive(Clone)]
struct Observer(Teller, Requests);

impl<S> Layer<S> for Observer {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Observed {
            inner,
            teller: self.0.clone(),
            requests: self.1.clone(),
        }
    }
}

struct Observed<S> {
    inner: S,
    teller: Teller,
    requests: Requests,
}

impl<S, B> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send,
    B: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.requests.count(request.method(), request.uri());
        let watched = watched(request.uri());
        let answer = self.inner.call(request);
        let teller = self.teller.clone();
        Box::pin(async move {
            let answer = answer.await?;
            if let Some(kind) = watched.filter(|_| answer.status().is_success()) {
                // Nobody listens any more only when the agent ends.
                let _ = teller.0.send(Heard::Up(kind)).await;
            }
            Ok(answer)
        })
    }
}

/// Verb and resource of a request, as a role would name them.
fn asked(method: &Method, uri: &Uri) -> (&'static str, String) {
    let mut parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    // `api/v1` or `apis/GROUP/VERSION` goes before, and perhaps `namespaces/NAME`.
    let before = if parts.first() == Some(&"apis") { 3 } else { 2 };
    parts.drain(..before.min(parts.len()));
    if parts.len() > 2 && parts[0] == "namespaces" {
        parts.drain(..2);
    }
    let mut resource = (*parts.first().unwrap_or(&"")).to_owned();
    if let Some(part) = parts.get(2) {
        resource = format!("{resource}/{part}");
    }
    let verb = match *method {
        Method::GET if is_watch(uri) => "watch",
        Method::GET if parts.len() > 1 => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    };
    (verb, resource)
}

fn is_watch(uri: &Uri) -> bool {
    uri.query()
        .unwrap_or_default()
        .split('&')
        .any(|one| one == "watch=true")
}

/// The kind that a request watches.
fn watched(uri: &Uri) -> Option<Kind> {
    is_watch(uri).then(|| Kind::of_path(uri.path()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_in_the_words_of_a_role() {
        let of = |method: Method, text: &str| asked(&method, &text.parse().unwrap());
        let requests = [
            (Method::GET, "/api/v1/pods?watch=true", "watch", "pods"),
            (Method::GET, "/api/v1/namespaces?limit=500", "list", "namespaces"),
            (
                Method::GET,
                "/apis/coordination.k8s.io/v1/namespaces/x/leases/l",
                "get",
                "leases",
            ),
            (
                Method::PATCH,
                "/apis/cellwall.io/v1alpha1/interceptstatuses/n/status",
                "patch",
                "interceptstatuses/status",
            ),
            (
                Method::POST,
                "/apis/events.k8s.io/v1/namespaces/default/events",
                "create",
                "events",
            ),
        ];
        for (method, path, verb, resource) in requests {
            assert_eq!(of(method, path), (verb, resource.to_owned()), "{path}");
        }
    }

    #[test]
    fn a_watch_is_told_from_a_list_and_from_what_is_not_followed() {
        let of = |text: &str| watched(&text.parse().unwrap());
        assert_eq!(of("/api/v1/pods?&watch=true&resourceVersion=5"), Some(Kind::Pod));
        assert_eq!(
            of("/apis/cellwall.io/v1alpha1/defenserules?watch=true"),
            Some(Kind::DefenseRule)
        );
        assert_eq!(of("/api/v1/pods?limit=500"), None);
        assert_eq!(of("/apis/coordination.k8s.io/v1/leases?watch=true"), None);
    }
}
