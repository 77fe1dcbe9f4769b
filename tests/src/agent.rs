//! A lab with a running agent.

mod asks;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cellwall_controller::api::{Request, client};
use cellwall_controller::lab::{Lab, LabPod, Wiring};
use serde_json::Value;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The `cellwall` binary: `CELLWALL_BIN`, else the one built beside this test.
pub fn binary() -> PathBuf {
    if let Some(given) = std::env::var_os("CELLWALL_BIN") {
        return given.into();
    }
    let test = std::env::current_exe().expect("a running test has a path");
    let beside = test
        .ancestors()
        .nth(2)
        .expect("tests lie in target/PROFILE/deps")
        .join("cellwall");
    assert!(
        beside.exists(),
        "{} is not built; run `cargo build -p cellwall-controller` (make test does)",
        beside.display()
    );
    beside
}

/// A node with pods, a directory of manifests, and an agent on it. Dropping it removes everything.
pub struct Cluster {
    /// The lab.
    pub lab: Lab,
    /// The directory that holds manifests and state.
    pub directory: tempfile::TempDir,
    instance: String,
    child: Option<Child>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    flow_log: Option<PathBuf>,
    node: String,
    /// Configuration for the API server that the agent follows; none: it follows the manifests.
    kubeconfig: Option<PathBuf>,
}

impl Cluster {
    /// A lab with these pods; the agent is not started yet.
    pub fn new(wiring: Wiring, pods: &[&str]) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test needs root: it makes network namespaces and loads programs"
        );
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = short(std::process::id().wrapping_mul(64).wrapping_add(number));
        let mut lab = Lab::new(&format!("ct{id}"), wiring).expect("a lab");
        for pod in pods {
            lab.add_pod(pod).expect("a pod");
        }
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("manifests")).expect("the manifests' directory");
        Self {
            lab,
            directory,
            instance: format!("cwtest-{id}"),
            child: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            flow_log: None,
            node: "node-0".to_owned(),
            kubeconfig: None,
        }
    }

    /// The agent is that of this node and follows the API server of this configuration.
    #[must_use]
    pub fn following(mut self, node: &str, kubeconfig: &Path) -> Self {
        node.clone_into(&mut self.node);
        self.kubeconfig = Some(kubeconfig.to_owned());
        self
    }

    /// Further arguments of `cellwall run`.
    #[must_use]
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|a| (*a).to_owned()));
        self
    }

    /// Another configuration for the API server, from the agent's next start on.
    pub fn set_kubeconfig(&mut self, kubeconfig: &Path) {
        self.kubeconfig = Some(kubeconfig.to_owned());
    }

    /// A variable of the agent's environment, from its next start on.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// With records written to another file.
    #[must_use]
    pub fn with_flow_log(mut self, path: &str) -> Self {
        self.flow_log = Some(path.into());
        self
    }

    /// The directory of manifests.
    pub fn manifests(&self) -> PathBuf {
        self.directory.path().join("manifests")
    }

    /// The flow log.
    pub fn flow_log(&self) -> PathBuf {
        let usual = || self.directory.path().join("flows.jsonl");
        self.flow_log.clone().unwrap_or_else(usual)
    }

    /// The instance's name.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The agent's socket.
    pub fn socket(&self) -> PathBuf {
        Path::new("/run")
            .join(&self.instance)
            .join(format!("{}.sock", self.instance))
    }

    /// Saves a manifest as an editor does: written beside, then renamed.
    pub fn save(&self, name: &str, text: &str) {
        let beside = self.directory.path().join(name);
        std::fs::write(&beside, text).expect("a manifest is written");
        std::fs::rename(&beside, self.manifests().join(name)).expect("a manifest is put in place");
    }

    /// Manifests of all pods of the lab: namespace `ns-0`, label `app` = name.
    pub fn save_pods(&self) {
        let all: Vec<String> = self.lab.pods().map(|p| pod("ns-0", &p.name, &p.netns)).collect();
        self.save("pods.yaml", &all.join("---\n"));
    }

    /// A pod of the lab.
    pub fn pod(&self, name: &str) -> LabPod {
        self.lab
            .pods()
            .find(|p| p.name == name)
            .expect("a pod of this name")
            .clone()
    }

    /// A `cellwall` command about this instance, on the lab's node.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.lab.node().command(binary());
        command
            .args(words)
            .arg("--instance")
            .arg(&self.instance)
            .arg("--state-dir")
            .arg(self.directory.path().join("state"));
        command
    }

    /// Starts the agent and does not wait.
    pub fn launch(&mut self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.path().join("agent.log"));
        let mut command = self.command(&["run", "--listen", "127.0.0.1:9469", "--flow-log-pass", "all"]);
        command.arg("--node-name").arg(&self.node);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        match &self.kubeconfig {
            Some(kubeconfig) => command.arg("--kubernetes").env("KUBECONFIG", kubeconfig),
            None => command.arg("--manifests").arg(self.manifests()),
        };
        let child = command
            .arg("--flow-log")
            .arg(self.flow_log())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("the agent's log"))
            .spawn()
            .expect("the agent starts");
        self.child = Some(child);
    }

    /// Starts the agent and waits until it is ready.
    pub fn start(&mut self) {
        self.launch();
        self.wait_ready();
    }

    /// Waits until the agent says that what is valid is in force.
    pub fn wait_ready(&self) {
        let ready = wait_for(Duration::from_secs(30), || {
            let answer = client::ask_all(&self.socket(), &Request::Status).ok()?;
            answer.first()?["unready"].as_array()?.is_empty().then_some(())
        });
        assert!(
            ready.is_some(),
            "the agent is not ready: {:?}\n{}",
            self.status(),
            self.log()
        );
    }

    /// The intercept status.
    pub fn status(&self) -> Option<Value> {
        client::ask_all(&self.socket(), &Request::Status)
            .ok()?
            .into_iter()
            .next()
    }

    /// The generation that decides.
    pub fn generation(&self) -> u64 {
        self.status()
            .and_then(|s| s["generation_realised"].as_u64())
            .unwrap_or(0)
    }

    /// Saves a manifest and waits until a newer generation decides.
    pub fn change(&self, name: &str, text: &str) {
        let before = self.generation();
        self.save(name, text);
        let changed = wait_for(Duration::from_secs(5), || (self.generation() > before).then_some(()));
        assert!(
            changed.is_some(),
            "the change of {name} did not take effect:\n{}",
            self.log()
        );
    }

    /// What the agent logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("agent.log")).unwrap_or_default()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the agent can be killed");
            child.wait().expect("the agent is gone");
        }
    }

    /// Id of the agent's process.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether the agent is still running.
    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
        let removed = self.command(&["uninstall", "--yes"]).output();
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        } else if let Ok(output) = removed {
            assert!(
                output.status.success(),
                "uninstall: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

/// Four letters and digits for a number: names of interfaces have no room for more.
pub(crate) fn short(number: u32) -> String {
    (0..4)
        .map(|place| char::from_digit(number / 36_u32.pow(place) % 36, 36).expect("a digit below 36"))
        .collect()
}

/// A Pod manifest.
pub fn pod(namespace: &str, name: &str, netns: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  labels: {{app: \"{name}\"}}\n  \
         annotations: {{cellwall.io/netns: \"{netns}\"}}\n"
    )
}

/// How long a wait may be on this machine: `CELLWALL_TEST_PATIENCE` times as long as elsewhere, for emulated ones.
pub fn patience(usual: Duration) -> Duration {
    static FACTOR: LazyLock<u32> = LazyLock::new(|| {
        let given = std::env::var("CELLWALL_TEST_PATIENCE").ok();
        given.map_or(1, |text| {
            text.parse().expect("CELLWALL_TEST_PATIENCE is a whole number")
        })
    });
    usual * *FACTOR
}

/// Tries until there is an answer or the time is over; see [`patience`].
pub fn wait_for<T>(usual: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience(usual);
    loop {
        if let Some(found) = attempt() {
            return Some(found);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
