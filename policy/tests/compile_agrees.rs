//! The compiled state, looked up as the kernel looks it up, says what the reference says: for random worlds, every
//! interface, both hooks, addresses of every kind and ports around every edge.

mod compiled;
mod worlds;

use cellwall_policy::evaluate::HookQuestion;
use cellwall_policy::generate;
use cellwall_policy::model::{Hook, Name, Protocol};
use cellwall_policy::world::{DocumentKey, World};
use compiled::{disagreements, links};
use proptest::prelude::*;
use worlds::{Dice, LOCAL};

/// Leaves out of `world` what the disagreement does not need.
fn shrink(world: &World, questions: &[HookQuestion]) -> World {
    let mut small = world.clone();
    loop {
        let keys: Vec<DocumentKey> = small.keys().collect();
        let mut smaller = None;
        for key in keys {
            let mut without = small.clone();
            without.delete(&key);
            if !disagreements(&without, questions.iter().cloned()).is_empty() {
                smaller = Some(without);
                break;
            }
        }
        match smaller {
            Some(found) => small = found,
            None => return small,
        }
    }
}

fn check(world: &World, questions: &[HookQuestion]) -> Result<(), TestCaseError> {
    let found = disagreements(world, questions.iter().cloned());
    if found.is_empty() {
        return Ok(());
    }
    let small = shrink(world, questions);
    let found = disagreements(&small, questions.iter().cloned());
    Err(TestCaseError::fail(format!(
        "{}\n{}",
        worlds::describe(&small),
        found.lines().take(12).collect::<Vec<_>>().join("\n")
    )))
}

fn random_questions(dice: &mut Dice, world: &World, count: usize) -> Vec<HookQuestion> {
    let pods: Vec<Option<Name>> = links(world).into_iter().map(|link| link.pod).collect();
    let mut addresses = worlds::every_address();
    addresses.push("fe80::42".parse().unwrap());
    let ports = [
        0, 1, 52, 53, 54, 79, 80, 81, 82, 443, 4789, 8080, 30080, 30081, 65534, 65535,
    ];
    let mut questions = Vec::new();
    for _ in 0..count {
        let peer = dice.pick(&addresses);
        let (icmp, crossed) = if peer.is_v4() {
            (Protocol::Icmp, 58)
        } else {
            (Protocol::Icmpv6, 1)
        };
        let (protocol, port) = match dice.below(10) {
            0..=4 => (Protocol::Tcp, Some(dice.pick(&ports))),
            5 | 6 => (Protocol::Udp, Some(dice.pick(&ports))),
            7 => (Protocol::Sctp, Some(dice.pick(&ports))),
            8 => (icmp, Some(dice.pick(&[0, 8, 128, 255]))),
            _ => (Protocol::Other(dice.pick(&[47, 4, 41, crossed, 99])), None),
        };
        questions.push(HookQuestion {
            hook: dice.pick(&[Hook::FromPod, Hook::ToPod]),
            pod: dice.pick(&pods),
            peer,
            protocol,
            port,
        });
    }
    questions
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn the_compiled_state_says_what_the_reference_says(seed: u64, size in 0usize..70) {
        let mut dice = Dice::new(seed);
        let world = worlds::world(&mut dice, size);
        prop_assert_eq!(&**world.node(), LOCAL);
        let questions = random_questions(&mut dice, &world, 300);
        check(&world, &questions)?;
    }

    #[test]
    fn it_does_in_worlds_made_to_compare_judges(seed: u64, size in 1usize..40) {
        let world = generate::world(seed, size);
        let questions = generate::questions(seed, &world, 200);
        check(&world, &questions)?;
    }
}
