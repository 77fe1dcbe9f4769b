//! `cellwall demo`: real pods, real traffic, real kernel verdicts, compared with what the manifests say.

mod agent;
mod asks;
mod open_flow;
mod stage;

use anyhow::Result;

use crate::cli::args::DemoArgs;
use crate::cli::output::{line, paint};
use stage::Stage;

/// Runs the demo. Answers whether every verdict was what the manifests say.
pub fn run(args: &DemoArgs) -> Result<bool> {
    if !nix::unistd::geteuid().is_root() {
        anyhow::bail!("the demo needs root: it makes network namespaces and loads programs into the kernel");
    }
    let mut stage = Stage::set()?;
    heading(
        "1",
        "Five pods, a node and a host outside: network namespaces with real veths",
    )?;
    stage.introduce()?;
    heading("2", "Who may talk to whom: asked on the wire, judged in the kernel")?;
    asks::ask_all(&mut stage)?;
    heading("3", "A rule changes under open connections")?;
    open_flow::flip(&mut stage)?;
    heading(
        "4",
        "The agent is killed (SIGKILL) in the middle of traffic, and started again",
    )?;
    agent::kill_and_restart(&mut stage)?;
    heading("5", "What is left to see")?;
    stage.listings()?;
    let good = stage.summary()?;
    if args.keep {
        stage.keep()?;
    }
    Ok(good)
}

fn heading(number: &str, text: &str) -> Result<()> {
    line("")?;
    line(&paint(&format!("{number}. {text}"), "1"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::documents;
    use cellwall_policy::diagnostic;

    #[test]
    fn the_manifests_of_the_demo_have_nothing_wrong_with_them() {
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo");
        let reading = documents::read(&[manifests]);
        assert!(reading.problems.is_empty(), "{:?}", reading.problems);
        assert_eq!(reading.documents.len(), 19);
        assert_eq!(diagnostic::examine(&documents::world(&reading, "demo-node")), []);
    }
}
