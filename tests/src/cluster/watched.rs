//! What an agent hears of an API server, without an agent: its watches alone, in this process.

use std::path::Path;
use std::time::Duration;

use cellwall_controller::cluster::mirror::Mirror;
use cellwall_controller::cluster::{Feed, Kind, client, watch};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::ControlPlane;

/// How long the lists may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl ControlPlane {
    /// Runs asynchronous work where the API server answers.
    pub fn block_on<T: Send>(&self, work: impl Future<Output = T> + Send) -> T {
        let done = self.netns().inside(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(work)
        });
        done.expect("the namespace of the API server")
    }

    /// Follows every kind as an agent does, with these rights, until all were listed, or until one was refused: which,
    /// and why.
    pub fn watched(&self, kubeconfig: &Path) -> Result<(), (Kind, String)> {
        self.block_on(async {
            let (teller, mut feed) = Feed::new();
            let connection = client::connect_to(config(kubeconfig).await, teller.clone()).expect("a client");
            watch::start(&connection.client, &teller, "node-0");
            let state = tempfile::tempdir().expect("a directory");
            let mut mirror = Mirror::open(state.path());
            let listed = async {
                loop {
                    mirror.take(feed.next().await);
                    if let Some((kind, _, why)) = mirror.down() {
                        return Err((kind, why.to_owned()));
                    }
                    if mirror.is_whole() {
                        return Ok(());
                    }
                }
            };
            tokio::time::timeout(PATIENCE, listed).await.expect("lists in time")
        })
    }
}

/// The configuration in this file.
pub async fn config(kubeconfig: &Path) -> Config {
    let file = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    config.expect("a configuration")
}
