//! Frames as fast as the kernel takes them: packet sockets that are given whole batches, from several threads.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cellwall_controller::lab::inside;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, bind, socket};
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

use crate::Cluster;
use crate::frames::{link, link_address, make};

/// Frames given to the kernel at once.
const BATCH: usize = 64;

/// What a blast came to.
#[derive(Debug, Clone, Copy)]
pub struct Blasted {
    /// Frames that the kernel took.
    pub sent: u64,
    /// How long it lasted.
    pub took: Duration,
}

/// Threads that send from `eth0` of a namespace until they are ended.
#[derive(Debug)]
pub struct Blast {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    began: Instant,
}

impl Blast {
    /// Starts. `make` writes frame `number` of a thread into an empty buffer; numbers count from 0 in each thread.
    pub fn start(
        netns: &str,
        threads: u8,
        make: impl Fn(u8, u64, &mut Vec<u8>) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut blast = Self {
            stop,
            sent,
            threads: Vec::new(),
            began: Instant::now(),
        };
        for thread in 0..threads {
            let socket = packet_socket(netns)?;
            let (stop, sent, make) = (blast.stop.clone(), blast.sent.clone(), make.clone());
            let run = move || send(&socket, &stop, &sent, |number, frame| make(thread, number, frame));
            blast.threads.push(std::thread::spawn(run));
        }
        Ok(blast)
    }

    /// Datagrams from a pod to these ports of another, one after the other, from two threads at full speed.
    pub fn datagrams(cluster: &Cluster, from: &str, to: &str, ports: std::ops::Range<u16>) -> io::Result<Self> {
        let (a, b) = (cluster.pod(from), cluster.pod(to));
        let own = link_address(&a.netns, "eth0")?;
        let gateway = link_address(&cluster.netns("node"), &a.host_interface)?;
        let to = b.address(true);
        let mut packet = make::ip(a.address(true), to, 17, &make::udp(1, ports.start, b"flood"));
        make::sum_v4(&mut packet);
        let frame = make::ethernet(gateway, own, make::ethertype(to), &packet);
        let place = make::ETHERNET + 20 + 2;
        let count = u64::from(ports.end - ports.start);
        Self::start(&a.netns, 2, move |_thread, number, out| {
            out.extend_from_slice(&frame);
            // why: the remainder is below a number of ports
            let offset = u16::try_from(number % count).expect("a port");
            out[place..][..2].copy_from_slice(&(ports.start + offset).to_be_bytes());
        })
    }

    /// Frames sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it.
    pub fn end(self) -> io::Result<Blasted> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(Blasted {
            sent: self.sent.load(Ordering::Relaxed),
            took: self.began.elapsed(),
        })
    }
}

/// A packet socket on `eth0` that hears nothing.
fn packet_socket(netns: &str) -> io::Result<OwnedFd> {
    let opened = inside(netns, || {
        let own = link("eth0")?;
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        bind(socket.as_raw_fd(), &own)?;
        Ok(socket)
    });
    opened.map_err(io::Error::other)?
}

fn send(socket: &OwnedFd, stop: &AtomicBool, sent: &AtomicU64, make: impl Fn(u64, &mut Vec<u8>)) -> io::Result<()> {
    let mut frames = vec![Vec::new(); BATCH];
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        for (place, frame) in (0..).zip(&mut frames) {
            frame.clear();
            make(number + place, frame);
        }
        let parts: Vec<[IoSlice<'_>; 1]> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
        let mut controls: Vec<_> = parts.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let headers = parts.iter().zip(&mut controls);
        let mut messages: Vec<_> = headers.map(|(part, control)| MMsgHdr::new(part, control)).collect();
        let taken = match sendmmsg(socket, &mut messages, SendFlags::empty()) {
            Ok(taken) => taken,
            Err(Errno::NOBUFS | Errno::INTR | Errno::AGAIN) => 0,
            Err(error) => return Err(error.into()),
        };
        // What was not taken is made again.
        number += taken as u64;
        sent.fetch_add(taken as u64, Ordering::Relaxed);
    }
    Ok(())
}
