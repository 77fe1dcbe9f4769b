//! Rows of the table of attack cases that are about what the rules mean, each as a scenario with its answers reasoned
//! by hand, given by the reference and by the compiled state alike.

mod compiled;

use cellwall_policy::scenario::{Ask, Scenario};
use compiled::disagreements;

/// Asks both; `text` is the body of a scenario.
#[track_caller]
fn hold(text: &str) {
    let scenarios = Scenario::read(&format!("scenario A case\n{text}")).unwrap();
    let [scenario] = scenarios.as_slice() else {
        panic!("{} scenarios", scenarios.len())
    };
    assert_eq!(scenario.disagreements(), Vec::<String>::new());
    let asks = scenario.cases().map(|case| &case.ask);
    let hooks: Vec<_> = asks
        .filter_map(|ask| match ask {
            Ask::Hook(question) => Some(question.clone()),
            Ask::Flow(_) => None,
        })
        .collect();
    assert!(!hooks.is_empty(), "asks no hook");
    assert_eq!(disagreements(&scenario.world(), hooks), "");
}

#[test]
fn case_21_a_pod_reaches_itself_by_its_address_and_by_its_service() {
    hold(
        "local node-a
pod shop/web on=node-a at=198.51.100.2 label:app=web
service shop/web cluster=203.0.113.10 port=:80/TCP
slice shop/web-1 for=web target=:8080/TCP ready=198.51.100.2
object web apps=web
rule nobody 1 Drop Any -> Any
hook FROM_POD shop/web 198.51.100.2 8080/TCP = PASS SELF
# By way of the Service it is one of the Service's clients, as every other pod of the workload is.
hook FROM_POD shop/web 203.0.113.10 80/TCP = DROP RULE nobody
",
    );
}

#[test]
fn case_26_every_address_of_a_pod_is_guarded() {
    hold(
        "local node-a
pod shop/web on=node-a at=198.51.100.2 at=2001:db8::2 at=2001:db8::3 label:app=web
pod shop/db on=node-a at=198.51.100.3 at=2001:db8::4 label:app=db
object web apps=web
object db apps=db
rule deny 1 Drop @web -> @db
hook TO_POD shop/db 198.51.100.2 80/TCP = DROP RULE deny
hook TO_POD shop/db 2001:db8::2 80/TCP = DROP RULE deny
hook TO_POD shop/db 2001:db8::3 80/TCP = DROP RULE deny
hook FROM_POD shop/web 198.51.100.3 80/TCP = DROP RULE deny
hook FROM_POD shop/web 2001:db8::4 80/TCP = DROP RULE deny
",
    );
}

#[test]
fn case_54_an_object_that_selects_nobody_is_nobody() {
    hold(
        "local node-a
pod shop/web on=node-a at=198.51.100.2 label:app=web
pod shop/db on=node-a at=198.51.100.3 label:app=db
object nobody apps=no-such-app
rule pass-nobody 1 Pass @nobody -> Any
rule pass-to-nobody 2 Pass Any -> @nobody
rule deny 3 Drop Any -> Any
hook FROM_POD shop/web 198.51.100.3 80/TCP = DROP RULE deny
hook FROM_POD shop/web 203.0.113.1 80/TCP = DROP RULE deny
hook TO_POD shop/db 203.0.113.1 80/TCP = DROP RULE deny
",
    );
}

#[test]
fn case_56_names_that_join_to_the_same_text_stay_apart() {
    hold(
        "local node-a
pod deny-me/x-ns1 on=node-a at=198.51.100.2 label:app=a
pod deny/me-x-ns1 on=node-a at=198.51.100.3 label:app=a
pod deny-me-x/ns1 on=node-a at=198.51.100.4 label:app=a
object first namespaces=deny-me
object second namespaces=deny
rule first 1 Drop @first -> World
rule second 1 Alert @second -> World
hook FROM_POD deny-me/x-ns1 203.0.113.1 80/TCP = DROP RULE first
hook FROM_POD deny/me-x-ns1 203.0.113.1 80/TCP = ALERT RULE second
hook FROM_POD deny-me-x/ns1 203.0.113.1 80/TCP = PASS NO_RULE
",
    );
}

#[test]
fn case_59_a_narrower_pass_does_not_shadow_a_wider_drop() {
    hold(
        "local node-a
pod shop/web on=node-a at=198.51.100.2 at=2001:db8::2 label:app=web
object wide cidr=203.0.113.0/24 cidr=2001:db8:e::/48
object narrow cidr=203.0.113.64/26 cidr=2001:db8:e:1::/64
object one cidr=203.0.113.65/32
rule wide 10 Drop Any -> @wide
rule narrow 20 Pass Any -> @narrow
rule one 5 Alert Any -> @one on TCP/443
hook FROM_POD shop/web 203.0.113.1 80/TCP = DROP RULE wide
hook FROM_POD shop/web 203.0.113.64 80/TCP = DROP RULE wide
hook FROM_POD shop/web 203.0.113.65 443/TCP = ALERT RULE one
hook FROM_POD shop/web 203.0.113.65 444/TCP = DROP RULE wide
hook FROM_POD shop/web 2001:db8:e:1::1 80/TCP = DROP RULE wide
hook FROM_POD shop/web 203.0.114.1 80/TCP = PASS NO_RULE
",
    );
}

#[test]
fn case_59_of_equal_priorities_the_stricter_decides() {
    hold(
        "local node-a
pod shop/web on=node-a at=198.51.100.2 label:app=web
object wide cidr=203.0.113.0/24
object narrow cidr=203.0.113.64/26
rule a-pass 10 Pass Any -> @narrow
rule b-alert 10 Alert Any -> @narrow on TCP/80
rule c-drop 10 Drop Any -> @wide on TCP/81
hook FROM_POD shop/web 203.0.113.64 79/TCP = PASS RULE a-pass
hook FROM_POD shop/web 203.0.113.64 80/TCP = ALERT RULE b-alert
hook FROM_POD shop/web 203.0.113.64 81/TCP = DROP RULE c-drop
",
    );
}
