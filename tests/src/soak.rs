//! A soak: pods come and go, rules flip, the agent is killed at any moment, floods run, the API server is away, and an
//! observer outside knows for each connection what must become of it.
//!
//! What must happen is worked out from the rules alone (`model`). While a change is on its way both answers are right;
//! before it was begun, and after the agent has said that it is in force, only one is. A killed agent changes nothing.

mod driver;
mod model;
mod observed;
mod store;
mod traffic;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cellwall_controller::lab::Wiring;

use crate::Cluster;
use crate::numbered::Numbered;
pub use observed::Report;
pub use store::Source;

use driver::Driver;
use model::Timeline;
use observed::Observed;
use store::Store;

/// How long, how hard.
#[derive(Debug, Clone)]
pub struct Options {
    /// At least so long.
    pub duration: Duration,
    /// The agent is killed at least so often.
    pub kills: u64,
    /// Pods at a time.
    pub pods: usize,
    /// Threads that ask.
    pub clients: usize,
    /// Floods of openings now and then.
    pub floods: bool,
    /// Where the agent's policy comes from.
    pub source: Source,
    /// Where the choices begin.
    pub seed: u64,
}

/// Two ports of the pair of pods that stays: all datagrams to the one are refused, all to the other pass.
const NUMBERED: [u16; 2] = [901, 902];

/// Soaks, and answers what was seen. `tell` hears now and then how far it is.
pub fn run(options: &Options, tell: impl FnMut(&str)) -> Report {
    let cluster = Cluster::new(Wiring::Routed, &["anna", "otto"]);
    let (store, mut cluster) = Store::open(options.source, cluster);
    let (timeline, observed) = (Arc::new(Timeline::default()), Arc::new(Observed::default()));
    let mut driver = Driver::open(&mut cluster, store, timeline.clone(), observed.clone(), options);
    // Numbers a millisecond apart, whatever else happens.
    let numbered = Numbered::start(driver.cluster(), "anna", "otto", NUMBERED, Duration::from_millis(1));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..options.clients)
        .map(|number| {
            let seed = options.seed ^ ((number as u64 + 1) << 32);
            traffic::client(
                seed,
                driver.arrivals(),
                timeline.clone(),
                observed.clone(),
                stop.clone(),
            )
        })
        .collect();
    driver.go_on(tell);
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("a client ends");
    }
    let heard = numbered.end();
    driver.close();
    observed.report(heard, options)
}
