//! The texts of images and plans.

use std::collections::BTreeMap;

use cellwall_policy::compiled::{Change, RuleCard, RuleSlot};
use cellwall_policy::model::Action;

use super::examples::{kernel_with_web, web};
use super::{Realiser, small_kernel};
use crate::encode::{Encoder, Wanted};
use crate::image::Image;
use crate::inspect::inspect;

#[test]
fn the_text_of_an_image_names_rules_and_shows_verdicts() {
    let (kernel, _) = kernel_with_web();
    let text = inspect(&kernel).unwrap().to_string();
    let expected = "\
generation 1: enforce, pass records 1/0
rule 0: deny-all uid uid-1 priority 1000 Drop
interface 19: slot 0 egress 0 ingress 1 master 2 mac 02:00:00:00:00:01 attached 5000 addresses 192.0.2.1 2001:db8::1 fe80::1 192.0.2.9
address 192.0.2.1: LocalPod:1 interface 19
range 203.0.113.0/24: World:4
service 198.51.100.1 TCP/80 IPv4: ServicePort:2
policy 0 World:-: table 1
policy 1 World:-: table 0
table 0 TCP: 0-442 DROP RULE deny-all; 443 PASS NO_RULE; 444-65535 DROP RULE deny-all (list at 0)
table 0 UDP: DROP RULE deny-all
table 0 SCTP: DROP RULE deny-all
table 0 ICMP: DROP RULE deny-all
table 0 ICMPv6: DROP RULE deny-all
table 0 other: DROP RULE deny-all
table 1 TCP: PASS NO_RULE
table 1 UDP: PASS NO_RULE
table 1 SCTP: PASS NO_RULE
table 1 ICMP: PASS NO_RULE
table 1 ICMPv6: PASS NO_RULE
table 1 other: PASS NO_RULE
";
    assert_eq!(text, expected);
}

#[test]
fn a_plan_is_text_too() {
    let mut encoder = Encoder::new(Image::default(), BTreeMap::new());
    let mut wanted = Wanted::whole(0, 0);
    wanted.extend(web());
    let update = encoder.encode(&wanted).unwrap();
    let expected = "\
PREPARE zero 1 of RULE_COUNTERS
PREPARE update 1 of RULE_CARDS
PREPARE update 1 of ENDPOINTS
PREPARE update 2 of TABLES
PREPARE update 4 of SPANS
PREPARE update 1 of ENDPOINT_INDEX
PREPARE update 1 of ADDRESSES4
PREPARE update 1 of PREFIXES4
PREPARE update 1 of SERVICE_PORTS
PREPARE update 2 of POLICY
PREPARE update 1 of OWN_ADDRESSES
FLIP activate generation 1
";
    assert_eq!(update.plan.to_string(), expected);
    assert_eq!(update.plan.writes(), 17);
    assert_eq!(update.plan.steps().count(), 12);
    encoder.abandon(update);
}

#[test]
fn a_name_on_a_card_cannot_speak_to_a_terminal() {
    let mut kernel = small_kernel();
    let mut realiser = Realiser::adopt(&kernel).unwrap();
    let card = RuleCard {
        name: "\u{1b}[2Jx\u{202e}".into(),
        uid: "u\n".into(),
        priority: 1,
        action: Action::Pass,
    };
    realiser.want([Change::Rule(RuleSlot(0), Some(card))]);
    realiser.realise(&mut kernel).unwrap();
    let text = inspect(&kernel).unwrap().to_string();
    assert!(text.contains("\\u{1b}[2Jx\\u{202e}"), "{text}");
    assert!(!text.contains('\u{1b}'));
}
