//! What a real API server makes of our kinds: which objects it takes, in which words it refuses the others, and what
//! `kubectl get` shows.
//!
//! The objects are those of `crds/tests/cases.json`, which the agent's own reader is held against too: whatever it
//! refuses, `kubectl apply` refuses, and the words that come from one rule are the same in both places. All words of
//! the API server are kept in `admission/refusals.txt`; `UPDATE_REFUSALS=1` writes what is said now, `--nocapture` prints it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use cellwall_tests::cluster::{ControlPlane, Kubectl};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Case {
    why: String,
    object: Value,
    /// How an API server differs from our reader.
    #[serde(default)]
    server: Option<String>,
    /// What our reader says.
    refused: Vec<String>,
}

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn cases() -> Vec<Case> {
    let file = checkout().join("crds/tests/cases.json");
    serde_json::from_str(&std::fs::read_to_string(file).expect("cases.json can be read")).expect("cases.json parses")
}

/// A control plane that knows our kinds.
fn plane() -> ControlPlane {
    let plane = ControlPlane::start();
    let kubectl = plane.admin();
    let crds = checkout().join("crds");
    kubectl
        .run(&["apply", "--server-side", "-k", &crds.to_string_lossy()])
        .expect("the CRDs");
    let wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"];
    kubectl.run(&wait).expect("established");
    plane
}

/// Puts an object to the server as `kubectl apply` does, without keeping it.
fn put(kubectl: &Kubectl, object: &Value) -> Result<(), String> {
    let text = object.to_string();
    let answer = if object["kind"] == "InterceptStatus" && object.get("status").is_some() {
        // A report goes to the sub-resource for it.
        let words = [
            "apply",
            "--server-side",
            "--subresource=status",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            "-",
        ];
        kubectl.feed(&words, &text)
    } else {
        kubectl.feed(&["create", "--dry-run=server", "--validate=strict", "-f", "-"], &text)
    };
    if answer.done { Ok(()) } else { Err(answer.err) }
}

/// Whether the server takes a report with fields that it does not know, and leaves them out.
fn drops(kubectl: &Kubectl, object: &Value) -> bool {
    let patch = serde_json::json!({ "status": object["status"] }).to_string();
    let words = [
        "patch",
        "istat",
        "node-0",
        "--subresource=status",
        "--type=merge",
        "-o",
        "json",
        "-p",
        &patch,
    ];
    let kept: Value = serde_json::from_str(&kubectl.run(&words).expect("a report")).expect("JSON");
    let unknown = |status: &Value| status.get("later").is_some();
    unknown(&object["status"]) && !unknown(&kept["status"])
}

#[test]
fn the_api_server_takes_what_our_reader_takes_and_refuses_the_rest_with_the_remedy() {
    let plane = plane();
    let kubectl = plane.admin();
    let mut wrong = String::new();
    let mut said = String::new();
    let mut refusals = 0;
    let cases = cases();
    let report = |case: &&Case| case.object["kind"] == "InterceptStatus" && case.object.get("status").is_some();
    // Reports last, on an object that is there.
    let (reports, others): (Vec<_>, Vec<_>) = cases.iter().partition(report);
    for (case, last) in others
        .iter()
        .map(|case| (case, false))
        .chain(reports.iter().map(|case| (case, true)))
    {
        if last {
            kubectl.apply(
                r#"{"apiVersion": "cellwall.io/v1alpha1", "kind": "InterceptStatus", "metadata": {"name": "node-0"}}"#,
            );
        }
        if case.server.as_deref() == Some("drops unknown status fields") {
            assert!(drops(&kubectl, &case.object), "{}", case.why);
            continue;
        }
        let taken = case.refused.is_empty() || case.server.as_deref() == Some("accepts");
        match put(&kubectl, &case.object) {
            Ok(()) if taken => {}
            Ok(()) => writeln!(wrong, "taken: {}", case.why).expect("a text"),
            Err(words) if taken => writeln!(wrong, "refused: {}: {words}", case.why).expect("a text"),
            Err(words) => {
                refusals += 1;
                let words = plain(&words);
                let poor = words.lines().filter(|line| !tells(line));
                poor.for_each(|line| writeln!(wrong, "without a remedy: {}: {line}", case.why).expect("a text"));
                writeln!(said, "# {}\n{words}\n", case.why).expect("a text");
            }
        }
    }
    println!("{refusals} objects are refused, in these words:\n{said}");
    assert!(wrong.is_empty(), "{wrong}");
    assert!(refusals >= 20, "{refusals} refusals");
    let file = checkout().join("tests/tests/admission/refusals.txt");
    if std::env::var_os("UPDATE_REFUSALS").is_some() {
        std::fs::write(&file, &said).expect("refusals.txt can be written");
    }
    let version = kubectl.run(&["version"]).expect("the version");
    if !version.contains("Server Version: v1.34.") {
        cellwall_tests::not_run(&format!(
            "the words of refusals are kept for Kubernetes 1.34, and this is {version}"
        ));
        return;
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        said == kept,
        "the words have changed; UPDATE_REFUSALS=1 writes them:\n{said}"
    );
}

/// A refusal in one order, the lines of an API server having none, and without what acts on a terminal.
fn plain(words: &str) -> String {
    let shown = |line: &str| -> String {
        let characters = line.chars();
        characters
            .flat_map(|c| {
                if c.is_control() {
                    c.escape_debug().collect()
                } else {
                    vec![c]
                }
            })
            .collect()
    };
    let (mut faults, head): (Vec<_>, Vec<_>) = words.trim_end().lines().partition(|line| line.starts_with("* "));
    faults.sort_unstable();
    let lines: Vec<_> = head.into_iter().chain(faults).map(shown).collect();
    lines.join("\n")
}

/// Whether a line says what is possible instead: in our words after a semicolon, or in one of the API server's own.
fn tells(line: &str) -> bool {
    const OWN: [&str; 21] = [
        "Unsupported value",
        "must be of type",
        "expected ",
        "Required value",
        "must have at most",
        "may not be more than",
        "should have at least",
        "should be at least",
        "should be greater than or equal",
        "should be less than or equal",
        "unknown field",
        "RFC 1123",
        "no matches for kind",
        "must be set",
        "cannot be handled as",
        "cannot unmarshal",
        "ensure CRDs are installed first",
        "must be no more than",
        // Of several lines, the one that says that more may follow, and those around a null.
        "must validate at least one schema",
        "must validate all the schemas",
        "\" is invalid: ",
    ];
    line.contains("; ") || OWN.iter().any(|words| line.contains(words))
}

// Objects with the statuses that agents would have written.
const SHOWN: &str = r#"
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: database}
spec: {namespaces: [shop], apps: [db]}
status:
  observedGeneration: 1
  selectedPods: 3
  usedByRules: 2
  conditions: [{type: Accepted, status: "True", reason: Valid, message: in force, lastTransitionTime: "2026-01-02T03:04:05Z"}]
---
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: partners}
spec: {cidrs: [{cidr: 192.0.2.0/24, except: [192.0.2.128/25]}]}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: partners-to-database}
spec: {source: {object: partners}, destination: {object: database}, ports: [{port: 5432}, {port: 8000, endPort: 8010}], action: Pass, priority: 100}
status:
  sourcePods: 0
  destinationPods: 3
  conditions:
  - {type: Accepted, status: "True", reason: Valid, message: in force, lastTransitionTime: "2026-01-02T03:04:05Z"}
  - {type: Resolved, status: "True", reason: Valid, message: every object exists, lastTransitionTime: "2026-01-02T03:04:05Z"}
  - {type: Programmed, status: "False", reason: Pending, message: on 1 of 2 nodes, lastTransitionTime: "2026-01-02T03:04:05Z"}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: nobody-else}
spec: {source: {entity: Any}, destination: {object: database}, action: Drop, priority: 1000}
---
apiVersion: cellwall.io/v1alpha1
kind: ClusterDefense
metadata: {name: default}
spec: {mode: AlertOnly}
status: {state: Abnormal, nodes: 2, nodesNormal: 1, nodesAbnormal: 1, podsProtected: 5, podsNotEnforceable: 1, rulesEnabled: 2}
---
apiVersion: cellwall.io/v1alpha1
kind: InterceptStatus
metadata: {name: node-1}
status:
  state: Abnormal
  reason: PolicyStale
  message: the API server has not answered for 3 min; look at its address
  enforcing: true
  podsProtected: 5
  rulesEnabled: 2
  generationWanted: 7
  generationRealised: 7
  agentVersion: 0.1.0
"#;

#[test]
fn what_kubectl_get_shows_tells_the_story_at_a_glance() {
    let plane = plane();
    let kubectl = plane.admin();
    kubectl.apply(SHOWN);
    kubectl
        .feed(
            &[
                "apply",
                "--server-side",
                "--subresource=status",
                "--force-conflicts",
                "-f",
                "-",
            ],
            SHOWN,
        )
        .expect("the statuses");
    let kinds = "drule,netobj,interceptstatus,clusterdefense";
    let shown = kubectl.run(&["get", kinds, "-o", "wide"]).expect("kubectl get");
    println!("{shown}");
    let row = |name: &str| -> Vec<&str> {
        let line = shown.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no line {name}:\n{shown}"))
            .split_whitespace()
            .collect()
    };
    let rule = row("defenserule.cellwall.io/partners-to-database");
    assert_eq!(
        rule[1..8],
        ["100", "partners", "database", "Pass", "true", "True", "True"],
        "{shown}"
    );
    assert_eq!(rule[8], "False", "not programmed everywhere:\n{shown}");
    assert_eq!(
        row("defenserule.cellwall.io/nobody-else")[1..6],
        ["1000", "Any", "database", "Drop", "true"],
        "{shown}"
    );
    assert!(row("networkobject.cellwall.io/database").contains(&"3"), "{shown}");
    let status = row("interceptstatus.cellwall.io/node-1");
    assert_eq!(
        status[1..7],
        ["Abnormal", "PolicyStale", "true", "5", "2", "7"],
        "{shown}"
    );
    let defense = row("clusterdefense.cellwall.io/default");
    assert_eq!(
        defense[1..8],
        ["AlertOnly", "Abnormal", "2", "1", "5", "1", "2"],
        "{shown}"
    );
    // Short names, and all kinds at once.
    for words in ["netobj", "drule", "cdef", "istat", "cellwall"] {
        kubectl.run(&["get", words]).expect(words);
    }
}
