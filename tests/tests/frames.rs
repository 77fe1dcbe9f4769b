//! Raw frames from a pod, in every shape that we could think of: what is to be refused is never seen by the receiver,
//! what is to pass always is, and the agent counts and tells each of them.

use cellwall_tests::frames::corpus::Places;
use cellwall_tests::frames::{Range, Sender};

/// Sends a category from a pod to the guarded pod and to the one that is not, and from a host that is no pod.
fn everywhere(title: &str, categories: &[fn(&mut Places) -> Vec<cellwall_tests::frames::Shot>]) {
    let mut range = Range::open();
    for category in categories {
        range.fire(Sender::Pod(0), 1, category);
        range.fire(Sender::Pod(0), 2, category);
        range.fire(Sender::Stranger, 1, category);
    }
    range.close(title);
}

#[test]
fn case_01_whatever_is_under_tags_is_refused() {
    everywhere("case 01", &[Places::tags]);
}

#[test]
fn case_08_only_ipv4_ipv6_and_arp_pass_whatever_the_envelope() {
    everywhere("case 08", &[Places::envelopes]);
}
