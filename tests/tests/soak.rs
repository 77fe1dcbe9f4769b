//! Short soaks. `CELLWALL_SOAK_SECONDS` is how long each lasts (20); `make soak` is the long one.

use std::time::Duration;

use cellwall_tests::soak::{Options, Source, run};

fn soak(source: Source) {
    let given = std::env::var("CELLWALL_SOAK_SECONDS").ok();
    let seconds = given.map_or(20, |text| text.parse().expect("CELLWALL_SOAK_SECONDS is a number"));
    let options = Options {
        duration: Duration::from_secs(seconds),
        kills: 3,
        pods: 5,
        clients: 3,
        floods: true,
        source,
        seed: u64::from(std::process::id()),
    };
    let report = run(&options, |line| println!("{line}"));
    println!("{report}");
    assert_eq!(report.wrong, 0, "{report}");
    assert!(
        report.decided > 20 && report.decided * 4 > report.asked,
        "nothing was tried:\n{report}"
    );
}

#[test]
fn while_everything_changes_and_the_agent_dies_each_connection_is_judged_as_the_rules_say() {
    soak(Source::Files);
}

#[test]
fn the_same_holds_on_an_api_server_also_while_it_is_away() {
    soak(Source::Api);
}
