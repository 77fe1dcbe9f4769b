//! What the compiled state holds in the corners: who has an address, who is told apart, and which numbers stay.

mod stage;

use cellwall_policy::compiled::{PeerClass, PeerId, RuleSlot};
use cellwall_policy::model::{Address, Hook};
use cellwall_policy::world::{DocumentKey, World};
use stage::{Stage, address, documents, link, pod, rule};

/// What the pods behind the numbered interfaces may send from.
fn addresses_of(stage: &Stage, ifindex: u32) -> Vec<String> {
    let addresses = stage.image().interfaces[&ifindex].addresses.clone();
    addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn an_address_that_no_pod_can_have_is_nobodys_whoever_says_so() {
    let stage = Stage::new(
        "pod shop/web at=127.0.0.1 at=::1 at=0.0.0.0 at=224.0.0.5 at=255.255.255.255 at=198.51.100.2",
        [link(10, "shop/web")],
    );
    assert_eq!(&**stage.compiler.node(), "node-a");
    let known: Vec<Address> = stage.image().addresses.into_keys().collect();
    assert_eq!(known, [address("198.51.100.2")]);
    assert_eq!(addresses_of(&stage, 10), ["198.51.100.2"]);
}

#[test]
fn of_two_pods_with_one_address_only_the_one_that_has_it_may_send_from_it() {
    let stage = Stage::new(
        "pod shop/old at=198.51.100.2 at=198.51.100.3 created=1\n\
         pod shop/new at=198.51.100.3 created=2",
        [link(10, "shop/old"), link(20, "shop/new")],
    );
    assert_eq!(addresses_of(&stage, 10), ["198.51.100.2"]);
    assert_eq!(addresses_of(&stage, 20), ["198.51.100.3"]);
    let image = stage.image();
    assert_eq!(image.addresses[&address("198.51.100.2")].ifindex, 10);
    assert_eq!(image.addresses[&address("198.51.100.3")].ifindex, 20);
    let (old, new) = (&image.interfaces[&10], &image.interfaces[&20]);
    assert_eq!(old.pod.as_deref(), Some("shop/old"));
    assert_eq!((old.startup, new.startup), (false, false));
}

#[test]
fn of_three_pods_with_one_address_the_one_that_gave_it_up_has_it_again_when_it_comes_back() {
    let mut stage = Stage::new(
        "pod shop/a at=198.51.100.2 created=9\n\
         pod shop/b at=198.51.100.2 created=1\n\
         pod shop/c at=198.51.100.2 created=2",
        [link(1, "shop/a"), link(2, "shop/b"), link(3, "shop/c")],
    );
    let holder = |stage: &Stage| stage.image().addresses[&address("198.51.100.2")].ifindex;
    assert_eq!(holder(&stage), 1);
    stage.apply("pod shop/a created=9");
    assert_eq!(holder(&stage), 3);
    stage.apply("pod shop/a at=198.51.100.2 created=9");
    assert_eq!(holder(&stage), 1);
    stage.change("", &[pod("shop/a"), pod("shop/c")]);
    assert_eq!(holder(&stage), 2);
}

/// A MAC, and the link-local address that it yields.
const MAC: [u8; 6] = [0x02, 0, 0x5e, 0x10, 0, 0x01];
const OF_MAC: &str = "fe80::5eff:fe10:1";

#[test]
fn what_a_mac_yields_stays_the_pods_when_its_document_names_it_no_more() {
    let mut web = link(10, "shop/web");
    web.mac = MAC;
    let mut stage = Stage::new(&format!("pod shop/web at=198.51.100.2 at={OF_MAC}"), [web]);
    assert_eq!(stage.peer(OF_MAC).class(), PeerClass::LocalPod);
    stage.apply("pod shop/web at=198.51.100.2");
    assert_eq!(stage.peer(OF_MAC).class(), PeerClass::LocalPod);
}

#[test]
fn what_a_mac_yields_is_not_that_of_a_pod_of_another_node() {
    let mut web = link(10, "shop/web");
    web.mac = MAC;
    let stage = Stage::new("pod shop/web on=node-b at=198.51.100.2", [web]);
    assert_eq!(stage.peer(OF_MAC).class(), PeerClass::LocalNode);
}

#[test]
fn the_interface_of_a_host_network_pod_is_that_of_nobody_known() {
    let stage = Stage::new("pod shop/agent host at=192.0.2.1", [link(10, "shop/agent")]);
    let interface = &stage.image().interfaces[&10];
    assert_eq!((&interface.pod, interface.startup), (&None, true));
}

#[test]
fn whoever_takes_an_address_over_within_one_update_starts_anew() {
    for taker in [
        "node node-b at=192.0.2.7",
        "service shop/s cluster=192.0.2.7 port=:80/TCP",
        "pod shop/other at=192.0.2.7",
    ] {
        let mut stage = Stage::new("pod shop/web at=192.0.2.7", []);
        stage.change(taker, &[pod("shop/web")]);
        let entry = stage.image().addresses[&address("192.0.2.7")];
        assert_eq!(entry.since, stage.generation, "{taker}");
    }
}

#[test]
fn an_object_that_no_enabled_rule_names_makes_nobody_distinct() {
    let mut stage = Stage::new(
        "pod shop/web at=198.51.100.2 label:app=web\n\
         pod shop/db at=198.51.100.3 label:app=db\n\
         object web apps=web",
        [],
    );
    let is_plain = |stage: &Stage| stage.peer("198.51.100.2").number() == PeerId::PLAIN;
    assert!(is_plain(&stage));
    stage.apply("rule deny 1 Drop @web -> Any");
    assert!(!is_plain(&stage));
    stage.change("", &[rule("deny")]);
    assert!(is_plain(&stage));
    stage.apply("rule deny 1 Drop @web -> Any disabled");
    assert!(is_plain(&stage));
    stage.change("", &[rule("deny")]);
    assert!(is_plain(&stage));
}

#[test]
fn pods_that_rules_do_not_tell_apart_share_a_policy_in_that_direction() {
    let mut stage = Stage::new(
        "pod shop/web at=198.51.100.2 label:app=web\n\
         pod shop/db at=198.51.100.3 label:app=db\n\
         object web apps=web\n\
         rule out 1 Drop @web -> World\n\
         rule in 2 Drop Node -> @web",
        [link(10, "shop/web"), link(20, "shop/db")],
    );
    let shared = |stage: &Stage| {
        let image = stage.image();
        let (web, db) = (&image.interfaces[&10], &image.interfaces[&20]);
        (web.egress == db.egress, web.ingress == db.ingress)
    };
    assert_eq!(shared(&stage), (false, false));
    stage.change("", &[rule("out")]);
    assert_eq!(
        shared(&stage),
        (true, false),
        "the object is in use, and not on this side"
    );
    stage.apply("rule out 1 Drop @web -> World");
    stage.change("", &[rule("in")]);
    assert_eq!(shared(&stage), (false, true));
}

#[test]
fn probe_ports_tell_policies_apart_only_where_the_node_may_use_them() {
    let mut stage = Stage::new(
        "pod shop/web at=198.51.100.2 probe=80\n\
         pod shop/db at=198.51.100.3 probe=81",
        [link(10, "shop/web"), link(20, "shop/db")],
    );
    let shared = |stage: &Stage| {
        let image = stage.image();
        let (web, db) = (&image.interfaces[&10], &image.interfaces[&20]);
        (web.egress == db.egress, web.ingress == db.ingress)
    };
    assert_eq!(shared(&stage), (true, false));
    stage.apply("defense local-node=Enforce");
    assert_eq!(shared(&stage), (true, true));
}

#[test]
fn a_policy_keeps_its_number_when_its_pod_joins_other_objects() {
    let mut stage = Stage::new(
        "pod shop/web at=198.51.100.2 label:app=web\n\
         object web apps=web\n\
         rule out 1 Drop @web -> World\n\
         rule in 2 Drop Node -> @web",
        [link(10, "shop/web")],
    );
    let numbers = |stage: &Stage| {
        let interface = stage.image().interfaces[&10].clone();
        (interface.egress, interface.ingress)
    };
    let before = numbers(&stage);
    assert_eq!(stage.says("203.0.113.200", 80), "DROP RULE out");
    stage.apply("pod shop/web at=198.51.100.2 label:app=other");
    assert_eq!(stage.says("203.0.113.200", 80), "PASS NO_RULE");
    assert_eq!(numbers(&stage), before);
}

#[test]
fn a_rule_of_the_same_name_and_another_uid_counts_anew() {
    let mut stage = Stage::new("rule deny 1 Drop Any -> World uid=one", []);
    let slots = |stage: &Stage| -> Vec<RuleSlot> { stage.image().rules.into_keys().collect() };
    let before = slots(&stage);
    stage.apply("rule deny 2 Drop Any -> World uid=one");
    assert_eq!(slots(&stage), before);
    stage.apply("rule deny 2 Drop Any -> World uid=two");
    assert_eq!(slots(&stage).len(), 1);
    assert_ne!(slots(&stage), before);
}

#[test]
fn pods_follow_the_labels_of_their_namespace() {
    let mut stage = Stage::new(
        "namespace shop label:tier=back\n\
         pod web/web at=198.51.100.2\n\
         pod shop/db at=198.51.100.3\n\
         object front nss:tier=front\n\
         rule deny 1 Drop Any -> @front",
        [link(10, "web/web")],
    );
    assert_eq!(stage.says("198.51.100.3", 80), "PASS NO_RULE");
    stage.apply("namespace shop label:tier=front");
    assert_eq!(stage.says("198.51.100.3", 80), "DROP RULE deny");
    stage.change("", &[DocumentKey::Namespace("shop".into())]);
    assert_eq!(stage.says("198.51.100.3", 80), "PASS NO_RULE");
}

#[test]
fn who_is_left_of_pods_that_were_alike_follows_their_object() {
    let mut stage = Stage::new(
        "pod shop/web at=198.51.100.2\n\
         pod shop/a at=198.51.100.3 label:app=x\n\
         pod shop/b at=198.51.100.4 label:app=x\n\
         pod shop/c at=198.51.100.5 label:app=y\n\
         object o apps=y\n\
         rule deny 1 Drop Any -> @o",
        [link(10, "shop/web")],
    );
    stage.change("", &[pod("shop/a")]);
    stage.apply("object o apps=x apps=y");
    assert_eq!(stage.says("198.51.100.4", 80), "DROP RULE deny");
    assert_eq!(stage.says("198.51.100.5", 80), "DROP RULE deny");
}

#[test]
fn pods_that_were_alike_and_join_different_objects_at_once_part() {
    let mut stage = Stage::new(
        "pod shop/web at=198.51.100.2\n\
         pod shop/a at=198.51.100.3 label:app=client-0\n\
         pod shop/b at=198.51.100.4 label:app=client-1\n\
         object clients apps=client-*\n\
         rule last 9 Pass Any -> @clients",
        [link(10, "shop/web")],
    );
    stage.apply(
        "object zero apps=client-0\n\
         object one apps=client-1\n\
         rule deny 1 Drop Any -> @zero\n\
         rule alert 1 Alert Any -> @one",
    );
    assert_eq!(stage.says("198.51.100.3", 80), "DROP RULE deny");
    assert_eq!(stage.says("198.51.100.4", 80), "ALERT RULE alert");
}

#[test]
fn who_comes_like_a_pod_that_went_is_not_taken_for_the_one_that_came_between() {
    let mut stage = Stage::new(
        "pod shop/web at=198.51.100.2\n\
         pod shop/a at=198.51.100.3 label:app=x\n\
         object o apps=y\n\
         rule deny 1 Drop Any -> @o",
        [link(10, "shop/web")],
    );
    stage.change("", &[pod("shop/a")]);
    stage.apply("pod shop/b at=198.51.100.4 label:app=y");
    stage.apply("pod shop/c at=198.51.100.5 label:app=x");
    assert_eq!(stage.says("198.51.100.4", 80), "DROP RULE deny");
    assert_eq!(stage.says("198.51.100.5", 80), "PASS NO_RULE");
}

#[test]
fn what_two_nodes_judge_is_logged_by_one() {
    let stage = Stage::new(
        "pod shop/web at=198.51.100.2\n\
         pod shop/db on=node-b at=198.51.100.3\n\
         pod shop/near at=198.51.100.4\n\
         rule alert 1 Alert Any -> Any on TCP/80\n\
         rule deny 1 Drop Any -> Any on TCP/81",
        [link(10, "shop/web")],
    );
    let quiet = |hook, other: &str, port| {
        let cell = stage.cell(10, hook, other, port);
        (cell.quiet_alert, cell.quiet_drop)
    };
    assert_eq!(quiet(Hook::FromPod, "198.51.100.3", 80), (true, false));
    assert_eq!(quiet(Hook::FromPod, "198.51.100.3", 81), (false, false));
    assert_eq!(quiet(Hook::FromPod, "198.51.100.3", 82), (false, false));
    assert_eq!(quiet(Hook::ToPod, "198.51.100.3", 81), (false, true));
    assert_eq!(quiet(Hook::ToPod, "198.51.100.3", 80), (false, false));
    for port in 80..83 {
        for hook in [Hook::FromPod, Hook::ToPod] {
            assert_eq!(quiet(hook, "198.51.100.4", port), (false, false));
        }
    }
}

#[test]
fn a_world_that_is_set_anew_names_what_changed_and_what_went() {
    let mut world = World::new("node-a", true);
    world.reset(documents("pod shop/web\npod shop/db\nrule deny 1 Drop Any -> Any"));
    let touched = world.reset(documents("pod shop/web\npod shop/db at=198.51.100.3\npod shop/new"));
    assert_eq!(touched, [pod("shop/db"), pod("shop/new"), rule("deny")]);
    assert_eq!(world.keys().count(), 3);
}
