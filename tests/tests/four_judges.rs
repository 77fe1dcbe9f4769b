//! Four judges must agree on every packet: the reference evaluator, a lookup over the map image, the packet path built
//! for the host, and the programs that the kernel has loaded. Random worlds, changed twice, and random packets; in two
//! worlds of three Services crowd, and packets aim at them. Every seed that once disagreed stays, and a disagreement is
//! written down as a scenario.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use cellwall_datapath::image::{Image, Probe};
use cellwall_datapath::inspect;
use cellwall_datapath::memory::MemoryKernel;
use cellwall_policy::evaluate::{HookQuestion, at_hook};
use cellwall_policy::generate;
use cellwall_policy::model::{Hook, Reason};
use cellwall_policy::scenario::Scenario;
use cellwall_tests::judges::course::{edit, is_crowded, keep};
use cellwall_tests::judges::node::{UNKNOWN, ifindex};
use cellwall_tests::judges::{Host, Live, Lodging, Node, Opening, Verdict, bulk};

/// Seeds that disagreed once, whether their worlds were crowded, and about what.
const ONCE: &[(u64, bool, &str)] = &[
    (
        1,
        false,
        "whatever a pod not known yet sent to nobody's address passed as sent to itself",
    ),
    (
        5,
        false,
        "what came back to a pod from itself by a Service passed unjudged",
    ),
    (
        14,
        false,
        "a table that is all zero, which is a Pass by the first rule, was held for a missing one",
    ),
];
/// Where disagreements are kept.
const KEPT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/four-judges");
/// Worlds of a run with fresh seeds, unless `CELLWALL_JUDGES_WORLDS` says otherwise.
const WORLDS: u64 = 18;
/// Changes of each world, and questions after each: any, and in crowded worlds such as aim.
const EDITS: u64 = 2;
const QUESTIONS: usize = 60;
const AIMED: usize = 40;
/// Reasons that come up in a run of that many worlds, if worlds and questions are what they should be.
const USUAL: [Reason; 13] = [
    Reason::Rule,
    Reason::NoRule,
    Reason::Service,
    Reason::NodeProbe,
    Reason::Startup,
    Reason::Unresolved,
    Reason::Loopback,
    Reason::Router,
    Reason::Tunnel,
    Reason::LocalNode,
    Reason::SelfTraffic,
    Reason::Off,
    Reason::Neighbour,
];
/// Disagreements after which a run ends.
const ENOUGH: usize = 12;

/// What came of a run.
#[derive(Default)]
struct Tally {
    worlds: u64,
    packets: u64,
    reasons: BTreeMap<String, u64>,
    left_out: BTreeMap<&'static str, u64>,
    disagreements: Vec<String>,
    /// Source port of the next packet.
    fresh: u16,
}

/// Past the capture of tests' output: seeds are to be seen of runs that passed, too.
fn say(line: &str) {
    // Nobody to tell where stderr is closed.
    let _written = writeln!(std::io::stderr(), "{line}");
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
    )
}

/// Judges worlds of these seeds, crowded ones or not, and panics where judges disagree.
fn hold(title: &str, seeds: &[(u64, bool)]) -> Tally {
    let lodging = Lodging::new().unwrap();
    let (first, last) = (seeds.first().unwrap().0, seeds.last().unwrap().0);
    say(&format!("four judges, {title}: seeds {first}..{last}"));
    let tally = lodging.namespace.inside(|| {
        let mut live = Live::load(&lodging.place).unwrap();
        let mut memory = MemoryKernel::new();
        let mut tally = Tally::default();
        for (seed, crowded) in seeds {
            if tally.disagreements.len() < ENOUGH {
                world(&mut tally, *seed, *crowded, &mut memory, &mut live)
                    .unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
            }
        }
        tally
    });
    let tally = tally.unwrap();
    say(&format!("reasons: {:?}", tally.reasons));
    say(&format!("left out: {:?}", tally.left_out));
    say(&format!(
        "four judges: {} worlds, {} packets, {} disagreements, seeds {first}..{last}, left out {}",
        tally.worlds,
        tally.packets,
        tally.disagreements.len(),
        tally.left_out.values().sum::<u64>()
    ));
    assert!(tally.disagreements.is_empty(), "{}", tally.disagreements.join("\n\n"));
    assert!(tally.packets > 50 * tally.worlds, "too few packets could be judged");
    tally
}

/// One world, and what it is changed to.
fn world(
    tally: &mut Tally,
    seed: u64,
    crowded: bool,
    memory: &mut MemoryKernel,
    live: &mut Live,
) -> anyhow::Result<()> {
    let size = 4 + usize::try_from(seed % 5)? * 5;
    let mut first = generate::world(seed, size);
    if crowded {
        generate::crowd(seed, &mut first);
    }
    let mut node = Node::begin(first, memory, Some(live))?;
    tally.worlds += 1;
    for state in 0..=EDITS {
        if state > 0 {
            node.change(|world| edit(world, seed, state == EDITS, state, crowded))?;
        }
        let image = node.image()?;
        let host = Host::over(node.memory);
        let live = node.live().expect("programs that judge");
        let actual = inspect(live.instance.maps())?;
        live.begin(&actual)?;
        live.forget_flows()?;
        let asked = seed.wrapping_mul(1_000).wrapping_add(state);
        let mut questions = generate::questions(asked, &node.world, QUESTIONS);
        if crowded {
            questions.extend(generate::aimed_questions(asked, &node.world, AIMED));
        }
        for question in &questions {
            match ask(tally, &mut node, &host, (&image, &actual), question) {
                Ok(None) => {}
                Ok(Some(lines)) => {
                    let name = format!("seed-{seed}-state-{state}-{}", tally.disagreements.len());
                    let kept = keep(KEPT, &name, &node.world, question)?;
                    let kept = kept.display();
                    let told =
                        format!("seed {seed}, crowded: {crowded}, state {state}: {question:?}\n{lines}\nkept: {kept}");
                    tally.disagreements.push(told);
                }
                Err(reason) => *tally.left_out.entry(reason).or_default() += 1,
            }
        }
        node.live().expect("programs that judge").end()?;
    }
    Ok(())
}

/// Why a question is left out, or what disagrees about it.
fn ask(
    tally: &mut Tally,
    node: &mut Node<'_>,
    host: &Host,
    (image, actual): (&Image, &Image),
    question: &HookQuestion,
) -> Result<Option<String>, &'static str> {
    let lives = |uid| node.world.pod(uid).is_some_and(|pod| pod.phase.is_live());
    if question.pod.as_ref().is_some_and(|uid| !lives(uid)) {
        return Err("the pod has ended");
    }
    let ifindex = question.pod.as_ref().map_or(UNKNOWN, ifindex);
    tally.fresh = tally.fresh.wrapping_add(1) % 30_000;
    let fresh = 20_000 + tally.fresh;
    let opening = opening(image, ifindex, question, fresh)?;
    let frame = opening.frame();
    let expected = Verdict::of_answer(&at_hook(&node.world, question));
    let probe = Probe {
        ifindex,
        hook: question.hook,
        peer: question.peer,
        protocol: opening.protocol,
        port: opening.port,
    };
    let looked_up = Verdict::of_cell(image.judge(&probe), image);
    let hosted = host.judge(question.hook, ifindex, &frame);
    let live = node.live().expect("programs that judge");
    let ran = live
        .judge(question.hook, ifindex, &frame)
        .unwrap_or_else(|error| panic!("{question:?}: {error:?}"));
    if !matches!(opening.protocol, 6 | 17 | 132) {
        live.forget_flows().unwrap();
    }
    let by_headers = is_by_headers(&expected.reason);
    let told = (Verdict::of_told(hosted, image), Verdict::of_told(ran, actual));
    let agree = match &told {
        (Some(hosted), Some(ran)) => *hosted == expected && *ran == expected && (by_headers || looked_up == expected),
        (None, None) => [hosted.dropped, ran.dropped, looked_up.dropped] == [expected.dropped; 3],
        _ => false,
    };
    if !agree {
        let text = |verdict: Option<Verdict>, dropped| {
            verdict.map_or_else(|| format!("untold, dropped: {dropped}"), |verdict| verdict.to_string())
        };
        return Ok(Some(format!(
            "{} -> {} protocol {} port {}\nreference: {expected}\nimage:     {looked_up}\nhost:      {}\nkernel:    {}\n{}",
            opening.source,
            opening.destination,
            opening.protocol,
            opening.port,
            text(told.0, hosted.dropped),
            text(told.1, ran.dropped),
            image.explain(&probe)
        )));
    }
    if told.0.is_none() {
        return Err("a neighbour's packet that the hook of its sender tells, all agree whether it passes");
    }
    *tally.reasons.entry(expected.reason).or_default() += 1;
    if by_headers {
        return Err("decided by headers alone, of which the image knows nothing: three agree");
    }
    tally.packets += 1;
    Ok(None)
}

/// What the tables are not asked about.
fn is_by_headers(reason: &str) -> bool {
    [Reason::Loopback, Reason::Router, Reason::Neighbour, Reason::Tunnel]
        .iter()
        .any(|one| one.name() == reason)
}

/// The packet of a question; why there is none.
fn opening(image: &Image, ifindex: u32, question: &HookQuestion, fresh: u16) -> Result<Opening, &'static str> {
    let v4 = question.peer.is_v4();
    let protocol = question.protocol.number();
    if protocol == 0 && !v4 {
        return Err("protocol 0 over IPv6 is an extension header");
    }
    let own: Vec<IpAddr> = image
        .own(ifindex)
        .filter(|own| own.is_v4() == v4)
        .map(cellwall_policy::model::Address::ip)
        .collect();
    let nobodys: IpAddr = if v4 { "192.0.2.222" } else { "2001:db8:ffff::77" }.parse().unwrap();
    let is_startup = image
        .interfaces
        .get(&ifindex)
        .is_some_and(cellwall_datapath::image::InterfaceEntry::is_startup);
    let own = match own.get(usize::from(fresh) % own.len().max(1)) {
        Some(own) => *own,
        None if is_startup || question.hook == Hook::ToPod => nobodys,
        None => return Err("the pod has no address of the family to send from"),
    };
    let peer = question.peer.ip();
    let (source, destination) = match question.hook {
        Hook::FromPod => (own, peer),
        Hook::ToPod => (peer, own),
    };
    Ok(Opening {
        source,
        destination,
        protocol,
        port: question.port.unwrap_or(0),
        fresh,
    })
}

#[test]
fn four_judges_agree_on_worlds_of_fresh_seeds() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let first = number("CELLWALL_JUDGES_SEED").unwrap_or(now);
    let worlds = number("CELLWALL_JUDGES_WORLDS").unwrap_or(WORLDS).max(1);
    let seeds: Vec<(u64, bool)> = (first..first + worlds).map(|seed| (seed, is_crowded(seed))).collect();
    let tally = hold("fresh", &seeds);
    let never: Vec<&str> = USUAL
        .map(Reason::name)
        .into_iter()
        .filter(|name| !tally.reasons.contains_key(*name))
        .collect();
    // A few worlds need not show everything.
    assert!(
        worlds < WORLDS || never.is_empty(),
        "these reasons never came up: {never:?}"
    );
}

/// Judges random frames in worlds of fresh seeds.
fn frames(worlds: u64, packets: u64, mut live: Option<&mut Live>) -> bulk::Tally {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let first = number("CELLWALL_JUDGES_SEED").unwrap_or(now);
    let mut memory = MemoryKernel::new();
    let mut tally = bulk::Tally::default();
    for seed in first..first + worlds {
        bulk::world(&mut tally, seed, packets, &mut memory, live.as_deref_mut())
            .unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
    }
    say(&format!(
        "random frames: {} of them, {} worlds from seed {first}, {} disagreements, reasons {:?}, left out {:?}",
        tally.packets,
        tally.worlds,
        tally.disagreements.len(),
        tally.reasons,
        tally.left_out
    ));
    assert!(tally.disagreements.is_empty(), "{}", tally.disagreements.join("\n\n"));
    assert!(tally.packets > worlds * packets, "too few frames could be judged");
    tally
}

#[test]
fn random_frames_are_judged_by_the_host_build_as_rules_and_standards_say() {
    let tally = frames(18, 1_000, None);
    for reason in [
        "RULE",
        "NO_RULE",
        "MALFORMED",
        "SPOOFED",
        "VLAN",
        "NOT_IP",
        "EXTENSION_CHAIN",
        "NO_STATE",
    ] {
        assert!(tally.reasons.contains_key(reason), "{reason} never came up");
    }
}

#[test]
fn random_frames_are_judged_by_the_kernel_as_rules_and_standards_say() {
    let lodging = Lodging::new().unwrap();
    let judged = lodging.namespace.inside(|| {
        let mut live = Live::load(&lodging.place).unwrap();
        frames(6, 2_000, Some(&mut live));
    });
    judged.unwrap();
}

#[test]
fn four_judges_agree_on_worlds_that_they_once_disagreed_on() {
    let seeds: Vec<(u64, bool)> = ONCE.iter().map(|(seed, crowded, _)| (*seed, *crowded)).collect();
    hold("named", &seeds);
}

#[test]
fn a_disagreement_would_be_kept_as_a_scenario_that_shows_the_same() {
    let mut world = generate::world(2, 14);
    generate::crowd(2, &mut world);
    let question = &generate::aimed_questions(2, &world, 1)[0];
    let file = keep(KEPT, "none", &world, question).unwrap();
    let read = Scenario::read(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(read[0].world(), world);
    assert_eq!(read[0].disagreements(), Vec::<String>::new());
    assert_eq!(read[0].cases().count(), 1);
    std::fs::remove_file(file).unwrap();
}
