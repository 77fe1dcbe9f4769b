//! From one layout of the kernel's maps to another and back: what is open goes on, what is refused stays refused, counters
//! count on.
//!
//! A layout of another number is made of what an agent left, by giving its directory of pins another name: programs, links
//! and maps stay as they are.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use cellwall_controller::lab::{Server, Wiring, inside};
use cellwall_datapath::kernel::Place;
use cellwall_tests::Cluster;
use cellwall_tests::numbered::Numbered;
use cellwall_tests::steady::Steady;

/// Where TCP connections stay open.
const STEADY: u16 = 1003;
/// Of the numbered datagrams: refused, permitted.
const NUMBERED: [u16; 2] = [1004, 1005];

/// Only what `a` opens to `b` is permitted, on some ports; on 1001 as long as `cut` says so.
fn rules(cut: &str) -> String {
    let rule = |name: &str, ports: &str, action: &str| {
        format!(
            "---\napiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {{name: {name}}}\nspec: {{source: {{object: a}}, \
             destination: {{object: b}}, ports: [{ports}], action: {action}, priority: 10}}\n"
        )
    };
    let object = |name: &str| {
        format!(
            "---\napiVersion: cellwall.io/v1alpha1\nkind: NetworkObject\nmetadata: {{name: {name}}}\nspec: {{apps: [{name}]}}\n"
        )
    };
    [
        object("a"),
        object("b"),
        rule("cut", "{protocol: UDP, port: 1001}", cut),
        rule(
            "permitted",
            "{protocol: UDP, port: 1002}, {port: 1003}, {protocol: UDP, port: 1005}",
            "Pass",
        ),
        "---\napiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {name: nobody-else}\nspec: {source: {entity: Any}, \
         destination: {entity: Cluster}, action: Drop, priority: 1000}\n"
            .to_owned(),
    ]
    .concat()
}

/// A flow of datagrams from `a` to a port of `b`, over one family.
struct Flow {
    a: UdpSocket,
    b: UdpSocket,
}

impl Flow {
    fn new(cluster: &Cluster, v4: bool, port: u16) -> Self {
        let bind = |pod: &str, port: u16| {
            let pod = cluster.pod(pod);
            let at: IpAddr = pod.address(v4);
            let socket = inside(&pod.netns, || UdpSocket::bind((at, port)));
            let socket = socket.expect("the pod's namespace").expect("a socket");
            let patience = cellwall_tests::patience(Duration::from_millis(400));
            socket.set_read_timeout(Some(patience)).expect("a time-out");
            socket
        };
        Self {
            a: bind("a", 0),
            b: bind("b", port),
        }
    }

    /// Whether a datagram from `a` arrives.
    fn asks(&self) -> bool {
        arrives(&self.a, &self.b)
    }

    /// Whether one from `b` arrives: as an opening it would be refused.
    fn answers(&self) -> bool {
        arrives(&self.b, &self.a)
    }
}

fn arrives(from: &UdpSocket, to: &UdpSocket) -> bool {
    let address = to.local_addr().expect("an address");
    from.send_to(b"?", address).expect("a datagram leaves");
    to.recv(&mut [0; 8]).is_ok()
}

/// Flows of both families: answered, not answered yet, and to port 1001.
struct Flows {
    answered: [Flow; 2],
    opening: [Flow; 2],
    cut: [Flow; 2],
}

impl Flows {
    fn open(cluster: &Cluster) -> Self {
        let both = |port| [true, false].map(|v4| Flow::new(cluster, v4, port));
        // Each has a socket of its own at `a`, and so a flow of its own; `b` has one for each port and family.
        let flows = Self {
            answered: both(1002),
            opening: both(1005),
            cut: both(1001),
        };
        for flow in flows.answered.iter().chain(&flows.cut) {
            assert!(flow.asks() && flow.answers(), "{}", cluster.log());
        }
        for flow in &flows.opening {
            assert!(flow.asks(), "{}", cluster.log());
        }
        flows
    }
}

fn packets(cluster: &Cluster) -> [u64; 2] {
    ["permitted", "cut"].map(|rule| cluster.rule(rule)["packets"].as_u64().expect("a number"))
}

/// Kills the agent; what it left is layout `version` from now on.
fn leave_as(cluster: &mut Cluster, version: u32) -> Place {
    cluster.kill();
    let place = Place::new(cluster.instance()).expect("a place");
    let other = place.of_version(version);
    std::fs::rename(place.dir(), other.dir()).expect("the pins get another name");
    other
}

fn refusals(cluster: &Cluster) -> Vec<serde_json::Value> {
    let refused = |record: &serde_json::Value| record["applied"] == "Drop";
    cluster.records().into_iter().filter(refused).collect()
}

#[test]
fn open_flows_go_on_refused_ones_stay_refused_and_counters_count_on_over_another_layout_and_back() {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
    cluster.save_pods();
    cluster.save("rules.yaml", &rules("Pass"));
    cluster.start();
    let b = cluster.pod("b");
    let _server = Server::start(&b.netns, STEADY).expect("a server");
    let steady = [true, false].map(|v4| Steady::start(&cluster, "a", SocketAddr::new(b.address(v4), STEADY)));
    let flows = Flows::open(&cluster);
    cluster.change("rules.yaml", &rules("Drop"));
    assert!(flows.cut.iter().all(|flow| !flow.asks() && !flow.answers()));
    let place = Place::new(cluster.instance()).expect("a place");
    let mut counted = packets(&cluster);
    for version in [place.version() - 1, place.version() + 1] {
        let other = leave_as(&mut cluster, version);
        cluster.start();
        assert!(!other.dir().exists(), "{}", cluster.log());
        let log = cluster.log();
        assert!(log.contains(&format!("flows of layout v{version} go on")), "{log}");
        // What is open goes on at the responder's packet too, which would be refused by itself.
        assert!(
            flows.answered.iter().all(Flow::answers),
            "{log}\n{:?}",
            refusals(&cluster)
        );
        if version < place.version() {
            assert!(
                flows.opening.iter().all(Flow::answers),
                "{log}\n{:?}",
                refusals(&cluster)
            );
        }
        // Nothing of the steady connections was refused, and none was taken over as one in mid-stream.
        std::thread::sleep(Duration::from_millis(200));
        let odd = |record: &serde_json::Value| record["reason"] == "NO_STATE" || record["protocol"] == "TCP";
        let refused: Vec<_> = cluster.records().into_iter().filter(odd).collect();
        assert!(refused.is_empty(), "{refused:?}");
        assert!(flows.cut.iter().all(|flow| !flow.asks() && !flow.answers()), "{log}");
        let now = packets(&cluster);
        assert!(now[0] > counted[0] && now[1] > counted[1], "{counted:?}, then {now:?}");
        counted = now;
    }
    let trips = steady.map(Steady::end);
    println!("{trips:?} round trips; packets by rule {counted:?}");
    assert!(trips.iter().all(|trips| *trips > 100), "{trips:?}");
}

#[test]
fn under_traffic_no_permitted_datagram_is_missing_and_no_refused_one_arrives() {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
    cluster.save_pods();
    cluster.save("rules.yaml", &rules("Pass"));
    cluster.start();
    let numbered = Numbered::start(&cluster, "a", "b", NUMBERED, Duration::from_millis(1));
    let version = Place::new(cluster.instance()).expect("a place").version();
    for other in [version - 1, version + 1] {
        numbered.more(100);
        leave_as(&mut cluster, other);
        numbered.more(100);
        cluster.start();
    }
    numbered.more(100);
    let heard = numbered.end();
    println!("{heard:?}");
    assert_eq!((heard.missed, heard.leaked), (0, 0), "{}", cluster.log());
}

#[test]
fn a_flow_that_the_new_layouts_policy_refuses_is_cut_though_it_was_handed_on() {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
    cluster.save_pods();
    cluster.save("rules.yaml", &rules("Pass"));
    cluster.start();
    let flows = Flows::open(&cluster);
    let version = Place::new(cluster.instance()).expect("a place").version();
    leave_as(&mut cluster, version - 1);
    assert!(flows.cut.iter().all(Flow::answers), "without an agent it goes on");
    cluster.save("rules.yaml", &rules("Drop"));
    cluster.start();
    assert!(flows.cut.iter().all(|flow| !flow.answers() && !flow.asks()));
    assert!(flows.answered.iter().all(Flow::answers), "{}", cluster.log());
}

#[test]
fn flows_of_a_layout_that_does_not_say_how_it_remembers_begin_anew_and_the_log_says_so() {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
    cluster.save_pods();
    cluster.save("rules.yaml", &rules("Pass"));
    cluster.start();
    let flows = Flows::open(&cluster);
    let version = Place::new(cluster.instance()).expect("a place").version();
    let other = leave_as(&mut cluster, version - 1);
    std::fs::remove_dir(other.dir().join("state-1")).expect("the mark goes");
    cluster.start();
    let log = cluster.log();
    assert!(
        log.contains("begin anew: what it remembers is of version none"),
        "{log}"
    );
    assert!(flows.answered.iter().all(|flow| !flow.answers()), "{log}");
    assert!(flows.answered.iter().all(Flow::asks), "{log}");
}
