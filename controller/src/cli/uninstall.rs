//! `cellwall uninstall`: the only command that opens.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Context as _, Result, bail};
use kube::Client;

use super::args::{InstanceArgs, UninstallArgs};
use super::output::line;
use crate::cluster::status::finalizer::release_all;

/// Asks unless told not to, then ends the agent and removes everything of the instance.
pub fn run(instance: &InstanceArgs, args: &UninstallArgs) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("uninstall needs root: it removes programs from the kernel");
    }
    if !args.yes && !agreed(&instance.instance)? {
        bail!("nothing was removed");
    }
    for done in crate::agent::remove_instance(instance)? {
        line(&done)?;
    }
    if args.kubernetes {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let released = runtime.block_on(release())?;
        line(&format!("{released} objects of the API server released"))?;
    }
    Ok(())
}

async fn release() -> Result<usize> {
    let client = Client::try_default()
        .await
        .context("no API server is known: set KUBECONFIG, or run this in a pod with a service account")?;
    let released = release_all(&client).await;
    released.context("NetworkObjects that rules name are still held")
}

fn agreed(instance: &str) -> Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("uninstall ends the enforcement of instance {instance:?}; say --yes where nobody can be asked");
    }
    let mut out = io::stderr().lock();
    write!(
        out,
        "This ends the enforcement of instance {instance:?} on this node. Type `yes` to go on: "
    )?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
