//! Traffic from one pod to the other, and how much of it there was in a second.

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cellwall_controller::lab::inside;

use super::filters::Stand;
use super::sockets;

/// The UDP port that every filter refuses.
pub(super) const CLOSED: u16 = 9;
/// Ports that hear the datagrams of which each is a flow: with 60,000 source ports more flows than any table of openings holds.
const EARS: [u16; 4] = [7_001, 7_002, 7_003, 7_004];

/// What kind of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// TCP as fast as it goes, large buffers cut late.
    Bulk,
    /// The same in segments of a packet each.
    Segments,
    /// One byte there and back.
    PingPong,
    /// A connection, one byte each way, closed.
    Connect,
    /// Datagrams of one flow.
    Datagrams,
    /// Datagrams, each a flow of its own.
    NewFlows,
    /// Datagrams that are refused.
    Refused,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What kind.
    pub traffic: Traffic,
    /// IPv4, else IPv6.
    pub v4: bool,
}

impl Row {
    /// All, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        const ALL: [Traffic; 7] = [
            Traffic::Bulk,
            Traffic::Segments,
            Traffic::PingPong,
            Traffic::Connect,
            Traffic::Datagrams,
            Traffic::NewFlows,
            Traffic::Refused,
        ];
        [true, false]
            .into_iter()
            .flat_map(|v4| ALL.map(|traffic| Self { traffic, v4 }))
    }

    /// Its name.
    pub fn name(self) -> String {
        let what = match self.traffic {
            Traffic::Bulk => "TCP, offloaded",
            Traffic::Segments => "TCP, single segments",
            Traffic::PingPong => "ping-pong, 1 byte",
            Traffic::Connect => "connect, 1 byte each way, close",
            Traffic::Datagrams => "UDP, one flow",
            Traffic::NewFlows => "UDP, each a new flow",
            Traffic::Refused => "UDP, refused",
        };
        format!("{what}, IPv{}", if self.v4 { 4 } else { 6 })
    }

    /// What is counted in a second.
    pub fn unit(self) -> &'static str {
        match self.traffic {
            Traffic::Bulk | Traffic::Segments => "MB/s",
            Traffic::PingPong => "round trips/s",
            Traffic::Connect => "connections/s",
            Traffic::Datagrams | Traffic::NewFlows | Traffic::Refused => "packets/s",
        }
    }

    /// The least part of "no filter" that is aimed at, with ten thousand rules.
    pub fn bar(self) -> Option<f64> {
        match self.traffic {
            Traffic::Bulk | Traffic::Refused => None,
            Traffic::Segments => Some(0.93),
            Traffic::PingPong => Some(0.97),
            Traffic::Connect | Traffic::Datagrams => Some(0.95),
            Traffic::NewFlows => Some(0.75),
        }
    }

    /// Runs it for a while. Answers how much in a second.
    pub fn measure(self, stand: &Stand, how_long: Duration) -> anyhow::Result<f64> {
        // Another port each time: what is left of the connections before is in nobody's way.
        static PORT: AtomicU16 = AtomicU16::new(0);
        let port = 10_000 + PORT.fetch_add(1, Ordering::Relaxed) % 20_000;
        let measured = match self.traffic {
            Traffic::Bulk => self.bulk(stand, port, how_long),
            Traffic::Segments => {
                segments(stand, 1)?;
                let measured = self.bulk(stand, port, how_long);
                segments(stand, 65_535)?;
                measured
            }
            Traffic::PingPong => self.ping_pong(stand, port, how_long),
            Traffic::Connect => self.connect(stand, port, how_long),
            Traffic::Datagrams | Traffic::NewFlows | Traffic::Refused => self.datagrams(stand, port, how_long),
        };
        measured.with_context(|| format!("{} with {}", self.name(), stand.filter.name()))
    }

    fn to(self, stand: &Stand, port: u16) -> SocketAddr {
        SocketAddr::new(stand.pods()[1].address(self.v4), port)
    }

    fn bulk(self, stand: &Stand, port: u16, how_long: Duration) -> anyhow::Result<f64> {
        let [a, b] = stand.pods();
        let (near, far) = sockets::connected(&a.netns, &b.netns, self.to(stand, port))?;
        let reader = std::thread::spawn(move || sockets::drink(far));
        let began = Instant::now();
        let writer = std::thread::spawn(move || sockets::pour(near, began + how_long));
        joined(writer)?;
        let bytes = joined(reader)?;
        Ok(rate(bytes, began) / 1e6)
    }

    fn ping_pong(self, stand: &Stand, port: u16, how_long: Duration) -> anyhow::Result<f64> {
        let [a, b] = stand.pods();
        let (near, far) = sockets::connected(&a.netns, &b.netns, self.to(stand, port))?;
        let answering = std::thread::spawn(move || sockets::pong(far));
        let began = Instant::now();
        let asking = std::thread::spawn(move || sockets::ping(near, began + how_long));
        let count = joined(asking)?;
        let rate = rate(count, began);
        joined(answering)?;
        Ok(rate)
    }

    fn connect(self, stand: &Stand, port: u16, how_long: Duration) -> anyhow::Result<f64> {
        let [a, b] = stand.pods();
        let to = self.to(stand, port);
        let listener = inside(&b.netns, || TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))??;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let answering = scope.spawn(|| sockets::pick_up(&listener, &stop));
            let began = Instant::now();
            let count = sockets::call(&a.netns, to, began + how_long);
            let took = began;
            let rate = count.map(|count| rate(count, took));
            stop.store(true, Ordering::Relaxed);
            // It looks at the flag when somebody calls.
            let _woken = inside(&a.netns, || TcpStream::connect_timeout(&to, Duration::from_secs(1)))?;
            answering
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            rate
        })
    }

    fn datagrams(self, stand: &Stand, port: u16, how_long: Duration) -> anyhow::Result<f64> {
        static FIRST: AtomicU32 = AtomicU32::new(0);
        let [a, b] = stand.pods();
        let ports = match self.traffic {
            Traffic::NewFlows => EARS.to_vec(),
            Traffic::Refused => vec![CLOSED],
            _ => vec![port],
        };
        let ears = ports
            .iter()
            .map(|port| sockets::ear(&b.netns, *port))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let stop = &stop;
            for ear in &ears {
                scope.spawn(move || sockets::hear(ear, stop));
            }
            let before = sockets::packets(&b.netns)?.0;
            let began = Instant::now();
            let until = began + how_long;
            let sent = std::thread::scope(|scope| {
                let sender = scope.spawn(|| {
                    if self.traffic == Traffic::NewFlows {
                        let first = FIRST.load(Ordering::Relaxed);
                        let (from, to) = ((a.netns.as_str(), a.address(self.v4)), b.address(self.v4));
                        sockets::chatter(from, to, &ports, first, until)
                    } else {
                        sockets::speak(&a.netns, self.to(stand, ports[0]), until)
                    }
                });
                sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            let took = began.elapsed();
            stop.store(true, Ordering::Relaxed);
            let (sent, arrived) = (sent?, sockets::packets(&b.netns)?.0 - before);
            FIRST.fetch_add(u32::try_from(sent).unwrap_or(0), Ordering::Relaxed);
            let counted = if self.traffic == Traffic::Refused && refuses(stand) {
                ensure!(
                    arrived < 100,
                    "{arrived} of {sent} datagrams arrived that were to be refused"
                );
                sent
            } else {
                // What a full table of connections did not let through does not count.
                ensure!(arrived > 0, "none of {sent} datagrams arrived");
                arrived
            };
            Ok(per_second(counted, took))
        })
    }
}

/// Whether the filter refuses what is to be refused.
fn refuses(stand: &Stand) -> bool {
    !matches!(stand.filter, super::Filter::Nothing | super::Filter::Empty)
}

/// How many segments a buffer on its way out of the sending pod may hold.
fn segments(stand: &Stand, most: u32) -> anyhow::Result<()> {
    let netns = &stand.pods()[0].netns;
    let status = std::process::Command::new("ip")
        .args([
            "-n",
            netns,
            "link",
            "set",
            "dev",
            "eth0",
            "gso_max_segs",
            &most.to_string(),
        ])
        .status()
        .context("ip cannot be run")?;
    ensure!(status.success(), "gso_max_segs {most}: {status}");
    Ok(())
}

fn joined<T>(thread: std::thread::JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn rate(count: u64, began: Instant) -> f64 {
    per_second(count, began.elapsed())
}

#[allow(clippy::cast_precision_loss, reason = "counts of a second")]
fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
