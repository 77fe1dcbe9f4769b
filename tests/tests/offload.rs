//! Buffers that hold many packets: what is sent arrives, and is counted.

use std::io::{IoSlice, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
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

fn send_segments(socket: &UdpSocket, to: SocketAddr, payload: &[u8]) -> usize {
    let segments = [ControlMessage::UdpGsoSegments(&SEGMENT)];
    let slices = [IoSlice::new(payload)];
    fn send<A: SockaddrLike>(
        socket: &UdpSocket,
        slices: &[IoSlice<'_>],
        control: &[ControlMessage<'_>],
        to: &A,
    ) -> usize {
        sendmsg(socket.as_raw_fd(), slices, control, MsgFlags::empty(), Some(to)).expect("the kernel takes segments")
    }
    match to {
        SocketAddr::V4(to) => send(socket, &slices, &segments, &SockaddrIn::from(to)),
        SocketAddr::V6(to) => send(socket, &slices, &segments, &SockaddrIn6::from(to)),
    }
}

#[test]
fn case_10_datagrams_sent_as_one_buffer_arrive_one_by_one_and_are_counted() {
    for wiring in [Wiring::Routed, Wiring::Bridged] {
        let cluster = cluster(wiring);
        let (a, b) = (cluster.pod("a"), cluster.pod("b"));
        for v4 in [true, false] {
            let target: IpAddr = b.address(v4);
            let receiver =
                inside(&b.netns, || UdpSocket::bind((target, PORT)).expect("a socket")).expect("a namespace");
            receiver
                .set_read_timeout(Some(Duration::from_secs(2)))
                .expect("a time-out");
            let sender =
                inside(&a.netns, || UdpSocket::bind((a.address(v4), 0)).expect("a socket")).expect("a namespace");
            let before = counted(&cluster);
            let mut received = 0;
            for round in 0..ROUNDS {
                let payload: Vec<u8> = (0..SEGMENTS * usize::from(SEGMENT))
                    .map(|at| (at / usize::from(SEGMENT) + round).to_le_bytes()[0])
                    .collect();
                assert_eq!(send_segments(&sender, (target, PORT).into(), &payload), payload.len());
                for segment in 0..SEGMENTS {
                    let mut datagram = [0; 2_000];
                    let length = receiver
                        .recv(&mut datagram)
                        .unwrap_or_else(|error| panic!("{wiring:?} round {round}, segment {segment}: {error}"));
                    assert_eq!(length, usize::from(SEGMENT), "{wiring:?}");
                    assert!(
                        datagram[..length]
                            .iter()
                            .all(|byte| *byte == (segment + round).to_le_bytes()[0]),
                        "{wiring:?}: out of order or mixed"
                    );
                    received += length as u64;
                }
            }
            let enough = wait_for(Duration::from_secs(3), || {
                (counted(&cluster) - before >= received).then_some(())
            });
            assert!(
                enough.is_some(),
                "{wiring:?}: {received} bytes came, {} were counted",
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
        let mut sender = inside(&a.netns, || {
            TcpStream::connect((b.address(v4), PORT)).expect("the connection opens")
        })
        .expect("a namespace");
        let writer = std::thread::spawn(move || {
            let block: Vec<u8> = (0..=255).cycle().take(1 << 16).collect();
            for _ in 0..WHOLE / block.len() {
                sender.write_all(&block).expect("the stream is taken");
            }
        });
        let mut all = Vec::with_capacity(WHOLE);
        let (mut stream, _) = listener.accept().expect("a connection");
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a time-out");
        stream.read_to_end(&mut all).expect("the stream ends");
        writer.join().expect("the writer ends");
        assert_eq!(all.len(), WHOLE);
        assert!(all.iter().zip((0..=255_u8).cycle()).all(|(found, sent)| *found == sent));
        let enough = wait_for(Duration::from_secs(3), || {
            (counted(&cluster) - before >= WHOLE as u64).then_some(())
        });
        assert!(enough.is_some(), "{} bytes were counted", counted(&cluster) - before);
    }
}
