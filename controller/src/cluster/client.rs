//! The connection to the API server, and what is seen on it: a watch that the server answers stands.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use http::{Request, Response, Uri};
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

/// The API server that `KUBECONFIG` names, else the one of the pod's service account. Nothing is asked of it yet: it
/// may be away.
pub async fn connect(teller: Teller) -> anyhow::Result<Client> {
    let config = Config::infer()
        .await
        .context("no API server is known: run this in a pod with a service account, or set KUBECONFIG")?;
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
        .layer(Observer(teller))
        .layer(config.base_uri_layer())
        .option_layer(
            config
                .auth_layer()
                .context("the API server's credentials cannot be used")?,
        )
        .map_err(tower::BoxError::from)
        .service(legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(connector));
    Ok(Client::new(service, config.default_namespace))
}

/// Tells when the server has answered a watch. A watch that is quiet says nothing itself.
#[derive(Clone)]
struct Observer(Teller);

impl<S> Layer<S> for Observer {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Observed {
            inner,
            teller: self.0.clone(),
        }
    }
}

struct Observed<S> {
    inner: S,
    teller: Teller,
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

/// The kind that a request watches.
fn watched(uri: &Uri) -> Option<Kind> {
    let mut parameters = uri.query().unwrap_or_default().split('&');
    parameters
        .any(|one| one == "watch=true")
        .then(|| Kind::of_path(uri.path()))?
}

#[cfg(test)]
mod tests {
    use super::*;

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
