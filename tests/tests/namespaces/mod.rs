//! A node and its pods as network namespaces, made and removed by the test that needs them.
#![allow(dead_code, reason = "each test file takes what it needs")]

pub(crate) mod flood;

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use cellwall_datapath::kernel::{Place, uninstall};
use cellwall_datapath::links::{Link, Links};
use nix::sched::{CloneFlags, setns};

/// A node: a namespace of its own, whose pods are removed with it.
pub(crate) struct Node {
    name: String,
    spaces: Vec<String>,
    places: Vec<Place>,
}

/// Runs a command and returns what it printed; a failure fails the test with what it said.
pub(crate) fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether a command succeeds.
pub(crate) fn succeeds(command: &str) -> bool {
    let mut words = command.split_whitespace();
    Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap()
        .status
        .success()
}

fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("cwd{}n{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Node {
    /// A node without pods.
    pub(crate) fn new() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "network namespaces and programs need root"
        );
        let name = unique();
        run(&format!("ip netns add {name}"));
        run(&format!("ip -n {name} link set lo up"));
        Self {
            spaces: vec![name.clone()],
            name,
            places: Vec::new(),
        }
    }

    /// The node's own namespace.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Another namespace with nothing in it.
    pub(crate) fn space(&mut self) -> String {
        let name = unique();
        run(&format!("ip netns add {name}"));
        self.spaces.push(name.clone());
        name
    }

    /// A pod joined by a veth whose host side is `host`, with 192.0.2.`number` inside and 192.0.2.254 outside.
    pub(crate) fn pod(&mut self, host: &str, number: u8) -> String {
        let pod = self.space();
        self.join(host, &pod, "eth0");
        run(&format!("ip -n {pod} address add 192.0.2.{number}/24 dev eth0"));
        run(&format!("ip -n {} address add 192.0.2.254/24 dev {host}", self.name));
        pod
    }

    /// Joins an existing pod by one more veth.
    pub(crate) fn join(&self, host: &str, pod: &str, inside: &str) {
        run(&format!(
            "ip -n {} link add {host} type veth peer name {inside} netns {pod}",
            self.name
        ));
        run(&format!("ip -n {pod} link set {inside} up"));
        run(&format!("ip -n {} link set {host} up", self.name));
    }

    /// An instance name that is uninstalled with the node.
    pub(crate) fn place(&mut self) -> Place {
        let place = Place::new(&unique()).unwrap();
        self.places.push(place.clone());
        place
    }

    /// Runs `body` in a thread inside the node's namespace.
    pub(crate) fn within<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        inside(&self.name, body)
    }

    /// The interface of this name, as the node lists it.
    pub(crate) fn link(&self, name: &str) -> Link {
        let links = self.within(|| Links::open().unwrap().list().unwrap());
        links.into_iter().find(|link| link.name == name).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for place in &self.places {
            // A failed test has said enough already.
            let _removed = inside(&self.name, || uninstall(place));
        }
        for space in &self.spaces {
            let _gone = Command::new("ip").args(["netns", "del", space]).output();
        }
    }
}

/// Runs `body` in a thread inside a namespace.
pub(crate) fn inside<T: Send>(space: &str, body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let file = std::fs::File::open(format!("/run/netns/{space}")).unwrap();
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            body()
        });
        match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
