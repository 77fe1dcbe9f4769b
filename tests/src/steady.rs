//! A TCP connection that stays open: a byte there and back, again and again.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use cellwall_controller::lab::inside;

use crate::Cluster;

/// An open connection to a server that echoes.
#[derive(Debug)]
pub struct Steady {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u32>,
}

impl Steady {
    /// Opens it.
    pub fn start(cluster: &Cluster, from: &str, to: SocketAddr) -> Self {
        let stream = inside(&cluster.netns(from), || TcpStream::connect(to)).expect("the pod's namespace");
        let stream = stream.expect("the connection opens");
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = stop.clone();
            std::thread::spawn(move || answers(stream, &stop))
        };
        Self { stop, thread }
    }

    /// Ends it; answers how many round trips there were. It fails where the connection was cut.
    pub fn end(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the connection's thread ends")
    }
}

/// Round trips on an open connection until the end, or until it is cut.
fn answers(mut stream: TcpStream, stop: &AtomicBool) -> u32 {
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a time-out");
    let mut trips = 0;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(b"?").expect("the connection goes on");
        stream.read_exact(&mut [0; 1]).expect("the connection goes on");
        trips += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    trips
}
