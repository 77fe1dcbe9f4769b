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
