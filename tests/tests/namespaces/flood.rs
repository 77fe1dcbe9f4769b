//! Datagrams from a pod to its node, as many as can be.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Node, inside, run};

/// A pod that sends datagrams to the node as fast as it can, until this is dropped. Its host side is `veth-0`.
pub(crate) struct Flood {
    receiver: UdpSocket,
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
}

impl Flood {
    pub(crate) fn start(node: &Node, pod: &str) -> Self {
        let mac = run(&format!(
            "ip netns exec {} cat /sys/class/net/veth-0/address",
            node.name()
        ));
        // Without this no datagram leaves the pod: ARP is dropped as well.
        run(&format!(
            "ip -n {pod} neigh replace 192.0.2.254 lladdr {} dev eth0",
            mac.trim()
        ));
        let receiver = node.within(|| UdpSocket::bind("192.0.2.254:0").unwrap());
        receiver.set_nonblocking(true).unwrap();
        let to = receiver.local_addr().unwrap();
        let socket = inside(pod, || UdpSocket::bind("192.0.2.1:0").unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sender = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // A datagram that the program dropped counts as sent.
                let _sent = socket.send_to(b"through", to);
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        Self {
            receiver,
            stop,
            sender: Some(sender),
        }
    }

    /// Datagrams that arrived since it was last asked.
    pub(crate) fn received(&self) -> u32 {
        let mut received = 0;
        while self.receiver.recv(&mut [0; 16]).is_ok() {
            received += 1;
        }
        received
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ended = self.sender.take().map(JoinHandle::join);
    }
}
