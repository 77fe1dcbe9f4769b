//! Buffers that hold many packets: what is sent arrives, and is counted.

use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use cellwall_controller::lab::{Wiring, inside};
use cellwall_tests::{Cluster, wait_for};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrLike, sendmsg};

const PORT: u16 = 1001;
const SEGMENT: u16 = 1200;
const SEGMENTS: usize = 40;
const ROUNDS: usize = 50;

const RULES: &str = "
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: b}
spec: {apps: [b]}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: to-b}
spec: {source: {entity: Any}, destination: {object: b}, action: Pass, priority: 10}
";

fn cluster(wiring: Wiring) -> Cluster {
    let mut cluster = Cluster::new(wiring, &["a", "b"]);
    cluster.save_pods();
    cluster.save("rules.yaml", RULES);
    cluster.start();
    cluster
}

/// Bytes that the rule has counted.
fn counted(cluster: &Cluster) -> u64 {
    cluster.rule("to-b")["bytes"].as_u64().expect("a number")
}

fn send<A: SockaddrLike>(socket: &UdpSocket, payload: &[u8], to: &A) -> usize {
    let segments = [ControlMessage::UdpGsoSegments(&SEGMENT)];
    let slices = [IoSlice::new(payload)];
    let sent = sendmsg(socket.as_raw_fd(), &slices, &segments, MsgFlags::empty(), Some(to));
    sent.expect("the kernel takes segments")
}

fn send_segments(socket: &UdpSocket, to: SocketAddr, payload: &[u8]) -> usize {
    match to {
        SocketAddr::V4(to) => send(socket, payload, &SockaddrIn::from(to)),
        SocketAddr::V6(to) => send(socket, payload, &SockaddrIn6::from(to)),
    }
}

/// The datagrams of a round, each of one byte's repeats.
fn payload(round: usize) -> Vec<u8> {
    let each = (0..SEGMENTS).map(|segment| vec![byte(segment, round); usize::from(SEGMENT)]);
    each.flatten().collect()
}

fn byte(segment: usize, round: usize) -> u8 {
    (segment + round).to_le_bytes()[0]
}

/// Sends buffers of many datagrams from `a` to `b`; answers the bytes that came.
fn rounds(sender: &UdpSocket, receiver: &UdpSocket, target: SocketAddr) -> u64 {
    let mut bytes = 0;
    for round in 0..ROUNDS {
        let payload = payload(round);
        assert_eq!(send_segments(sender, target, &payload), payload.len());
        for segment in 0..SEGMENTS {
            let mut datagram = [0; 2_000];
            let came = receiver.recv(&mut datagram);
            let length = came.unwrap_or_else(|error| panic!("round {round}, segment {segment}: {error}"));
            assert_eq!(length, usize::from(SEGMENT), "round {round}, segment {segment}");
            let whole = datagram[..length].iter().all(|found| *found == byte(segment, round));
            assert!(whole, "round {round}, segment {segment}: out of order or mixed");
            bytes += length as u64;
        }
    }
    bytes
}

#[test]
fn case_10_datagrams_sent_as_one_buffer_arrive_one_by_one_and_are_counted() {
    for wiring in [Wiring::Routed, Wiring::Bridged] {
        let cluster = cluster(wiring);
        let (a, b) = (cluster.pod("a"), cluster.pod("b"));
        for v4 in [true, false] {
            let target = SocketAddr::new(b.address(v4), PORT);
            let bind = |netns: &str, at: SocketAddr| {
                inside(netns, || UdpSocket::bind(at).expect("a socket")).expect("a namespace")
            };
            let receiver = bind(&b.netns, target);
            let patience = Some(Duration::from_secs(2));
            receiver.set_read_timeout(patience).expect("a time-out");
            let sender = bind(&a.netns, SocketAddr::new(a.address(v4), 0));
            let before = counted(&cluster);
            let arrived = rounds(&sender, &receiver, target);
            let enough = || (counted(&cluster) - before >= arrived).then_some(());
            assert!(
                wait_for(Duration::from_secs(3), enough).is_some(),
                "{wiring:?}: {arrived} bytes came, {} were counted",
                counted(&cluster) - before
            );
        }
    }
}

#[test]
fn case_10_a_stream_in_large_segments_arrives_whole() {
    const WHOLE: usize = 8 << 20;
    let cluster = cluster(Wiring::Routed);
    let (a, b) = (cluster.pod("a"), cluster.pod("b"));
    for v4 in [true, false] {
        let listener = inside(&b.netns, || {
            TcpListener::bind((b.address(v4), PORT)).expect("a listener")
        })
        .expect("a namespace");
        let before = counted(&cluster);
        let mut client = inside(&a.netns, || {
            TcpStream::connect((b.address(v4), PORT)).expect("the connection opens")
        })
        .expect("a namespace");
        let writer = std::thread::spawn(move || {
            let block: Vec<u8> = (0..=255).cycle().take(1 << 16).collect();
            for _ in 0..WHOLE / block.len() {
                client.write_all(&block).expect("the stream is taken");
            }
        });
        let mut all = Vec::with_capacity(WHOLE);
        let (mut served, _) = listener.accept().expect("a connection");
        served
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a time-out");
        served.read_to_end(&mut all).expect("the stream ends");
        writer.join().expect("the writer ends");
        assert_eq!(all.len(), WHOLE);
        assert!(all.iter().zip((0..=255_u8).cycle()).all(|(found, sent)| *found == sent));
        let enough = wait_for(Duration::from_secs(3), || {
            (counted(&cluster) - before >= WHOLE as u64).then_some(())
        });
        assert!(enough.is_some(), "{} bytes were counted", counted(&cluster) - before);
    }
}
