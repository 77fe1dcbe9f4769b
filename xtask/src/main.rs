//! Chores of this repository.

mod crds;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of this repository.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Write the CRD manifests under `crds/manifests` from the types.
    Crds,
    /// Check what no compiler checks: crate edges, file sizes, reasons beside `unwrap`, words that must not be here.
    Tidy,
}

fn main() -> anyhow::Result<ExitCode> {
    match Args::parse().chore {
        Chore::Crds => crds::run(root()),
        Chore::Tidy => tidy::run(root()),
    }
}

/// The checkout, wherever the program is started from.
fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}
