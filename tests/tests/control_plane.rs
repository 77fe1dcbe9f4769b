//! The control plane that other tests stand on.

use cellwall_tests::cluster::ControlPlane;

#[test]
fn an_api_server_that_was_killed_comes_back_with_its_data_and_a_service_account_may_do_what_it_was_given() {
    let mut plane = ControlPlane::start();
    plane.namespace("shop");
    plane.admin().apply(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: reader, namespace: shop}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: reader}\n\
         rules: [{apiGroups: [\"\"], resources: [pods], verbs: [list]}]\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: reader}\n\
         roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}\n\
         subjects: [{kind: ServiceAccount, name: reader, namespace: shop}]\n",
    );
    plane.kill_api();
    assert!(!plane.admin().run(&["get", "namespaces"]).done, "nobody answers");
    plane.start_api();
    let account = plane.kubectl(&plane.kubeconfig_of_service_account("shop", "reader"));
    account.run(&["get", "pods", "-n", "shop"]).expect("pods may be listed");
    let refused = account.run(&["get", "namespaces"]).refused("namespaces");
    assert!(refused.contains("system:serviceaccount:shop:reader"), "{refused}");
}
