//! A way to the API server that counts the bytes on it, as they are on the wire (TLS goes through unread).

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cellwall_controller::lab::inside;

/// Where the API server's certificate is valid, too.
const HERE: &str = "127.0.0.1:7443";

/// What went through, in bytes.
#[derive(Debug, Default)]
pub struct Counts {
    /// To the API server.
    pub sent: AtomicU64,
    /// From it.
    pub received: AtomicU64,
}

impl Counts {
    /// Sent, received.
    pub fn now(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }
}

/// Starts one in a network namespace; it ends with the test. Answers the URL by which the API server is reached
/// through it.
pub fn start(netns: &str) -> (String, Arc<Counts>) {
    let server = super::SERVER.trim_start_matches("https://");
    let server: SocketAddr = server.parse().expect("an address and a port");
    let counts: Arc<Counts> = Arc::default();
    let listening = counts.clone();
    let bound = inside(netns, || {
        let listener = TcpListener::bind(HERE).expect("the address is free");
        // A thread stays where the one that made it was.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let counts = listening.clone();
                std::thread::spawn(move || pass(&client, server, &counts));
            }
        });
    });
    bound.expect("the network namespace");
    (format!("https://{HERE}"), counts)
}

fn pass(client: &TcpStream, server: SocketAddr, counts: &Counts) {
    let Ok(server) = TcpStream::connect(server) else { return };
    // A small write waits for nothing, as without a proxy.
    let _set = (client.set_nodelay(true), server.set_nodelay(true));
    std::thread::scope(|scope| {
        scope.spawn(|| copy(client, &server, &counts.sent));
        copy(&server, client, &counts.received);
    });
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, count: &AtomicU64) {
    let mut some = vec![0; 65_536];
    while let Ok(n) = from.read(&mut some) {
        if n == 0 || to.write_all(&some[..n]).is_err() {
            break;
        }
        count.fetch_add(n as u64, Ordering::Relaxed);
    }
    // Either end may have closed it first.
    let _closed = (from.shutdown(Shutdown::Read), to.shutdown(Shutdown::Write));
}
