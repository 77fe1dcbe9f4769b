//! The demo's agent: this same binary, as a process of its own on the lab's node.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::stage::Stage;
use crate::api::{Request, client};
use crate::cli::output::line;
use crate::lab::{Lab, Outcome, tcp_ask};

/// How long an agent may take to realise the manifests.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running agent; killed when dropped.
#[derive(Debug)]
pub(super) struct Agent {
    child: Child,
}

impl Agent {
    /// Starts the agent on the lab's node and waits until it says that the manifests are realised.
    pub(super) fn start(lab: &Lab, instance: &str, directory: &Path, socket: &Path) -> Result<Self> {
        let program = std::env::current_exe().context("this program's own path is not known")?;
        let log = std::fs::File::create(directory.join("agent.log")).context("the agent's log cannot be created")?;
        let child = lab
            .node()
            .command(program)
            .args([
                "run",
                "--instance",
                instance,
                "--node-name",
                "demo-node",
                "--flow-log-pass",
                "all",
            ])
            .args(["--flow-log", "none", "--listen", "127.0.0.1:9469"])
            .arg("--manifests")
            .arg(directory.join("manifests"))
            .arg("--state-dir")
            .arg(directory.join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("the agent cannot be started")?;
        let mut agent = Self { child };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = agent.child.try_wait()? {
                let log = std::fs::read_to_string(directory.join("agent.log")).unwrap_or_default();
                bail!("the agent ended at once ({status}):\n{log}");
            }
            let ready = client::ask_all(socket, &Request::Status)
                .ok()
                .and_then(|answer| answer.first()?.get("unready")?.as_array().map(Vec::is_empty));
            if ready == Some(true) {
                return Ok(agent);
            }
            if Instant::now() > deadline {
                let log = std::fs::read_to_string(directory.join("agent.log")).unwrap_or_default();
                bail!("the agent is not ready after {} s:\n{log}", PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL: no chance to tidy anything.
    pub(super) fn kill(&mut self) {
        // A child that is gone already is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Lets the process go on after the demo.
    pub(super) fn leave(self) -> u32 {
        let pid = self.child.id();
        std::mem::forget(self);
        pid
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Attempts that must be refused and attempts that must succeed go on while the agent dies and comes back.
pub(super) fn kill_and_restart(stage: &mut Stage) -> Result<()> {
    let visitor = stage.pod("visitor").netns.clone();
    let web = stage.pod("web").clone();
    let api = SocketAddr::from((stage.pod("api").v4, 8080));
    let patience = Duration::from_millis(60);
    let (mut refused, mut passed, mut wrong) = (0_u32, 0_u32, 0_u32);
    let mut round = |count: u32| -> Result<()> {
        for _ in 0..count {
            match tcp_ask(&visitor, SocketAddr::from((web.v4, 80)), patience)? {
                Outcome::Silence => refused += 1,
                Outcome::Answered | Outcome::Refused => wrong += 1,
            }
            match tcp_ask(&web.netns, api, Duration::from_secs(1))? {
                Outcome::Answered => passed += 1,
                Outcome::Silence | Outcome::Refused => wrong += 1,
            }
        }
        Ok(())
    };
    round(3)?;
    stage.kill_agent();
    round(10)?;
    let began = Instant::now();
    stage.start_agent()?;
    let took = began.elapsed();
    round(3)?;
    line(&format!(
        "   guests-alone refused {refused} of {refused} attempts, api-from-web let {passed} of {passed} through: \
         before, without any agent, and after"
    ))?;
    line(&format!(
        "   judged otherwise: {wrong}; the new agent adopted programs, links and maps in {} ms",
        took.as_millis()
    ))?;
    stage.count(wrong == 0, u64::from(refused + passed + wrong));
    Ok(())
}
