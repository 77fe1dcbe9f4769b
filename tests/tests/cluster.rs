//! A real cluster of two nodes.

use std::path::PathBuf;
use std::time::Duration;

use cellwall_tests::cluster::{Nodes, POD_IMAGE};

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

/// A pod on a node.
fn pod(name: &str, node: &str, arguments: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}\nspec:\n  \
         nodeName: {node}\n  terminationGracePeriodSeconds: 0\n  automountServiceAccountToken: false\n  {more}\n  \
         containers: [{{name: it, image: \"{POD_IMAGE}\", imagePullPolicy: Never, args: [{arguments}]}}]\n---\n"
    )
}

#[test]
fn without_cellwall_pods_reach_each_other_on_a_node_across_nodes_and_through_services() {
    let cluster = Nodes::start(&[&image("cellwall-test-pod.tar")]);
    let kubectl = cluster.admin();
    kubectl.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
    let account = ["get", "serviceaccount", "-n", "shop", "-o", "name"];
    cluster.wait_until(Duration::from_secs(30), &account, |text| text.contains("default"));
    let mut manifests = String::new();
    for (name, node) in [
        ("web-1", "node-1"),
        ("db-1", "node-1"),
        ("web-2", "node-2"),
        ("db-2", "node-2"),
    ] {
        manifests += &pod(name, node, "serve, \"8080\"", "");
    }
    manifests += "apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: shop}\n\
        spec: {type: NodePort, selector: {app: db-2}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}\n";
    kubectl.apply(&manifests);
    cluster.wait_for_pods("shop", 4);
    let address = |pod: &str| {
        let words = ["get", "pod", pod, "-n", "shop", "-o", "jsonpath={.status.podIP}"];
        kubectl.run(&words).expect("an address")
    };
    let service = kubectl
        .run(&["get", "service", "db", "-n", "shop", "-o", "jsonpath={.spec.clusterIP}"])
        .expect("an address");
    let ask = |from: &str, to: &str| {
        kubectl
            .run(&["exec", "-n", "shop", from, "--", "/pod", "ask", "tcp", to])
            .expect("kubectl exec")
    };
    let web = address("web-1");
    assert_eq!(
        ask("web-1", &format!("{}:8080", address("db-1"))),
        format!("answered db-1 {web}\n")
    );
    assert_eq!(
        ask("web-1", &format!("{}:8080", address("db-2"))),
        format!("answered db-2 {web}\n")
    );
    assert_eq!(ask("web-1", &format!("{service}:80")), format!("answered db-2 {web}\n"));
    assert!(
        ask("web-2", "10.96.0.1:443").starts_with("answered"),
        "the API server's Service"
    );
}
