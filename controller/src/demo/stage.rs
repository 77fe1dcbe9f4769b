//! The stage: lab, servers, manifests, agent, and the count of what agreed.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::agent::Agent;
use crate::api::{Request, client};
use crate::cli::args::InstanceArgs;
use crate::cli::output::{self, line, paint};
use crate::lab::{Lab, LabPod, Server, Wiring};

const PODS: [&str; 5] = ["web", "api", "db", "backup", "visitor"];
const PORTS: [u16; 4] = [22, 80, 5432, 8080];
/// How long the first packets of the self-test are waited for: a second or two where the machine has nothing else to do.
const PROBES: Duration = Duration::from_secs(30);

/// Everything the demo needs; dropping it leaves nothing behind.
#[derive(Debug)]
pub(super) struct Stage {
    lab: Option<Lab>,
    agent: Option<Agent>,
    servers: Vec<Server>,
    instance: InstanceArgs,
    directory: PathBuf,
    /// The agent's socket.
    pub(super) socket: PathBuf,
    agreed: u64,
    disagreed: u64,
    kept: bool,
}

impl Stage {
    pub(super) fn set() -> Result<Self> {
        let id = std::process::id() & 0xffff;
        let prefix = format!("cw{id:04x}");
        let directory = std::env::temp_dir().join(format!("cellwall-demo-{id:04x}"));
        let name = format!("cellwall-demo-{id:04x}");
        let instance = InstanceArgs {
            instance: name,
            state_dir: Some(directory.join("state")),
        };
        let socket = instance.socket();
        let mut lab = Lab::new(&prefix, Wiring::Routed)?;
        for pod in PODS {
            lab.add_pod(pod)?;
        }
        let mut stage = Self {
            lab: Some(lab),
            agent: None,
            servers: Vec::new(),
            instance,
            directory,
            socket,
            agreed: 0,
            disagreed: 0,
            kept: false,
        };
        std::fs::create_dir_all(stage.directory.join("manifests")).context("the manifests' directory")?;
        stage.write(
            "pods.yaml",
            &include_str!("../../demo/pods.yaml").replace("NETNS", &prefix),
        )?;
        stage.write("objects.yaml", include_str!("../../demo/objects.yaml"))?;
        stage.write("rules.yaml", include_str!("../../demo/rules.yaml"))?;
        stage.write("db-from-api.yaml", include_str!("../../demo/db-from-api.yaml"))?;
        let mut places: Vec<String> = stage.lab().pods().map(|pod| pod.netns.clone()).collect();
        places.extend([
            stage.lab().node().name().to_owned(),
            stage.lab().outside().name().to_owned(),
        ]);
        for netns in places {
            for port in PORTS {
                stage.servers.push(Server::start(&netns, port)?);
            }
        }
        stage.start_agent()?;
        Ok(stage)
    }

    pub(super) fn lab(&self) -> &Lab {
        // why: taken out only by `keep` and `drop`, which nothing follows
        self.lab.as_ref().expect("the lab stands while the demo runs")
    }

    pub(super) fn pod(&self, name: &str) -> &LabPod {
        let named = self.lab().pods().find(|pod| pod.name == name);
        // why: names are the constants of this module
        named.expect("a pod of the demo")
    }

    /// Replaces a manifest as an editor does: written beside, then renamed.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.directory.join("manifests").join(name);
        let beside = self.directory.join(format!(".{name}"));
        std::fs::write(&beside, text)
            .and_then(|()| std::fs::rename(&beside, &path))
            .with_context(|| format!("writing {}", path.display()))
    }

    pub(super) fn start_agent(&mut self) -> Result<()> {
        self.agent = Some(Agent::start(
            self.lab(),
            &self.instance.instance,
            &self.directory,
            &self.socket,
        )?);
        Ok(())
    }

    pub(super) fn kill_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill();
        }
    }

    pub(super) fn count(&mut self, agreed: bool, number: u64) {
        if agreed {
            self.agreed += number;
        } else {
            self.disagreed += number;
        }
    }

    pub(super) fn introduce(&self) -> Result<()> {
        let rows = self.lab().pods().map(|pod| {
            vec![
                pod.name.clone(),
                pod.netns.clone(),
                pod.host_interface.clone(),
                pod.v4.to_string(),
                pod.v6.to_string(),
            ]
        });
        line(&output::table(
            &["pod", "network namespace", "guarded at", "IPv4", "IPv6"],
            rows,
        ))
    }

    /// The newest record of a flow to `target`, waited for a moment: the kernel's records are read every 10 ms.
    pub(super) fn record_of(
        &self,
        source: Option<IpAddr>,
        target: SocketAddr,
        protocol: &str,
    ) -> Result<Option<Value>> {
        let fits = |record: &Value| {
            let ip = |end: &str| record[end]["ip"].as_str().and_then(|ip| ip.parse::<IpAddr>().ok());
            ip("destination") == Some(target.ip())
                && record["destination"]["port"] == target.port()
                && record["protocol"] == protocol
                && source.is_none_or(|source| ip("source") == Some(source))
        };
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            let records = client::ask_all(&self.socket, &Request::FLOWS)?;
            let found = records.into_iter().rev().find(fits);
            if found.is_some() || Instant::now() > deadline {
                return Ok(found);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What a person would look at, by the commands a person would use.
    pub(super) fn listings(&self) -> Result<()> {
        let program = std::env::current_exe().context("this program's own path is not known")?;
        self.wait_for_probes()?;
        for words in [
            &["rules"][..],
            &["objects"],
            &["flows"],
            &["alerts"],
            &["refused", "shop/db"],
            &["intercept-status"],
        ] {
            line("")?;
            line(&paint(&format!("   $ cellwall {}", words.join(" ")), "2"))?;
            // The status speaks by its exit code too; here it is only shown.
            let _ = std::process::Command::new(&program)
                .args(words)
                .args(["--instance", &self.instance.instance])
                .status()?;
        }
        Ok(())
    }

    /// Waits until the agent's self-test has run its first packets: it does so a moment after a start. Where it runs none
    /// the status says why.
    fn wait_for_probes(&self) -> Result<()> {
        let deadline = Instant::now() + PROBES;
        loop {
            let status = client::ask_all(&self.socket, &Request::Status)?;
            let conditions = status.first().and_then(|status| status["conditions"].as_array());
            let ran = |one: &Value| one["type"] == "ProbePassed" && one["reason"] != "NotRun";
            if conditions.is_some_and(|all| all.iter().any(ran)) || Instant::now() > deadline {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(super) fn summary(&self) -> Result<bool> {
        let good = self.disagreed == 0;
        let text = format!(
            "{} verdicts as the manifests say, {} otherwise",
            self.agreed, self.disagreed
        );
        line("")?;
        line(&paint(&text, if good { "1;32" } else { "1;31" }))?;
        Ok(good)
    }

    pub(super) fn keep(mut self) -> Result<()> {
        self.kept = true;
        self.servers.clear();
        let instance = &self.instance.instance;
        let names = self.lab.take().map(Lab::keep).unwrap_or_default();
        let pid = self.agent.take().map(Agent::leave).unwrap_or_default();
        line(&format!(
            "\nkept: agent {pid}, manifests in {}",
            self.directory.join("manifests").display()
        ))?;
        line(&format!("look:   cellwall rules --instance {instance}"))?;
        line(&format!(
            "remove: cellwall uninstall --yes --instance {instance} --state-dir {}",
            self.directory.join("state").display()
        ))?;
        line(&format!(
            "        for n in {}; do ip netns del $n; done; rm -r {}",
            names.join(" "),
            self.directory.display()
        ))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        self.kill_agent();
        let _ = crate::agent::remove_instance(&self.instance);
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
