//! What `check` finds, and what it does not.

use cellwall_policy::compile::Reach;
use cellwall_policy::diagnostic::{Problem, Severity, examine};
use cellwall_policy::model::{
    Action, CidrEntry, DefenseRule, Entity, Glob, Labels, Name, Namespace, NetworkObject, Phase, Pod, PortEntry,
    PortMatch, ProtocolMatch, Selector, Service, Side, WorkloadSelector,
};
use cellwall_policy::world::{Document, World};

fn pod(name: &str, app: &str, address: &str) -> Pod {
    Pod {
        uid: format!("uid-{name}").into(),
        namespace: "ns-0".into(),
        name: name.into(),
        labels: Labels::new([("app", app)]),
        images: Vec::new(),
        addresses: vec![address.parse().unwrap()],
        link_local: Vec::new(),
        node: None,
        host_network: false,
        phase: Phase::Running,
        created: 0,
        probe_ports: Vec::new(),
        host_ports: Vec::new(),
        owner: None,
    }
}

fn apps(name: &str, glob: &str) -> Document {
    let selector = WorkloadSelector {
        apps: Some(vec![Glob::new(glob).unwrap()]),
        ..WorkloadSelector::default()
    };
    Document::NetworkObject(NetworkObject {
        name: name.into(),
        uid: name.into(),
        selector: Selector::Workloads(selector),
    })
}

fn ranges(name: &str, cidr: &str, except: &[&str]) -> Document {
    let entry = CidrEntry {
        cidr: cidr.parse().unwrap(),
        except: except.iter().map(|hole| hole.parse().unwrap()).collect(),
    };
    Document::NetworkObject(NetworkObject {
        name: name.into(),
        uid: name.into(),
        selector: Selector::Cidrs(vec![entry]),
    })
}

#[allow(clippy::unnecessary_wraps, reason = "the rule wants the list as an option")]
fn tcp(first: u16, last: u16) -> Option<Vec<PortEntry>> {
    Some(vec![PortEntry {
        protocol: ProtocolMatch::Tcp,
        ports: PortMatch::Range(first, last),
    }])
}

fn rule(name: &str, from: &str, to: &str, action: Action, priority: u16, ports: Option<Vec<PortEntry>>) -> Document {
    let side = |text: &str| match Entity::ALL.into_iter().find(|entity| entity.name() == text) {
        Some(entity) => Side::Entity(entity),
        None => Side::Object(text.into()),
    };
    Document::DefenseRule(DefenseRule {
        name: name.into(),
        uid: name.into(),
        source: side(from),
        destination: side(to),
        ports,
        action,
        priority,
        enabled: true,
    })
}

fn world(documents: impl IntoIterator<Item = Document>) -> World {
    let mut world = World::new("node-0", true);
    let always = [
        Document::Pod(pod("web", "web", "10.0.0.1")),
        Document::Pod(pod("db", "db", "10.0.0.2")),
        apps("web", "web"),
        apps("db", "db"),
    ];
    for document in always.into_iter().chain(documents) {
        world.apply(document);
    }
    world
}

/// Names and problems found.
fn found(documents: impl IntoIterator<Item = Document>) -> Vec<(String, Problem)> {
    examine(&world(documents))
        .into_iter()
        .map(|found| (found.name, found.problem))
        .collect()
}

#[test]
fn a_world_as_meant_has_nothing_to_say() {
    assert_eq!(found([rule("r", "web", "db", Action::Pass, 10, None)]), vec![]);
}

#[test]
fn a_name_that_no_object_has_is_an_error_with_its_field() {
    let all = examine(&world([rule("r", "web", "dbb", Action::Pass, 10, None)]));
    let [only] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(
        (only.severity, only.problem, only.field),
        (Severity::Error, Problem::DanglingObject, "spec.destination.object")
    );
    assert!(only.message.contains("\"dbb\""), "{only}");
}

#[test]
fn a_rule_behind_a_wider_one_is_shadowed() {
    let wide = rule("wide", "Any", "db", Action::Drop, 1, None);
    let narrow = rule("narrow", "web", "db", Action::Pass, 2, tcp(5432, 5432));
    let all = examine(&world([wide, narrow]));
    let [only] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((&*only.name, only.problem), ("narrow", Problem::Shadowed));
    assert!(only.message.contains("\"wide\""), "{only}");
}

#[test]
fn two_halves_of_the_ports_shadow_the_whole() {
    let low = rule("low", "web", "db", Action::Drop, 1, tcp(1, 100));
    let high = rule("high", "web", "Cluster", Action::Pass, 2, tcp(101, 200));
    let both = rule("both", "web", "db", Action::Alert, 3, tcp(50, 150));
    assert_eq!(found([low, high, both]), vec![("both".to_owned(), Problem::Shadowed)]);
}

#[test]
fn a_rule_with_one_port_left_is_not_shadowed() {
    let low = rule("low", "web", "db", Action::Drop, 1, tcp(1, 100));
    let both = rule("both", "web", "db", Action::Alert, 3, tcp(50, 101));
    assert_eq!(found([low, both]), vec![]);
}

#[test]
fn a_narrower_side_shadows_nothing() {
    let narrow = rule("narrow", "web", "db", Action::Drop, 1, None);
    let wide = rule("wide", "Cluster", "db", Action::Pass, 2, None);
    assert_eq!(found([narrow, wide]), vec![]);
    let world_only = rule("outside", "World", "db", Action::Drop, 1, None);
    let cidr = rule("range", "net", "db", Action::Pass, 2, None);
    // A range may contain nodes, which are not the World.
    assert_eq!(found([world_only, cidr, ranges("net", "203.0.113.0/24", &[])]), vec![]);
}

#[test]
fn the_weaker_of_two_at_one_priority_is_told() {
    let one = rule("one", "web", "db", Action::Pass, 10, tcp(80, 90));
    let other = rule("other", "Cluster", "db", Action::Drop, 10, tcp(90, 99));
    assert_eq!(found([one, other]), vec![("one".to_owned(), Problem::EqualPriority)]);
    let apart = rule("apart", "Cluster", "db", Action::Drop, 10, tcp(91, 99));
    let one = rule("one", "web", "db", Action::Pass, 10, tcp(80, 90));
    assert_eq!(found([one, apart]), vec![]);
}

#[test]
fn objects_meet_in_the_pods_and_ranges_that_they_share() {
    let one = rule("one", "web", "db", Action::Pass, 10, None);
    let other = rule("other", "front", "db", Action::Drop, 10, None);
    assert_eq!(
        found([one.clone(), other.clone(), apps("front", "w*")]),
        vec![("one".to_owned(), Problem::EqualPriority)]
    );
    assert_eq!(found([one, other, apps("front", "db")]), vec![]);
    let to_net = |name: &str, net: &str, action| rule(name, "web", net, action, 10, None);
    let pair = || [to_net("a", "net-0", Action::Pass), to_net("b", "net-1", Action::Drop)];
    let nets = [
        ranges("net-0", "203.0.113.0/25", &[]),
        ranges("net-1", "203.0.113.0/24", &[]),
    ];
    assert_eq!(
        found(pair().into_iter().chain(nets)),
        vec![("a".to_owned(), Problem::EqualPriority)]
    );
    let nets = [
        ranges("net-0", "203.0.113.0/25", &[]),
        ranges("net-1", "203.0.113.0/24", &["203.0.113.0/25"]),
    ];
    assert_eq!(found(pair().into_iter().chain(nets)), vec![]);
}

#[test]
fn case_19_an_object_of_host_network_pods_alone_is_told_apart_from_an_empty_one() {
    let mut agent = pod("agent", "agent", "192.0.2.10");
    agent.host_network = true;
    let all = found([
        Document::Pod(agent),
        apps("agents", "agent"),
        apps("nothing", "misspelt"),
    ]);
    let expected = [
        ("agents".to_owned(), Problem::OnlyHostNetwork),
        ("nothing".to_owned(), Problem::SelectsNothing),
        ("ns-0/agent".to_owned(), Problem::NotEnforceable),
    ];
    let sorted: std::collections::BTreeSet<_> = all.into_iter().collect();
    assert_eq!(sorted, expected.into_iter().collect());
}

#[test]
fn addresses_with_two_owners_are_named_with_both() {
    let mut twin = pod("twin", "web", "10.0.0.1");
    twin.created = 5;
    let service = Service {
        namespace: "ns-0".into(),
        name: "svc".into(),
        cluster_ips: vec!["10.0.0.2".parse().unwrap()],
        external_ips: Vec::new(),
        ports: Vec::new(),
    };
    let all = examine(&world([Document::Pod(twin), Document::Service(service)]));
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!((all[0].severity, &*all[0].name), (Severity::Error, "ns-0/twin"));
    assert!(all[0].message.contains("\"ns-0/twin\", \"ns-0/web\""), "{}", all[0]);
    assert_eq!((all[1].severity, &*all[1].name), (Severity::Warning, "ns-0/svc"));
}

#[test]
fn case_47_a_namespace_that_says_another_name_is_not_believed() {
    let namespace = Namespace {
        name: "ns-0".into(),
        labels: Labels::new([("kubernetes.io/metadata.name", "kube-system")]),
    };
    assert_eq!(
        found([Document::Namespace(namespace)]),
        vec![("ns-0".to_owned(), Problem::NamespaceLabel)]
    );
}

#[test]
fn case_80_a_name_with_control_characters_reaches_no_terminal_raw() {
    let all = examine(&world([rule("r\u{1b}[2J", "web", "db\u{7}", Action::Pass, 10, None)]));
    let text: String = all.iter().map(ToString::to_string).collect();
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

#[test]
fn reach_counts_the_pods_of_both_sides() {
    let world = world([rule("r", "web", "Any", Action::Pass, 10, None), apps("all", "*")]);
    let reach = Reach::of(&world);
    assert_eq!(reach.rule("r"), Some((1, 2)));
    let names: Vec<Name> = reach
        .object("all")
        .unwrap()
        .pods
        .iter()
        .map(|pod| pod.name.clone())
        .collect();
    assert_eq!(names, ["db".into(), "web".into()]);
    assert_eq!(reach.object("none"), None);
}

#[test]
fn reach_counts_no_pod_without_an_address_of_its_own() {
    let mut agent = pod("agent", "agent", "192.0.2.10");
    agent.host_network = true;
    let mut waiting = pod("waiting", "web", "10.0.0.9");
    waiting.addresses.clear();
    let mut ended = pod("ended", "web", "10.0.0.8");
    ended.phase = Phase::Failed;
    let rule = rule("r", "Cluster", "web", Action::Pass, 10, None);
    let pods = [agent, waiting, ended].map(Document::Pod);
    let world = world(pods.into_iter().chain([rule]));
    assert_eq!(Reach::of(&world).rule("r"), Some((2, 1)));
}

/// Whether `one` is told that `other`, of the same priority and stricter, may win.
fn meet(one: Document, other: Document, more: &[Document]) -> bool {
    let all = found([one, other].into_iter().chain(more.iter().cloned()));
    let told = all.iter().filter(|(_, problem)| *problem == Problem::EqualPriority);
    let names: Vec<&str> = told.map(|(name, _)| &**name).collect();
    assert!(names.is_empty() || names == ["a"], "{names:?}");
    !names.is_empty()
}

#[test]
fn entities_meet_where_one_contains_the_other() {
    use Entity::{Any, Cluster, LocalNode, Node, World};
    let meeting = [(Node, LocalNode), (LocalNode, Node)];
    for one in Entity::ALL {
        for other in Entity::ALL {
            let expected = one == other || one == Any || other == Any || meeting.contains(&(one, other));
            let to = |name, entity: Entity, action| rule(name, "web", entity.name(), action, 10, None);
            let met = meet(to("a", one, Action::Pass), to("b", other, Action::Drop), &[]);
            assert_eq!(met, expected, "{one} {other}");
        }
    }
    let net = ranges("net", "203.0.113.0/24", &[]);
    for (object, entities) in [
        ("db", [Any, Cluster].as_slice()),
        ("net", &[Any, World, Node, LocalNode]),
        ("missing", &[]),
    ] {
        for entity in Entity::ALL {
            let expected = entities.contains(&entity);
            let met = meet(
                rule("a", "web", object, Action::Pass, 10, None),
                rule("b", "web", entity.name(), Action::Drop, 10, None),
                std::slice::from_ref(&net),
            );
            assert_eq!(met, expected, "{object} {entity}");
        }
    }
}

#[test]
fn objects_meet_whichever_of_them_is_wider_and_however_they_are_called() {
    let to = |name, object, action| rule(name, "web", object, action, 10, None);
    let pair = |one, other| [to("a", one, Action::Pass), to("b", other, Action::Drop)];
    for (wide, holes, met) in [
        ("203.0.113.0/24", [].as_slice(), true),
        ("203.0.113.0/24", &["203.0.113.0/25"], false),
    ] {
        let nets = [ranges("net-0", "203.0.113.0/25", &[]), ranges("net-1", wide, holes)];
        for (one, other) in [("net-0", "net-1"), ("net-1", "net-0")] {
            let [a, b] = pair(one, other);
            assert_eq!(meet(a, b, &nets), met, "{one} {other} {holes:?}");
        }
    }
    let both = [apps("an-object", "d*"), apps("some-object", "*b")];
    for (one, other) in [("an-object", "some-object"), ("some-object", "an-object")] {
        let [a, b] = pair(one, other);
        assert!(meet(a, b, &both), "{one} {other}");
    }
}

#[test]
fn rules_whose_ports_do_not_meet_do_not_contradict_each_other() {
    let of = |protocol, first, last| {
        Some(vec![PortEntry {
            protocol,
            ports: PortMatch::Range(first, last),
        }])
    };
    for (one, other, met) in [
        (tcp(80, 90), tcp(90, 99), true),
        (tcp(80, 90), tcp(91, 99), false),
        (tcp(91, 99), tcp(80, 90), false),
        (tcp(80, 90), of(ProtocolMatch::Udp, 80, 90), false),
        (tcp(80, 90), of(ProtocolMatch::Any, 1, 80), true),
        (None, tcp(1, 1), true),
        (tcp(1, 1), None, true),
        (None, Some(Vec::new()), false),
        (Some(Vec::new()), None, false),
        (Some(Vec::new()), Some(Vec::new()), false),
    ] {
        let a = rule("a", "web", "db", Action::Pass, 10, one.clone());
        let b = rule("b", "web", "db", Action::Drop, 10, other.clone());
        assert_eq!(meet(a, b, &[]), met, "{one:?} {other:?}");
    }
}

#[test]
fn of_many_names_the_first_three_are_told_and_how_many_more() {
    let stricter = |name| rule(name, "web", "db", Action::Drop, 10, None);
    let message = |names: &[&'static str]| {
        let weaker = rule("weaker", "web", "db", Action::Pass, 10, None);
        let all = examine(&world(names.iter().map(|name| stricter(name)).chain([weaker])));
        let told = all.into_iter().find(|one| one.problem == Problem::EqualPriority);
        told.unwrap().message
    };
    assert!(message(&["a", "b", "c"]).contains("with \"a\", \"b\", \"c\", which"));
    assert!(message(&["a", "b", "c", "d"]).contains("\"a\", \"b\", \"c\" and 1 more, which"));
    assert!(message(&["a", "b", "c", "d", "e"]).contains("\"a\", \"b\", \"c\" and 2 more, which"));
}

#[test]
fn what_does_not_act_shadows_nothing_and_is_not_shadowed() {
    let wide = |enabled| {
        let Document::DefenseRule(mut wide) = rule("wide", "Any", "Any", Action::Drop, 1, None) else {
            unreachable!("a rule is a rule")
        };
        wide.enabled = enabled;
        Document::DefenseRule(wide)
    };
    let narrow = |to| rule("narrow", "web", to, Action::Pass, 2, None);
    let from = |name| rule("narrow", name, "db", Action::Pass, 2, None);
    let shadowed = ("narrow".to_owned(), Problem::Shadowed);
    assert_eq!(found([wide(true), narrow("db")]), [shadowed]);
    assert_eq!(found([wide(false), narrow("db")]), []);
    let dangling = [("narrow".to_owned(), Problem::DanglingObject)];
    assert_eq!(found([wide(true), narrow("missing")]), dangling);
    assert_eq!(found([wide(true), from("missing")]), dangling);
}

#[test]
fn each_port_is_decided_by_the_first_rule_that_covers_it() {
    let list = |parts: &[(u16, u16)]| {
        let entry = |(first, last): &(u16, u16)| PortEntry {
            protocol: ProtocolMatch::Tcp,
            ports: PortMatch::Range(*first, *last),
        };
        Some(parts.iter().map(entry).collect())
    };
    let icmp = |ports| {
        Some(vec![PortEntry {
            protocol: ProtocolMatch::Icmp,
            ports,
        }])
    };
    let earlier = || {
        [
            ("b", list(&[(40, 50)])),
            ("c", list(&[(10, 20)])),
            ("d", list(&[(15, 45)])),
            ("e", list(&[(12, 13), (70, 70)])),
            ("f", list(&[(5, 12)])),
            ("g", list(&[(1, 60)])),
            ("h", list(&[(60, 65), (72, 80)])),
            ("i", list(&[(66, 70)])),
            ("j", list(&[(71, 71)])),
            ("k", icmp(PortMatch::Range(0, 0))),
            ("l", icmp(PortMatch::All)),
        ]
        .into_iter()
        .zip(1..)
        .map(|((name, ports), priority)| rule(name, "web", "db", Action::Drop, priority, ports))
    };
    for (port, by) in [
        (1, Some("g")),
        (4, Some("g")),
        (5, Some("f")),
        (9, Some("f")),
        (10, Some("c")),
        (12, Some("c")),
        (15, Some("c")),
        (20, Some("c")),
        (21, Some("d")),
        (39, Some("d")),
        (40, Some("b")),
        (45, Some("b")),
        (50, Some("b")),
        (51, Some("g")),
        (60, Some("g")),
        (61, Some("h")),
        (65, Some("h")),
        (66, Some("i")),
        (69, Some("i")),
        (70, Some("e")),
        (71, Some("j")),
        (72, Some("h")),
        (80, Some("h")),
        (81, None),
    ] {
        let probe = rule("probe", "web", "db", Action::Pass, 100, tcp(port, port));
        let all = examine(&world(earlier().chain([probe])));
        let told = all.iter().find(|one| one.name == "probe");
        let expected = by.map(|by| format!("it never decides: all that it covers is decided before by {by:?};"));
        assert_eq!(told.is_some(), by.is_some(), "{port}: {told:?}");
        if let (Some(told), Some(expected)) = (told, expected) {
            assert!(told.message.starts_with(&expected), "{port}: {told}");
        }
        let others = all.iter().filter(|one| one.name != "probe");
        assert_eq!(others.count(), 0, "none of the others is shadowed: {all:?}");
    }
}

#[test]
fn a_port_that_two_rules_share_is_the_first_ones() {
    let earlier = [
        rule("first", "web", "db", Action::Drop, 1, tcp(10, 20)),
        rule("second", "web", "db", Action::Drop, 2, tcp(20, 30)),
    ];
    for (port, by) in [(19, "first"), (20, "first"), (21, "second")] {
        let probe = rule("probe", "web", "db", Action::Pass, 100, tcp(port, port));
        let all = examine(&world(earlier.clone().into_iter().chain([probe])));
        assert_eq!(all.len(), 1);
        assert!(
            all[0].message.contains(&format!("before by {by:?};")),
            "{port}: {}",
            all[0]
        );
    }
}
