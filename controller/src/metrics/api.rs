//! What is told of the API server.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

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
}
