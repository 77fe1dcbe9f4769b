//! A real cluster of two nodes, Cellwall installed as a user installs it, rules by `kubectl apply`, traffic by
//! `kubectl exec`. One test, since a cluster is made for it: each part stands on what the one before left.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cellwall_tests::cluster::{Kubectl, Nodes, POD_IMAGE};
use cellwall_tests::wait_for;

/// The API server's Service.
const API: &str = "10.96.0.1:443";
/// A port of every node that leads to the pods of `db`, and one that leads to those of `web`.
const DB_NODE_PORT: u16 = 30080;
const WEB_NODE_PORT: u16 = 30081;

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

/// The namespace `shop`: web, db and other on both nodes, and one pod on node-2's own network.
struct Shop {
    cluster: Nodes,
    kubectl: Kubectl,
    /// Name and address.
    pods: Vec<(String, String)>,
    /// Addresses of the Services `db` and `web`.
    db: String,
    web: String,
}

/// One question, and the answer that it should have.
struct Way {
    from: String,
    protocol: &'static str,
    to: String,
    want: &'static str,
}

impl Shop {
    fn open() -> Self {
        let started = Instant::now();
        let cluster = Nodes::start(&[&image("cellwall-test-pod.tar"), &image("cellwall-image.tar")]);
        println!("two nodes ready after {:.1} s", started.elapsed().as_secs_f32());
        let kubectl = cluster.admin();
        kubectl.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
        let account = ["get", "serviceaccount", "-n", "shop", "-o", "name"];
        cluster.wait_until(Duration::from_secs(30), &account, |text| text.contains("default"));
        let mut manifests = service("db", DB_NODE_PORT) + &service("web", WEB_NODE_PORT);
        for app in ["web", "db", "other"] {
            manifests += &pod(app, 1, false);
            manifests += &pod(app, 2, false);
        }
        manifests += &pod("host", 2, true);
        kubectl.apply(&manifests);
        cluster.wait_for_pods("shop", 7);
        println!("seven pods ready after {:.1} s", started.elapsed().as_secs_f32());
        let list = "jsonpath={range .items[*]}{.metadata.name} {.status.podIP}{\"\\n\"}{end}";
        let pods = kubectl
            .run(&["get", "pods", "-n", "shop", "-o", list])
            .expect("the pods");
        let pairs = pods.lines().filter_map(|line| line.split_once(' '));
        let pods = pairs
            .map(|(name, address)| (name.to_owned(), address.to_owned()))
            .collect();
        let address = |service: &str| {
            let words = [
                "get",
                "service",
                service,
                "-n",
                "shop",
                "-o",
                "jsonpath={.spec.clusterIP}",
            ];
            kubectl.run(&words).expect("an address")
        };
        let (db, web) = (address("db"), address("web"));
        Self {
            cluster,
            kubectl,
            pods,
            db,
            web,
        }
    }

    /// Where a pod's server is.
    fn at(&self, pod: &str) -> String {
        let found = self.pods.iter().find(|(name, _)| name == pod);
        format!("{}:8080", found.expect("a pod of this name").1)
    }

    /// What a pod is answered; where that should be an answer, it may ask again: a busy machine is late.
    fn ask(&self, way: &Way) -> String {
        let asked = wait_for(Duration::from_secs(10), || {
            let said = self.ask_once(way);
            (way.want != "answered" || said == way.want).then_some(said)
        });
        asked.unwrap_or_else(|| "silence".to_owned())
    }

    /// What `pod ask` says in a pod: `answered`, `silence`, `refused`.
    fn ask_once(&self, way: &Way) -> String {
        let words = [
            "exec",
            "-n",
            "shop",
            &way.from,
            "--",
            "/pod",
            "ask",
            way.protocol,
            &way.to,
            "1000",
        ];
        let said = self.kubectl.run(&words).expect("kubectl exec");
        said.split_whitespace().next().unwrap_or_default().to_owned()
    }

    /// What a host outside the cluster is answered on a port of a node.
    fn ask_from_outside(&self, port: u16) -> String {
        let node = self.cluster.nodes()[0].address();
        let to = format!("{node}:{port}").parse().expect("an address");
        let outside = self.cluster.plane().netns().name();
        let outcome = cellwall_controller::lab::tcp_ask(outside, to, Duration::from_secs(2));
        format!("{:?}", outcome.expect("a network namespace"))
    }

    /// Every way with what it should say: `refused` for those that the rules of `shop.yaml` refuse.
    fn ways(&self, refused: &'static str) -> Vec<Way> {
        let mut ways = Vec::new();
        let mut way = |from: String, protocol, to: String, want| {
            ways.push(Way {
                from,
                protocol,
                to,
                want,
            });
        };
        for (from, to) in [("1", "1"), ("2", "2"), ("1", "2"), ("2", "1")] {
            let to = self.at(&format!("db-{to}"));
            way(format!("web-{from}"), "tcp", to.clone(), "answered");
            way(format!("other-{from}"), "tcp", to.clone(), refused);
            way(format!("web-{from}"), "udp", to, refused);
        }
        for node in ["1", "2"] {
            for to in [format!("{}:80", self.db), API.to_owned()] {
                way(format!("web-{node}"), "tcp", to.clone(), "answered");
                way(format!("other-{node}"), "tcp", to, refused);
            }
            way(format!("other-{node}"), "tcp", format!("{}:80", self.web), "answered");
            // A pod on the host network is its node.
            way("host-2".to_owned(), "tcp", self.at(&format!("db-{node}")), refused);
            way("host-2".to_owned(), "tcp", self.at(&format!("web-{node}")), "answered");
        }
        ways
    }

    /// Asks every way, some at a time, and holds the answers against what they should be.
    #[track_caller]
    fn holds(&self, when: &str, refused: &'static str) {
        let ways = self.ways(refused);
        let said: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = ways
                .chunks(ways.len().div_ceil(4))
                .map(|some| scope.spawn(|| some.iter().map(|way| self.ask(way)).collect::<Vec<_>>()))
                .collect();
            let answers = threads.into_iter().map(|thread| thread.join().expect("an answer"));
            answers.flatten().collect()
        });
        let mut wrong = Vec::new();
        for (way, said) in ways.iter().zip(&said) {
            let name = self.name_of(&way.to);
            let line = format!("{} -> {name} {}: {said}", way.from, way.protocol);
            println!("{when}: {line}");
            if *said != way.want {
                wrong.push(format!("{line}, not {}", way.want));
            }
        }
        if !wrong.is_empty() {
            let words = [
                "exec",
                "-n",
                "cellwall-system",
                "daemonset/cellwall",
                "--",
                "/cellwall",
                "flows",
            ];
            let flows = self.kubectl.run(&words);
            panic!("{when}:\n{}\n{}{}", wrong.join("\n"), flows.out, flows.err);
        }
        let outside = if refused == "answered" { "Answered" } else { "Silence" };
        assert_eq!(self.ask_from_outside(DB_NODE_PORT), outside, "{when}: db's node port");
        assert_eq!(
            self.ask_from_outside(WEB_NODE_PORT),
            "Answered",
            "{when}: web's node port"
        );
    }

    /// Whose address that is, for a person.
    fn name_of(&self, to: &str) -> String {
        let services = [(&self.db, "service db"), (&self.web, "service web")];
        let service = services.iter().find(|(ip, _)| to.starts_with(&format!("{ip}:")));
        let pod = self.pods.iter().find(|(_, ip)| to.starts_with(&format!("{ip}:")));
        match (service, pod) {
            (Some((_, name)), _) => (*name).to_owned(),
            (_, Some((name, _))) => name.clone(),
            _ => format!("the API server's Service {to}"),
        }
    }

    fn refuses(&self, from: &str, to: &str) -> bool {
        let way = Way {
            from: from.to_owned(),
            protocol: "tcp",
            to: to.to_owned(),
            want: "silence",
        };
        self.ask(&way) == way.want
    }

    fn agents(&self, words: &[&str]) -> String {
        let mut all = vec!["-n", "cellwall-system"];
        all.extend(words);
        self.kubectl.run(&all).expect("about the agents")
    }

    fn rollout(&self) {
        let words = [
            "rollout",
            "status",
            "daemonset/cellwall",
            "-n",
            "cellwall-system",
            "--timeout=180s",
        ];
        let answer = self.kubectl.run(&words);
        if !answer.done {
            let told = self.kubectl.run(&["describe", "pods", "-n", "cellwall-system"]).out;
            let logs = self.kubectl.run(&[
                "logs",
                "-n",
                "cellwall-system",
                "daemonset/cellwall",
                "--all-pods=true",
                "--tail=50",
            ]);
            panic!("{}{}\n{told}\n{}{}", answer.out, answer.err, logs.out, logs.err);
        }
        println!("{}", answer.out.trim());
    }
}

fn pod(app: &str, node: u8, host: bool) -> String {
    let serve = if host { "serve, \"8089\"" } else { "serve, \"8080\"" };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {app}-{node}, namespace: shop, labels: {{app: {app}}}}}\nspec:\n  \
         nodeName: node-{node}\n  hostNetwork: {host}\n  terminationGracePeriodSeconds: 0\n  \
         automountServiceAccountToken: false\n  \
         containers: [{{name: it, image: \"{POD_IMAGE}\", imagePullPolicy: Never, args: [{serve}]}}]\n---\n"
    )
}

fn service(app: &str, node_port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {app}, namespace: shop}}\nspec: {{type: NodePort, \
         selector: {{app: {app}}}, ports: [{{port: 80, targetPort: 8080, nodePort: {node_port}}}]}}\n---\n"
    )
}

#[test]
fn rules_applied_with_kubectl_hold_on_a_node_across_nodes_through_services_and_without_the_api_server() {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut shop = Shop::open();
    shop.holds("without cellwall", "answered");

    let deploy = checkout.join("deploy");
    println!(
        "{}",
        shop.kubectl
            .run(&["apply", "-k", &deploy.to_string_lossy()])
            .expect("kubectl apply -k deploy")
    );
    shop.rollout();
    shop.holds("without rules", "answered");

    let rules = checkout.join("tests/tests/cluster/shop.yaml");
    println!(
        "{}",
        shop.kubectl
            .run(&["apply", "-f", &rules.to_string_lossy()])
            .expect("kubectl apply")
    );
    let applied = Instant::now();
    let (one, two) = (shop.at("db-1"), shop.at("db-2"));
    let in_force = wait_for(Duration::from_secs(15), || {
        (shop.refuses("other-1", &one) && shop.refuses("other-2", &two)).then_some(())
    });
    assert!(
        in_force.is_some(),
        "the rules are not in force after {:?}",
        applied.elapsed()
    );
    shop.holds("with rules", "silence");
    let kinds = "drule,netobj,interceptstatus,clusterdefense";
    println!(
        "{}",
        shop.kubectl.run(&["get", kinds, "-o", "wide"]).expect("kubectl get")
    );
    for words in [&["flows", "--verdict", "DROP"][..], &["intercept-status"]] {
        let mut all = vec!["exec", "daemonset/cellwall", "--", "/cellwall"];
        all.extend(words);
        println!("{}", shop.agents(&all));
    }

    shop.cluster.plane_mut().kill_api();
    let outside = shop.ask_from_outside(DB_NODE_PORT);
    shop.cluster.plane_mut().start_api();
    assert_eq!(outside, "Silence", "without an API server");

    shop.kubectl.run(&["delete", "drule", "--all"]).expect("kubectl delete");
    let open = wait_for(Duration::from_secs(15), || {
        (!shop.refuses("other-1", &one)).then_some(())
    });
    assert!(open.is_some(), "no rule, no refusal");
}
