//! Metrics under a real Prometheus: it takes all of them, whatever text their labels have, and the rules and the dashboard
//! of `deploy/monitoring` ask for what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use cellwall_controller::lab::{Outcome, Wiring};
use cellwall_controller::metrics::{ApplyDuration, RuleLabels, Scrape, StartupWindow, Totals, render};
use cellwall_tests::{Cluster, wait_for};
use serde_json::Value;

const RULES: &str = "
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: closed}
spec: {source: {entity: Any}, destination: {entity: Cluster}, ports: [{protocol: UDP, port: 1001}], action: Drop, priority: 10}
";

fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring")
}

fn dashboard() -> Value {
    let text = std::fs::read_to_string(monitoring().join("dashboard.json")).expect("the dashboard");
    serde_json::from_str(&text).expect("the dashboard is JSON")
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().unwrap_or_else(|| panic!("no list {key} in {of}"))
}

/// Every expression of a panel with the panel's title and how its lines are called.
fn queries(dashboard: &Value) -> Vec<[&str; 3]> {
    let mut all = Vec::new();
    for panel in list(dashboard, "panels") {
        for target in list(panel, "targets") {
            let texts = [&panel["title"], &target["expr"], &target["legendFormat"]];
            all.push(texts.map(|text| text.as_str().unwrap_or_else(|| panic!("no text in {panel}"))));
        }
    }
    all
}

/// Names of metrics of ours in a text.
fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let found = text.split(word).filter(|word| word.starts_with("cellwall_"));
    found.map(str::to_owned).collect()
}

/// Prometheus in the node's namespace; ended when it is dropped.
struct Prometheus<'a> {
    cluster: &'a Cluster,
    child: Child,
}

impl<'a> Prometheus<'a> {
    /// Scrapes these jobs every second, and evaluates the alerting rules.
    fn start(cluster: &'a Cluster, jobs: &[(&str, &str)]) -> Self {
        let rules = monitoring().join("rules.yaml").canonicalize().expect("the rules");
        let mut text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [\"{}\"]\nscrape_configs:\n",
            rules.display()
        );
        for (job, target) in jobs {
            let target = format!("- job_name: {job}\n  static_configs: [{{targets: [\"{target}\"]}}]\n");
            text.push_str(&target);
        }
        let config = cluster.directory.path().join("prometheus.yaml");
        std::fs::write(&config, text).expect("a configuration");
        let data = cluster.directory.path().join("prometheus");
        let mut prometheus = cluster.lab.node().command("prometheus");
        prometheus
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .args(["--web.listen-address=127.0.0.1:9090", "--log.level=warn"]);
        let child = prometheus.spawn().expect("prometheus starts");
        Self { cluster, child }
    }

    /// The lines that a query gives, each with its labels; what Prometheus says where it is wrong.
    fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let mut promtool = self.cluster.lab.node().command("promtool");
        promtool.args(["query", "instant", "-o", "json", "http://127.0.0.1:9090", query]);
        let answer = promtool.output().expect("promtool runs");
        if !answer.status.success() {
            return Err(String::from_utf8_lossy(&answer.stderr).into_owned());
        }
        serde_json::from_slice(&answer.stdout).map_err(|error| error.to_string())
    }

    fn wait_for(&self, query: &str) -> Option<Value> {
        wait_for(Duration::from_secs(30), || self.query(query).ok()?.into_iter().next())
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        // One that is gone already is as good as ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An agent that has refused something.
fn running() -> Cluster {
    let mut cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
    cluster.save_pods();
    cluster.save("rules.yaml", RULES);
    cluster.start();
    let to = SocketAddr::new(cluster.pod("b").address(true), 1001);
    assert_eq!(cluster.udp("a", to), Outcome::Silence);
    cluster
}

#[test]
fn promtool_finds_nothing_wrong_with_the_alerting_rules() {
    for words in [["check", "rules", "rules.yaml"], ["test", "rules", "rules.test.yaml"]] {
        let done = Command::new("promtool").args(words).current_dir(monitoring()).output();
        let done = done.expect("promtool runs; its Debian package is prometheus, and scripts/setup.sh installs it");
        let said = [done.stdout, done.stderr].concat();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn the_dashboard_has_what_grafana_needs_of_it() {
    let dashboard = dashboard();
    assert!(
        dashboard["schemaVersion"].as_u64() >= Some(30),
        "{}",
        dashboard["schemaVersion"]
    );
    assert!(
        ["title", "uid"]
            .iter()
            .all(|key| dashboard[*key].as_str().is_some_and(|text| !text.is_empty()))
    );
    assert!(dashboard["uid"].as_str().is_some_and(|uid| uid.len() <= 40));
    let variables = list(&dashboard["templating"], "list");
    let names: Vec<&str> = variables.iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["source", "instance"]);
    assert_eq!(
        variables[0]["type"], "datasource",
        "whoever imports it says which Prometheus"
    );
    assert_eq!(variables[0]["query"], "prometheus");
    let source = serde_json::json!({"type": "prometheus", "uid": "${source}"});
    assert_eq!(variables[1]["datasource"], source);
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in list(&dashboard, "panels") {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "an id twice: {title}");
        assert!(
            ["timeseries", "stat", "table"].contains(&panel["type"].as_str().expect("a type")),
            "{title}"
        );
        assert_eq!(panel["datasource"], source, "{title}");
        assert!(
            panel["fieldConfig"]["defaults"]["unit"].is_string(),
            "{title} has no unit"
        );
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect("a place"));
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} is beside the grid");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{title} lies over another panel");
        }
        let targets = list(panel, "targets");
        assert!(!targets.is_empty(), "{title} asks nothing");
        let letters: BTreeSet<&str> = targets.iter().filter_map(|target| target["refId"].as_str()).collect();
        assert_eq!(letters.len(), targets.len(), "{title}: a letter for each query");
        assert!(targets.iter().all(|target| target["datasource"] == source), "{title}");
    }
    for [title, expression, _] in queries(&dashboard) {
        assert!(
            expression.contains("instance=~\"$instance\""),
            "{title} does not follow the choice of nodes"
        );
    }
}

#[test]
fn a_real_prometheus_takes_every_metric_and_rules_and_dashboard_ask_for_what_is_there() {
    let cluster = running();
    let prometheus = Prometheus::start(&cluster, &[("cellwall", "127.0.0.1:9469")]);
    // A rate needs some scrapes.
    let scraped = prometheus.wait_for("scrape_samples_scraped{job=\"cellwall\"} > 50 and count_over_time(up[1m]) > 3");
    assert!(
        scraped.is_some(),
        "Prometheus does not take the metrics:\n{}",
        cluster.metrics()
    );
    let all = prometheus
        .query("count by (__name__) ({__name__=~\"cellwall_.+\"})")
        .expect("names");
    let there = names(&Value::from(all).to_string());
    println!(
        "{} metrics, firing: {:?}",
        there.len(),
        prometheus.query("ALERTS{alertstate=\"firing\"}")
    );
    // Where there was no such event there is no such sample: those that need one are held against their declaration.
    let declared = names(&cluster.metrics());
    for file in ["rules.yaml", "dashboard.json"] {
        let text = std::fs::read_to_string(monitoring().join(file)).expect("a file");
        for name in names(&text) {
            let family = name.trim_end_matches("_total").to_owned();
            assert!(
                there.contains(&name) || declared.contains(&family),
                "{file} names {name}, which the agent does not tell"
            );
        }
    }
    let dashboard = dashboard();
    let (mut asked, mut empty) = (0, Vec::new());
    for [title, expression, legend] in queries(&dashboard) {
        let query = expression.replace("$instance", ".*").replace("$__rate_interval", "30s");
        assert!(
            !query.contains('$'),
            "{title}: a variable that the test does not know: {query}"
        );
        let lines = prometheus
            .query(&query)
            .unwrap_or_else(|error| panic!("{title}: {query}: {error}"));
        asked += 1;
        if lines.is_empty() {
            assert!(!names(&query).is_subset(&there), "{title}: nothing comes of {query}");
            empty.push(query);
        }
        let labels = legend.split("{{").skip(1).filter_map(|text| text.split("}}").next());
        for (label, line) in labels.flat_map(|label| lines.iter().map(move |line| (label, line))) {
            assert!(
                line["metric"][label].is_string(),
                "{title}: no {label} to call a line by: {line}"
            );
        }
    }
    println!("{asked} queries of the dashboard, without a sample yet: {empty:?}");
    assert!(asked >= 20, "{asked}");
}

/// Answers every request on this address of the node with the same exposition, as the agent does.
fn serve(cluster: &Cluster, address: &str, text: String) {
    let listener = cluster.lab.node().inside(|| TcpListener::bind(address));
    let listener = listener.expect("the node's namespace").expect("a listener");
    // It ends with the test.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _request = stream.read(&mut [0; 4_096]);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n",
                text.len()
            );
            // Prometheus may have given up; it comes again.
            let _told = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(text.as_bytes()));
        }
    });
}

#[test]
fn a_real_prometheus_reads_labels_of_hostile_text_as_they_were() {
    let cluster = Cluster::new(Wiring::Routed, &[]);
    let hostile = format!(
        "\u{1b}[2J\u{9b}31m\r\t\u{7f}\u{202e}\\\"}} 1\ncellwall_intercept_state{{state=\"Normal\"}} 1\n# EOF\n{}",
        "x".repeat(10_240)
    );
    let labels = RuleLabels {
        rule: hostile.clone(),
        action: "Drop".into(),
    };
    let totals = Totals {
        flows: 7,
        ..Totals::default()
    };
    let scrape = Scrape {
        rules: vec![(labels, totals)],
        state: "Abnormal".into(),
        ..Scrape::default()
    };
    serve(
        &cluster,
        "127.0.0.1:9470",
        render(&scrape, &ApplyDuration::default(), &StartupWindow::default()),
    );
    let prometheus = Prometheus::start(&cluster, &[("hostile", "127.0.0.1:9470")]);
    let flows = prometheus.wait_for("cellwall_rule_flows_total").expect("the sample");
    assert_eq!(flows["metric"]["rule"], hostile);
    assert_eq!(flows["value"][1], "7");
    let states = prometheus.query("cellwall_intercept_state == 1").expect("states");
    let states: BTreeMap<_, _> = states
        .iter()
        .map(|one| (one["metric"]["state"].to_string(), one["value"][1].to_string()))
        .collect();
    assert_eq!(
        states.keys().collect::<Vec<_>>(),
        ["\"Abnormal\""],
        "no sample is forged"
    );
}
