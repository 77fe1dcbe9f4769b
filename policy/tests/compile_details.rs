//! What the compiled state holds in the corners: who has an address, what stands for what, and which numbers stay.

use cellwall_policy::compile::{Compiler, Image, Link, Update};
use cellwall_policy::compiled::{Cell, PeerClass, PeerId, RuleSlot};
use cellwall_policy::model::{Address, Hook, Protocol};
use cellwall_policy::scenario::{Line, Scenario};
use cellwall_policy::world::{Document, DocumentKey, World};

/// A world in the words of scenarios, and its compiler, changed together.
struct Stage {
    world: World,
    compiler: Compiler,
    links: Vec<Link>,
    generation: u32,
}

fn documents(lines: &str) -> Vec<Document> {
    let mut scenarios = Scenario::read(&format!("scenario details\n{lines}")).unwrap();
    let lines = scenarios.remove(0).lines.into_iter();
    let documents = lines.filter_map(|line| match line {
        Line::Document(document) => Some(document),
        _ => None,
    });
    documents.collect()
}

fn pod(uid: &str) -> DocumentKey {
    DocumentKey::Pod(uid.into())
}

fn rule(name: &str) -> DocumentKey {
    DocumentKey::DefenseRule(name.into())
}

fn service(name: &str) -> DocumentKey {
    DocumentKey::Service("shop".into(), name.into())
}

fn link(ifindex: u32, uid: &str) -> Link {
    Link {
        ifindex,
        master: 0,
        pod: Some(uid.into()),
        mac: [0; 6],
    }
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

impl Stage {
    fn new(lines: &str, links: impl Into<Vec<Link>>) -> Self {
        let mut stage = Self {
            world: World::new("node-a", true),
            compiler: Compiler::new("node-a"),
            links: links.into(),
            generation: 0,
        };
        stage.apply(lines);
        stage
    }

    /// One update: these documents come or change, and those go.
    fn change(&mut self, lines: &str, gone: &[DocumentKey]) -> Update {
        let mut touched = gone.to_vec();
        for key in gone {
            assert!(self.world.delete(key), "{key:?} was not there");
        }
        for document in documents(lines) {
            touched.push(document.key());
            self.world.apply(document);
        }
        self.generation += 1;
        self.compiler
            .update(&self.world, &touched, &self.links, self.generation)
    }

    fn apply(&mut self, lines: &str) -> Update {
        self.change(lines, &[])
    }

    fn image(&self) -> Image {
        self.compiler.image()
    }

    fn peer(&self, text: &str) -> PeerId {
        self.image().peer_of(address(text))
    }

    fn cell(&self, ifindex: u32, hook: Hook, other: &str, port: u16) -> Cell {
        let verdict = self.image().verdict(ifindex, hook, address(other), Protocol::Tcp, port);
        verdict.unwrap()
    }

    /// Verdict, reason and rule of a TCP flow that the pod of interface 10 opens.
    fn says(&self, other: &str, port: u16) -> String {
        let cell = self.cell(10, Hook::FromPod, other, port);
        let rules = self.image().rules;
        let rule = cell.rule.map(|slot| format!(" {}", rules[&slot].name));
        format!("{} {}{}", cell.action.verdict(), cell.reason, rule.unwrap_or_default())
    }
}

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

const SHOP: &str = "pod shop/web at=198.51.100.2\n\
     pod shop/db at=198.51.100.3 label:app=db\n\
     service shop/s cluster=203.0.113.10 port=main:80/TCP\n\
     slice shop/s-1 for=s target=main:8080/TCP ready=198.51.100.3\n\
     service shop/t cluster=203.0.113.11 port=main:80/TCP\n\
     slice shop/t-1 for=t target=main:8081/TCP ready=198.51.100.3\n\
     object db apps=db\n\
     object blocked apps=blocked\n\
     rule no 2 Drop Any -> @blocked\n\
     rule some 1 Alert Any -> @db\n";

#[test]
fn the_backends_of_a_service_port_are_those_of_its_name_and_its_protocol() {
    let mut stage = Stage::new(
        "pod shop/web at=198.51.100.2\n\
         service shop/s cluster=203.0.113.10 port=main:80/TCP\n\
         slice shop/s-1 for=s target=main:8080/UDP target=other:8081/TCP ready=203.0.113.200\n\
         rule deny 1 Drop Any -> World",
        [link(10, "shop/web")],
    );
    assert_eq!(stage.says("203.0.113.10", 80), "PASS NO_RULE");
    stage.apply("slice shop/s-1 for=s target=main:8080/TCP ready=203.0.113.200");
    assert_eq!(stage.says("203.0.113.10", 80), "DROP RULE deny");
}

#[test]
fn one_refused_backend_refuses_a_service_port_only_where_no_hook_will_see_it() {
    let world = |rules: &str| {
        format!(
            "pod shop/web at=198.51.100.2\n\
             pod shop/db at=198.51.100.3 label:app=db\n\
             service shop/s cluster=203.0.113.10 port=:80/TCP\n\
             slice shop/s-1 for=s target=:8080/TCP ready=198.51.100.3 ready=203.0.113.200\n\
             object db apps=db\n{rules}"
        )
    };
    let outside = Stage::new(&world("rule deny 1 Drop Any -> World"), [link(10, "shop/web")]);
    assert_eq!(outside.says("203.0.113.10", 80), "DROP RULE deny");
    let inside = Stage::new(&world("rule deny 1 Drop Any -> @db"), [link(10, "shop/web")]);
    assert_eq!(inside.says("203.0.113.10", 80), "PASS SERVICE");
    let unguarded = Stage::new(
        &format!(
            "{}\nreport node-b open\npod shop/db on=node-b at=198.51.100.3 label:app=db",
            { world("rule deny 1 Drop Any -> @db") }
        ),
        [link(10, "shop/web")],
    );
    assert_eq!(unguarded.says("203.0.113.10", 80), "DROP RULE deny");
}

#[test]
fn service_ports_follow_the_rules_about_their_backends_whatever_other_services_do() {
    let mut stage = Stage::new(SHOP, [link(10, "shop/web")]);
    assert_eq!(stage.says("203.0.113.10", 80), "PASS SERVICE");
    stage.apply("rule some 1 Drop Any -> @db");
    assert_eq!(stage.says("203.0.113.10", 80), "DROP RULE some");
    assert_eq!(stage.says("203.0.113.11", 80), "DROP RULE some");
    stage.change("", &[service("s")]);
    stage.apply("rule some 1 Alert Any -> @db");
    assert_eq!(stage.says("203.0.113.11", 80), "PASS SERVICE");
}

#[test]
fn service_ports_follow_their_backends_whatever_other_services_do() {
    let mut stage = Stage::new(SHOP, [link(10, "shop/web")]);
    stage.apply("service shop/s cluster=203.0.113.10 port=main:88/TCP");
    stage.apply("pod shop/db at=198.51.100.3 label:app=blocked");
    assert_eq!(stage.says("203.0.113.10", 88), "DROP RULE no");
    assert_eq!(stage.says("203.0.113.11", 80), "DROP RULE no");
}

#[test]
fn service_ports_follow_the_ranges_that_their_backends_lie_in() {
    let mut stage = Stage::new(
        "pod shop/web at=198.51.100.2\n\
         service shop/s cluster=203.0.113.10 port=:80/TCP\n\
         slice shop/s-1 for=s target=:8080/TCP ready=203.0.113.200\n\
         rule deny 1 Drop Any -> @net",
        [link(10, "shop/web")],
    );
    assert_eq!(stage.says("203.0.113.10", 80), "PASS SERVICE");
    stage.apply("object net cidr=203.0.113.128/25");
    assert_eq!(stage.says("203.0.113.10", 80), "DROP RULE deny");
    stage.apply("object net cidr=203.0.113.0/25");
    assert_eq!(stage.says("203.0.113.10", 80), "PASS SERVICE");
}

#[test]
fn a_host_port_counts_at_addresses_of_its_own_node_alone() {
    let nodes = "node node-a at=192.0.2.1\nnode node-b at=192.0.2.2\nnode node-c at=192.0.2.3";
    let at = |at: &str| {
        let lines = format!("{nodes}\npod shop/x on=node-b at=198.51.100.9 hostport={at}8080/TCP>80");
        Stage::new(&lines, []).image().service_ports.len()
    };
    assert_eq!(at(""), 1);
    assert_eq!(at("192.0.2.2@"), 1);
    assert_eq!(at("192.0.2.3@"), 0);
    assert_eq!(at("192.0.2.1@"), 0);
}

#[test]
fn an_address_that_two_nodes_have_leads_to_the_host_ports_of_this_one() {
    let nodes = "node node-a at=192.0.2.1\nnode node-b at=192.0.2.1";
    let on = |node: &str| {
        let lines = format!("{nodes}\npod shop/x on={node} at=198.51.100.9 hostport=8080/TCP>80");
        let image = Stage::new(&lines, []).image();
        image.destination(address("192.0.2.1"), Protocol::Tcp, 8080).class()
    };
    assert_eq!(on("node-a"), PeerClass::ServicePort);
    assert_eq!(on("node-b"), PeerClass::LocalNode);
}

#[test]
fn a_world_that_is_set_anew_names_what_changed_and_what_went() {
    let mut world = World::new("node-a", true);
    world.reset(documents("pod shop/web\npod shop/db\nrule deny 1 Drop Any -> Any"));
    let touched = world.reset(documents("pod shop/web\npod shop/db at=198.51.100.3\npod shop/new"));
    assert_eq!(touched, [pod("shop/db"), pod("shop/new"), rule("deny")]);
    assert_eq!(world.keys().count(), 3);
}
