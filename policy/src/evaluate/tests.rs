//! What scenarios cannot show: the rules considered, identities, and how questions are read.

use super::{AskedProtocol, End, HookQuestion, Question, QuestionError, WhyNot, at_hook, evaluate, identify};
use crate::model::{Address, Entity, Hook, Protocol};
use crate::scenario::Scenario;
use crate::world::World;

fn world(lines: &str) -> World {
    Scenario::read(&format!("scenario world\n{lines}")).unwrap()[0].world()
}

fn considered(
    world: &World,
    from: &str,
    to: &str,
    port: Option<&str>,
) -> Vec<(String, Option<WhyNot>, Option<String>)> {
    let answer = evaluate(world, &Question::parse(from, to, port).unwrap()).unwrap();
    let told = answer.considered.iter();
    told.map(|one| {
        (
            one.rule.to_string(),
            one.why_not,
            one.backend.as_ref().map(ToString::to_string),
        )
    })
    .collect()
}

#[test]
fn every_rule_is_considered_in_deciding_order_with_the_first_reason_against_it() {
    let world = world(
        "pod shop/web at=198.51.100.2\n\
         pod shop/db at=198.51.100.3\n\
         rule e 5 Pass Any -> Any\n\
         rule d 5 Drop Any -> Any on TCP/80\n\
         rule c 4 Drop Any -> World on TCP/80\n\
         rule b 3 Drop World -> World on TCP/80\n\
         rule a 2 Drop World -> World disabled on TCP/80\n\
         rule z 1 Drop @missing -> Any\n",
    );
    let told = considered(&world, "shop/web", "shop/db", Some("443"));
    let expected = [
        ("z", Some(WhyNot::Source)),
        ("a", Some(WhyNot::Disabled)),
        ("b", Some(WhyNot::Source)),
        ("c", Some(WhyNot::Destination)),
        ("d", Some(WhyNot::Ports)),
        ("e", None),
    ];
    assert_eq!(told, expected.map(|(name, why_not)| (name.to_owned(), why_not, None)));
}

#[test]
fn rules_are_considered_for_each_backend_of_a_service_at_its_target_port() {
    let world = world(
        "pod shop/web at=198.51.100.2\n\
         pod shop/db at=198.51.100.3\n\
         service shop/s cluster=203.0.113.10 port=:80/TCP\n\
         slice shop/s-1 for=s target=:8080/TCP ready=198.51.100.3 ready=203.0.113.200\n\
         rule deny 1 Drop Any -> World\n",
    );
    let told = considered(&world, "shop/web", "203.0.113.10", Some("80"));
    let backend = |text: &str| Some(text.to_owned());
    assert_eq!(
        told,
        [
            (
                "deny".to_owned(),
                Some(WhyNot::Destination),
                backend("198.51.100.3:8080 (shop/db)")
            ),
            ("deny".to_owned(), None, backend("203.0.113.200:8080")),
        ]
    );
}

#[test]
fn the_node_itself_is_considered_beside_the_backends_of_a_node_port() {
    let world = world(
        "node node-a at=192.0.2.1\n\
         pod shop/web at=198.51.100.2\n\
         pod shop/db at=198.51.100.3\n\
         service shop/s port=:80/TCP@30080\n\
         slice shop/s-1 for=s target=:8080/TCP ready=198.51.100.3\n\
         rule deny 1 Drop Any -> Node on UDP\n",
    );
    let told = considered(&world, "shop/web", "192.0.2.1", Some("30080"));
    assert_eq!(
        told,
        [
            ("deny".to_owned(), Some(WhyNot::Ports), None),
            (
                "deny".to_owned(),
                Some(WhyNot::Destination),
                Some("198.51.100.3:8080 (shop/db)".to_owned())
            ),
        ]
    );
}

#[test]
fn an_answer_carries_the_rule_with_its_uid_priority_and_action() {
    let world = world(
        "pod shop/web at=198.51.100.2\n\
         rule deny 7 Drop Any -> World uid=u7\n",
    );
    let answer = evaluate(&world, &Question::parse("shop/web", "World", Some("80")).unwrap()).unwrap();
    let rule = answer.rule.unwrap();
    assert_eq!((&*rule.name, &*rule.uid, rule.priority), ("deny", "u7", 7));
    assert_eq!(rule.action, answer.verdict);
    assert_eq!(answer.hook, Some(Hook::FromPod));
}

#[test]
fn an_identity_tells_the_pod_its_objects_and_the_narrowest_entity() {
    let world = world(
        "node node-a at=192.0.2.1 range=198.51.100.0/24\n\
         node node-b at=192.0.2.2\n\
         pod shop/web at=198.51.100.2 label:app=web\n\
         service shop/s cluster=203.0.113.10 external=203.0.113.129\n\
         object all namespaces=*\n\
         object web apps=web\n\
         object ranges cidr=0.0.0.0/0\n",
    );
    for (address, entity, objects) in [
        ("198.51.100.2", Entity::Cluster, &["all", "web"] as &[&str]),
        ("::ffff:198.51.100.2", Entity::Cluster, &["all", "web"]),
        ("192.0.2.1", Entity::LocalNode, &["ranges"]),
        ("192.0.2.2", Entity::Node, &["ranges"]),
        ("169.254.0.1", Entity::LocalNode, &["ranges"]),
        ("203.0.113.1", Entity::World, &["ranges"]),
        ("224.0.0.1", Entity::Any, &["ranges"]),
        ("203.0.113.10", Entity::Any, &[]),
        ("203.0.113.129", Entity::Any, &[]),
        ("198.51.100.3", Entity::Any, &[]),
        ("127.0.0.1", Entity::Any, &[]),
    ] {
        let identity = identify(&world, address.parse().unwrap());
        assert_eq!(identity.entity("node-a"), entity, "{address}");
        assert_eq!(identity.entity_name("node-a"), entity.name(), "{address}");
        assert_eq!(identity.pod().is_some(), entity == Entity::Cluster, "{address}");
        let names: Vec<&str> = identity.objects.iter().map(|name| &**name).collect();
        assert_eq!(names, objects, "{address}");
    }
}

#[test]
fn an_answer_never_depends_on_what_came_first_into_the_world() {
    for seed in 0..40 {
        let world = crate::generate::world(seed, 10);
        let mut lines = Scenario::of("s", &world, []);
        lines.lines.reverse();
        let reversed = lines.world();
        for question in crate::generate::questions(seed, &world, 20) {
            assert_eq!(at_hook(&world, &question), at_hook(&reversed, &question));
        }
    }
}

#[test]
fn a_question_is_read_as_people_write_it() {
    let parse = |text| Question::parse("shop/web", "203.0.113.1", text).map(|read| (read.protocol, read.port));
    for (text, expected) in [
        (None, (AskedProtocol::Unnamed, None)),
        (Some("443"), (AskedProtocol::Tcp, Some(443))),
        (Some("443/TCP"), (AskedProtocol::Tcp, Some(443))),
        (Some("53/udp"), (AskedProtocol::Udp, Some(53))),
        (Some("9/SCTP"), (AskedProtocol::Sctp, Some(9))),
        (Some("/47"), (AskedProtocol::Number(47), None)),
        (Some("/ICMP"), (AskedProtocol::Icmp, None)),
        (Some("8/ICMP"), (AskedProtocol::Icmp, Some(8))),
        (Some("128/ICMPv6"), (AskedProtocol::Icmpv6, Some(128))),
        (Some("/Any"), (AskedProtocol::Unnamed, None)),
        (Some("0"), (AskedProtocol::Tcp, Some(0))),
        (Some("80/6"), (AskedProtocol::Number(6), Some(80))),
        (Some("65535"), (AskedProtocol::Tcp, Some(65535))),
    ] {
        assert_eq!(parse(text), Ok(expected), "{text:?}");
    }
    let not_a_port = |text: &str| QuestionError::NotAPort { text: text.to_owned() };
    let not_a_protocol = |text: &str| QuestionError::NotAProtocol { text: text.to_owned() };
    for (text, error) in [
        ("", not_a_port("")),
        ("http", not_a_port("http")),
        ("+80", not_a_port("+80")),
        ("80/", not_a_port("80/")),
        ("-1", not_a_port("-1")),
        ("99999999999", not_a_port("99999999999")),
        ("1234567890", not_a_port("1234567890")),
        ("65536", QuestionError::PortTooLarge { port: 65536 }),
        ("256/ICMP", QuestionError::PortTooLarge { port: 256 }),
        ("80/HTTP", not_a_protocol("HTTP")),
        ("/256", not_a_protocol("256")),
        ("/+6", not_a_protocol("+6")),
        ("80/TCP/x", not_a_protocol("TCP/x")),
        ("80/Any", QuestionError::AnyWithPort { port: 80 }),
        ("80/47", QuestionError::PortOfPortless { number: 47, port: 80 }),
    ] {
        assert_eq!(parse(Some(text)), Err(error), "{text:?}");
    }
}

#[test]
fn an_end_is_a_pod_an_address_or_an_entity_and_nothing_else() {
    for (text, end) in [
        ("shop/web", End::Pod("shop".into(), "web".into())),
        ("192.0.2.1", End::Address("192.0.2.1".parse().unwrap())),
        ("::ffff:192.0.2.1", End::Address("192.0.2.1".parse().unwrap())),
        ("2001:db8::1", End::Address("2001:db8::1".parse().unwrap())),
        ("LocalNode", End::Member(Entity::LocalNode)),
    ] {
        assert_eq!(text.parse(), Ok(end.clone()));
        assert_eq!(end.to_string().parse(), Ok(end));
    }
    for text in [
        "",
        "web",
        "world",
        "/web",
        "shop/",
        "a/b/c",
        "192.0.2.256",
        "192.0.2.1:80",
    ] {
        let error = QuestionError::NotAnEnd { text: text.to_owned() };
        assert_eq!(text.parse::<End>(), Err(error));
    }
    let range = "192.0.2.0/24".to_owned();
    assert_eq!(range.parse::<End>(), Err(QuestionError::Range { text: range }));
}

#[test]
fn errors_never_carry_raw_control_characters() {
    let hostile = "\u{1b}[31m\n";
    let world = World::new("node-a", true);
    for error in [
        Question::parse(hostile, "Any", None).unwrap_err(),
        Question::parse("Any", "Any", Some(hostile)).unwrap_err(),
        Question::parse("Any", "Any", Some(&format!("1/{hostile}"))).unwrap_err(),
        evaluate(
            &world,
            &Question::parse(&format!("{hostile}/{hostile}"), "Any", None).unwrap(),
        )
        .unwrap_err(),
    ] {
        assert!(!error.to_string().contains(char::is_control), "{error:?}");
    }
}

#[test]
fn questions_without_answer_say_what_is_in_the_way() {
    let world = world(
        "pod shop/four at=198.51.100.2\n\
         pod shop/six at=2001:db8:a::2\n\
         pod shop/ended at=198.51.100.3 phase=Succeeded\n",
    );
    let ask = |from, to, port| {
        evaluate(&world, &Question::parse(from, to, port).unwrap())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        ask("shop/four", "shop/six", Some("80")),
        "shop/four and shop/six have no address family in common"
    );
    assert_eq!(
        ask("shop/six", "World", Some("8/ICMP")),
        "ICMP needs IPv4, and shop/six has no such address"
    );
    assert_eq!(
        ask("Any", "shop/ended", None),
        "pod \"shop\"/\"ended\" has ended and has no addresses any more"
    );
    assert_eq!(ask("Any", "shop/none", None), "there is no pod \"shop\"/\"none\"");
    assert_eq!(
        ask("shop/four", "World", Some("128/ICMPv6")),
        "ICMPv6 needs IPv6, and shop/four has no such address"
    );
}

#[test]
fn no_world_and_no_address_makes_the_reference_panic() {
    let odd: Vec<Address> = ["0.0.0.0", "::", "255.255.255.255", "ff0f::1", "64:ff9b::1", "100::"]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    for seed in 0..20 {
        let world = crate::generate::world(seed, 5);
        for (peer, hook) in odd.iter().flat_map(|peer| [(peer, Hook::FromPod), (peer, Hook::ToPod)]) {
            for number in 0..=255 {
                let answer = at_hook(
                    &world,
                    &HookQuestion {
                        hook,
                        pod: None,
                        peer: *peer,
                        protocol: Protocol::of(number, peer.is_v4()),
                        port: Some(u16::from(number)),
                    },
                );
                assert_eq!(answer.hook, Some(hook));
            }
        }
    }
}

#[test]
fn a_pod_speaks_to_its_link_in_ipv6_where_it_has_an_address_there() {
    let world = world(
        "pod shop/linked at=198.51.100.2 link=fe80::2\n\
         pod shop/four at=198.51.100.3\n",
    );
    let is_answered = |from, to| evaluate(&world, &Question::parse(from, to, Some("80")).unwrap()).is_ok();
    for (to, linked) in [
        ("fe80::1", true),
        ("ff02::5", true),
        ("2001:db8::1", false),
        ("198.51.100.9", true),
    ] {
        assert_eq!(is_answered("shop/linked", to), linked, "{to}");
        assert_eq!(is_answered("shop/four", to), to == "198.51.100.9", "{to}");
    }
}

#[test]
fn a_host_network_pod_without_an_address_is_reached_by_those_of_its_node() {
    let world = world(
        "node node-a at=2001:db8::1\n\
         report node-b enforcing at=192.0.2.2\n\
         pod shop/four at=198.51.100.3\n\
         pod shop/agent host\n\
         pod shop/other host on=node-b\n",
    );
    let is_answered = |to| evaluate(&world, &Question::parse("shop/four", to, Some("80")).unwrap()).is_ok();
    assert!(!is_answered("shop/agent"), "the node has IPv6 alone");
    assert!(is_answered("shop/other"));
}

#[test]
fn where_two_nodes_say_the_same_the_senders_says_it() {
    let world = world(
        "pod shop/web at=198.51.100.2\n\
         pod shop/db on=node-b at=198.51.100.3\n\
         rule alert 1 Alert Any -> Any on TCP/80\n\
         rule deny 1 Drop Any -> Any on TCP/81\n",
    );
    for port in ["80", "81", "82"] {
        let answer = evaluate(&world, &Question::parse("shop/web", "shop/db", Some(port)).unwrap()).unwrap();
        assert_eq!(answer.hook, Some(Hook::FromPod), "{port}");
    }
}

#[test]
fn a_reason_against_a_rule_has_its_word() {
    let words = [WhyNot::Disabled, WhyNot::Source, WhyNot::Destination, WhyNot::Ports].map(WhyNot::name);
    assert_eq!(words, ["disabled", "source", "destination", "ports"]);
}
