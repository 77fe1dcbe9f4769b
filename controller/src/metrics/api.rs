//! What is told of the API server and of pods that it names.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{add, counter};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: String,
    resource: String,
}

/// What a scrape tells of the API server.
#[derive(Debug, Default)]
pub struct ApiScrape {
    /// Watches that stood again after they had failed.
    pub reconnects: u64,
    /// Lists asked for again because the server had forgotten what was seen last.
    pub relists: u64,
    /// Verb, resource, requests.
    pub requests: Vec<(&'static str, String, u64)>,
    /// How long interfaces were guarded before it was known whose they are.
    pub startup: StartupDuration,
}

/// Time from an interface's first guard to its pod's identity in the kernel; lives as long as the process.
#[derive(Debug, Clone)]
pub struct StartupDuration(Histogram);

impl Default for StartupDuration {
    fn default() -> Self {
        Self(Histogram::new([
            0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0,
        ]))
    }
}

impl StartupDuration {
    /// One more pod is known.
    pub fn observe(&self, took: std::time::Duration) {
        self.0.observe(took.as_secs_f64());
    }
}

pub(super) fn register(registry: &mut Registry, api: &ApiScrape) {
    registry.register(
        "api_reconnects",
        "Watches of the API server that stood again after they had failed",
        counter(api.reconnects),
    );
    registry.register(
        "api_relists",
        "Lists asked for again because the API server had forgotten what was seen last",
        counter(api.relists),
    );
    let requests = Family::default();
    for (verb, resource, count) in &api.requests {
        let labels = RequestLabels {
            verb: (*verb).to_owned(),
            resource: resource.clone(),
        };
        add(&requests, &labels, *count);
    }
    registry.register("api_requests", "Requests to the API server", requests);
    registry.register_with_unit(
        "startup",
        "Time from an interface's first guard to its pod's identity in the kernel",
        Unit::Seconds,
        api.startup.0.clone(),
    );
}
