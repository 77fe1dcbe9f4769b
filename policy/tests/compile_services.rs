//! What Service ports and host ports stand for, and that they follow whatever that depends on.

mod stage;

use cellwall_policy::compiled::PeerClass;
use cellwall_policy::model::Protocol;
use stage::{Stage, address, link, service};

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
fn service_ports_follow_a_rule_about_the_class_of_a_backend_that_other_pods_tell_apart() {
    let mut stage = Stage::new(
        "pod shop/web at=198.51.100.2\n\
         service shop/s cluster=203.0.113.10 port=:80/TCP\n\
         slice shop/s-1 for=s target=:8080/TCP ready=203.0.113.200\n\
         object net cidr=203.0.113.128/25\n\
         object db apps=db\n\
         rule elsewhere 1 Drop @db -> @net\n\
         rule deny 2 Drop Any -> World",
        [link(10, "shop/web")],
    );
    assert_eq!(stage.says("203.0.113.10", 80), "DROP RULE deny");
    stage.apply("rule deny 2 Pass Any -> World");
    assert_eq!(stage.says("203.0.113.10", 80), "PASS SERVICE");
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
