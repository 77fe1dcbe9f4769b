//! Taken out of the cluster by one `kubectl apply -k`: nothing of ours is left on the nodes, and the objects go at once.

use std::time::{Duration, Instant};

use aya::programs::SchedClassifier;
use aya::programs::tc::TcAttachType;
use cellwall_datapath::links::Links;
use cellwall_tests::cluster::Node;

use crate::shop::{Shop, Wired, pod};
use crate::{checkout, install};

/// What of ours is on a node: pins, state, socket, plugin, programs at interfaces, qdiscs.
fn traces(node: &Node) -> Vec<String> {
    let mut traces = said(
        node,
        "ls -d /sys/fs/bpf/cellwall; find /var/lib/cellwall /run/cellwall -mindepth 1; \
         ls /opt/cni/bin/cellwall; grep -rl whenAway /etc/cni/net.d; tc qdisc show | grep clsact",
    );
    let attached = node.netns().inside(|| {
        let links = Links::open()
            .and_then(|mut links| links.list())
            .expect("the interfaces");
        let mut attached = Vec::new();
        for link in &links {
            for side in [TcAttachType::Ingress, TcAttachType::Egress] {
                let (_, chain) = SchedClassifier::query_tcx(&link.name, side).expect("the chain");
                if !chain.is_empty() {
                    attached.push(format!("{side:?} of {}: {} programs", link.name, chain.len()));
                }
            }
        }
        attached
    });
    traces.extend(attached.expect("the node's network"));
    traces
}

/// Lines of a shell on a node; what it does not find it does not say.
fn said(node: &Node, script: &str) -> Vec<String> {
    let output = node.command("sh").args(["-c", script]).output().expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(str::to_owned).collect()
}

impl Shop {
    fn finalizers(&self) -> String {
        self.run(&["get", "netobj", "-o", "jsonpath={.items[*].metadata.finalizers}"])
    }

    /// Takes it out, plugin and all, and asks the nodes and the API server what is left.
    pub(crate) fn is_removed(&self) {
        for node in self.cluster.nodes() {
            let before = traces(node);
            println!("{} before: {before:?}", node.name());
            for trace in [
                "/sys/fs/bpf/cellwall",
                "/var/lib/cellwall/",
                "/opt/cni/bin/cellwall",
                "Ingress of ",
            ] {
                assert!(before.iter().any(|one| one.starts_with(trace)), "{trace}: {before:?}");
            }
        }
        assert!(
            self.finalizers().contains("cellwall.io/in-use"),
            "{}",
            self.finalizers()
        );
        let began = Instant::now();
        install(self, "deploy/removal");
        println!("taken out of two nodes after {:.1} s", began.elapsed().as_secs_f32());
        for node in self.cluster.nodes() {
            assert_eq!(traces(node), [""; 0], "{}", node.name());
            let agent = self.agent_on(node.name());
            let logs = ["logs", "-n", crate::shop::SYSTEM, &agent, "-c", "programs"];
            println!("{}: {}", node.name(), self.run(&logs));
        }
        assert_eq!(self.finalizers(), "");
        self.holds("after the removal", "answered");

        let began = Instant::now();
        let kinds = "drule,netobj,clusterdefense,interceptstatus";
        println!("{}", self.run(&["delete", kinds, "--all", "--timeout=30s"]));
        println!("rules and objects deleted after {:.1} s", began.elapsed().as_secs_f32());
        let removal = checkout().join("deploy/removal");
        println!(
            "{}",
            self.run(&["delete", "-k", &removal.to_string_lossy(), "--timeout=120s"])
        );
        println!("all of it deleted after {:.1} s", began.elapsed().as_secs_f32());
        // A pod starts, as on any cluster.
        for node in 1..=2 {
            let name = format!("after-{node}");
            self.kubectl
                .apply(&pod(&name, "web", node, Wired::Own { host_port: None }));
            let words = ["get", "pod", &name, "-n", "shop", "-o", "jsonpath={.status.phase}"];
            self.cluster
                .wait_until(Duration::from_mins(1), &words, |text| text == "Running");
        }
    }
}
