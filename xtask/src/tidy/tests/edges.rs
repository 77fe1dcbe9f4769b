//! The crate edges, on small manifests.

use super::findings;

fn manifest(name: &str, dependencies: &str) -> String {
    format!("[package]\nname = \"{name}\"\n\n[dependencies]\n{dependencies}\n[lints]\nworkspace = true\n")
}

#[test]
fn an_allowed_edge_is_no_finding() {
    let text = manifest(
        "cellwall-datapath",
        "aya.workspace = true\ncellwall-policy.workspace = true",
    );
    assert_eq!(findings(&[("datapath/Cargo.toml", &text)]), Vec::<String>::new());
}

#[test]
fn an_edge_against_the_direction_is_named_with_its_line() {
    let text = manifest(
        "cellwall-policy",
        "serde.workspace = true\ncellwall-datapath.workspace = true",
    );
    let found = findings(&[("policy/Cargo.toml", &text)]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("policy/Cargo.toml:6: error: `cellwall-policy` must not use `cellwall-datapath`; "));
    assert!(found[1].starts_with("policy/Cargo.toml:6: error: the pure core must not use `cellwall-datapath`; "));
}

#[test]
fn an_edge_under_another_name_is_found() {
    let text = manifest(
        "cellwall-crds",
        "core = { workspace = true, package = \"cellwall-policy\" }",
    );
    let found = findings(&[("crds/Cargo.toml", &text)]);
    assert!(
        found[0].contains("`cellwall-crds` must not use `cellwall-policy`"),
        "{found:?}"
    );
}

#[test]
fn an_edge_for_tests_or_for_one_target_is_found() {
    for section in [
        "dev-dependencies",
        "build-dependencies",
        "target.'cfg(unix)'.dependencies",
    ] {
        let text = format!(
            "[package]\nname = \"cellwall-crds\"\n[{section}]\ncellwall-policy.workspace = true\n[lints]\nworkspace = true\n"
        );
        let found = findings(&[("crds/Cargo.toml", &text)]);
        assert!(
            found[0].contains("must not use `cellwall-policy`"),
            "{section}: {found:?}"
        );
    }
}

#[test]
fn the_pure_core_takes_no_clock_but_its_tests_may() {
    let text = manifest(
        "cellwall-policy",
        "tokio.workspace = true\n[dev-dependencies]\nproptest.workspace = true",
    );
    let found = findings(&[("policy/Cargo.toml", &text)]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("policy/Cargo.toml:5: error: the pure core must not use `tokio`"));
}

#[test]
fn a_version_beside_the_workspaces_is_found() {
    let found = findings(&[("crds/Cargo.toml", &manifest("cellwall-crds", "serde = \"1\""))]);
    assert!(
        found[0].starts_with("crds/Cargo.toml:5: error: `serde` has a version of its own"),
        "{found:?}"
    );
}

#[test]
fn a_crate_without_the_workspaces_lints_is_found() {
    let found = findings(&[("crds/Cargo.toml", "[package]\nname = \"cellwall-crds\"\n")]);
    assert!(found[0].contains("does not take the workspace's lints"), "{found:?}");
}

#[test]
fn an_unknown_crate_is_found() {
    let found = findings(&[("extra/Cargo.toml", &manifest("cellwall-extra", ""))]);
    assert!(
        found[0].contains("`cellwall-extra` is not in the table of crates"),
        "{found:?}"
    );
}

#[test]
fn a_manifest_that_does_not_parse_is_found() {
    let found = findings(&[("crds/Cargo.toml", "[package\n")]);
    assert!(found[0].starts_with("crds/Cargo.toml:1: error: not TOML"), "{found:?}");
}
