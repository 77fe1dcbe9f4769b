//! What compiling costs, in instructions counted by callgrind (of the build without optimisation): the same on every
//! machine. A change that makes it dearer, or much cheaper, has to say so here.

use std::path::Path;
use std::process::Command;

use cellwall_policy::compile::Compiler;
use cellwall_policy::generate::Scale;

/// Set in the process that is counted: which of the two it is to do.
const COUNTED: &str = "CELLWALL_COUNTED";
const RULES: usize = 200;

/// Compiles from nothing, or compiles a pod that comes, or fifty rules that change one after the other, into what is
/// compiled.
fn work(what: &str, pods: usize) {
    let mut scale = Scale::new(pods, RULES, false);
    let mut compiler = Compiler::new("node-0");
    if what == "whole" {
        counted(&mut compiler, &scale, &[]);
        return;
    }
    drop(compiler.update(&scale.world, &[], &scale.links, 1));
    match what {
        "pod" => {
            let came = scale.pod_comes();
            counted(&mut compiler, &scale, &[came]);
        }
        "rules" => {
            for round in 0..50 {
                let changed = scale.rule_changes(round % 2 == 0);
                counted(&mut compiler, &scale, &[changed]);
            }
        }
        _ => panic!("nothing is called {what}"),
    }
}

/// Callgrind counts what happens in here alone, by this name.
#[inline(never)]
fn counted(compiler: &mut Compiler, scale: &Scale, touched: &[cellwall_policy::world::DocumentKey]) {
    drop(compiler.update(&scale.world, touched, &scale.links, 2));
}

/// Runs this very test in callgrind; none where it is not installed.
fn instructions(what: &str, pods: usize) -> u64 {
    let own = std::env::current_exe().unwrap();
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--toggle-collect=*counted*",
        ])
        .arg(Path::new(&own))
        .args([
            "--exact",
            "compiling_costs_as_many_instructions_as_written_here",
            "--test-threads=1",
        ])
        .env(COUNTED, format!("{what} {pods}"))
        .output()
        .unwrap_or_else(|error| panic!("valgrind cannot be run ({error}): run scripts/setup.sh, which installs it"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected :"));
    let (_, collected) = collected.unwrap_or_else(|| panic!("callgrind says no sum: {said}"));
    collected.trim().parse().unwrap()
}

#[test]
fn compiling_costs_as_many_instructions_as_written_here() {
    if let Ok(what) = std::env::var(COUNTED) {
        let (what, pods) = what.split_once(' ').unwrap();
        work(what, pods.parse().unwrap());
        return;
    }
    for (what, pods, expected) in [
        ("whole", 200, 313_900_000_u64),
        ("whole", 2_000, 1_299_400_000),
        ("pod", 2_000, 19_620_000),
        ("rules", 2_000, 1_323_000_000),
    ] {
        let count = instructions(what, pods);
        println!("{what}, {pods} pods: {count} instructions");
        let most = expected / 20;
        assert!(
            count.abs_diff(expected) <= most,
            "{what}, {pods} pods: {count} instructions, {expected} are written here"
        );
    }
}
