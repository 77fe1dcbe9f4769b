//! Who asks, who answers, and what arrived.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cellwall_controller::lab::{Outcome, Server, inside, tcp_ask};
use cellwall_policy::generate::Dice;

use super::model::{Expected, Incarnation, TCP, Timeline, UDP};
use super::observed::{Kind, Observed};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(250);
/// How often a connection that must pass is tried again, with more patience each time: a busy machine loses and delays.
const TRIES: u32 = 8;
/// Questions over one socket before it is given up.
const LASTING: u64 = 20;

/// Numbers of datagrams that reached a server.
pub(super) type Arrivals = Arc<Mutex<HashSet<u64>>>;

static NUMBER: AtomicU64 = AtomicU64::new(1);

/// The servers of one pod.
#[derive(Debug)]
pub(super) struct Servers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    _tcp: Server,
}

impl Servers {
    pub(super) fn start(netns: &str, arrivals: &Arrivals) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sockets = inside(netns, || UDP.map(|port| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))));
        let sockets = sockets
            .expect("the pod's namespace")
            .map(|socket| socket.expect("a server"));
        let threads = sockets.into_iter().map(|socket| {
            let (stop, arrivals) = (stop.clone(), arrivals.clone());
            std::thread::spawn(move || serve(&socket, &arrivals, &stop))
        });
        Self {
            threads: threads.collect(),
            stop,
            _tcp: Server::start(netns, TCP).expect("a server"),
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, arrivals: &Arrivals, stop: &AtomicBool) {
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .expect("a time-out");
    let mut number = [0; 8];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((8, from)) = socket.recv_from(&mut number) {
            arrivals
                .lock()
                .expect("no thread failed")
                .insert(u64::from_be_bytes(number));
            let _unsent = socket.send_to(&number, from);
        }
    }
}

/// A thread that asks until it is told to stop.
pub(super) fn client(
    seed: u64,
    arrivals: Arrivals,
    timeline: Arc<Timeline>,
    observed: Arc<Observed>,
    stop: Arc<AtomicBool>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut client = Client {
            dice: Dice::new(seed),
            arrivals,
            timeline,
            observed,
        };
        while !stop.load(Ordering::Relaxed) {
            client.ask_somebody();
        }
    })
}

struct Client {
    dice: Dice,
    arrivals: Arrivals,
    timeline: Arc<Timeline>,
    observed: Arc<Observed>,
}

/// Who asks whom.
struct Pair {
    from: Incarnation,
    to: Incarnation,
    v4: bool,
    port: u16,
}

impl Client {
    fn ask_somebody(&mut self) {
        let (_, model) = self.timeline.confirmed();
        if model.pods.len() < 2 {
            return std::thread::sleep(Duration::from_millis(10));
        }
        let from = self.dice.pick(&model.pods).clone();
        let to = self.dice.pick(&model.pods).clone();
        if from.name == to.name {
            return;
        }
        let pair = Pair {
            from,
            to,
            v4: self.dice.chance(1, 2),
            port: *self.dice.pick(&UDP),
        };
        match self.dice.between(0, 2) {
            0 => self.ask(Kind::Tcp, &Pair { port: TCP, ..pair }, None),
            1 => self.ask(Kind::Udp, &pair, None),
            _ => {
                let Ok(Ok(socket)) = inside(&pair.from.lab.netns, socket) else {
                    return;
                };
                for _ in 0..LASTING {
                    self.ask(Kind::LastingUdp, &pair, Some(&socket));
                    std::thread::sleep(Duration::from_millis(self.dice.between(0, 20)));
                }
            }
        }
    }

    /// One connection, and what must have become of it.
    fn ask(&self, kind: Kind, pair: &Pair, lasting: Option<&UdpSocket>) {
        for attempt in 1..=TRIES {
            let (since, _) = self.timeline.confirmed();
            let patience = PATIENCE * attempt;
            let (answered, arrived) = match kind {
                Kind::Tcp => {
                    let to = SocketAddr::new(pair.to.lab.address(pair.v4), pair.port);
                    let answered =
                        tcp_ask(&pair.from.lab.netns, to, patience).is_ok_and(|seen| seen == Outcome::Answered);
                    (answered, answered)
                }
                Kind::Udp => match inside(&pair.from.lab.netns, socket) {
                    Ok(Ok(socket)) => self.datagram(&socket, pair, patience),
                    _ => return,
                },
                Kind::LastingUdp => match lasting {
                    Some(socket) => self.datagram(socket, pair, patience),
                    None => return,
                },
            };
            let expected = self.timeline.expected(since, &pair.from.name, &pair.to.name, pair.port);
            let wrong = match expected {
                Expected::Drop => answered || arrived,
                Expected::Pass => !answered,
                Expected::Either => false,
            };
            let again = expected == Expected::Pass && wrong && attempt < TRIES;
            if again {
                self.observed.late();
                continue;
            }
            let shown = || {
                let to = pair.to.lab.address(pair.v4);
                format!(
                    "{kind:?} {} -> {} ({to}) {}: {expected:?}, answered {answered}, arrived {arrived}",
                    pair.from.name, pair.to.name, pair.port
                )
            };
            self.observed.connection(kind, expected, answered, wrong.then(shown));
            return;
        }
    }

    /// One datagram: whether its answer came, and whether it arrived at all.
    fn datagram(&self, socket: &UdpSocket, pair: &Pair, patience: Duration) -> (bool, bool) {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let to = match pair.to.lab.address(pair.v4) {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        // A pod that has gone sends nothing: the timeline says so too.
        let _unsent = socket.send_to(&number.to_be_bytes(), (to, pair.port));
        let deadline = Instant::now() + patience;
        let mut answered = false;
        while !answered {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
                break;
            }
            let mut heard = [0; 8];
            answered = matches!(socket.recv(&mut heard), Ok(8)) && u64::from_be_bytes(heard) == number;
        }
        let arrived = self.arrivals.lock().expect("no thread failed").remove(&number);
        (answered, arrived)
    }
}

fn socket() -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))
}
