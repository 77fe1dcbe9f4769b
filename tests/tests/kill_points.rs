//! The agent's apply killed before each of its writes to the real kernel: the loaded programs judge as before it or as
//! after it, never half, and the next process goes on from there.
//!
//! `CELLWALL_KILL_POINTS` is how many of the writes (24); `all` is each.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use aya::programs::SchedClassifier;
use aya::{TestRun as _, TestRunOptions};
use cellwall_datapath::attach::Hook;
use cellwall_datapath::kernel::Place;
use cellwall_policy::world::World;
use cellwall_tests::judges::node::ifindex;
use cellwall_tests::judges::{Lodging, Opening};
use cellwall_tests::kill_points::{process, world};

const SEED: u64 = 11;
const SHOT: u32 = 2;
/// Where the interface is in a `__sk_buff`, and how large that is.
const IFINDEX: usize = 40;
const CONTEXT: usize = 192;

/// What each local pod asks of every pod, at ports that rules name and others.
fn openings(world: &World) -> Vec<(u32, Opening)> {
    let mut all = Vec::new();
    let live = || world.pods().filter(|pod| pod.phase.is_live() && !pod.host_network);
    for from in live().filter(|pod| world.is_local(pod)) {
        for (source, to) in from
            .addresses
            .iter()
            .flat_map(|source| live().map(move |to| (source, to)))
        {
            let fits = to.addresses.iter().filter(|to| to.is_v4() == source.is_v4());
            for destination in fits.filter(|_| to.uid != from.uid) {
                for (protocol, port) in [(6, 80), (6, 443), (17, 53), (17, 8080), (6, 5432)] {
                    let opening = Opening {
                        source: source.ip(),
                        destination: destination.ip(),
                        protocol,
                        port,
                        fresh: 0,
                    };
                    all.push((ifindex(&from.uid), opening));
                }
            }
        }
    }
    all
}

/// Which of them the pinned program refuses; each time as flows that nobody has seen.
fn refused(place: &Place, openings: &[(u32, Opening)], fresh: &mut u16) -> Vec<bool> {
    let program = SchedClassifier::from_pin(place.program(Hook::FromPod)).expect("a pinned program");
    *fresh += 1;
    let run = |(ifindex, opening): &(u32, Opening)| {
        let mut context = [0; CONTEXT];
        context[IFINDEX..IFINDEX + 4].copy_from_slice(&ifindex.to_ne_bytes());
        let frame = Opening {
            fresh: *fresh,
            ..*opening
        }
        .frame();
        let options = TestRunOptions {
            data_in: Some(&frame),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        program.test_run(options).expect("BPF_PROG_TEST_RUN").return_value == SHOT
    };
    openings.iter().map(run).collect()
}

#[test]
fn an_apply_killed_before_any_of_its_writes_leaves_the_policy_before_it_or_the_one_after_it() {
    let program = Path::new(env!("CARGO_BIN_EXE_apply-and-die"));
    let lodging = Lodging::new().expect("a namespace");
    let name = lodging.place.name().to_owned();
    let done = lodging.namespace.inside(|| {
        let whole = |flipped| {
            let output = process(program, &name, SEED, flipped, None).expect("a process");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().expect("a number")
        };
        let openings = openings(&world(SEED, false));
        let mut fresh = 20_000;
        let mut judge = || refused(&lodging.place, &openings, &mut fresh);
        whole(false);
        let before = judge();
        let writes = whole(true);
        let after = judge();
        let differ = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert!(differ > 0 && differ < openings.len(), "{differ} of {} differ", openings.len());
        whole(false);
        assert_eq!(judge(), before, "back again");

        let given = std::env::var("CELLWALL_KILL_POINTS").ok();
        let points = match given.as_deref() {
            Some("all") => writes,
            given => given.map_or(24, |text| text.parse().expect("CELLWALL_KILL_POINTS is a number, or all")),
        };
        let (mut old, mut new) = (0, 0);
        for point in 0..points.min(writes) {
            let at = point * writes / points.min(writes);
            let killed = process(program, &name, SEED, true, Some(at)).expect("a process");
            assert_eq!(killed.status.signal(), Some(9), "write {at} of {writes}: {}", String::from_utf8_lossy(&killed.stderr));
            let seen = judge();
            if seen == before { old += 1 } else { new += 1 }
            assert!(seen == before || seen == after, "killed before write {at} of {writes}: neither the one policy nor the other");
            // Whoever comes next goes on from there: to the new one, or back to the old one.
            if at % 2 == 0 {
                whole(true);
                assert_eq!(judge(), after, "after the kill before write {at}");
            }
            whole(false);
            assert_eq!(judge(), before, "after the kill before write {at}, and back");
        }
        println!("{writes} writes of an apply; killed before {} of them: {old} times the policy before, {new} times the one after; \
            {} packets each, of which {differ} differ", points.min(writes), openings.len());
        assert!(old > 0 && new > 0, "both sides of the flip were met: {old}, {new}");
    });
    done.expect("the namespace");
}
