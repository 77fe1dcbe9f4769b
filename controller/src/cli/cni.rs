//! `cellwall cni`: the chained plugin put into a node's network configuration, and taken out again.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use super::args::InstanceArgs;
use super::output::line;
use crate::cni::install::{Done, InstallError, Installation};
use crate::cni::{LONGEST_TIMEOUT, TIMEOUT, WhenAway};

/// How often `--keep` looks.
const LOOK: Duration = Duration::from_secs(1);

/// `cni`.
#[derive(Debug, Args)]
pub struct CniArgs {
    /// What to do
    #[command(subcommand)]
    pub action: CniAction,
}

/// What to do with the plugin.
#[derive(Debug, Subcommand)]
pub enum CniAction {
    /// Put the plugin behind those of the network configuration in force; repeated it changes nothing
    #[command(after_help = "Examples:\n  cellwall cni install\n  \
        cellwall cni install --bin-dir /host/opt/cni/bin --conf-dir /host/etc/cni/net.d --keep")]
    Install(InstallArgs),
    /// Take the plugin out of every network configuration, then its file away
    #[command(after_help = "Examples:\n  cellwall cni uninstall\n  \
        cellwall cni uninstall --bin-dir /host/opt/cni/bin --conf-dir /host/etc/cni/net.d")]
    Uninstall(PlaceArgs),
}

/// Where the node's plugins and their configuration are.
#[derive(Debug, Clone, Args)]
pub struct PlaceArgs {
    /// Directory of the plugins
    #[arg(long, default_value = "/opt/cni/bin", value_name = "DIR")]
    pub bin_dir: PathBuf,
    /// Directory of the network configurations
    #[arg(long, default_value = "/etc/cni/net.d", value_name = "DIR")]
    pub conf_dir: PathBuf,
    /// Do not end: with `install` put right what others change, with `uninstall` stay when done
    #[arg(long)]
    pub keep: bool,
}

/// `cni install`.
#[derive(Debug, Clone, Args)]
pub struct InstallArgs {
    /// Where
    #[command(flatten)]
    pub place: PlaceArgs,
    /// A pod that starts while no agent answers: it waits and fails when the time is over, fails at once, or starts unjudged
    #[arg(long, value_enum, default_value_t, value_name = "wait|refuse|pass")]
    pub when_away: WhenAway,
    /// How long a pod's start may wait for its policy, in seconds
    #[arg(long, default_value_t = TIMEOUT, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=LONGEST_TIMEOUT))]
    pub timeout: u64,
}

/// `cellwall cni`.
pub fn run(instance: &InstanceArgs, args: &CniArgs) -> Result<()> {
    let (place, install) = match &args.action {
        CniAction::Install(install) => (&install.place, Some(install)),
        CniAction::Uninstall(place) => (place, None),
    };
    let installation = Installation {
        bin_dir: place.bin_dir.clone(),
        conf_dir: place.conf_dir.clone(),
        socket: instance.socket(),
        timeout_seconds: install.map_or(TIMEOUT, |install| install.timeout),
        when_away: install.map_or(WhenAway::default(), |install| install.when_away),
    };
    let program = std::env::current_exe().context("this program's file is not known")?;
    loop {
        let done = match install {
            Some(_) => installation.install(&program),
            None => installation.uninstall(),
        };
        match done {
            Ok(Done::Changed(files)) => {
                for file in files {
                    line(&format!("changed: {}", file.display()))?;
                }
            }
            Ok(Done::Nothing) if !place.keep => line("nothing to change")?,
            Ok(Done::Nothing) => {}
            // A node's network may be installed later than we are.
            Err(InstallError::None { .. } | InstallError::Configuration { .. }) if place.keep => {}
            Err(error) => return Err(error.into()),
        }
        if !place.keep {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}
