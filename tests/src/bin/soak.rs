//! A soak of any length: see `cellwall_tests::soak`. Ends with a table of what was tried; the exit code is 1 if anything
//! was wrong.

use std::process::ExitCode;
use std::time::Duration;

use cellwall_tests::soak::{Options, Source, run};
use clap::{ArgAction, Parser};

#[derive(Debug, Parser)]
struct Args {
    /// How long at least
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// How often the agent is killed at least
    #[arg(long, default_value_t = 0)]
    kills: u64,
    /// Pods at a time
    #[arg(long, default_value_t = 8)]
    pods: usize,
    /// Threads that ask
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// Floods now and then; without them no permitted datagram may be missing either
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    floods: bool,
    /// Where the agent's policy comes from; an API server is away now and then
    #[arg(long, value_enum, default_value_t = Source::Api)]
    source: Source,
    /// Where the choices begin
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let options = Options {
        duration: Duration::from_secs(args.seconds),
        kills: args.kills,
        pods: args.pods.max(2),
        clients: args.clients.max(1),
        floods: args.floods,
        source: args.source,
        seed: args.seed,
    };
    let report = run(&options, |line| println!("{line}"));
    print!("{report}");
    ExitCode::from(u8::from(report.wrong > 0))
}
