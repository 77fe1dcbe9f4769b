//! The cluster of these tests: two nodes, the namespace `shop` with pods on both, and questions about it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cellwall_tests::agent::binary;
use cellwall_tests::cluster::{Kubectl, Nodes, POD_IMAGE};
use cellwall_tests::wait_for;
use serde_json::Value;

/// Ports of every node that lead to the pods of `db`, and to those of `web`.
pub(crate) const DB_NODE_PORT: u16 = 30080;
pub(crate) const WEB_NODE_PORT: u16 = 30081;
/// A port of node-1 that leads to its pod of `db`.
pub(crate) const DB_HOST_PORT: u16 = 8085;
/// Where the agents are.
pub(crate) const SYSTEM: &str = "cellwall-system";

fn image(file: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let target = test.ancestors().nth(3).expect("tests lie in target/PROFILE/deps");
    let path = target.join(file);
    assert!(
        path.exists(),
        "{} is missing; run scripts/image.sh tests",
        path.display()
    );
    path
}

/// A pod of the shop.
pub(crate) struct Pod {
    pub(crate) name: String,
    /// IPv4, IPv6.
    pub(crate) addresses: Vec<String>,
}

/// The namespace `shop`: web, db and other on both nodes, and one pod on node-2's own network.
pub(crate) struct Shop {
    pub(crate) cluster: Nodes,
    pub(crate) kubectl: Kubectl,
    pub(crate) pods: Vec<Pod>,
}

impl Shop {
    /// Both nodes ready, all pods running.
    pub(crate) fn open() -> Self {
        let started = Instant::now();
        let cluster = Nodes::start(&[&image("cellwall-test-pod.tar"), &image("cellwall-image.tar")]);
        println!("two nodes ready after {:.1} s", started.elapsed().as_secs_f32());
        let kubectl = cluster.admin();
        kubectl.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
        let account = ["get", "serviceaccount", "-n", "shop", "-o", "name"];
        cluster.wait_until(Duration::from_secs(30), &account, |text| text.contains("default"));
        let mut manifests = service("db", DB_NODE_PORT) + &service("web", WEB_NODE_PORT);
        for app in ["web", "db", "other"] {
            for node in 1..=2 {
                let host_port = (app == "db" && node == 1).then_some(DB_HOST_PORT);
                manifests += &pod(&format!("{app}-{node}"), app, node, Wired::Own { host_port });
            }
        }
        manifests += &pod("host-2", "host", 2, Wired::Host);
        kubectl.apply(&manifests);
        cluster.wait_for_pods("shop", 7);
        println!("seven pods ready after {:.1} s", started.elapsed().as_secs_f32());
        let mut shop = Self {
            cluster,
            kubectl,
            pods: Vec::new(),
        };
        let all = shop.json(&["get", "pods", "-n", "shop"]);
        let addresses = |pod: &Value| {
            let all = pod["status"]["podIPs"].as_array().into_iter().flatten();
            all.filter_map(|one| Some(one["ip"].as_str()?.to_owned())).collect()
        };
        let items = all["items"].as_array().expect("pods").iter();
        shop.pods = items
            .map(|pod| Pod {
                name: pod["metadata"]["name"].as_str().expect("a name").to_owned(),
                addresses: addresses(pod),
            })
            .collect();
        shop
    }

    /// `kubectl` with these words, which has to succeed.
    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> String {
        self.kubectl.run(words).expect("kubectl")
    }

    /// The same with `-o json`.
    #[track_caller]
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let text = self.run(&[words, &["-o", "json"]].concat());
        serde_json::from_str(&text).expect("JSON")
    }

    /// A pod's address: 0 is IPv4, 1 is IPv6.
    pub(crate) fn address(&self, pod: &str, family: usize) -> String {
        let found = self
            .pods
            .iter()
            .find(|one| one.name == pod)
            .expect("a pod of this name");
        let address = found.addresses.get(family);
        let address = address.unwrap_or_else(|| panic!("{pod} has the addresses {:?}", found.addresses));
        socket(address, 8080)
    }

    /// Where a pod's server is, by IPv4.
    pub(crate) fn at(&self, pod: &str) -> String {
        self.address(pod, 0)
    }

    /// A Service's port 80: 0 is IPv4, 1 is IPv6.
    pub(crate) fn service(&self, name: &str, family: usize) -> String {
        let service = self.json(&["get", "service", name, "-n", "shop"]);
        let address = service["spec"]["clusterIPs"][family].as_str();
        socket(address.unwrap_or_else(|| panic!("{}", service["spec"])), 80)
    }

    /// The agent's pod on a node.
    pub(crate) fn agent_on(&self, node: &str) -> String {
        let field = format!("spec.nodeName={node}");
        let words = ["get", "pods", "-n", SYSTEM, "--field-selector", &field, "-o", "name"];
        self.run(&words).trim().to_owned()
    }

    /// What the program says of all nodes, asked from where an administrator sits: each line has its node.
    pub(crate) fn cellwall_everywhere(&self, words: &[&str]) -> String {
        let all = [&["--all-nodes"], words, &["--format", "json"]].concat();
        let asked = self.kubectl.beside(&binary(), &all).output().expect("cellwall starts");
        let err = String::from_utf8_lossy(&asked.stderr);
        assert!(asked.status.success(), "{words:?}: {err}");
        String::from_utf8_lossy(&asked.stdout).into_owned()
    }

    /// A `cellwall` command in a node's agent.
    #[track_caller]
    pub(crate) fn cellwall(&self, node: &str, words: &[&str]) -> String {
        let pod = self.agent_on(node);
        let all = [&["exec", "-n", SYSTEM, &pod, "--", "/cellwall"], words].concat();
        self.run(&all)
    }

    /// Waits until the DaemonSet is rolled out; says what the agents said where it is not.
    pub(crate) fn rollout(&self) {
        let words = [
            "rollout",
            "status",
            "daemonset/cellwall",
            "-n",
            SYSTEM,
            "--timeout=180s",
        ];
        let answer = self.kubectl.run(&words);
        if !answer.done {
            let told = self.kubectl.run(&["describe", "pods", "-n", SYSTEM]).out;
            let logs = [
                "logs",
                "-n",
                SYSTEM,
                "daemonset/cellwall",
                "--all-pods=true",
                "--tail=50",
            ];
            let logs = self.kubectl.run(&logs);
            panic!("{}{}\n{told}\n{}{}", answer.out, answer.err, logs.out, logs.err);
        }
        println!("{}", answer.out.trim());
    }

    /// Waits until `pod ask` says so, in a pod of the shop.
    pub(crate) fn comes_out(&self, from: &str, protocol: &str, to: &str, want: &str) -> bool {
        let said = || self.ask(from, protocol, to);
        wait_for(Duration::from_secs(15), || (said() == want).then_some(())).is_some()
    }

    /// What `pod ask` says in a pod: `answered`, `silence`, `refused`.
    pub(crate) fn ask(&self, from: &str, protocol: &str, to: &str) -> String {
        let words = ["exec", "-n", "shop", from, "--", "/pod", "ask", protocol, to, "1000"];
        let said = self.run(&words);
        said.split_whitespace().next().unwrap_or_default().to_owned()
    }
}

/// An address and a port, in one text.
pub(crate) fn socket(address: &str, port: u16) -> String {
    let ip: std::net::IpAddr = address.parse().expect("an address");
    std::net::SocketAddr::new(ip, port).to_string()
}

/// A pod's network.
#[derive(Clone, Copy)]
pub(crate) enum Wired {
    /// Its own, and perhaps a port of the node.
    Own { host_port: Option<u16> },
    /// The node's.
    Host,
}

/// A pod that serves.
pub(crate) fn pod(name: &str, app: &str, node: u8, wired: Wired) -> String {
    let (host, port, ports) = match wired {
        Wired::Own { host_port: None } => (false, 8080, String::new()),
        Wired::Own {
            host_port: Some(host_port),
        } => (
            false,
            8080,
            format!(", ports: [{{containerPort: 8080, hostPort: {host_port}}}]"),
        ),
        Wired::Host => (true, 8089, String::new()),
    };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {app}}}}}\nspec:\n  \
         nodeName: node-{node}\n  hostNetwork: {host}\n  terminationGracePeriodSeconds: 0\n  \
         automountServiceAccountToken: false\n  \
         containers: [{{name: it, image: \"{POD_IMAGE}\", imagePullPolicy: Never, args: [serve, \"{port}\"]{ports}}}]\n---\n"
    )
}

fn service(app: &str, node_port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {app}, namespace: shop}}\nspec: {{type: NodePort, \
         ipFamilyPolicy: RequireDualStack, selector: {{app: {app}}}, ports: [{{port: 80, targetPort: 8080, \
         nodePort: {node_port}}}]}}\n---\n"
    )
}
