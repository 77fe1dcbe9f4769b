//! How long it takes: from `kubectl apply` of a rule to packets that are judged by it, on both nodes; from a pod that is
//! created to its identity in the kernel.
//!
//! `CELLWALL_CLUSTER_CHANGES` and `CELLWALL_CLUSTER_PODS` say how often; a few times where they say nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cellwall_tests::cluster::Answer;
use cellwall_tests::first_packets::{Times, how_often};

use crate::shop::{Shop, Wired, pod};
use crate::traffic::Running;

/// How long one change, or one pod, may take before the test gives up.
const PATIENCE: Duration = Duration::from_mins(1);
/// Seconds.
const DAY: u64 = 86_400;

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970")
}

/// Prints them; answers the one in the middle.
fn tell(times: Vec<Duration>, what: &str) -> Duration {
    let (number, times) = (times.len(), Times::new(times.into_iter()));
    println!("{what}: {times}, of {number}");
    times.at(50)
}

/// When the API server had answered the last write of a `kubectl -v=6`: since 1970, by the machine's clock.
fn written(answer: &Answer) -> Duration {
    // I1128 11:14:28.123456   12345 round_trippers.go:632] "Response" verb="PATCH" url=... status="200 OK" milliseconds=5
    let is_write = |line: &&str| line.contains("verb=\"PATCH\"") || line.contains("verb=\"POST\"");
    let line = answer
        .err
        .lines()
        .rev()
        .filter(|line| line.contains("\"Response\""))
        .find(is_write);
    let line = line.unwrap_or_else(|| panic!("no write in {}", answer.err));
    of_day(line.split_whitespace().nth(1).expect("a time"))
}

/// A time of this day, `11:14:28.123456`.
fn of_day(text: &str) -> Duration {
    let mut parts = text
        .trim_end_matches('Z')
        .split(':')
        .map(|part| part.parse::<f64>().expect("a number"));
    let mut next = || parts.next().expect("hours, minutes, seconds");
    let seconds = next() * 3600.0 + next() * 60.0 + next();
    let midnight = Duration::from_secs(now().as_secs() / DAY * DAY);
    midnight + Duration::from_secs_f64(seconds)
}

/// The next `open` or `closed` of an observer that was not before `since`, and when it was. A busy machine may leave an
/// answer out between two changes; that is none.
fn turned(observer: &Running, word: &str, since: Duration) -> Duration {
    loop {
        let line = observer.line(PATIENCE).unwrap_or_else(|| panic!("never {word}"));
        let time = line.strip_prefix(word).map(|time| time.trim().parse());
        let Some(time) = time.map(|time| Duration::from_nanos(time.expect("nanoseconds"))) else {
            continue;
        };
        if time >= since {
            return time;
        }
    }
}

/// The line in which a node's agent says that a pod's identity is in force, without colours.
pub(crate) fn identity(agent: &Running, pod: &str) -> String {
    let named = format!("shop/{pod}\"");
    loop {
        let line = agent.line(PATIENCE).unwrap_or_else(|| panic!("{pod} never was known"));
        if line.contains("identity in force") && line.contains(&named) {
            return plain(&line);
        }
    }
}

impl Shop {
    fn apply_timed(&self, manifest: &str) -> (Duration, Duration) {
        let started = now();
        let answer = self
            .kubectl
            .feed(&["apply", "--server-side", "-v=6", "-f", "-"], manifest);
        assert!(answer.done, "{}", answer.err);
        (started, written(&answer))
    }

    /// A rule that is applied again and again, refusing and letting through, while both nodes' pods ask.
    pub(crate) fn tells_how_long_a_rule_takes(&self) {
        let observers = ["1", "2"].map(|node| {
            let to = self.at(&format!("other-{node}"));
            let observer = self.start(&format!("web-{node}"), &["observe", "udp", &to]);
            turned(&observer, "open", Duration::ZERO);
            observer
        });
        let (mut from_start, mut from_answer) = (Vec::new(), Vec::new());
        for number in 0..how_often("CELLWALL_CLUSTER_CHANGES", 20) {
            let (action, word) = if number % 2 == 0 {
                ("Drop", "closed")
            } else {
                ("Pass", "open")
            };
            let (started, answered) = self.apply_timed(&format!(
                "apiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {{name: flip}}\nspec: {{source: {{object: web}}, \
                 destination: {{object: other}}, ports: [{{protocol: UDP, port: 8080}}], action: {action}, priority: 7}}\n"
            ));
            let turned = observers.iter().map(|observer| turned(observer, word, started)).max();
            let turned = turned.expect("two observers");
            from_start.push(turned.saturating_sub(started));
            from_answer.push(turned.saturating_sub(answered));
        }
        let middle = tell(
            from_answer,
            "a rule, from the API server's answer to judged by it on both nodes",
        );
        tell(from_start, "a rule, from the start of kubectl apply to the same");
        assert!(middle < Duration::from_secs(2), "{middle:?}");
        for observer in observers {
            observer.finish();
        }
        self.run(&["delete", "drule", "flip"]);
    }

    /// Pods that are created one after another; the node's agent says when each one's identity was in the kernel.
    pub(crate) fn tells_how_long_a_pod_takes(&self) {
        let agents = ["node-1", "node-2"].map(|node| self.follow_agent(node));
        let (mut from_created, mut startups) = (Vec::new(), Vec::new());
        for number in 0..how_often("CELLWALL_CLUSTER_PODS", 6) {
            let (name, node) = (format!("late-{number}"), number % 2);
            let manifest = pod(
                &name,
                "web",
                u8::try_from(node + 1).expect("two"),
                Wired::Own { host_port: None },
            );
            let (_, created) = self.apply_timed(&manifest);
            let line = identity(&agents[node], &name);
            let at = line.split(['T', ' ']).nth(1).expect("a time");
            from_created.push(of_day(at).saturating_sub(created));
            let took = line.rsplit("startup=").next().expect("how long");
            startups.push(seconds(took.split_whitespace().next().expect("a time")));
            self.run(&["delete", "pod", &name, "-n", "shop", "--grace-period=0", "--force"]);
        }
        tell(from_created, "a pod, from created to its identity in the kernel");
        tell(startups, "a pod, in startup");
    }
}

/// A line without the escapes of colours.
fn plain(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.split_once('m').map_or("", |(_, rest)| rest)
    })
}

/// As Rust writes a duration: `1.25s`, `310.5ms`, `87µs`.
fn seconds(text: &str) -> Duration {
    let split = text.find(|c: char| c != '.' && !c.is_ascii_digit()).expect("a unit");
    let number: f64 = text[..split].parse().expect("a number");
    let unit = match &text[split..] {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        "ns" => 1e-9,
        other => panic!("`{other}` is no unit"),
    };
    Duration::from_secs_f64(number * unit)
}
