//! A real Kubernetes control plane, for tests: etcd and kube-apiserver in a network namespace of their own.
//!
//! ```text
//!   namespace cpXXXX-hub: etcd, kube-apiserver, kubectl        br0 203.0.113.1/24, 2001:db8:3::1/64
//!         |                    |
//!       node (joined)        node (joined)                      203.0.113.11 ...
//! ```
//!
//! Each control plane has the same addresses and ports, and none sees another. What has to reach the API server is
//! joined to the bridge ([`ControlPlane::join`]) or run in the namespace ([`ControlPlane::netns`]).

mod certificates;
mod kubectl;
mod nodes;
mod ours;
mod process;
mod programs;
pub mod proxy;
mod watched;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cellwall_controller::lab::Namespace;

use crate::wait_for;
pub use certificates::{Authority, Identity};
pub use kubectl::{Answer, Kubectl};
pub use nodes::{Node, Nodes, POD_IMAGE, Plugin};
pub use ours::RIGHTS;
pub use process::Process;
pub use programs::Programs;
pub use watched::config;

/// Where the API server answers, from the hub and from everything that joined it.
pub const SERVER: &str = "https://203.0.113.1:6443";
/// Addresses of Services, of both families.
pub const SERVICES: &str = "10.96.0.0/16,2001:db8:5::/112";
/// How long the API server may take until it is ready, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_mins(2);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// etcd and kube-apiserver with data of their own. Dropping it ends and removes everything. Its processes also end with
/// the thread that started them: keep it where it was made.
pub struct ControlPlane {
    // Dropped in this order: who asks, who is asked, where they live.
    api: Option<Process>,
    etcd: Option<Process>,
    programs: Programs,
    authority: Authority,
    server: Identity,
    kubelet_client: Identity,
    tokens: Identity,
    prefix: String,
    joined: u32,
    hub: Namespace,
    directory: tempfile::TempDir,
}

impl ControlPlane {
    /// Both started, and the API server ready.
    pub fn start() -> Self {
        Self::with_programs(Programs::of(&["etcd", "kube-apiserver", "kubectl"]))
    }

    /// The same, with programs that were asked for before (those three among them).
    pub fn with_programs(programs: Programs) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test needs root: it makes network namespaces"
        );
        let prefix = format!("cp{}", crate::agent::short(unique()));
        let hub = hub(&prefix);
        let directory = tempfile::tempdir().expect("a directory");
        let authority = Authority::new(directory.path());
        let names = [
            "203.0.113.1",
            "2001:db8:3::1",
            "127.0.0.1",
            "10.96.0.1",
            "kubernetes",
            "kubernetes.default.svc",
        ];
        let mut plane = Self {
            api: None,
            etcd: None,
            programs,
            server: authority.server("kube-apiserver", &names),
            kubelet_client: authority.client("kubelet-client", "kube-apiserver", "system:masters"),
            tokens: authority.token_key("tokens"),
            authority,
            prefix,
            joined: 0,
            hub,
            directory,
        };
        let admin = plane.authority.client("admin", "admin", "system:masters");
        plane.kubeconfig_of_certificate("admin", &admin);
        plane.start_etcd();
        plane.start_api();
        plane
    }

    /// The network namespace in which `kubectl` runs and the API server answers.
    pub fn netns(&self) -> &Namespace {
        &self.hub
    }

    /// Logs, keys, kubeconfigs and etcd's data.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What signs certificates that the API server trusts.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The programs.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// What the names of its namespaces and interfaces begin with: 6 characters.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    fn start_etcd(&mut self) {
        let mut command = Process::command(&self.hub, self.programs.path("etcd"));
        command.arg("--data-dir").arg(self.directory.path().join("etcd"));
        command.args([
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=default=http://127.0.0.1:2380",
            // The machine does not lose power in a test; killing etcd loses nothing that was written.
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]);
        self.etcd = Some(Process::start("etcd", command, self.directory.path()));
    }

    /// Starts the API server, on the data that there is, and waits until it is ready.
    pub fn start_api(&mut self) {
        self.start_api_with(&[]);
    }

    /// The same, with more arguments.
    pub fn start_api_with(&mut self, arguments: &[&str]) {
        assert!(self.api.is_none(), "the API server is running already");
        let mut command = self.api_command();
        command.args(arguments);
        self.api = Some(Process::start("kube-apiserver", command, self.directory.path()));
        let admin = self.admin();
        let ready = wait_for(PATIENCE, || {
            let api = self.api.as_mut()?;
            assert!(api.is_running(), "kube-apiserver ended: {}", api.last_words());
            std::thread::sleep(Duration::from_millis(100));
            admin.run(&["get", "--raw", "/readyz"]).done.then_some(())
        });
        let words = self.api.as_ref().map(Process::last_words);
        assert!(ready.is_some(), "the API server is not ready: {words:?}");
    }

    fn api_command(&self) -> Command {
        let mut command = Process::command(&self.hub, self.programs.path("kube-apiserver"));
        for (flag, path) in [
            ("tls-cert-file", &self.server.certificate),
            ("tls-private-key-file", &self.server.key),
            ("client-ca-file", &self.authority.certificate()),
            ("kubelet-client-certificate", &self.kubelet_client.certificate),
            ("kubelet-client-key", &self.kubelet_client.key),
            ("service-account-key-file", &self.tokens.certificate),
            ("service-account-signing-key-file", &self.tokens.key),
        ] {
            command.arg(format!("--{flag}={}", path.display()));
        }
        command.arg(format!("--service-cluster-ip-range={SERVICES}")).args([
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=0.0.0.0",
            "--advertise-address=203.0.113.1",
            "--secure-port=6443",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=Node,RBAC",
            "--kubelet-preferred-address-types=InternalIP",
            "--profiling=false",
        ]);
        command
    }

    /// SIGKILL to the API server; etcd keeps the data. (Its orderly end takes a minute.)
    pub fn kill_api(&mut self) {
        self.api = None;
    }

    /// The API server stands still, with its connections open: SIGSTOP.
    pub fn stop_api(&self) {
        self.api.as_ref().expect("the API server runs").stop();
    }

    /// It goes on after [`ControlPlane::stop_api`].
    pub fn continue_api(&self) {
        self.api.as_ref().expect("the API server was stopped").go_on();
    }

    /// `kubectl` as an administrator who may do anything.
    pub fn admin(&self) -> Kubectl {
        self.kubectl(&self.kubeconfig("admin"))
    }

    /// `kubectl` as whoever that configuration says.
    pub fn kubectl(&self, kubeconfig: &Path) -> Kubectl {
        Kubectl {
            netns: Path::new("/run/netns").join(self.hub.name()),
            program: self.programs.path("kubectl").to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            cache: self.directory.path().join("discovery"),
        }
    }

    /// A namespace in which pods can be made although no controller runs: with its `default` service account.
    pub fn namespace(&self, name: &str) {
        let text = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n---\n\
             apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: default, namespace: {name}}}\n"
        );
        self.admin().apply(&text);
    }

    /// A configuration for a real service account, with a token from the API server that is valid for an hour.
    pub fn kubeconfig_of_service_account(&self, namespace: &str, name: &str) -> PathBuf {
        let token = self
            .admin()
            .run(&["create", "token", name, "--namespace", namespace, "--duration", "1h"])
            .expect("a token");
        let file = format!("{namespace}-{name}");
        self.save_kubeconfig(&file, &format!("token: \"{}\"", token.trim()))
    }

    /// The same, but the API server is reached by this URL.
    pub fn kubeconfig_through(&self, namespace: &str, name: &str, url: &str) -> PathBuf {
        let direct = self.kubeconfig_of_service_account(namespace, name);
        let text = std::fs::read_to_string(&direct).expect("a kubeconfig");
        let path = direct.with_extension("through");
        std::fs::write(&path, text.replace(SERVER, url)).expect("a kubeconfig is written");
        path
    }

    /// A configuration for whoever the certificate names.
    pub fn kubeconfig_of_certificate(&self, file: &str, identity: &Identity) -> PathBuf {
        let (certificate, key) = (identity.certificate.display(), identity.key.display());
        self.save_kubeconfig(
            file,
            &format!("client-certificate: \"{certificate}\"\n    client-key: \"{key}\""),
        )
    }

    fn kubeconfig(&self, file: &str) -> PathBuf {
        self.directory.path().join(format!("{file}.kubeconfig"))
    }

    fn save_kubeconfig(&self, file: &str, user: &str) -> PathBuf {
        let path = self.kubeconfig(file);
        let ca = self.authority.certificate();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
             clusters:\n- name: it\n  cluster:\n    server: {SERVER}\n    certificate-authority: \"{}\"\n\
             users:\n- name: it\n  user:\n    {user}\n\
             contexts:\n- name: it\n  context: {{cluster: it, user: it}}\n",
            ca.display()
        );
        std::fs::write(&path, text).expect("a kubeconfig is written");
        path
    }

    /// Joins a network namespace to the bridge, as a node: interface `interface` with 203.0.113.NUMBER and
    /// 2001:db8:3::NUMBER (NUMBER in hexadecimal there).
    pub fn join(&mut self, netns: &Namespace, interface: &str, number: u8) {
        let (hub, node) = (self.hub.name(), netns.name());
        let port = format!("{}p{}", self.prefix, self.joined);
        self.joined += 1;
        ip(&format!(
            "link add {port} netns {hub} type veth peer name {interface} netns {node}"
        ));
        ip(&format!("-n {hub} link set {port} master br0 up"));
        ip(&format!("-n {node} addr add 203.0.113.{number}/24 dev {interface}"));
        ip(&format!(
            "-n {node} addr add 2001:db8:3::{number:x}/64 dev {interface} nodad"
        ));
        ip(&format!("-n {node} link set {interface} up"));
    }
}

/// The namespace with the bridge.
fn hub(prefix: &str) -> Namespace {
    let hub = Namespace::create(&format!("{prefix}-hub")).expect("a network namespace");
    let name = hub.name();
    ip(&format!("-n {name} link set lo up"));
    ip(&format!("-n {name} link add br0 type bridge"));
    ip(&format!("-n {name} addr add 203.0.113.1/24 dev br0"));
    ip(&format!("-n {name} addr add 2001:db8:3::1/64 dev br0 nodad"));
    ip(&format!("-n {name} link set br0 up"));
    hub
}

/// Runs one line of `ip`, which has to succeed.
fn ip(line: &str) {
    let output = Command::new("ip").args(line.split(' ')).output().expect("ip runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {line}: {said}");
}

/// A number that no other control plane of this machine has.
fn unique() -> u32 {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::process::id().wrapping_mul(64).wrapping_add(number)
}
