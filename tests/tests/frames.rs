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
    agree(range, title);
}

/// What arrived, what was counted and what was told has to be what was sent.
fn agree(range: Range, title: &str) {
    let problems = range.close(title);
    let shown = &problems[..problems.len().min(30)];
    assert!(
        problems.is_empty(),
        "{title}: {} problems:\n{}",
        problems.len(),
        shown.join("\n")
    );
}

#[test]
fn case_01_whatever_is_under_tags_is_refused() {
    everywhere("case 01", &[Places::tags]);
}

#[test]
fn case_02_headers_outside_of_the_buffer_are_read_all_the_same() {
    let mut range = Range::open();
    range.fire_paged(1);
    range.fire_paged(2);
    agree(range, "case 02");
}

#[test]
fn case_03_options_never_move_the_ports_out_of_sight_and_source_routes_are_refused() {
    everywhere("case 03", &[Places::options, Places::header_lengths]);
}

#[test]
fn case_04_ipv6_extension_headers_are_walked_up_to_eight_in_every_order() {
    everywhere("case 04", &[Places::chains, Places::cut_chains]);
}

#[test]
fn case_05_later_fragments_follow_the_first_and_without_it_what_a_rule_could_drop_is_refused() {
    everywhere("case 05", &[Places::trains, Places::interleaved, Places::oddities]);
}

#[test]
fn case_06_tiny_first_fragments_and_overlapping_headers_are_refused() {
    everywhere("case 06", &[Places::tiny, Places::overlapping]);
}

#[test]
fn case_09_lengths_that_lie_and_headers_that_are_cut_off_are_refused() {
    everywhere("case 09", &[Places::cuts, Places::lengths]);
}

#[test]
fn case_09_frames_changed_by_chance_are_read_as_the_rules_say() {
    everywhere("case 09, by chance", &[Places::changed]);
}

#[test]
fn case_11_tunnels_of_a_pod_to_a_node_are_refused() {
    everywhere("case 11", &[Places::tunnels]);
}

#[test]
fn case_12_every_protocol_is_judged_as_itself_and_only_some_have_ports() {
    everywhere("case 12", &[Places::protocols]);
}

#[test]
fn case_13_every_icmp_type_is_judged_and_router_messages_of_a_pod_are_refused() {
    everywhere("case 13", &[Places::types]);
}

#[test]
fn case_14_router_advertisements_of_a_pod_are_refused_however_they_are_wrapped() {
    everywhere("case 14", &[Places::routers]);
}

#[test]
fn case_15_arp_and_neighbour_discovery_speak_for_the_pods_own_addresses_only() {
    everywhere("case 15", &[Places::arps, Places::neighbours]);
}

#[test]
fn case_16_memberships_pass_and_what_is_for_a_group_is_judged_as_for_the_pod() {
    everywhere("case 16", &[Places::groups]);
}

#[test]
fn case_16_each_copy_of_a_frame_for_a_group_is_judged_as_for_the_pod_it_reaches() {
    let mut range = Range::open();
    range.flood();
    agree(range, "case 16, copies");
}

#[test]
fn case_17_a_pod_sends_from_its_own_addresses_only_and_nobody_else_from_them() {
    everywhere("case 17", &[Places::sources]);
}

#[test]
fn case_17_nobody_joins_a_train_of_fragments_in_a_pods_name() {
    let mut range = Range::open();
    let third = range.address(2);
    range.fire(Sender::Pod(2), 1, |places| places.train_of_another(7, third, false));
    range.fire(Sender::Stranger, 1, |places| places.train_of_another(7, third, true));
    range.fire(Sender::Pod(0), 1, |places| places.train_of_another(7, third, true));
    range.fire(Sender::Pod(2), 1, |places| places.train_of_another(7, third, true));
    agree(range, "case 17, fragments");
}

#[test]
fn case_22_loopback_addresses_are_refused_on_both_sides() {
    everywhere("case 22", &[Places::loopback]);
}

#[test]
fn case_30_a_pods_root_cannot_take_the_hooks_away() {
    let mut range = Range::open();
    for command in [
        "tc qdisc replace dev eth0 clsact",
        "tc qdisc del dev eth0 clsact",
        "ip link set eth0 promisc on",
    ] {
        range.inside_sender(command);
    }
    range.fire(Sender::Pod(0), 1, Places::routers);
    range.fire(Sender::Pod(0), 1, Places::tunnels);
    agree(range, "case 30");
}

#[test]
fn case_34_every_set_of_tcp_flags_is_judged_by_what_it_may_open() {
    everywhere("case 34", &[Places::flags]);
}

#[test]
fn case_08_only_ipv4_ipv6_and_arp_pass_whatever_the_envelope() {
    everywhere("case 08", &[Places::envelopes]);
}
