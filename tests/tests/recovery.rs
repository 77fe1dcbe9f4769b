//! What is damaged is found within ten seconds, named, put right where it is ours, and told for ten seconds more; and the
//! way back to Normal, by itself or by a confirmation. The table of faults is in `docs/faults.md`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cellwall_controller::lab::{Outcome, Server, Wiring};
use cellwall_datapath::attach::{Hook, Mechanism};
use cellwall_datapath::inspect;
use cellwall_datapath::kernel::{Maps, Place};
use cellwall_datapath::port::{Entries, Kernel as _, MapName};
use cellwall_datapath_common::policy::LIST;
use cellwall_datapath_common::{Active, switches};
use cellwall_tests::numbered::Numbered;
use cellwall_tests::stranger::{NAME, Stranger};
use cellwall_tests::{Cluster, patience, wait_for};
use serde_json::Value;

const REFUSED: u16 = 1001;
const PERMITTED: u16 = 1002;
/// What is wrong is found within this time.
const FOUND: Duration = Duration::from_secs(10);
/// What was put right is told at least this long.
const TOLD: Duration = Duration::from_secs(10);
/// And then the node is Normal again, on a machine that has other things to do.
const NORMAL: Duration = Duration::from_secs(40);

const RULES: &str = "
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: refused}
spec: {source: {entity: Cluster}, destination: {entity: Cluster}, ports: [{protocol: UDP, port: 1001}, {port: 1001}], action: Drop, priority: 10}
";

fn defense(fields: &str) -> String {
    format!("apiVersion: cellwall.io/v1alpha1\nkind: ClusterDefense\nmetadata: {{name: default}}\nspec: {{{fields}}}\n")
}

fn running() -> Cluster {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
    cluster.save_pods();
    cluster.save("rules.yaml", RULES);
    cluster.start();
    cluster
}

fn state(status: &Value) -> &str {
    status["state"].as_str().unwrap_or_default()
}

fn message(status: &Value) -> &str {
    status["message"].as_str().unwrap_or_default()
}

/// The first status that fits, and how long it took.
fn status(cluster: &Cluster, usual: Duration, fits: impl Fn(&Value) -> bool) -> (Duration, Value) {
    let began = Instant::now();
    let found = wait_for(usual, || cluster.status().filter(|status| fits(status)));
    let found = found.unwrap_or_else(|| panic!("not so within {usual:?}: {:?}\n{}", cluster.status(), cluster.log()));
    (began.elapsed(), found)
}

fn place(cluster: &Cluster) -> Place {
    Place::new(cluster.instance()).expect("a place")
}

/// Where the link of pod a's from-pod hook is pinned.
fn pin(cluster: &Cluster) -> PathBuf {
    let interface = cluster.pod("a").host_interface;
    let index = cluster
        .lab
        .node()
        .inside(|| nix::net::if_::if_nametoindex(interface.as_str()).expect("the pod's interface"));
    place(cluster).link(index.expect("the node's namespace"), Hook::FromPod)
}

/// Makes the table in which UDP has a port of its own say of UDP what it says of SCTP, which no rule names.
fn corrupt_a_table(cluster: &Cluster) {
    let mut maps = Maps::open(&place(cluster)).expect("the pinned maps");
    let image = inspect(&maps).expect("an image");
    let (slot, entry) = image
        .tables
        .iter()
        .find(|(_, entry)| entry.refs[1] & LIST != 0)
        .expect("a table with a port of UDP");
    let mut refs = entry.refs;
    refs[1] = refs[2];
    let mut entries = Entries::new(MapName::Tables);
    entries.push(&slot.to_ne_bytes(), &refs.map(u32::to_ne_bytes).concat());
    maps.update(&entries).expect("the map can be written");
}

/// A fault: waits until it is told and over, prints a row, and answers the message. Traffic flows all the while.
fn suffered(cluster: &Cluster, fault: &str, words: &[&str], bring_about: impl FnOnce()) -> String {
    let traffic = Numbered::start(cluster, "a", "b", [REFUSED, PERMITTED], Duration::from_millis(2));
    traffic.more(20);
    bring_about();
    let (to_abnormal, first) = status(cluster, FOUND * 2, |status| state(status) == "Abnormal");
    // Who asks before it is put right hears what is wrong, and then what was.
    let (_, abnormal) = status(cluster, FOUND, |status| {
        state(status) == "Abnormal" && words.iter().all(|word| message(status).contains(word))
    });
    let (first, told) = (message(&first).to_owned(), message(&abnormal).to_owned());
    let first = if first == told {
        String::new()
    } else {
        format!("at first: {first}; then: ")
    };
    let (to_normal, _) = status(cluster, NORMAL, |status| state(status) == "Normal");
    let heard = traffic.end();
    println!(
        "{fault} | Abnormal after {:.1} s | {first}{told} | Normal {:.1} s later | {} refused datagrams sent, {} arrived; {} \
         permitted sent, {} missing",
        to_abnormal.as_secs_f32(),
        to_normal.as_secs_f32(),
        heard.sent,
        heard.leaked,
        heard.sent,
        heard.missed
    );
    assert!(to_abnormal <= patience(FOUND), "{fault}: told after {to_abnormal:?}");
    assert!(to_normal >= TOLD, "{fault}: Normal after {to_normal:?} already");
    assert_eq!(heard.missed, 0, "{fault}");
    // All is as before.
    let after = Numbered::start(cluster, "a", "b", [REFUSED, PERMITTED], Duration::from_millis(2));
    after.more(20);
    let after = after.end();
    assert_eq!((after.leaked, after.missed), (0, 0), "{fault}: afterwards");
    told
}

#[test]
fn case_76_a_map_entry_that_somebody_changes_is_found_named_and_put_right() {
    let cluster = running();
    let told = suffered(
        &cluster,
        "a table's UDP part overwritten",
        &["maps were changed by somebody else and were put right", "table"],
        || corrupt_a_table(&cluster),
    );
    assert!(told.contains("expected"), "{told}");
    suffered(
        &cluster,
        "the mode in the maps overwritten with Off",
        &["maps were changed by somebody else and were put right", "off"],
        || {
            let mut maps = Maps::open(&place(&cluster)).expect("the pinned maps");
            let generation = inspect(&maps).expect("an image").active.generation;
            let off = Active::sealed(generation, switches::OFF, 1);
            maps.activate(off).expect("the map can be written");
        },
    );
    let status = cluster.status().expect("a status");
    let turns = status["transitions"].as_array().expect("transitions");
    let reached: Vec<&str> = turns.iter().filter_map(|one| one["to"].as_str()).collect();
    assert_eq!(reached, ["Abnormal", "Normal", "Abnormal", "Normal"], "{turns:?}");
    assert!(turns.iter().all(|one| one["by"] == "agent"), "{turns:?}");
}

#[test]
fn case_76_programs_taken_off_replaced_or_overtaken_are_found_named_and_put_right() {
    if Mechanism::of_this_kernel() != Mechanism::Tcx {
        cellwall_tests::not_run("programs at an interface that somebody changes (needs TCX, Linux 6.6)");
        return;
    }
    let cluster = running();
    let interface = cluster.pod("a").host_interface;
    let hook = format!("{interface} FROM_POD");
    suffered(
        &cluster,
        "a program's link removed",
        &[&hook, "had been taken off and was put back"],
        || std::fs::remove_file(pin(&cluster)).expect("the pin goes"),
    );
    let mut stranger = Stranger::new();
    let id = format!("program {}", stranger.id());
    suffered(
        &cluster,
        "another program put into the link",
        &[&hook, &id, "stood in our program's place"],
        || stranger.replace(&pin(&cluster)),
    );
    let mut stranger = Stranger::new();
    let id = format!("program {}", stranger.id());
    suffered(
        &cluster,
        "a program ahead that ends the chain",
        &[&hook, &id, NAME, "ran ahead of our program"],
        || {
            let attach = cluster.lab.node().inside(|| stranger.attach(&interface, true));
            attach.expect("the node's namespace");
        },
    );
    // Overtaken, and never removed.
    let chain = cluster.lab.node().inside(|| {
        use aya::programs::{SchedClassifier, TcAttachType};
        let (_, chain) = SchedClassifier::query_tcx(&interface, TcAttachType::Ingress).expect("the chain");
        chain.iter().map(aya::programs::ProgramInfo::id).collect::<Vec<u32>>()
    });
    let chain = chain.expect("the node's namespace");
    assert_eq!((chain.len(), chain[1]), (2, stranger.id()), "{chain:?}");
}

/// What `cellwall WORDS` prints, and its exit code.
fn said(cluster: &Cluster, words: &[&str]) -> (i32, String) {
    let output = cluster.command(words).output().expect("the command runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

/// As [`status`], while somebody scrapes the metrics all the time: who asks must not be who the state turns for, with
/// nothing done about it.
fn scraped(cluster: &Cluster, usual: Duration, fits: impl Fn(&Value) -> bool) -> (Duration, Value) {
    let over = AtomicBool::new(false);
    let netns = cluster.netns("node");
    std::thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            let mut scrapes = 0;
            while !over.load(Ordering::Relaxed) {
                cellwall_tests::scrape(&netns, "127.0.0.1:9469").expect("the agent tells its metrics");
                scrapes += 1;
            }
            scrapes
        });
        let found = status(cluster, usual, fits);
        over.store(true, Ordering::Relaxed);
        assert!(scraper.join().expect("the scraper ends") > 0);
        found
    })
}

#[test]
fn with_manual_recovery_drops_act_as_alerts_after_a_fault_until_someone_confirms() {
    let mut cluster = running();
    let _server = Server::start(&cluster.netns("b"), REFUSED).expect("a server");
    let to = SocketAddr::new(cluster.pod("b").v4.into(), REFUSED);
    cluster.save("defense.yaml", &defense("recovery: Manual"));
    status(&cluster, FOUND, |status| status["recovery"] == "Manual");
    assert_eq!(cluster.tcp("a", to), Outcome::Silence);
    let (code, text) = said(&cluster, &["confirm"]);
    assert!(code == 1 && text.contains("nothing waits for a confirmation"), "{text}");

    corrupt_a_table(&cluster);
    status(&cluster, FOUND * 2, |status| state(status) == "Abnormal");
    assert_eq!(
        cluster.tcp("a", to),
        Outcome::Silence,
        "it enforces as long as it is Abnormal"
    );
    let (_, waiting) = scraped(&cluster, NORMAL, |status| state(status) == "NormalToBeConfirmed");
    assert!(message(&waiting).contains("cellwall confirm --generation"), "{waiting}");
    assert_eq!(said(&cluster, &["intercept-status"]).0, 2);
    assert_eq!(cluster.tcp("a", to), Outcome::Answered);
    let record = cluster.record(|record| record["rule"]["name"] == "refused" && record["applied"] == "Pass");
    assert_eq!(record.expect("a record")["verdict"], "DROP");
    assert_eq!(cluster.explain("ns-0/a ns-0/b 1001")["applied"], "Pass");

    cluster.kill();
    assert_eq!(cluster.tcp("a", to), Outcome::Answered, "so without an agent");
    cluster.start();
    let (_, waiting) = status(&cluster, NORMAL, |status| state(status) == "NormalToBeConfirmed");
    assert_eq!(cluster.tcp("a", to), Outcome::Answered, "and with the next one");

    let generation = waiting["generation_realised"].as_u64().expect("a number");
    let (code, text) = said(&cluster, &["confirm", "--generation", &(generation + 7).to_string()]);
    assert!(
        code == 1 && text.contains(&format!("generation {generation} decides")),
        "{text}"
    );
    let (code, text) = said(&cluster, &["confirm", "--generation", &generation.to_string()]);
    assert!(code == 0 && text.contains("is confirmed"), "{text}");
    assert_eq!(cluster.tcp("a", to), Outcome::Silence);
    let (_, normal) = status(&cluster, FOUND, |status| state(status) == "Normal");
    let last = normal["transitions"]
        .as_array()
        .and_then(|all| all.last())
        .expect("a transition");
    let by = last["by"].as_str().unwrap_or_default();
    assert!(by.starts_with("cellwall confirm by user 0, process "), "{last}");
    assert_eq!(said(&cluster, &["intercept-status"]).0, 0);
}

#[test]
fn cluster_defense_confirms_a_generation() {
    let cluster = running();
    cluster.save("defense.yaml", &defense("recovery: Manual"));
    status(&cluster, FOUND, |status| status["recovery"] == "Manual");
    corrupt_a_table(&cluster);
    let (_, waiting) = status(&cluster, NORMAL, |status| state(status) == "NormalToBeConfirmed");
    let generation = waiting["generation_realised"].as_u64().expect("a number");
    let confirming = |generation: u64| defense(&format!("recovery: Manual, confirmedGeneration: {generation}"));
    cluster.save("defense.yaml", &confirming(generation + 100));
    std::thread::sleep(Duration::from_secs(3));
    let still = cluster.status().expect("a status");
    assert_eq!(state(&still), "NormalToBeConfirmed", "{still}");
    let generation = still["generation_realised"].as_u64().expect("a number");
    cluster.save("defense.yaml", &confirming(generation));
    let (_, normal) = scraped(&cluster, FOUND, |status| state(status) == "Normal");
    let last = normal["transitions"]
        .as_array()
        .and_then(|all| all.last())
        .expect("a transition");
    assert_eq!(last["by"], "ClusterDefense confirmedGeneration");
    let udp = cluster.udp("a", SocketAddr::new(cluster.pod("b").v4.into(), REFUSED));
    assert_eq!(udp, Outcome::Silence);
}

#[test]
fn the_mode_is_switched_under_load_and_no_packet_meets_a_gap() {
    let cluster = running();
    let modes = ["AlertOnly", "Enforce", "Off", "Enforce", "Off", "AlertOnly", "Enforce"];
    let mut heard = Vec::new();
    for pair in 0..modes.len() {
        let mode = modes[pair];
        let enforced_before = pair == 0 || modes[pair - 1] == "Enforce";
        let traffic = Numbered::start(&cluster, "a", "b", [REFUSED, PERMITTED], Duration::from_millis(1));
        traffic.more(50);
        cluster.change("defense.yaml", &defense(&format!("mode: {mode:?}")));
        traffic.more(50);
        let came = traffic.end();
        assert_eq!(came.missed, 0, "permitted, while {mode} was switched to");
        if enforced_before || mode == "Enforce" {
            assert!(
                came.leaked < came.sent,
                "refused while the mode was Enforce: {mode}, {came:?}"
            );
        }
        // Where it is enforced now, from the flip on: nothing more gets through.
        let after = Numbered::start(&cluster, "a", "b", [REFUSED, PERMITTED], Duration::from_millis(1));
        after.more(50);
        let after = after.end();
        let expected = if mode == "Enforce" { 0 } else { after.sent };
        assert_eq!((after.leaked, after.missed), (expected, 0), "in {mode}");
        heard.push((mode, came, after));
    }
    println!("{heard:?}");
}
