//! The `cellwall` binary: arguments in, exit code out.

use std::process::ExitCode;

use anyhow::Result;
use cellwall_controller::cli::args::{Cli, Command};
use cellwall_controller::cli::{self, alerts, all_nodes, check, explain, flows, listings, output, uninstall};
use cellwall_controller::{agent, cni, demo};
use clap::CommandFactory;
use mimalloc::MiMalloc;

/// A change of a large policy allocates and frees a great deal: `docs/speed.md` has what this one saves.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    if cni::is_called() {
        return ExitCode::from(cni::run());
    }
    let cli = Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    match run(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Chained causes on one line; texts of foreign origin were escaped where they came in.
            eprintln!("cellwall: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn run(cli: &Cli) -> Result<u8> {
    if cli.nodes.all_nodes {
        return all_nodes::run(cli, &std::env::args_os().collect::<Vec<_>>());
    }
    let instance = &cli.instance;
    let failed = |good: bool| u8::from(!good);
    match &cli.command {
        Command::Run(args) => agent::run(instance, args).map(|()| 0),
        Command::Check(args) => check::run(args).map(failed),
        Command::Explain(args) => explain::run(instance, args).map(failed),
        Command::Flows(args) => flows::run(instance, args).map(|()| 0),
        Command::Alerts(args) => alerts::run(instance, args).map(|()| 0),
        Command::Refused(args) => listings::refused(instance, args).map(|()| 0),
        Command::Rules(args) => listings::rules(instance, args.format).map(|()| 0),
        Command::Objects(args) => listings::objects(instance, args.format).map(|()| 0),
        Command::InterceptStatus(args) => listings::intercept_status(instance, args.format),
        Command::Confirm(args) => listings::confirm(instance, args).map(|()| 0),
        Command::Dump => output::line(agent::dump(instance)?.trim_end()).map(|()| 0),
        Command::Cni(args) => cli::cni::run(instance, args).map(|()| 0),
        Command::Uninstall(args) => uninstall::run(instance, args).map(|()| 0),
        Command::Crds => {
            for (_, text) in cellwall_crds::manifests() {
                output::line(&format!("---\n{}", text.trim_end()))?;
            }
            Ok(0)
        }
        Command::Demo(args) => demo::run(args).map(failed),
        Command::Completions { shell } => {
            // Into memory first: clap_complete panics where the reader goes away (`| head`).
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "cellwall", &mut script);
            output::line(String::from_utf8_lossy(&script).trim_end()).map(|()| 0)
        }
    }
}
