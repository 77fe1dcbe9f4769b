//! Asks all the time, and says when the answers end and begin.

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Between two datagrams.
const PACE: Duration = Duration::from_millis(1);
/// An answer that comes later than this counts as none.
const LATE: Duration = Duration::from_millis(500);

/// A datagram that was sent.
struct Sent {
    number: u64,
    at: Duration,
    answered: bool,
}

/// Until standard input ends, a numbered datagram each millisecond over one socket: one flow. Prints `open TIME` and
/// `closed TIME` (of the first datagram that was, and was not, answered), and at the end how many.
pub(crate) fn observe(to: &str) -> io::Result<()> {
    let to: SocketAddr = super::number(to)?;
    let own: IpAddr = if to.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = Arc::new(UdpSocket::bind((own, 0))?);
    socket.connect(to)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let waiting: Arc<Mutex<VecDeque<Sent>>> = Arc::default();
    let over = at_the_end_of_input();
    let receiver = {
        let (socket, waiting, over) = (socket.clone(), waiting.clone(), over.clone());
        thread::spawn(move || receive(&socket, &waiting, &over))
    };
    let (mut sent, mut answered, mut open) = (0_u64, 0_u64, None);
    while !over.load(Ordering::Relaxed) {
        sent += 1;
        let one = Sent {
            number: sent,
            at: now(),
            answered: false,
        };
        lock(&waiting).push_back(one);
        // What is refused on the way out is not answered.
        let _ = socket.send(format!("number {sent}\n").as_bytes());
        conclude(&waiting, LATE, &mut open, &mut answered);
        thread::sleep(PACE);
    }
    thread::sleep(LATE);
    conclude(&waiting, Duration::ZERO, &mut open, &mut answered);
    // It ends within its time-out.
    let _ = receiver.join();
    println!("sent {sent}, answered {answered}");
    Ok(())
}

/// Becomes true when standard input has ended.
pub(crate) fn at_the_end_of_input() -> Arc<AtomicBool> {
    let over = Arc::new(AtomicBool::new(false));
    let end = over.clone();
    thread::spawn(move || {
        let mut rest = [0; 64];
        while io::stdin().read(&mut rest).is_ok_and(|n| n > 0) {}
        end.store(true, Ordering::Relaxed);
    });
    over
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn lock(waiting: &Mutex<VecDeque<Sent>>) -> std::sync::MutexGuard<'_, VecDeque<Sent>> {
    waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// An answer repeats the question after the first line.
fn receive(socket: &UdpSocket, waiting: &Mutex<VecDeque<Sent>>, over: &AtomicBool) {
    let mut answer = [0; 2048];
    while !over.load(Ordering::Relaxed) {
        let Ok(n) = socket.recv(&mut answer) else { continue };
        let text = String::from_utf8_lossy(&answer[..n]);
        let number = text.lines().find_map(|line| line.strip_prefix("number "));
        let Some(number) = number.and_then(|text| text.parse::<u64>().ok()) else {
            continue;
        };
        if let Some(one) = lock(waiting).iter_mut().find(|one| one.number == number) {
            one.answered = true;
        }
    }
}

/// Looks at what was sent this long ago and says where it differs from what was sent before it.
fn conclude(waiting: &Mutex<VecDeque<Sent>>, age: Duration, open: &mut Option<bool>, answered: &mut u64) {
    let limit = now().saturating_sub(age);
    let mut waiting = lock(waiting);
    while waiting.front().is_some_and(|one| one.at <= limit) {
        let Some(one) = waiting.pop_front() else { return };
        *answered += u64::from(one.answered);
        if *open != Some(one.answered) {
            *open = Some(one.answered);
            let word = if one.answered { "open" } else { "closed" };
            println!("{word} {}", one.at.as_nanos());
        }
    }
}
