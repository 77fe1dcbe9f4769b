//! Pods that send in their first millisecond, alone on their node: what arrives of what their policy refuses, and how long
//! what it permits is held up, for each startup mode and with the CNI plugin.
//!
//! `CELLWALL_FIRST_PACKETS` is how many pods for each (2).

#[allow(dead_code, reason = "the tests of the API server use all of it")]
#[path = "kubernetes/scene.rs"]
mod scene;

use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cellwall_controller::lab::{Namespace, Wiring, inside};
use cellwall_tests::cni::{Chain, Sandbox, address};
use cellwall_tests::first_packets::{PERMITTED, REFUSED, Way, Window, how_often, tell};
use cellwall_tests::wait_for;
use scene::{Scene, object};
use serde_json::json;

/// Between two numbers that a pod sends.
const PAUSE: Duration = Duration::from_micros(200);
/// How long a pod goes on after its address is known.
const AFTER: Duration = Duration::from_millis(300);

struct Place {
    scene: Scene,
    socket: PathBuf,
    directory: PathBuf,
}

/// Numbers of the datagrams that arrived at a port.
type Heard = Vec<u32>;

fn ear(socket: UdpSocket, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<Heard> {
    let stop = stop.clone();
    std::thread::spawn(move || {
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a time-out");
        let (mut heard, mut number) = (Vec::new(), [0; 4]);
        loop {
            let ended = stop.load(Ordering::Relaxed);
            match socket.recv(&mut number) {
                Ok(_) => heard.push(u32::from_be_bytes(number)),
                Err(_) if ended => return heard,
                Err(_) => {}
            }
        }
    })
}

/// Numbers to both ports until it is stopped; when each was sent.
fn send(to: IpAddr, stop: &AtomicBool) -> Vec<Instant> {
    let IpAddr::V4(to) = to else { panic!("an IPv4 address") };
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a socket");
    let mut sent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let number = u32::try_from(sent.len()).expect("few").to_be_bytes();
        sent.push(Instant::now());
        for port in [REFUSED, PERMITTED] {
            // A pod whose neighbour does not answer is told so now and then.
            let _unsent = socket.send_to(&number, (to.to_ipv6_mapped(), port));
        }
        std::thread::sleep(PAUSE);
    }
    sent
}

impl Place {
    fn open(way: Way) -> Self {
        let mut scene = Scene::new(Wiring::Routed, &[&["db"]]);
        scene.pod(0, "db");
        let startup = way.startup();
        let rule = "---\napiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {name: deny}\n\
            spec: {source: {object: fresh}, destination: {object: db}, ports: [{protocol: UDP, port: 1001}], action: Drop, priority: 10}\n";
        let defense = format!(
            "apiVersion: cellwall.io/v1alpha1\nkind: ClusterDefense\nmetadata: {{name: default}}\n\
             spec: {{startup: {startup}, podCIDRs: [10.244.0.0/16, 192.0.2.0/24]}}\n"
        );
        scene
            .admin()
            .apply(&(defense + &object("fresh", "fresh") + &object("db", "db") + rule));
        scene.start(0);
        let (socket, directory) = (scene.node(0).socket(), scene.node(0).directory.path().to_owned());
        Self {
            scene,
            socket,
            directory,
        }
    }

    /// One pod's life.
    fn pod(&self, number: usize, way: Way) -> Window {
        let (name, admin) = (format!("fresh{number}"), self.scene.admin());
        admin.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: fresh}}}}\n\
             spec: {{nodeName: node-0, containers: [{{name: it, image: it}}], tolerations: [{{operator: Exists}}]}}\n"
        ));
        let uid = admin
            .run(&["get", "pod", &name, "-n", "shop", "-o", "jsonpath={.metadata.uid}"])
            .expect("the UID");
        let node = self.scene.node(0);
        let space = Namespace::create(&format!("{}-{name}", node.netns("node"))).expect("a namespace");
        let sandbox = Sandbox {
            netns: space.name(),
            pod: &format!("shop/{name}"),
            uid: &uid,
        };
        let db = node.pod("db");
        let ears = inside(&db.netns, || {
            [REFUSED, PERMITTED].map(|port| UdpSocket::bind(("0.0.0.0", port)).expect("an ear"))
        });
        let stop = Arc::new(AtomicBool::new(false));
        let ears = ears.expect("the server's namespace").map(|socket| ear(socket, &stop));

        let chain = Chain::new(node.lab.node(), "ptp", &self.socket, &self.directory);
        let chain = if way == Way::Plugin { chain } else { chain.unchained() };
        let made = chain.add(sandbox).expect("the pod may start");
        let quiet = AtomicBool::new(false);
        let sent = std::thread::scope(|scope| {
            let sending =
                scope.spawn(|| inside(space.name(), || send(db.v4.into(), &quiet)).expect("the pod's namespace"));
            let ip = address(&made).to_string();
            let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}}).to_string();
            admin
                .run(&[
                    "patch",
                    "pod",
                    &name,
                    "-n",
                    "shop",
                    "--subresource=status",
                    "--type=merge",
                    "-p",
                    &status,
                ])
                .expect("its address");
            std::thread::sleep(AFTER);
            quiet.store(true, Ordering::Relaxed);
            sending.join().expect("the pod ends")
        });
        std::thread::sleep(Duration::from_millis(50));
        stop.store(true, Ordering::Relaxed);
        let [leaked, passed] = ears.map(|ear| ear.join().expect("an ear"));
        chain.del(sandbox);
        drop(space);
        admin
            .run(&["delete", "pod", &name, "-n", "shop", "--force", "--grace-period=0"])
            .expect("it goes");
        let protected = || (node.status()?["pods_protected"] == 1).then_some(());
        wait_for(Duration::from_secs(20), protected).expect("the agent knows that it has gone");

        let after = |number: &u32| sent[*number as usize] - sent[0];
        let first = passed.iter().min().copied();
        Window {
            leaked: leaked.len(),
            last_leak: leaked.iter().map(after).max().unwrap_or_default(),
            first_passed: first.as_ref().map(after),
            lost: first.map_or(0, |first| sent.len() - first as usize - passed.len()),
        }
    }
}

fn hold(way: Way) {
    let pods = how_often("CELLWALL_FIRST_PACKETS", 2);
    let place = Place::open(way);
    let windows: Vec<Window> = (0..pods).map(|number| place.pod(number, way)).collect();
    let leaking = tell(&format!("{way:?}"), &windows);
    assert!(
        windows.iter().all(|window| window.first_passed.is_some()),
        "what is permitted passes in the end: {windows:?}\n{}",
        place.scene.node(0).log()
    );
    let metrics = place.scene.metrics(0);
    let count = metrics
        .lines()
        .find_map(|line| line.strip_prefix("cellwall_startup_window_seconds_count "));
    assert!(
        count
            .and_then(|count| count.parse::<usize>().ok())
            .is_some_and(|count| count >= pods),
        "{metrics}"
    );
    match way {
        // Exact: every refused datagram is refused, and the first permitted one passes.
        Way::Plugin => {
            assert_eq!(leaking, 0, "{windows:?}");
            assert!(
                windows.iter().all(|window| window.first_passed == Some(Duration::ZERO)),
                "{windows:?}"
            );
        }
        // One pod alone: what may be its policy is its policy, from when its interface is guarded. Closed passes nothing.
        Way::Guarded | Way::Closed => assert!(
            windows.iter().all(|window| window.last_leak < Duration::from_secs(1)),
            "{windows:?}"
        ),
        Way::Open => assert!(leaking > 0, "until it is known everything passes: {windows:?}"),
    }
}

#[test]
fn open_lets_a_pod_that_is_not_known_yet_do_what_its_policy_refuses() {
    hold(Way::Open);
}

#[test]
fn guarded_judges_a_pod_that_starts_alone_as_the_pod_that_it_is() {
    hold(Way::Guarded);
}

#[test]
fn closed_holds_a_pod_up_until_it_is_known() {
    hold(Way::Closed);
}

#[test]
fn with_the_plugin_a_pod_s_first_packet_meets_its_own_policy() {
    hold(Way::Plugin);
}
