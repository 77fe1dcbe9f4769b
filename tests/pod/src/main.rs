//! What runs in the pods of the tests' clusters. One static program, so that an image needs nothing else:
//!
//! ```text
//! pod pause                              waits until it is ended: the sandbox of a pod, and a pod to ask from
//! pod serve PORT...                      answers TCP and UDP: the name of this pod, and whom it sees asking
//! pod ask tcp|udp ADDRESS:PORT [MS]      one question; prints `answered NAME FROM`, `refused` or `silence`
//! pod count tcp ADDRESS:PORT             a new connection every 10 ms until standard input ends; prints how many were
//!                                        answered, and how many not
//! pod observe udp ADDRESS:PORT           a datagram every 1 ms until then; prints when answers end and begin
//! pod first ADDRESS:PORT...              from its first moment on a numbered datagram to each every 1 ms, until it is ended
//! pod hear PORT...                       until standard input ends; prints for each sender and port how many came, and the
//!                                        number and time of the first and the last
//! ```

mod first;
mod observe;

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

/// What is asked: something that a TLS server answers too, if only with a refusal.
const QUESTION: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["pause"] => wait_for_the_end(),
        ["serve", ports @ ..] => serve(ports),
        ["ask", protocol, to] => ask(protocol, to, "1000"),
        ["ask", protocol, to, patience] => ask(protocol, to, patience),
        ["count", "tcp", to] => count(to),
        ["observe", "udp", to] => observe::observe(to),
        ["first", to @ ..] => first::send(to),
        ["hear", ports @ ..] => first::hear(ports),
        _ => Err(io::Error::other(
            "usage: pod pause | serve PORT... | ask tcp|udp ADDRESS:PORT [MS] | count tcp ADDRESS:PORT | \
             observe udp ADDRESS:PORT | first ADDRESS:PORT... | hear PORT...",
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pod: {error}");
            ExitCode::FAILURE
        }
    }
}

fn wait_for_the_end() -> io::Result<()> {
    end_signals()?.wait()?;
    Ok(())
}

/// The first process of a pod ignores signals that it does not wait for.
fn end_signals() -> io::Result<SigSet> {
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGTERM);
    ends.add(Signal::SIGINT);
    ends.thread_block()?;
    Ok(ends)
}

fn name() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    text.trim().to_owned()
}

fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse()
        .map_err(|_| io::Error::other(format!("`{text}` is no number")))
}

fn serve(ports: &[&str]) -> io::Result<()> {
    let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    for port in ports {
        let port: u16 = number(port)?;
        // Without IPv6 in the pod, by IPv4 alone.
        let both = |ip| Ok::<_, io::Error>((TcpListener::bind((ip, port))?, UdpSocket::bind((ip, port))?));
        let (tcp, udp) = both(any).or_else(|_| both(Ipv4Addr::UNSPECIFIED.into()))?;
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                thread::spawn(move || answer(stream));
            }
        });
        thread::spawn(move || {
            let mut question = [0; 2048];
            while let Ok((n, from)) = udp.recv_from(&mut question) {
                let answer = [line(from).as_bytes(), &question[..n]].concat();
                // An answer that cannot be sent is a silence that the client sees.
                let _ = udp.send_to(&answer, from);
            }
        });
    }
    wait_for_the_end()
}

fn answer(mut stream: TcpStream) {
    let Ok(from) = stream.peer_addr() else { return };
    let mut question = [0; 2048];
    while stream.read(&mut question).is_ok_and(|n| n > 0) && stream.write_all(line(from).as_bytes()).is_ok() {}
}

fn line(from: SocketAddr) -> String {
    format!("{} {}\n", name(), from.ip().to_canonical())
}

fn ask(protocol: &str, to: &str, patience: &str) -> io::Result<()> {
    let to: SocketAddr = number(to)?;
    let patience = Duration::from_millis(number(patience)?);
    let answered = match protocol {
        "tcp" => ask_tcp(to, patience),
        "udp" => ask_udp(to, patience),
        other => return Err(io::Error::other(format!("`{other}` is neither tcp nor udp"))),
    };
    match answered {
        Ok(text) => println!("answered {}", text.lines().next().unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => println!("refused"),
        Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {
            println!("silence");
        }
        Err(error) => println!("failed {error}"),
    }
    Ok(())
}

fn ask_tcp(to: SocketAddr, patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(QUESTION)?;
    let mut text = [0; 256];
    let n = stream.read(&mut text)?;
    Ok(String::from_utf8_lossy(&text[..n]).into_owned())
}

fn ask_udp(to: SocketAddr, patience: Duration) -> io::Result<String> {
    let own: IpAddr = if to.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((own, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(patience))?;
    socket.send(QUESTION)?;
    let mut text = [0; 256];
    let n = socket.recv(&mut text)?;
    Ok(String::from_utf8_lossy(&text[..n]).into_owned())
}

fn count(to: &str) -> io::Result<()> {
    let to: SocketAddr = number(to)?;
    let over = observe::at_the_end_of_input();
    let (mut answered, mut not) = (0_u32, 0_u32);
    while !over.load(Ordering::Relaxed) {
        match ask_tcp(to, Duration::from_secs(2)) {
            Ok(_) => answered += 1,
            Err(_) => not += 1,
        }
        thread::sleep(Duration::from_millis(10));
    }
    println!("answered {answered}, not answered {not}");
    Ok(())
}
