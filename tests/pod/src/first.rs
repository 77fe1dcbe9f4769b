//! A pod that sends from its first moment on, and who hears it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Between two datagrams.
const PACE: Duration = Duration::from_millis(1);

/// Sends this pod's name, a number that counts up, and how many nanoseconds after the first it is, to each of these by
/// IPv4. It stops when it is ended, before anybody takes its addresses away.
pub(crate) fn send(to: &[&str]) -> io::Result<()> {
    let to = to.iter().map(|one| super::number(one));
    let to: Vec<SocketAddr> = to.collect::<io::Result<_>>()?;
    let ends = super::end_signals()?;
    let over = Arc::new(AtomicBool::new(false));
    let stop = over.clone();
    let sending = thread::spawn(move || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let (name, mut began, mut number) = (super::name(), None, 0_u64);
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let after = now - *began.get_or_insert(now);
            let text = format!("{name} {number} {}", after.as_nanos());
            for one in &to {
                // One whose neighbour does not answer is told so now and then.
                let _unsent = socket.send_to(text.as_bytes(), one);
            }
            number += 1;
            thread::sleep(PACE);
        }
        Ok(())
    });
    ends.wait()?;
    over.store(true, Ordering::Relaxed);
    sending
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the sender panicked")))
}

/// What came from one sender at one port.
#[derive(Clone, Copy)]
struct Heard {
    count: u64,
    first: (u64, u64),
    last: (u64, u64),
}

type Book = Arc<Mutex<BTreeMap<(String, u16), Heard>>>;

/// Until standard input ends; then a line for each sender and port: both, how many, number and nanoseconds of the first,
/// and of the last.
pub(crate) fn hear(ports: &[&str]) -> io::Result<()> {
    let over = super::observe::at_the_end_of_input();
    let book = Book::default();
    let mut ears = Vec::new();
    for port in ports {
        let port: u16 = super::number(port)?;
        let socket = UdpSocket::bind((IpAddr::from(Ipv4Addr::UNSPECIFIED), port))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let (book, over) = (book.clone(), over.clone());
        ears.push(thread::spawn(move || listen(&socket, port, &book, &over)));
    }
    println!("hearing");
    for ear in ears {
        // It ends within its time-out.
        let _ = ear.join();
    }
    let book = book.lock().unwrap_or_else(PoisonError::into_inner);
    for ((name, port), heard) in book.iter() {
        let (first, last) = (heard.first, heard.last);
        println!(
            "{name} {port} {} {} {} {} {}",
            heard.count, first.0, first.1, last.0, last.1
        );
    }
    Ok(())
}

fn listen(socket: &UdpSocket, port: u16, book: &Book, over: &AtomicBool) {
    let mut datagram = [0; 512];
    while !over.load(Ordering::Relaxed) {
        let Ok(n) = socket.recv(&mut datagram) else { continue };
        let text = String::from_utf8_lossy(&datagram[..n]);
        let mut words = text.split(' ');
        let Some(name) = words.next() else { continue };
        let mut number = || words.next()?.parse::<u64>().ok();
        let (Some(number), Some(at)) = (number(), number()) else {
            continue;
        };
        let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = book.entry((name.to_owned(), port)).or_insert(Heard {
            count: 0,
            first: (number, at),
            last: (number, at),
        });
        heard.count += 1;
        heard.first = heard.first.min((number, at));
        heard.last = heard.last.max((number, at));
    }
}
