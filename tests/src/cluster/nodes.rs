//! Real nodes for a [`ControlPlane`]: kubelet, containerd, runc, CNI plugins and kube-proxy, all on one machine.
//!
//! A node is a network, mount and process namespace, joined to the control plane's bridge. Killing its first process
//! ends everything on it: kubelet, containerd, shims, pods. What is left then are network namespaces and control
//! groups, which are removed.

mod config;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cellwall_controller::lab::Namespace;

use super::{ControlPlane, Kubectl, Process, Programs, SERVICES, ip};
use crate::wait_for;

/// The image of the tests' own program: pause, server and client.
pub const POD_IMAGE: &str = "cellwall-test-pod:1";

/// How a node's pods are wired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plugin {
    /// All pods' interfaces are ports of one bridge.
    Bridge,
    /// Each pod has a pair of its own, and the node routes.
    Ptp,
}

/// A node.
pub struct Node {
    name: String,
    number: u8,
    cgroup: String,
    /// Its first process, as this process sees it.
    first: u32,
    processes: Vec<Process>,
    directory: PathBuf,
    netns: Namespace,
}

/// A cluster with two nodes. Dropping it ends and removes everything.
pub struct Nodes {
    list: Vec<Node>,
    _managers: Vec<Process>,
    plane: ControlPlane,
}

impl Nodes {
    /// Node `node-1` with the bridge plugin and `node-2` with ptp, both Ready, with these image archives.
    pub fn start(images: &[&Path]) -> Self {
        let programs = Programs::of(&[]);
        for program in ["containerd", "ctr", "runc", "/usr/lib/cni/bridge", "nft", "iptables"] {
            let found = Command::new("sh")
                .arg("-c")
                .arg(format!("command -v {program}"))
                .output();
            assert!(
                found.is_ok_and(|found| found.status.success()),
                "{program} is missing; `make setup` installs it (Debian packages containerd, runc, \
                 containernetworking-plugins, nftables, iptables)"
            );
        }
        let mut plane = ControlPlane::with_programs(programs);
        let mut nodes: Vec<_> = [(1, Plugin::Bridge), (2, Plugin::Ptp)]
            .into_iter()
            .map(|(number, plugin)| Node::prepare(&mut plane, number, plugin))
            .collect();
        for node in &nodes {
            for other in nodes.iter().filter(|other| other.number != node.number) {
                node.route_to(other.number);
            }
        }
        let managers = managers(&plane);
        for node in &mut nodes {
            node.import(images);
            node.start(&plane);
        }
        let cluster = Self {
            list: nodes,
            _managers: managers,
            plane,
        };
        cluster.wait_ready();
        cluster
    }

    /// The control plane.
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// The control plane, to stop and start its API server.
    pub fn plane_mut(&mut self) -> &mut ControlPlane {
        &mut self.plane
    }

    /// `kubectl` as an administrator.
    pub fn admin(&self) -> Kubectl {
        self.plane.admin()
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.list
    }

    /// Waits until `kubectl get` of these words says so.
    #[track_caller]
    pub fn wait_until(&self, patience: Duration, words: &[&str], good: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let found = wait_for(patience, || {
            last = self.admin().run(words).out;
            if good(&last) {
                return Some(());
            }
            std::thread::sleep(Duration::from_millis(100));
            None
        });
        assert!(
            found.is_some(),
            "kubectl {words:?} still says:\n{last}\n{}",
            self.last_words()
        );
        last
    }

    /// Waits until all pods of a namespace are Ready, this many.
    #[track_caller]
    pub fn wait_for_pods(&self, namespace: &str, count: usize) {
        let words = [
            "get",
            "pods",
            "-n",
            namespace,
            "-o",
            "jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type==\"Ready\")].status}{\"\\n\"}{end}",
        ];
        self.wait_until(Duration::from_secs(90), &words, |text| {
            text.lines().count() == count && text.lines().all(|line| line.ends_with(" True"))
        });
    }

    fn wait_ready(&self) {
        let words = [
            "get",
            "nodes",
            "-o",
            "jsonpath={range .items[*]}{.status.conditions[?(@.type==\"Ready\")].status}{.spec.taints}{\"\\n\"}{end}",
        ];
        self.wait_until(Duration::from_secs(90), &words, |text| {
            text.lines().count() == self.list.len() && text.lines().all(|line| line == "True")
        });
    }

    /// The last words of everything on the nodes.
    pub fn last_words(&self) -> String {
        let all = self.list.iter().flat_map(|node| &node.processes);
        all.map(Process::last_words).collect::<Vec<_>>().join("\n")
    }
}

impl Node {
    /// Its name in the API.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the bridge.
    pub fn address(&self) -> String {
        format!("203.0.113.{}", 10 + self.number)
    }

    /// Its network namespace.
    pub fn netns(&self) -> &Namespace {
        &self.netns
    }

    /// A command on this node, as its root would run it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg("--target")
            .arg(self.first.to_string())
            .args(["--mount", "--net", "--pid", "--"])
            .arg(program);
        command
    }

    /// The namespaces, and containerd in them.
    fn prepare(plane: &mut ControlPlane, number: u8, plugin: Plugin) -> Self {
        let name = format!("node-{number}");
        let netns = Namespace::create(&format!("{}-{name}", plane.prefix())).expect("a network namespace");
        let address = 10 + number;
        plane.join(&netns, "eth0", address);
        ip(&format!("-n {} link set lo up", netns.name()));
        ip(&format!("-n {} route add default via 203.0.113.1", netns.name()));
        ip(&format!("-n {} -6 route add default via 2001:db8:3::1", netns.name()));
        let hub = plane.netns().name();
        ip(&format!(
            "-n {hub} route add 10.244.{number}.0/24 via 203.0.113.{address}"
        ));
        ip(&format!(
            "-n {hub} -6 route add 2001:db8:{number:x}4::/64 via 2001:db8:3::{address:x}"
        ));
        let directory = plane.directory().join(&name);
        std::fs::create_dir_all(directory.join("cni")).expect("a directory");
        let save = |file: &str, text: String| std::fs::write(directory.join(file), text).expect("a file is written");
        save("cni/10-pods.conflist", config::cni(plugin, number));
        save(
            "containerd.toml",
            config::containerd(&format!("docker.io/library/{POD_IMAGE}")),
        );
        let cgroup = format!("{}-{name}", plane.prefix());
        let ca = plane.authority().certificate();
        save(
            "kubelet.yaml",
            config::kubelet(&format!("203.0.113.{address}"), &ca.to_string_lossy(), &cgroup),
        );
        make_cgroups(&cgroup);
        let first = enter(&netns, &directory);
        let mut node = Self {
            name,
            number,
            cgroup,
            first: first_child(first.id()),
            processes: vec![first],
            directory,
            netns,
        };
        node.run("containerd", &["containerd", "--config", &node.path("containerd.toml")]);
        node
    }

    fn path(&self, file: &str) -> String {
        self.directory.join(file).to_string_lossy().into_owned()
    }

    fn run(&mut self, name: &str, words: &[&str]) {
        let mut command = self.command(words[0]);
        command.args(&words[1..]);
        let process = Process::start(name, command, &self.directory);
        self.processes.push(process);
    }

    fn route_to(&self, other: u8) {
        let (name, address) = (self.netns.name(), 10 + other);
        ip(&format!(
            "-n {name} route add 10.244.{other}.0/24 via 203.0.113.{address}"
        ));
        ip(&format!(
            "-n {name} -6 route add 2001:db8:{other:x}4::/64 via 2001:db8:3::{address:x}"
        ));
    }

    /// Runs `ctr` on the images of the node's pods.
    fn ctr(&self, words: &[&str]) -> std::process::Output {
        let mut command = self.command("ctr");
        command.args(["--address", "/run/containerd/containerd.sock", "-n", "k8s.io"]);
        command.args(words).output().expect("ctr runs")
    }

    /// Puts image archives into the node's containerd.
    pub fn import(&self, images: &[&Path]) {
        let up = wait_for(Duration::from_secs(30), || {
            self.ctr(&["version"]).status.success().then_some(())
        });
        assert!(
            up.is_some(),
            "containerd does not answer: {}",
            self.processes[1].last_words()
        );
        for image in images {
            let done = self.ctr(&["images", "import", &image.to_string_lossy()]);
            let said = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "import of {}: {said}", image.display());
        }
    }

    /// Gives an image that is there another name, too.
    pub fn tag_image(&self, image: &str, name: &str) {
        let done = self.ctr(&["images", "tag", "--force", image, name]);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{image} as {name}: {said}");
    }

    /// kubelet and kube-proxy.
    fn start(&mut self, plane: &ControlPlane) {
        let (name, number) = (self.name.clone(), self.number);
        // The node's ranges of pod addresses are said by the Node.
        plane.admin().apply(&format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n\
             spec: {{podCIDR: 10.244.{number}.0/24, podCIDRs: [10.244.{number}.0/24, \"2001:db8:{number:x}4::/64\"]}}\n"
        ));
        let authority = plane.authority();
        let own = authority.client(&name, &format!("system:node:{name}"), "system:nodes");
        let kubeconfig = plane.kubeconfig_of_certificate(&name, &own);
        let kubelet = plane.programs().path("kubelet").to_string_lossy().into_owned();
        self.run(
            "kubelet",
            &[
                &kubelet,
                &format!("--config={}", self.path("kubelet.yaml")),
                &format!("--kubeconfig={}", kubeconfig.display()),
                &format!("--hostname-override={name}"),
                &format!("--node-ip={},2001:db8:3::{:x}", self.address(), 10 + number),
            ],
        );
        let proxy = authority.client(&format!("proxy-{name}"), "system:kube-proxy", "system:node-proxiers");
        let kubeconfig = plane.kubeconfig_of_certificate(&format!("proxy-{name}"), &proxy);
        let program = plane.programs().path("kube-proxy").to_string_lossy().into_owned();
        self.run(
            "kube-proxy",
            &[
                &program,
                &format!("--kubeconfig={}", kubeconfig.display()),
                &format!("--hostname-override={name}"),
                "--detect-local-mode=NodeCIDR",
                "--proxy-mode=nftables",
                // The machine's limit is not ours to set.
                "--conntrack-max-per-core=0",
            ],
        );
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The first process is the first that was started; with it everything in its namespace ends.
        for process in &mut self.processes {
            process.kill();
        }
        let gone = wait_for(Duration::from_secs(10), || remove_cgroups(&self.cgroup).then_some(()));
        assert!(
            gone.is_some() || std::thread::panicking(),
            "control groups of {} cannot be removed",
            self.cgroup
        );
    }
}

/// The node's first process, in namespaces of its own; returns when they are ready.
fn enter(netns: &Namespace, directory: &Path) -> Process {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cluster/nodes/enter.sh");
    let mut command = Process::command(netns, Path::new("unshare"));
    command
        .args(["--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "sh"])
        .arg(script)
        .arg(directory);
    let mut process = Process::start("node", command, directory);
    let ready = wait_for(Duration::from_secs(10), || {
        directory.join("ready").exists().then_some(())
    });
    assert!(
        ready.is_some() && process.is_running(),
        "the node's namespaces: {}",
        process.last_words()
    );
    process
}

/// The child of a process that has one.
fn first_child(parent: u32) -> u32 {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let child = text.split_whitespace().next().and_then(|word| word.parse().ok());
    child.unwrap_or_else(|| panic!("{path} names no child"))
}

/// Controller manager and scheduler.
fn managers(plane: &ControlPlane) -> Vec<Process> {
    let kubeconfig = plane.admin().kubeconfig().display().to_string();
    let directory = plane.directory();
    let ca = plane.authority().certificate();
    let start = |name: &str, words: &[String]| {
        let mut command = Process::command(plane.netns(), plane.programs().path(name));
        command.arg(format!("--kubeconfig={kubeconfig}"));
        command.args(["--leader-elect=false", "--profiling=false"]).args(words);
        Process::start(name, command, directory)
    };
    vec![
        start(
            "kube-controller-manager",
            &[
                format!("--root-ca-file={}", ca.display()),
                format!("--service-cluster-ip-range={SERVICES}"),
                "--allocate-node-cidrs=false".to_owned(),
            ],
        ),
        start("kube-scheduler", &[]),
    ]
}

/// The roots of all hierarchies: one where control groups are version 2, one for each controller where they are not.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    let entries = std::fs::read_dir(root).expect("control groups are mounted");
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| path.join("cgroup.procs").exists()).collect()
}

fn make_cgroups(name: &str) {
    for root in hierarchies() {
        let path = root.join(name);
        std::fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// Whether nothing is left of it.
fn remove_cgroups(name: &str) -> bool {
    let left = hierarchies().into_iter().filter(|root| !remove_tree(&root.join(name)));
    left.count() == 0
}

/// A control group goes when those below it have gone; its files go with it.
fn remove_tree(path: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(path) else {
        return true;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    std::fs::remove_dir(path).is_ok()
}
