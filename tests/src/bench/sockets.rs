//! Sockets of the traffic under measurement, threads held to one processor, and what an interface has counted.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cellwall_controller::lab::inside;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use rustix::net::{AddressFamily, SendFlags, SocketType, sendto};

/// How long a socket waits before it looks whether the time is over.
const GLANCE: Duration = Duration::from_millis(20);
/// How long anything may take to begin.
const PATIENCE: Duration = Duration::from_secs(3);
/// Sends between two looks at the clock.
const STRIDE: u32 = 64;

/// Holds the calling thread to one processor.
pub(super) fn pin(processor: usize) {
    let mut only = CpuSet::new();
    // On a machine with one processor both ends share it.
    if only.set(processor).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &only);
    }
}

/// Packets that `eth0` of a namespace has (received, sent).
pub(super) fn packets(netns: &str) -> anyhow::Result<(u64, u64)> {
    let text = inside(netns, || std::fs::read_to_string("/proc/thread-self/net/dev"))??;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("eth0:"));
    let numbers: Vec<u64> = line
        .context("no eth0")?
        .split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect();
    Ok((numbers[1], numbers[9]))
}

/// A connection from one namespace to another: the near end, the far end.
pub(super) fn connected(from: &str, to: &str, address: SocketAddr) -> anyhow::Result<(TcpStream, TcpStream)> {
    let listener = inside(to, || TcpListener::bind((Ipv6Addr::UNSPECIFIED, address.port())))??;
    let near = inside(from, || TcpStream::connect_timeout(&address, PATIENCE))??;
    let (far, _) = listener.accept()?;
    for end in [&near, &far] {
        end.set_nodelay(true)?;
        end.set_read_timeout(Some(GLANCE))?;
        end.set_write_timeout(Some(GLANCE))?;
    }
    Ok((near, far))
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Writes until the time is over, on processor 0.
pub(super) fn pour(mut stream: TcpStream, until: Instant) -> io::Result<()> {
    pin(0);
    let buffer = vec![0; 128 << 10];
    while Instant::now() < until {
        match stream.write(&buffer) {
            Ok(_) => {}
            Err(error) if is_late(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads until the other end is gone, on processor 1. Answers the bytes.
pub(super) fn drink(mut stream: TcpStream) -> io::Result<u64> {
    pin(1);
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(read) => bytes += read as u64,
            Err(error) if is_late(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// One byte there and back until the time is over. Answers how often.
pub(super) fn ping(mut stream: TcpStream, until: Instant) -> io::Result<u64> {
    pin(0);
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut byte, mut count) = ([0], 0);
    while Instant::now() < until {
        stream.write_all(&[1])?;
        stream.read_exact(&mut byte)?;
        count += 1;
    }
    Ok(count)
}

/// Sends back each byte until the other end is gone.
pub(super) fn pong(mut stream: TcpStream) -> io::Result<()> {
    pin(0);
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut byte = [0];
    while stream.read(&mut byte)? != 0 {
        stream.write_all(&byte)?;
    }
    Ok(())
}

/// Opens a connection, sends a byte, gets one, closes; until the time is over. Answers how often. A call without an answer
/// costs its time and counts for nothing: connection tracking loses packets of connections whose ports come again.
pub(super) fn call(from: &str, address: SocketAddr, until: Instant) -> anyhow::Result<u64> {
    inside(from, || {
        pin(0);
        let mut count = 0;
        while Instant::now() < until {
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_read_timeout(Some(GLANCE * 2))?;
            stream.write_all(&[1])?;
            match stream.read_exact(&mut [0]) {
                Ok(()) => count += 1,
                Err(error) if is_late(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(count)
    })?
}

/// Answers such calls until it is told to stop.
pub(super) fn pick_up(listener: &TcpListener, stop: &AtomicBool) -> io::Result<()> {
    pin(0);
    while !stop.load(Ordering::Relaxed) {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(GLANCE))?;
        let mut byte = [0];
        // Who only woke this up sends nothing.
        if matches!(stream.read(&mut byte), Ok(1)) {
            stream.write_all(&byte)?;
            // The caller closes first, and keeps what is left of the connection; one whose end is lost is left behind.
            let _ = stream.read(&mut byte);
        }
    }
    Ok(())
}

/// A socket that hears datagrams at a port, with room for a while.
pub(super) fn ear(netns: &str, port: u16) -> anyhow::Result<UdpSocket> {
    let socket = inside(netns, || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)))??;
    socket.set_read_timeout(Some(GLANCE))?;
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 8 << 20)?;
    Ok(socket)
}

/// Takes datagrams until it is told to stop, on processor 1.
pub(super) fn hear(socket: &UdpSocket, stop: &AtomicBool) {
    pin(1);
    let mut buffer = [0; 128];
    while !stop.load(Ordering::Relaxed) {
        // A time-out is a look at the flag.
        let _ = socket.recv(&mut buffer);
    }
}

/// Sends datagrams of one flow, 60 bytes a frame over IPv4, until the time is over.
pub(super) fn speak(from: &str, to: SocketAddr, until: Instant) -> anyhow::Result<u64> {
    let any: IpAddr = if to.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = inside(from, || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(to)?;
        Ok::<_, io::Error>(socket)
    })??;
    pin(0);
    Ok(repeat(until, || match socket.send(&[0; 18]) {
        // What is refused on the way out of a pod, some kernels tell the sender.
        Ok(_) | Err(_) => Ok(()),
    })?)
}

/// Sends datagrams, each from another port, to several ports in turn, until the time is over.
pub(super) fn chatter(
    from: (&str, IpAddr),
    to: IpAddr,
    ports: &[u16],
    first: u32,
    until: Instant,
) -> anyhow::Result<u64> {
    let family = if to.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let protocol = rustix::net::ipproto::UDP;
    let socket: OwnedFd = inside(from.0, || rustix::net::socket(family, SocketType::RAW, Some(protocol)))??;
    let address = SocketAddr::new(to, 0);
    let addresses = sum_of(from.1) + sum_of(to);
    pin(0);
    let mut number = first;
    let sent = repeat(until, || {
        number = number.wrapping_add(1);
        let [port, source] = flow(number, ports);
        let datagram = datagram(addresses, source, port);
        sendto(&socket, &datagram, SendFlags::empty(), &address)?;
        Ok(())
    })?;
    Ok(sent)
}

/// Destination and source port of datagram `number`: 60,000 source ports for each of these.
fn flow(number: u32, ports: &[u16]) -> [u16; 2] {
    let source = 1_024 + u16::try_from(number % 60_000).unwrap_or(0);
    let turn = usize::try_from(number / 60_000).unwrap_or(0);
    [ports[turn % ports.len()], source]
}

/// Calls until the time is over, looking at the clock now and then.
fn repeat(until: Instant, mut send: impl FnMut() -> io::Result<()>) -> io::Result<u64> {
    let mut count = 0;
    while Instant::now() < until {
        for _ in 0..STRIDE {
            send()?;
        }
        count += u64::from(STRIDE);
    }
    Ok(count)
}

/// A UDP header and 18 zero bytes, with its checksum, which IPv6 asks for.
fn datagram(addresses: u32, source: u16, port: u16) -> [u8; 26] {
    const LENGTH: u16 = 26;
    let mut sum = addresses + 17 + 2 * u32::from(LENGTH) + u32::from(source) + u32::from(port);
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = match u16::try_from(sum).map(|sum| !sum) {
        Ok(0) | Err(_) => 0xffff,
        Ok(sum) => sum,
    };
    let mut bytes = [0; 26];
    for (place, word) in bytes.chunks_exact_mut(2).zip([source, port, LENGTH, sum]) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

/// An address's part in a checksum.
fn sum_of(address: IpAddr) -> u32 {
    let sum = |bytes: &[u8]| {
        bytes
            .chunks_exact(2)
            .map(|two| u32::from(two[0]) << 8 | u32::from(two[1]))
            .sum()
    };
    match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    }
}
