//! Numbered datagrams from one pod to another, over both families, of flows that last and of fresh ones: each number once
//! to a port that is refused and once to one that is permitted.

use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use cellwall_controller::lab::inside;

use crate::{Cluster, wait_for};

/// A sender and a receiver.
#[derive(Debug)]
pub struct Numbered {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU32>,
    sender: JoinHandle<()>,
    receiver: JoinHandle<Vec<bool>>,
    refused: UdpSocket,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// Numbers sent, each to both ports.
    pub sent: u32,
    /// Numbers that the permitted port missed.
    pub missed: u32,
    /// Datagrams that the refused port got.
    pub leaked: u32,
}

impl Numbered {
    /// Sends from `from` to `to`, with a pause after each number, until it is ended.
    pub fn start(cluster: &Cluster, from: &str, to: &str, ports: [u16; 2], pause: Duration) -> Self {
        let (from, to) = (cluster.netns(from), cluster.pod(to));
        let ears = inside(&to.netns, || {
            ports.map(|port| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).expect("a receiver"))
        });
        let [refused, permitted] = ears.expect("the pod's namespace");
        for ear in [&refused, &permitted] {
            // A test that is not scheduled for a while loses nothing.
            rustix::net::sockopt::set_socket_recv_buffer_size_force(ear, 64 << 20).expect("a large buffer");
        }
        refused.set_nonblocking(true).expect("no waiting");
        permitted
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a time-out");
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let receiver = {
            let stop = stop.clone();
            std::thread::spawn(move || receive(&permitted, &stop))
        };
        let sender = {
            let (stop, sent, to) = (stop.clone(), sent.clone(), [to.v4.into(), to.v6.into()]);
            let run = move || send(to, ports, pause, &stop, &sent);
            std::thread::spawn(move || inside(&from, run).expect("the pod's namespace"))
        };
        Self {
            stop,
            sent,
            sender,
            receiver,
            refused,
        }
    }

    /// Waits until this many more numbers were sent.
    pub fn more(&self, count: u32) {
        let until = self.sent.load(Ordering::Relaxed) + count;
        let reached = wait_for(Duration::from_secs(20), || {
            (self.sent.load(Ordering::Relaxed) >= until).then_some(())
        });
        assert!(reached.is_some(), "the sender stands still");
    }

    /// Ends it.
    pub fn end(self) -> Heard {
        self.stop.store(true, Ordering::Relaxed);
        self.sender.join().expect("the sender ends");
        let sent = self.sent.load(Ordering::Relaxed);
        let heard = self.receiver.join().expect("the receiver ends");
        let got = heard.iter().filter(|heard| **heard).count();
        let mut leaked = 0;
        while self.refused.recv(&mut [0; 16]).is_ok() {
            leaked += 1;
        }
        Heard {
            sent,
            missed: sent - u32::try_from(got).expect("no more than were sent"),
            leaked,
        }
    }
}

fn send(to: [IpAddr; 2], ports: [u16; 2], pause: Duration, stop: &AtomicBool, sent: &AtomicU32) {
    let fresh = || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a socket");
    let lasting = fresh();
    while !stop.load(Ordering::Relaxed) {
        let number = sent.load(Ordering::Relaxed);
        let to = match to[usize::from(number & 1 == 1)] {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let socket = if number & 2 == 0 { &lasting } else { &fresh() };
        for port in ports {
            socket
                .send_to(&number.to_be_bytes(), (to, port))
                .expect("a datagram leaves");
        }
        sent.store(number + 1, Ordering::Relaxed);
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
}

/// The numbers that came.
fn receive(socket: &UdpSocket, stop: &AtomicBool) -> Vec<bool> {
    let (mut heard, mut number) = (Vec::new(), [0; 4]);
    loop {
        // What was sent before the end is in the buffer by then: a veth delivers before `send` returns, or soon.
        let ended = stop.load(Ordering::Relaxed);
        match socket.recv(&mut number) {
            Ok(_) => {
                let number = u32::from_be_bytes(number) as usize;
                heard.resize(heard.len().max(number + 1), false);
                heard[number] = true;
            }
            Err(_) if ended => return heard,
            Err(_) => {}
        }
    }
}
