//! What comes back after somebody or something has taken it away: pins, interfaces, the machine, room on the disk.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cellwall_controller::lab::{Outcome, Server, Wiring};
use cellwall_datapath::kernel::Place;
use cellwall_tests::{Cluster, pod, wait_for};

const REFUSED: u16 = 1001;
const PERMITTED: u16 = 1002;
/// By when what was taken away is back: the agent looks every 2 s.
const BACK: Duration = Duration::from_secs(10);

fn rule(port: u16) -> String {
    format!(
        "apiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {{name: refused}}\nspec: {{source: {{entity: Cluster}}, \
         destination: {{entity: Cluster}}, ports: [{{protocol: Any, port: {port}}}], action: Drop, priority: 10}}\n"
    )
}

fn scene() -> (Cluster, [Server; 2]) {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
    cluster.save_pods();
    cluster.save("rules.yaml", &rule(REFUSED));
    cluster.start();
    let servers = [REFUSED, PERMITTED].map(|port| Server::start(&cluster.netns("b"), port).expect("a server"));
    (cluster, servers)
}

fn outcome(cluster: &Cluster, port: u16) -> Outcome {
    cluster.tcp("a", SocketAddr::new(cluster.pod("b").v4.into(), port))
}

fn hold(cluster: &Cluster, when: &str) {
    assert_eq!(outcome(cluster, REFUSED), Outcome::Silence, "{when}\n{}", cluster.log());
    assert_eq!(
        outcome(cluster, PERMITTED),
        Outcome::Answered,
        "{when}\n{}",
        cluster.log()
    );
}

/// Removes what is below, files and directories.
fn empty(directory: &Path) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            empty(&path);
            std::fs::remove_dir(&path).expect("the directory goes");
        } else {
            std::fs::remove_file(&path).expect("the pin goes");
        }
    }
}

fn directory(cluster: &Cluster) -> PathBuf {
    Place::new(cluster.instance()).expect("a place").instance()
}

#[test]
fn pins_that_somebody_removed_are_put_back_with_all_that_was_in_force() {
    let (mut cluster, _servers) = scene();
    hold(&cluster, "at first");
    let counted = cluster.rule("refused")["packets"].as_u64().expect("a number");
    let began = Instant::now();
    empty(&directory(&cluster));
    std::fs::remove_dir(directory(&cluster)).expect("the instance's directory goes");
    let place = Place::new(cluster.instance()).expect("a place");
    let back = wait_for(BACK, || {
        let links = place.linked().ok().filter(|linked| linked.len() == 2);
        links.and_then(|_| place.map("ACTIVE").exists().then_some(()))
    });
    assert!(back.is_some(), "not pinned again:\n{}", cluster.log());
    println!("pins removed, back after {:.2} s", began.elapsed().as_secs_f64());
    hold(&cluster, "pinned again");
    // The next agent goes on with the same maps: counters did not begin anew.
    cluster.kill();
    hold(&cluster, "without an agent");
    cluster.start();
    hold(&cluster, "with the next one");
    assert!(cluster.log().contains("adopted"), "{}", cluster.log());
    let after = cluster.rule("refused")["packets"].as_u64().expect("a number");
    assert!(after > counted && counted > 0, "{counted} packets, then {after}");
    // One instance has one agent, also when its directory is another.
    let manifests = format!("--manifests={}", cluster.manifests().display());
    let words = ["run", "--listen=127.0.0.1:9470", "--flow-log=none", &manifests];
    let second = cluster.command(&words).output().expect("it runs");
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use"), "{second:?}");
}

#[test]
fn after_a_reboot_pods_that_run_already_are_guarded_as_soon_as_the_agent_is_there() {
    let (mut cluster, _servers) = scene();
    cluster.kill();
    // A reboot takes pins away and leaves the state directory.
    empty(&directory(&cluster));
    // The kernel lets go of links in its own time.
    let open = wait_for(BACK, || (outcome(&cluster, REFUSED) == Outcome::Answered).then_some(()));
    assert!(open.is_some(), "nothing guards, as after a boot");
    cluster.start();
    hold(&cluster, "after the start");
}

fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).output().expect("ip runs");
    assert!(
        done.status.success(),
        "ip {words}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[test]
fn an_interface_made_anew_with_the_same_name_and_index_is_guarded_again() {
    let (cluster, _servers) = scene();
    let (a, node) = (cluster.pod("a"), cluster.netns("node"));
    let index = cluster
        .lab
        .node()
        .inside(|| nix::net::if_::if_nametoindex(a.host_interface.as_str()).expect("the interface"))
        .expect("the node's namespace");
    let (host, v4) = (&a.host_interface, a.v4);
    for round in 0..3 {
        ip(&format!("-n {node} link del {host}"));
        ip(&format!(
            "-n {node} link add {host} index {index} type veth peer name eth0 netns {}",
            a.netns
        ));
        for words in [
            format!("-n {} addr add {v4}/32 dev eth0", a.netns),
            format!("-n {} link set eth0 up", a.netns),
            format!("-n {node} link set {host} up"),
            format!("-n {node} addr add 169.254.1.1/32 dev {host}"),
            format!("-n {node} route add {v4}/32 dev {host}"),
            format!("-n {} route add 169.254.1.1/32 dev eth0 scope link", a.netns),
            format!("-n {} route add default via 169.254.1.1", a.netns),
        ] {
            ip(&words);
        }
        let guarded = wait_for(BACK, || {
            let answers = outcome(&cluster, PERMITTED) == Outcome::Answered;
            (answers && outcome(&cluster, REFUSED) == Outcome::Silence).then_some(())
        });
        assert!(guarded.is_some(), "round {round}\n{}", cluster.log());
    }
    hold(&cluster, "in the end");
}

/// A small file system in the place of the state directory, and something that fills it.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Self {
        std::fs::create_dir_all(at).expect("a directory");
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some("size=256k")).expect("a small file system");
        Self(at.to_owned())
    }

    fn fill(&self) {
        let full = std::fs::write(self.0.join("filler"), vec![0; 1 << 20]);
        assert!(full.is_err(), "it is full");
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("room");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // A test that failed has said enough already.
        let _unmounted = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn with_the_disk_full_policy_goes_on_changing_and_what_was_missed_is_saved_when_there_is_room() {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
    let small = Small::mount(&cluster.directory.path().join("state"));
    cluster.save_pods();
    cluster.save("rules.yaml", &rule(REFUSED));
    cluster.start();
    let _servers = [REFUSED, PERMITTED].map(|port| Server::start(&cluster.netns("b"), port).expect("a server"));
    hold(&cluster, "at first");
    small.fill();
    cluster.change("rules.yaml", &rule(PERMITTED));
    assert_eq!(outcome(&cluster, PERMITTED), Outcome::Silence);
    assert_eq!(outcome(&cluster, REFUSED), Outcome::Answered);
    cluster.kill();
    assert_eq!(outcome(&cluster, PERMITTED), Outcome::Silence, "without an agent");
    cluster.start();
    assert_eq!(outcome(&cluster, PERMITTED), Outcome::Silence, "with the next one");
    small.make_room();
    cluster.change("rules.yaml", &rule(REFUSED));
    hold(&cluster, "with room again");
    // What is in force is saved: a file that breaks now keeps its last valid content over a restart.
    cluster.kill();
    cluster.save("rules.yaml", "kind: [");
    cluster.save("more.yaml", &pod("ns-0", "c", "nowhere"));
    cluster.launch();
    let adopted = wait_for(Duration::from_secs(20), || cluster.status());
    assert!(adopted.is_some(), "{}", cluster.log());
    hold(&cluster, "with a broken file");
}
