//! Packets that overtake one another and come twice: by the kernel's netem where it has that, else by a sender of our own.
//! Nothing that is refused gets through by it, what may pass without ports passes whatever its order, and handshakes end.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use cellwall_controller::lab::{Outcome, Server, Wiring, inside, tcp_ask};
use cellwall_tests::frames::{Tap, link_address, make};
use cellwall_tests::{Cluster, patience, wait_for};

/// Refused to the guarded pod, nobody's rule, and where its handshakes end.
const SHUT: u16 = 9;
const FREE: u16 = 1001;
const OPEN: u16 = 1002;
/// Datagrams to each port, in several fragments each.
const DATAGRAMS: u32 = 120;
const HANDSHAKES: u16 = 20;

const RULES: &str = "
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: guarded}
spec: {apps: [b]}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: refuses}
spec: {source: {entity: Any}, destination: {object: guarded}, ports: [{protocol: Any, port: 9}], action: Drop, priority: 10}
";

/// Numbers by chance, the same ones each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % end
    }

    /// Some come twice, and all of them in any order.
    fn disorder<T: Clone>(&mut self, frames: &mut Vec<T>) {
        for number in 0..frames.len() {
            if self.below(5) == 0 {
                frames.push(frames[number].clone());
            }
        }
        for last in (1..frames.len()).rev() {
            frames.swap(last, self.below(last + 1));
        }
    }
}

/// A socket that hears numbered datagrams.
fn ear(netns: &str, port: u16) -> UdpSocket {
    let ear = inside(netns, || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)));
    let ear = ear.expect("a namespace").expect("a receiver");
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&ear, 32 << 20).expect("a large buffer");
    ear.set_nonblocking(true).expect("no waiting");
    ear
}

/// Adds the numbers that an ear has heard.
fn hear(ear: &UdpSocket, heard: &mut BTreeSet<u32>) {
    let mut datagram = [0; 8_192];
    while let Ok(length) = ear.recv(&mut datagram) {
        let number = datagram[..length].first_chunk().expect("a number in front");
        heard.insert(u32::from_be_bytes(*number));
    }
}

/// The pods, with ears: of the guarded one at the refused and at the free port, of the other one.
struct Scene {
    cluster: Cluster,
    shut: UdpSocket,
    free: UdpSocket,
    unguarded: UdpSocket,
    listener: TcpListener,
    _server: Server,
}

impl Scene {
    fn new() -> Self {
        let mut cluster = Cluster::new(Wiring::Routed, &["a", "b", "c"]);
        cluster.save_pods();
        cluster.save("rules.yaml", RULES);
        cluster.start();
        let (b, c) = (cluster.netns("b"), cluster.netns("c"));
        let listener = inside(&b, || TcpListener::bind((Ipv6Addr::UNSPECIFIED, SHUT)));
        let listener = listener.expect("a namespace").expect("a listener");
        listener.set_nonblocking(true).expect("no waiting");
        Self {
            shut: ear(&b, SHUT),
            free: ear(&b, FREE),
            unguarded: ear(&c, FREE),
            listener,
            _server: Server::start(&b, OPEN).expect("a server"),
            cluster,
        }
    }

    /// Fragments refused as such.
    fn fragments(&self) -> u64 {
        self.cluster
            .metric("cellwall_packets_total{", "applied=\"Drop\",reason=\"FRAGMENT\"")
    }

    /// Nothing that is refused may have come.
    fn nothing_leaked(&self) {
        let mut leaked = BTreeSet::new();
        hear(&self.shut, &mut leaked);
        assert!(leaked.is_empty(), "refused datagrams that arrived: {leaked:?}");
        assert!(self.listener.accept().is_err(), "a refused connection was opened");
    }
}

/// Whether the kernel could be told to disorder what leaves pod a.
fn netem(cluster: &Cluster) -> bool {
    let words = "qdisc add dev eth0 root netem limit 100000 delay 4ms 3ms reorder 40% duplicate 20%";
    let done = Command::new("tc")
        .args(["-n", &cluster.netns("a")])
        .args(words.split(' '))
        .output()
        .expect("tc runs");
    done.status.success()
}

/// Real sockets behind netem.
fn by_netem(scene: &Scene) {
    let Scene { cluster, .. } = scene;
    let (a, b, c) = (cluster.pod("a"), cluster.pod("b"), cluster.pod("c"));
    let sockets = inside(&a.netns, || {
        [(); 2].map(|()| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a socket"))
    });
    let [socket, other] = sockets.expect("a namespace");
    let mut datagram = vec![5; 4_000];
    for number in 0..DATAGRAMS {
        datagram[..4].copy_from_slice(&number.to_be_bytes());
        let mapped = |address: IpAddr| match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let v4 = number % 2 == 0;
        for (to, port) in [(&b, SHUT), (&b, FREE), (&c, FREE)] {
            let socket = if number % 4 < 2 { &socket } else { &other };
            socket
                .send_to(&datagram, (mapped(to.address(v4)), port))
                .expect("a datagram leaves");
        }
    }
    let (mut all, mut some) = (BTreeSet::new(), BTreeSet::new());
    wait_for(Duration::from_secs(5), || {
        hear(&scene.unguarded, &mut all);
        hear(&scene.free, &mut some);
        (all.len() == DATAGRAMS as usize).then_some(())
    });
    assert_eq!(
        all.len(),
        DATAGRAMS as usize,
        "fragments that no rule could drop, in any order"
    );
    let refused = scene.fragments();
    assert!(
        refused > 0 && !some.is_empty(),
        "{refused} fragments refused, {} datagrams arrived",
        some.len()
    );
    for number in 0..HANDSHAKES {
        let to = b.address(number % 2 == 0);
        let opened = tcp_ask(&a.netns, SocketAddr::new(to, OPEN), patience(Duration::from_secs(5)));
        assert_eq!(
            opened.expect("the client runs"),
            Outcome::Answered,
            "handshake {number} with {to}"
        );
        let shut = tcp_ask(&a.netns, SocketAddr::new(to, SHUT), Duration::from_millis(60));
        assert_eq!(
            shut.expect("the client runs"),
            Outcome::Silence,
            "handshake {number} with {to}"
        );
    }
    println!(
        "netem: of {DATAGRAMS} fragmented datagrams each, {} arrived where no rule could drop them, {} where one could ({refused} \
         fragments refused as such), 0 where it did; {HANDSHAKES} of {HANDSHAKES} handshakes ended, {HANDSHAKES} were refused",
        all.len(),
        some.len(),
    );
}

/// Frames of our own.
struct Sender {
    tap: Tap,
    gateway: [u8; 6],
    source: [IpAddr; 2],
}

impl Sender {
    fn new(cluster: &Cluster) -> Self {
        let a = cluster.pod("a");
        // What we say by packet sockets, the pod's own network stack knows nothing of: it would reset it.
        let silence = "add table inet silence; add chain inet silence out { type filter hook output priority 0; }; add rule inet \
                       silence out tcp flags rst drop";
        let done = Command::new("ip")
            .args(["netns", "exec", &a.netns, "nft", silence])
            .status();
        assert!(
            done.expect("nft runs; its Debian package is nftables, and scripts/setup.sh installs it")
                .success()
        );
        // The node learns both addresses of the pod before anything is in a hurry.
        for v4 in [true, false] {
            let to = SocketAddr::new(cluster.pod("b").address(v4), OPEN);
            let opened = tcp_ask(&a.netns, to, Duration::from_secs(2)).expect("the client runs");
            assert_eq!(opened, Outcome::Answered, "before any disorder");
        }
        Self {
            tap: Tap::open(&a.netns).expect("a packet socket"),
            gateway: link_address(&cluster.netns("node"), &a.host_interface).expect("the node's interface"),
            source: [a.v4.into(), a.v6.into()],
        }
    }

    fn source(&self, v4: bool) -> IpAddr {
        self.source[usize::from(!v4)]
    }

    fn frame(&self, mut packet: Vec<u8>, v4: bool) -> Vec<u8> {
        if v4 {
            make::sum_v4(&mut packet);
        }
        let ethertype = if v4 { make::IPV4 } else { make::IPV6 };
        make::ethernet(self.gateway, self.tap.mac, ethertype, &packet)
    }

    fn segment(&self, to: IpAddr, protocol: u8, mut segment: Vec<u8>) -> Vec<u8> {
        let source = self.source(to.is_ipv4());
        make::sum_segment(source, to, protocol, &mut segment);
        self.frame(make::ip(source, to, protocol, &segment), to.is_ipv4())
    }

    /// A datagram in fragments of 1,200 bytes.
    fn fragments(&self, to: SocketAddr, number: u32) -> Vec<Vec<u8>> {
        const PART: usize = 1_200;
        let (source, v4) = (self.source(to.is_ipv4()), to.is_ipv4());
        let payload = [&number.to_be_bytes()[..], &[5; 3_996]].concat();
        let mut segment = make::udp(20_000, to.port(), &payload);
        make::sum_segment(source, to.ip(), 17, &mut segment);
        let id = number + u32::from(to.port()) * 1_000;
        let parts = segment.chunks(PART).enumerate();
        parts
            .map(|(place, part)| {
                let (at, more) = (place * PART, (place + 1) * PART < segment.len());
                let packet = if v4 {
                    let packet = make::ip(source, to.ip(), 17, part);
                    make::v4_fragment(&packet, u16::try_from(id % 60_000).expect("below 60000"), at, more)
                } else {
                    let rest = [&make::fragment_header(17, id, at, more)[..], part].concat();
                    make::ip(source, to.ip(), 44, &rest)
                };
                self.frame(packet, v4)
            })
            .collect()
    }

    /// A handshake and one byte, whose packets come in any order and twice: whether the byte came back.
    fn shakes(&self, to: SocketAddr, port: u16, chance: &mut Chance) -> bool {
        let say = |flags, sequence: u32, acknowledged: u32, payload: &[u8]| {
            let mut segment = make::tcp(port, to.port(), flags, payload);
            segment[4..8].copy_from_slice(&sequence.to_be_bytes());
            segment[8..12].copy_from_slice(&acknowledged.to_be_bytes());
            self.segment(to.ip(), 6, segment)
        };
        let first = say(2, 1_000, 0, &[]);
        self.send(&[first.clone(), first.clone()]);
        let Some(answer) = self.answer(to, port, 0x12) else {
            return false;
        };
        let theirs = u32::from_be_bytes(answer[4..8].try_into().expect("four bytes")).wrapping_add(1);
        let mut rest = vec![say(0x10, 1_001, theirs, &[]), say(0x18, 1_001, theirs, b"?"), first];
        chance.disorder(&mut rest);
        self.send(&rest);
        self.answer(to, port, 0x18).is_some()
    }

    fn send(&self, frames: &[Vec<u8>]) {
        for frame in frames {
            self.tap.send(frame).expect("a frame leaves");
        }
    }

    /// The TCP segment with these flags that came from there.
    fn answer(&self, from: SocketAddr, port: u16, flags: u8) -> Option<Vec<u8>> {
        let patience = if from.port() == SHUT { 30 } else { 2_000 };
        let until = Instant::now() + Duration::from_millis(patience);
        let header = if from.is_ipv4() { 34 } else { 54 };
        while Instant::now() < until {
            let Some(heard) = self.tap.hear(10).expect("the packet socket") else {
                continue;
            };
            let ports = [from.port().to_be_bytes(), port.to_be_bytes()].concat();
            let Some(segment) = heard.frame.get(header..).filter(|segment| segment.len() >= 20) else {
                continue;
            };
            if !heard.left && segment.starts_with(&ports) && segment[13] & 0x1f == flags {
                return Some(segment.to_vec());
            }
        }
        None
    }
}

/// Our own frames, of which we know in which order they left.
fn by_sender(scene: &Scene) {
    let Scene { cluster, .. } = scene;
    let sender = Sender::new(cluster);
    let (b, c) = (cluster.pod("b"), cluster.pod("c"));
    let mut chance = Chance(11);
    let (mut due, mut refused) = (BTreeSet::new(), 0_u64);
    let before = scene.fragments();
    for number in 0..DATAGRAMS {
        let v4 = number % 2 == 0;
        for (to, port) in [(&b, SHUT), (&b, FREE), (&c, FREE)] {
            let fragments = sender.fragments(SocketAddr::new(to.address(v4), port), number);
            let mut order: Vec<usize> = (0..fragments.len()).collect();
            chance.disorder(&mut order);
            let first = order.iter().position(|part| *part == 0).expect("each is sent");
            let early = order[..first].len() as u64;
            if to.name == "b" && port == FREE {
                refused += early;
                let after: BTreeSet<usize> = order[first..].iter().copied().collect();
                if after.len() == fragments.len() {
                    due.insert(number);
                }
            } else if to.name == "b" {
                // With the first fragment's own verdict from then on, which is counted by its rule.
                refused += early;
            }
            let sent: Vec<Vec<u8>> = order.iter().map(|part| fragments[*part].clone()).collect();
            sender.send(&sent);
        }
    }
    let (mut all, mut some) = (BTreeSet::new(), BTreeSet::new());
    wait_for(Duration::from_secs(5), || {
        hear(&scene.unguarded, &mut all);
        hear(&scene.free, &mut some);
        (all.len() == DATAGRAMS as usize && some == due).then_some(())
    });
    assert_eq!(
        all.len(),
        DATAGRAMS as usize,
        "fragments that no rule could drop, in any order"
    );
    assert_eq!(some, due, "datagrams of which each part came after the first one");
    assert!(!due.is_empty() && refused > 0, "{due:?} are due, {refused} are not");
    assert_eq!(scene.fragments() - before, refused, "fragments refused as such");
    for number in 0..HANDSHAKES {
        let to = b.address(number % 2 == 0);
        let port = 30_000 + number;
        assert!(
            sender.shakes(SocketAddr::new(to, OPEN), port, &mut chance),
            "handshake {number} with {to}"
        );
        assert!(
            !sender.shakes(SocketAddr::new(to, SHUT), port, &mut chance),
            "refused handshake {number} with {to}"
        );
    }
    println!(
        "own sender: of {DATAGRAMS} fragmented datagrams each, {} arrived where no rule could drop them, {} of {} due where one could \
         ({refused} fragments refused as such), 0 where it did; {HANDSHAKES} of {HANDSHAKES} handshakes ended, {HANDSHAKES} were refused",
        all.len(),
        some.len(),
        due.len(),
    );
}

#[test]
fn case_07_packets_that_overtake_one_another_and_come_twice_are_judged_alike() {
    let scene = Scene::new();
    if netem(&scene.cluster) {
        by_netem(&scene);
    } else {
        by_sender(&scene);
    }
    scene.nothing_leaked();
}
