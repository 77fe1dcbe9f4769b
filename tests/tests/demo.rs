//! `cellwall demo` as a user runs it: every verdict is what the manifests say, each listing has its page, and the status at
//! its end tells of a self-test that has run.

use std::process::Command;

use cellwall_tests::agent::binary;

#[test]
fn the_demo_ends_well_and_shows_a_page_of_every_listing() {
    let output = Command::new(binary()).arg("demo").output().expect("the demo runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut pages = told.split("$ cellwall ").skip(1);
    for (words, shown) in [
        ("rules", ["db-closed", "guests-alone"]),
        ("objects", ["databases", "shop/db"]),
        ("flows", ["guest/visitor", "guests-alone"]),
        ("alerts", ["last 24 hours", "db-from-operators"]),
        // What another pod of the node was refused is kept at that pod.
        ("refused shop/db", ["198.51.100.2 (World)", "world-stays-out"]),
        ("intercept-status", ["Normal on demo-node", "AllAttached"]),
    ] {
        let page = pages.next().unwrap_or_else(|| panic!("no page of {words}:\n{told}"));
        let first = page.lines().next();
        assert_eq!(first, Some(words), "{told}");
        assert!(
            shown.iter().all(|text| page.contains(text)),
            "{shown:?} in the page of {words}:\n{page}"
        );
    }
    let probes = told.lines().find(|line| line.starts_with("ProbePassed"));
    assert!(
        probes.is_some_and(|line| line.contains("True") && line.contains("VerdictsAgree")),
        "{probes:?}"
    );
    assert!(told.contains(" verdicts as the manifests say, 0 otherwise"), "{told}");
}
