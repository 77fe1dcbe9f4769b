//! `deploy/` against a real API server: everything that it applies is right, strictly, and the agent's service account
//! may do what the agent does and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cellwall_tests::agent::binary;
use cellwall_tests::cluster::{ControlPlane, Kubectl, Programs};
use serde_json::Value;

const NAMESPACE: &str = "cellwall-system";
const ACCOUNT: &str = "system:serviceaccount:cellwall-system:cellwall";

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// A control plane with the namespace of `deploy/`, into which the rest can be tried.
fn plane() -> ControlPlane {
    let plane = ControlPlane::start();
    let namespace = deploy().join("base/namespace.yaml");
    plane
        .admin()
        .run(&["apply", "-f", &namespace.to_string_lossy()])
        .expect("the namespace");
    plane
}

fn apply(kubectl: &Kubectl, directory: &Path, words: &[&str]) -> String {
    let directory = directory.to_string_lossy();
    let mut all = vec!["apply", "--validate=strict", "-k", &directory];
    all.extend(words);
    let answer = kubectl.run(&all);
    assert!(!answer.err.contains("Warning"), "the API server warns: {}", answer.err);
    answer.expect("kubectl apply -k")
}

#[test]
fn kubectl_apply_k_of_deploy_is_taken_strictly_and_without_a_warning() {
    let plane = plane();
    let kubectl = plane.admin();
    let tried = apply(&kubectl, &deploy(), &["--dry-run=server"]);
    let done = apply(&kubectl, &deploy(), &[]);
    println!("{done}");
    assert_eq!(tried.lines().count(), done.lines().count(), "{tried}\n{done}");
    for object in [
        "customresourcedefinition.apiextensions.k8s.io/networkobjects.cellwall.io",
        "customresourcedefinition.apiextensions.k8s.io/defenserules.cellwall.io",
        "customresourcedefinition.apiextensions.k8s.io/clusterdefenses.cellwall.io",
        "customresourcedefinition.apiextensions.k8s.io/interceptstatuses.cellwall.io",
        "serviceaccount/cellwall",
        "clusterrole.rbac.authorization.k8s.io/cellwall-agent",
        "clusterrolebinding.rbac.authorization.k8s.io/cellwall-agent",
        "daemonset.apps/cellwall",
    ] {
        assert!(done.contains(object), "no {object} in:\n{done}");
    }
    let words = [
        "get",
        "daemonset",
        "cellwall",
        "-n",
        NAMESPACE,
        "-o",
        "jsonpath={..image}",
    ];
    let image = kubectl.run(&words).expect("the image");
    assert_eq!(
        image,
        concat!("cellwall:", env!("CARGO_PKG_VERSION")),
        "what `make image` writes"
    );
    // A second time changes nothing.
    let again = apply(&kubectl, &deploy(), &[]);
    assert!(
        again
            .lines()
            .all(|line| line.ends_with(" unchanged") || line.contains("customresource")),
        "{again}"
    );
}

/// Helm itself asks the API server.
const OF_KUBERNETES: &str = "--kube-version=1.34.4";

/// Runs `helm` with the chart of `deploy/`.
fn helm(words: &[&str]) -> (bool, String, String) {
    let programs = Programs::of(&["helm"]);
    let home = tempfile::tempdir().expect("a directory");
    let done = std::process::Command::new(programs.path("helm"))
        .args(words)
        .current_dir(deploy())
        // Nothing of the user's is read or written.
        .env("HELM_CACHE_HOME", home.path())
        .env("HELM_CONFIG_HOME", home.path())
        .env("HELM_DATA_HOME", home.path())
        .output()
        .expect("helm runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.success(), text(&done.stdout), text(&done.stderr))
}

/// Objects by kind, namespace and name, as the API server would take them.
fn objects(kubectl: &Kubectl, manifests: &str) -> BTreeMap<String, Value> {
    let words = [
        "create",
        "--dry-run=client",
        "--validate=strict",
        "-o",
        "json",
        "-f",
        "-",
    ];
    let text = kubectl.feed(&words, manifests).expect("kubectl reads them");
    let objects = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let key = |object: &Value| {
        let part = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
        let kind = object["kind"].as_str().expect("a kind");
        format!("{kind} {}/{}", part("namespace"), part("name"))
    };
    let objects = objects.map(|object| object.expect("JSON"));
    let flat = objects.flat_map(|object| match object["items"].as_array() {
        Some(items) => items.clone(),
        None => vec![object],
    });
    flat.map(|object| (key(&object), object)).collect()
}

#[test]
fn the_chart_is_the_same_as_the_kustomization_and_the_api_server_takes_it_strictly() {
    let plane = plane();
    let kubectl = plane.admin();
    let (clean, said, complaint) = helm(&["lint", "--strict", OF_KUBERNETES, "helm"]);
    assert!(clean, "{said}{complaint}");
    let render = |more: &[&str]| {
        let words = [
            "template",
            "cellwall",
            "helm",
            "--namespace",
            NAMESPACE,
            "--include-crds",
        ];
        let (done, text, complaint) = helm(&[&words[..], &[OF_KUBERNETES], more].concat());
        assert!(done, "{complaint}");
        text
    };
    let chart = render(&[]);
    let kustomized = |directory: &str| {
        let directory = deploy().join(directory).to_string_lossy().into_owned();
        let text = kubectl.run(&["kustomize", &directory]).expect("kubectl kustomize");
        let mut all = objects(&kubectl, &text);
        all.remove("Namespace /cellwall-system")
            .expect("the namespace, which a chart does not make");
        all
    };
    // CRDs are applied first; their kustomization adds a label that a chart's `crds/` cannot.
    let without_label = |mut all: BTreeMap<String, Value>| {
        for (_, crd) in all
            .iter_mut()
            .filter(|(key, _)| key.starts_with("CustomResourceDefinition"))
        {
            crd["metadata"].as_object_mut().expect("metadata").remove("labels");
        }
        all
    };
    let same = |chart: &str, directory: &str| {
        let (chart, base) = (objects(&kubectl, chart), without_label(kustomized(directory)));
        let chart = without_label(chart);
        assert_eq!(chart.keys().collect::<Vec<_>>(), base.keys().collect::<Vec<_>>());
        for (key, object) in &base {
            assert_eq!(chart[key], *object, "{key}");
        }
    };
    same(&chart, "");
    same(&render(&["--set=removal=true"]), "removal");
    kubectl.apply(SERVICE_MONITORS);
    let wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"];
    kubectl.run(&wait).expect("established");
    same(&render(&["--set=serviceMonitor.enabled=true"]), "metrics");

    let strict = ["apply", "--server-side", "--validate=strict", "-f", "-"];
    let tried = kubectl.feed(&[&strict[..], &["--dry-run=server"]].concat(), &chart);
    assert!(!tried.err.contains("Warning"), "{}", tried.err);
    tried.expect("a dry run");
    kubectl.feed(&strict, &chart).expect("kubectl apply");

    let other = render(&[
        "--set=image.repository=registry.example.com/cellwall,image.tag=next,maxUnavailable=1",
        "--set=extraArgs={--flow-log-pass=all},nodeSelector.zone=a",
    ]);
    let other = objects(&kubectl, &other);
    let set = &other["DaemonSet cellwall-system/cellwall"]["spec"];
    let pod = &set["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], "registry.example.com/cellwall:next");
    assert_eq!(pod["containers"][0]["args"][3], "--flow-log-pass=all");
    assert_eq!(pod["nodeSelector"]["zone"], "a");
    assert_eq!(pod["nodeSelector"]["kubernetes.io/os"], "linux");
    assert_eq!(set["updateStrategy"]["rollingUpdate"]["maxUnavailable"], 1);
    let (taken, _, complaint) = helm(&["template", "cellwall", "helm", OF_KUBERNETES, "--set=imge.tag=1"]);
    assert!(
        !taken && complaint.contains("imge"),
        "a value that is misspelt is refused: {complaint}"
    );
}

/// As much of the operator's kind as the API server has to know to take one.
const SERVICE_MONITORS: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servicemonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  names: {kind: ServiceMonitor, plural: servicemonitors}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

#[test]
fn the_service_monitor_is_an_option_that_moves_the_metrics_to_the_node_s_address() {
    let plane = plane();
    let kubectl = plane.admin();
    kubectl.apply(SERVICE_MONITORS);
    let wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"];
    kubectl.run(&wait).expect("established");
    let overlay = deploy().join("metrics");
    apply(&kubectl, &overlay, &["--dry-run=server"]);
    apply(&kubectl, &overlay, &[]);
    let words = ["get", "daemonset", "cellwall", "-n", NAMESPACE, "-o", "json"];
    let text = kubectl.run(&words).expect("the DaemonSet");
    let set: Value = serde_json::from_str(&text).expect("JSON");
    let agent = &set["spec"]["template"]["spec"]["containers"][0];
    let arguments = agent["args"].as_array().expect("arguments");
    assert!(
        arguments.iter().any(|word| word == "--listen=$(HOST_IP):9469"),
        "{agent}"
    );
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert_eq!(
            agent[probe]["httpGet"]["host"],
            Value::Null,
            "{probe} asks where the agent listens"
        );
    }
    let env = agent["env"].as_array().into_iter().flatten();
    let names: Vec<_> = env.filter_map(|entry| entry["name"].as_str()).collect();
    assert_eq!(names, ["HOST_IP", "NODE_NAME", "POD_NAMESPACE"]);
    kubectl
        .run(&["get", "servicemonitor,service", "-n", NAMESPACE, "cellwall"])
        .expect("both are there");
}

#[test]
fn the_plugin_of_the_first_packet_is_an_option_and_so_is_its_removal() {
    let plane = plane();
    let kubectl = plane.admin();
    for (overlay, set) in [("cni", "cellwall"), ("cni-removal", "cellwall-cni-removal")] {
        let overlay = deploy().join(overlay);
        apply(&kubectl, &overlay, &["--dry-run=server"]);
        apply(&kubectl, &overlay, &[]);
        let words = ["get", "daemonset", set, "-n", NAMESPACE, "-o", "json"];
        let set: Value = serde_json::from_str(&kubectl.run(&words).expect("the DaemonSet")).expect("JSON");
        let pod = &set["spec"]["template"]["spec"];
        assert_eq!(pod["hostNetwork"], true, "it waits for no network");
        let containers = pod["containers"].as_array().expect("containers");
        let last = containers.last().expect("a container");
        assert_eq!(last["image"], concat!("cellwall:", env!("CARGO_PKG_VERSION")));
        assert_eq!(last["args"][0], "cni");
        assert_eq!(
            last["securityContext"]["capabilities"],
            serde_json::json!({"drop": ["ALL"]})
        );
    }
}

/// Every rule of the agent's roles: one that is added there has to be added here too.
const ROLES: [(&str, &str); 17] = [
    ("clusterdefenses.cellwall.io", "list watch"),
    ("clusterdefenses.cellwall.io/status", "patch"),
    ("defenserules.cellwall.io", "list watch"),
    ("defenserules.cellwall.io/status", "patch"),
    ("endpointslices.discovery.k8s.io", "list watch"),
    ("in cellwall-system: leases.coordination.k8s.io", "create"),
    (
        "in cellwall-system: leases.coordination.k8s.io [cellwall-leader]",
        "get update",
    ),
    ("in default: events.events.k8s.io", "create"),
    ("interceptstatuses.cellwall.io", "create delete list patch watch"),
    ("interceptstatuses.cellwall.io/status", "patch"),
    ("namespaces", "list watch"),
    ("networkobjects.cellwall.io", "list watch"),
    ("networkobjects.cellwall.io", "patch"),
    ("networkobjects.cellwall.io/status", "patch"),
    ("nodes", "list watch"),
    ("pods", "list watch"),
    ("services", "list watch"),
];

fn words(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// One line for each resource of a rule.
fn lines(prefix: &str, rule: &Value) -> Vec<(String, String)> {
    let known = ["apiGroups", "resourceNames", "resources", "verbs"];
    let mut fields = rule.as_object().expect("a rule").keys();
    assert!(fields.all(|field| known.contains(&field.as_str())), "{rule}");
    let mut verbs = words(&rule["verbs"]);
    verbs.sort_unstable();
    let names = words(&rule["resourceNames"]);
    let mut found = Vec::new();
    for group in words(&rule["apiGroups"]) {
        for resource in words(&rule["resources"]) {
            let (name, sub) = resource.split_at(resource.find('/').unwrap_or(resource.len()));
            let dot = if group.is_empty() { "" } else { "." };
            let mut line = format!("{prefix}{name}{dot}{group}{sub}");
            if !names.is_empty() {
                line = format!("{line} [{}]", names.join(" "));
            }
            found.push((line, verbs.join(" ")));
        }
    }
    found
}

#[test]
fn the_agent_s_roles_are_these_and_nothing_more() {
    let plane = plane();
    let kubectl = plane.admin();
    apply(&kubectl, &deploy(), &[]);
    let kinds = "clusterrole,role";
    let text = kubectl
        .run(&[
            "get",
            kinds,
            "-A",
            "-l",
            "app.kubernetes.io/part-of=cellwall",
            "-o",
            "json",
        ])
        .expect("the roles");
    let roles: Value = serde_json::from_str(&text).expect("JSON");
    let mut found = Vec::new();
    for role in roles["items"].as_array().expect("roles") {
        let prefix = role["metadata"]["namespace"]
            .as_str()
            .map_or_else(String::new, |namespace| format!("in {namespace}: "));
        for rule in role["rules"].as_array().expect("rules") {
            found.extend(lines(&prefix, rule));
        }
    }
    found.sort();
    let wanted: Vec<_> = ROLES
        .iter()
        .map(|(resource, verbs)| ((*resource).to_owned(), (*verbs).to_owned()))
        .collect();
    assert_eq!(found, wanted);
}

#[test]
fn the_agent_s_account_can_change_no_policy_no_pod_and_no_right_and_reads_no_secret() {
    let plane = plane();
    apply(&plane.admin(), &deploy(), &[]);
    let agent = plane.kubectl(&plane.kubeconfig_of_service_account(NAMESPACE, "cellwall"));
    let who = agent.run(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]);
    assert_eq!(who.expect("whoami"), ACCOUNT);
    let may = |verb: &str, resource: &str| {
        let answer = agent.run(&["auth", "can-i", verb, resource, "-A"]);
        answer.out.trim() == "yes"
    };
    for (verb, resource) in [
        ("watch", "pods"),
        ("list", "endpointslices.discovery.k8s.io"),
        ("patch", "interceptstatuses.cellwall.io/status"),
    ] {
        assert!(may(verb, resource), "{verb} {resource} is needed");
    }
    for (verb, resource) in [
        ("get", "secrets"),
        ("list", "configmaps"),
        ("create", "pods"),
        ("delete", "pods"),
        ("patch", "pods"),
        ("patch", "pods/status"),
        ("create", "pods/exec"),
        ("patch", "nodes"),
        ("get", "nodes/proxy"),
        ("patch", "services"),
        ("create", "networkobjects.cellwall.io"),
        ("update", "networkobjects.cellwall.io"),
        ("delete", "networkobjects.cellwall.io"),
        ("patch", "defenserules.cellwall.io"),
        ("update", "defenserules.cellwall.io"),
        ("delete", "defenserules.cellwall.io"),
        ("patch", "clusterdefenses.cellwall.io"),
        ("create", "serviceaccounts/token"),
        ("impersonate", "users"),
        ("bind", "clusterroles.rbac.authorization.k8s.io"),
        ("escalate", "clusterroles.rbac.authorization.k8s.io"),
        ("patch", "daemonsets.apps"),
        ("create", "customresourcedefinitions.apiextensions.k8s.io"),
    ] {
        assert!(!may(verb, resource), "{verb} {resource} is granted");
    }
}

const OBJECT: &str =
    "apiVersion: cellwall.io/v1alpha1\nkind: NetworkObject\nmetadata: {name: web}\nspec: {apps: [web]}\n";

#[test]
fn an_agent_may_change_the_finalizers_of_an_object_and_not_whom_it_selects() {
    let plane = plane();
    let admin = plane.admin();
    apply(&admin, &deploy(), &[]);
    let wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"];
    admin.run(&wait).expect("established");
    admin.apply(OBJECT);
    let agent = plane.kubectl(&plane.kubeconfig_of_service_account(NAMESPACE, "cellwall"));
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=cellwall",
        "-f",
        "-",
    ];
    // The policy takes a moment until it is in force.
    let spec = r#"{"apiVersion": "cellwall.io/v1alpha1", "kind": "NetworkObject", "metadata": {"name": "web"}, "spec": {"apps": ["*"]}}"#;
    let refused = cellwall_tests::wait_for(std::time::Duration::from_secs(20), || {
        let answer = agent.feed(&apply, spec);
        (!answer.done).then_some(answer.err)
    });
    let refused = refused.expect("the admission policy is in force");
    assert!(
        refused.contains("an agent writes no policy; of a NetworkObject it may change the finalizers alone"),
        "{refused}"
    );
    admin.apply(OBJECT);
    let finalizer = r#"{"apiVersion": "cellwall.io/v1alpha1", "kind": "NetworkObject", "metadata": {"name": "web", "finalizers": ["cellwall.io/in-use"]}}"#;
    agent.feed(&apply, finalizer).expect("the finalizer");
    let words = [
        "get",
        "netobj",
        "web",
        "-o",
        "jsonpath={.spec.apps} {.metadata.finalizers}",
    ];
    assert_eq!(
        admin.run(&words).expect("the object"),
        r#"["web"] ["cellwall.io/in-use"]"#
    );
}

#[test]
fn an_uninstall_with_the_agent_s_rights_takes_our_finalizer_off_whoever_put_it_on_and_leaves_others() {
    let plane = plane();
    let admin = plane.admin();
    apply(&admin, &deploy(), &[]);
    let wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"];
    admin.run(&wait).expect("established");
    admin.apply(&OBJECT.replace(
        "{name: web}",
        "{name: web, finalizers: [cellwall.io/in-use, example.com/other]}",
    ));
    let agent = plane.kubectl(&plane.kubeconfig_of_service_account(NAMESPACE, "cellwall"));
    let state = tempfile::tempdir().expect("a directory");
    let state = state.path().join("state").to_string_lossy().into_owned();
    let instance = format!("gone-{}", std::process::id());
    let uninstall = || {
        let words = [
            "uninstall",
            "--yes",
            "--kubernetes",
            "--instance",
            &instance,
            "--state-dir",
            &state,
        ];
        let done = agent.beside(&binary(), &words).output().expect("cellwall starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let said = uninstall();
    assert!(said.contains("1 objects of the API server released"), "{said}");
    let words = ["get", "netobj", "web", "-o", "jsonpath={.metadata.finalizers}"];
    assert_eq!(admin.run(&words).expect("the object"), r#"["example.com/other"]"#);
    let said = uninstall();
    assert!(said.contains("0 objects of the API server released"), "{said}");
}
