//! Chores of this repository.

mod cases;
mod crds;
mod image;
mod mutants;
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
    /// Write the lists of tests in `docs/attack-cases.md` from the tests' names.
    Cases,
    /// Write the CRD manifests under `crds/manifests` from the types.
    Crds,
    /// Write a container image of one static program.
    Image(image::ImageArgs),
    /// Change the packet path and the policy core in one place at a time: does a test tell?
    Mutants(mutants::MutantsArgs),
    /// Check what no compiler checks: crate edges, file sizes, reasons beside `unwrap`, words that must not be here.
    Tidy,
}

fn main() -> anyhow::Result<ExitCode> {
    match Args::parse().chore {
        Chore::Cases => cases::run(root()),
        Chore::Crds => crds::run(root()),
        Chore::Image(args) => image::run(&args),
        Chore::Mutants(args) => mutants::run(root(), &args),
        Chore::Tidy => tidy::run(root()),
    }
}

/// The checkout, wherever the program is started from.
fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}
