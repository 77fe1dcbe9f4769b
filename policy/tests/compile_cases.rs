//! What the compiler promises beside verdicts: what a change costs, who inherits which flows, which slots stay.

use cellwall_policy::compile::{Compiler, Link, Update};
use cellwall_policy::compiled::{Change, PeerClass, RuleSlot};
use cellwall_policy::model::{
    Action, Address, Defense, DefenseRule, Entity, Glob, Hook, Labels, Name, NetworkObject, Node, Phase, Pod,
    PortEntry, PortMatch, Protocol, ProtocolMatch, Reason, Selector, Side, Startup, WorkloadSelector,
};
use cellwall_policy::world::{Document, DocumentKey, World};

fn pod(name: &str, app: &str, address: &str) -> Pod {
    Pod {
        uid: format!("uid-{name}").into(),
        namespace: "ns-0".into(),
        name: name.into(),
        labels: Labels::new([("app", app)]),
        images: Vec::new(),
        addresses: if address.is_empty() {
            Vec::new()
        } else {
            vec![address.parse().unwrap()]
        },
        link_local: Vec::new(),
        node: Some("node-0".into()),
        host_network: false,
        phase: Phase::Running,
        created: 0,
        probe_ports: Vec::new(),
        host_ports: Vec::new(),
        owner: None,
    }
}

fn object(name: &str, app: &str) -> NetworkObject {
    NetworkObject {
        name: name.into(),
        uid: format!("uid-{name}").into(),
        selector: Selector::Workloads(WorkloadSelector {
            apps: Some(vec![Glob::new(app).unwrap()]),
            ..WorkloadSelector::default()
        }),
    }
}

fn rule(name: &str, source: &str, destination: &str, action: Action, priority: u16) -> DefenseRule {
    let side = |text: &str| match Entity::ALL.into_iter().find(|entity| entity.name() == text) {
        Some(entity) => Side::Entity(entity),
        None => Side::Object(text.into()),
    };
    DefenseRule {
        name: name.into(),
        uid: format!("uid-{name}").into(),
        source: side(source),
        destination: side(destination),
        ports: None,
        action,
        priority,
        enabled: true,
    }
}

fn link(ifindex: u32, pod: &str) -> Link {
    Link {
        ifindex,
        master: 0,
        pod: (!pod.is_empty()).then(|| format!("uid-{pod}").into()),
        mac: [0; 6],
    }
}

/// A world and its compiler, changed together.
struct Stage {
    world: World,
    compiler: Compiler,
    links: Vec<Link>,
    generation: u32,
}

impl Stage {
    fn new(documents: impl IntoIterator<Item = Document>, links: Vec<Link>) -> Self {
        let mut stage = Self {
            world: World::new("node-0", true),
            compiler: Compiler::new("node-0"),
            links,
            generation: 0,
        };
        for document in documents {
            stage.world.apply(document);
        }
        stage.update(&[]);
        stage
    }

    fn update(&mut self, touched: &[DocumentKey]) -> Update {
        self.generation += 1;
        self.compiler.update(&self.world, touched, &self.links, self.generation)
    }

    fn apply(&mut self, document: impl Into<Document>) -> Vec<Change> {
        let document = document.into();
        let key = document.key();
        self.world.apply(document);
        self.update(&[key]).changes
    }

    fn delete(&mut self, key: DocumentKey) -> Vec<Change> {
        self.world.delete(&key);
        self.update(&[key]).changes
    }

    fn since(&self, address: &str) -> Option<u32> {
        let address: Address = address.parse().unwrap();
        self.compiler.image().addresses.get(&address).map(|entry| entry.since)
    }

    fn says(&self, ifindex: u32, hook: Hook, other: &str, port: u16) -> (Action, Reason, Option<Name>) {
        let image = self.compiler.image();
        let cell = image
            .verdict(ifindex, hook, other.parse().unwrap(), Protocol::Tcp, port)
            .unwrap();
        let name = cell.rule.map(|slot| image.rules[&slot].name.clone());
        (cell.action, cell.reason, name)
    }
}

/// Web and database on this node, many clients elsewhere, and a rule between the two.
fn shop() -> Stage {
    let mut documents: Vec<Document> = vec![
        Document::Pod(pod("web", "web", "10.0.0.1")),
        Document::Pod(pod("db", "db", "10.0.0.2")),
        Document::NetworkObject(object("web", "web")),
        Document::NetworkObject(object("db", "db")),
        Document::NetworkObject(object("clients", "client*")),
        Document::DefenseRule(rule("web-to-db", "web", "db", Action::Pass, 10)),
        Document::DefenseRule(rule("nobody-to-db", "Any", "db", Action::Drop, 1000)),
        Document::DefenseRule(rule("clients-to-web", "clients", "web", Action::Alert, 20)),
    ];
    for number in 0..200 {
        let mut client = pod(
            &format!("client-{number}"),
            &format!("client-{}", number % 4),
            &format!("10.1.0.{number}"),
        );
        client.node = Some("node-1".into());
        documents.push(Document::Pod(client));
    }
    Stage::new(documents, vec![link(10, "web"), link(20, "db")])
}

#[test]
fn a_changed_action_costs_the_entries_that_it_changes_and_no_more() {
    let mut stage = shop();
    let changes = stage.apply(Document::DefenseRule(rule("web-to-db", "web", "db", Action::Alert, 10)));
    let policies = changes
        .iter()
        .filter(|change| matches!(change, Change::Policy(..)))
        .count();
    // From web to db at one, from web to db at the other; a new table each (the same one), the old one, and the card.
    assert_eq!(policies, 2, "{changes:?}");
    assert!(changes.len() <= 5, "{changes:?}");
    assert_eq!(
        stage.says(10, Hook::FromPod, "10.0.0.2", 80),
        (Action::Alert, Reason::Rule, Some("web-to-db".into()))
    );
}

#[test]
fn one_more_replica_costs_its_address_alone() {
    let mut stage = shop();
    let mut client = pod("client-more", "client-1", "10.1.1.1");
    client.node = Some("node-1".into());
    let changes = stage.apply(Document::Pod(client));
    assert!(
        matches!(changes.as_slice(), [Change::Address(_, Some(_))]),
        "{changes:?}"
    );
}

#[test]
fn an_object_that_all_its_pods_join_alike_touches_no_address() {
    let mut stage = shop();
    let changes = stage.apply(Document::DefenseRule(rule("some-to-db", "some", "db", Action::Pass, 5)));
    assert_eq!(changes.len(), 1, "only the card: {changes:?}");
    let changes = stage.apply(Document::NetworkObject(object("some", "client-1")));
    let addresses = changes
        .iter()
        .filter(|change| matches!(change, Change::Address(..)))
        .count();
    // The pods of client-1 leave those of the other applications: 50 addresses move, 150 stay.
    assert_eq!(addresses, 50, "{changes:?}");
    let changes = stage.apply(Document::NetworkObject(object("some", "client-[none]")));
    let moved = changes
        .iter()
        .filter(|change| matches!(change, Change::Address(..)))
        .count();
    assert_eq!(moved, 50, "back to the others");
    let changes = stage.apply(Document::NetworkObject(object("some", "client-*")));
    assert!(
        !changes.iter().any(|change| matches!(change, Change::Address(..))),
        "{changes:?}"
    );
    assert_eq!(
        stage.says(20, Hook::ToPod, "10.1.0.3", 80),
        (Action::Pass, Reason::Rule, Some("some-to-db".into()))
    );
}

#[test]
fn a_disabled_rule_and_an_unused_object_change_nothing_but_the_card() {
    let mut stage = shop();
    let mut idle = rule("idle", "clients", "db", Action::Pass, 1);
    idle.enabled = false;
    let changes = stage.apply(Document::DefenseRule(idle));
    assert!(matches!(changes.as_slice(), [Change::Rule(_, Some(_))]), "{changes:?}");
    assert_eq!(stage.apply(Document::NetworkObject(object("unused", "*"))), vec![]);
}

#[test]
fn case_42_the_next_owner_of_an_address_inherits_no_flow() {
    let mut stage = shop();
    assert_eq!(stage.since("10.0.0.1"), Some(0), "nobody had it before");
    stage.delete(DocumentKey::Pod("uid-web".into()));
    let released = stage.generation;
    assert_eq!(stage.since("10.0.0.1"), None);
    stage.apply(Document::NetworkObject(object("unrelated", "x")));
    stage.apply(Document::Pod(pod("other", "web", "10.0.0.1")));
    assert_eq!(
        stage.since("10.0.0.1"),
        Some(released),
        "since it was given up, not since it was taken"
    );
    stage.apply(Document::Pod(pod("other", "db", "10.0.0.1")));
    assert_eq!(stage.since("10.0.0.1"), Some(released), "a new label is no new owner");
}

#[test]
fn case_42_a_pod_that_takes_an_address_over_starts_anew() {
    let mut stage = shop();
    let mut later = pod("later", "web", "10.0.0.1");
    later.created = 7;
    stage.apply(Document::Pod(later));
    assert_eq!(stage.since("10.0.0.1"), Some(stage.generation));
    let update = stage.update(&[]);
    assert_eq!(update.diagnostics.len(), 1);
    assert!(
        update.diagnostics[0].message.contains("ns-0/later, ns-0/web"),
        "{}",
        update.diagnostics[0]
    );
}

#[test]
fn a_pod_whose_status_flickers_keeps_its_flows() {
    let mut stage = shop();
    stage.apply(Document::Pod(pod("web", "web", "")));
    stage.apply(Document::Pod(pod("web", "web", "10.0.0.1")));
    assert_eq!(stage.since("10.0.0.1"), Some(0));
}

#[test]
fn case_52_a_finished_pod_gives_its_address_up_at_once() {
    let mut stage = shop();
    let mut done = pod("db", "db", "10.0.0.2");
    done.phase = Phase::Succeeded;
    stage.apply(Document::Pod(done));
    assert_eq!(stage.since("10.0.0.2"), None);
    let image = stage.compiler.image();
    assert_eq!(image.interfaces[&20].addresses, vec![]);
    assert!(!image.interfaces[&20].startup);
}

#[test]
fn case_51_a_late_delete_of_another_uid_takes_nothing() {
    let mut stage = shop();
    let mut heir = pod("heir", "db", "10.0.0.1");
    heir.created = 9;
    stage.apply(Document::Pod(heir));
    stage.delete(DocumentKey::Pod("uid-web".into()));
    assert_eq!(
        stage.says(20, Hook::ToPod, "10.0.0.1", 80),
        (Action::Drop, Reason::Rule, Some("nobody-to-db".into()))
    );
}

#[test]
fn a_number_that_came_free_rests_for_an_update() {
    let mut stage = shop();
    let slot_of = |stage: &Stage, name: &str| {
        let image = stage.compiler.image();
        image
            .rules
            .iter()
            .find(|(_, card)| *card.name == *name)
            .map(|(slot, _)| *slot)
    };
    let slot = slot_of(&stage, "web-to-db").unwrap();
    stage.world.delete(&DocumentKey::DefenseRule("web-to-db".into()));
    stage
        .world
        .apply(Document::DefenseRule(rule("next", "web", "db", Action::Pass, 10)));
    stage.update(&[
        DocumentKey::DefenseRule("web-to-db".into()),
        DocumentKey::DefenseRule("next".into()),
    ]);
    assert_ne!(slot_of(&stage, "next"), Some(slot));
    stage.apply(Document::DefenseRule(rule("later", "web", "db", Action::Pass, 11)));
    assert_eq!(slot_of(&stage, "later"), Some(slot));
}

#[test]
fn a_rule_keeps_its_slot_from_process_to_process_and_a_stranger_goes() {
    let mut compiler = Compiler::new("node-0");
    compiler.adopt_rules([
        (RuleSlot(7), "web-to-db".into(), "uid-web-to-db".into()),
        (RuleSlot(3), "gone".into(), "uid-gone".into()),
        (RuleSlot(1), "clients-to-web".into(), "uid-of-another-one".into()),
    ]);
    let stage = shop();
    let update = compiler.update(&stage.world, &[], &stage.links, 1);
    let card = |slot: u32| {
        update.changes.iter().find_map(|change| match change {
            Change::Rule(RuleSlot(number), card) if *number == slot => Some(card.as_ref().map(|card| &*card.name)),
            _ => None,
        })
    };
    assert_eq!(card(7), Some(Some("web-to-db")));
    assert_eq!(card(3), Some(None));
    assert_eq!(card(1), Some(None), "the same name with another UID is another rule");
    assert_eq!(compiler.image().rules.len(), 3);
}

#[test]
fn a_rule_that_is_switched_off_and_on_keeps_its_counters() {
    let mut stage = shop();
    let before = stage.compiler.image().rules;
    let mut off = rule("web-to-db", "web", "db", Action::Pass, 10);
    off.enabled = false;
    stage.apply(Document::DefenseRule(off));
    assert_eq!(
        stage.says(10, Hook::FromPod, "10.0.0.2", 80),
        (Action::Drop, Reason::Rule, Some("nobody-to-db".into()))
    );
    stage.apply(Document::DefenseRule(rule("web-to-db", "web", "db", Action::Pass, 10)));
    assert_eq!(stage.compiler.image().rules, before);
}

#[test]
fn case_25_every_interface_of_a_pod_has_its_policies() {
    let mut stage = shop();
    stage.links.push(link(21, "db"));
    stage.update(&[]);
    let image = stage.compiler.image();
    assert_eq!(image.interfaces[&20].ingress, image.interfaces[&21].ingress);
    assert_eq!(image.interfaces[&21].addresses, image.interfaces[&20].addresses);
    let entry = image.addresses[&"10.0.0.2".parse().unwrap()];
    assert_eq!(entry.ifindex, 0, "its packets may come two ways");
}

#[test]
fn the_address_that_a_mac_yields_is_the_pods() {
    let mut stage = shop();
    stage.links[0].mac = [0x02, 0, 0x5e, 0x10, 0, 0x01];
    stage.update(&[]);
    let image = stage.compiler.image();
    let address: Address = "fe80::5eff:fe10:1".parse().unwrap();
    assert!(image.interfaces[&10].addresses.contains(&address));
    assert_eq!(image.peer_of(address).class(), PeerClass::LocalPod);
    assert_eq!(
        stage.says(20, Hook::ToPod, "fe80::5eff:fe10:1", 80).2,
        Some("web-to-db".into())
    );
    stage.links[0].mac = [0; 6];
    stage.update(&[]);
    assert_eq!(stage.compiler.image().peer_of(address).class(), PeerClass::LocalNode);
}

#[test]
fn case_71_an_unknown_interface_is_judged_as_the_strictest_it_could_be_until_its_pod_is_known() {
    let mut stage = shop();
    stage.apply(Document::DefenseRule(rule("no-new-web", "web", "Any", Action::Drop, 1)));
    stage.links.push(link(30, ""));
    stage.update(&[]);
    assert_eq!(
        stage.says(30, Hook::FromPod, "203.0.113.1", 80),
        (Action::Pass, Reason::Startup, None)
    );
    stage.apply(Document::Pod(pod("web-2", "web", "")));
    let expected = (Action::Drop, Reason::Startup, Some("no-new-web".into()));
    assert_eq!(stage.says(30, Hook::FromPod, "203.0.113.1", 80), expected);
    stage.links[2] = link(30, "web-2");
    stage.apply(Document::Pod(pod("web-2", "web", "10.0.0.3")));
    let expected = (Action::Drop, Reason::Rule, Some("no-new-web".into()));
    assert_eq!(stage.says(30, Hook::FromPod, "203.0.113.1", 80), expected);
    let closed = Defense {
        startup: Startup::Closed,
        ..Defense::default()
    };
    stage.links.push(link(40, ""));
    stage.apply(Document::Defense(closed));
    assert_eq!(
        stage.says(40, Hook::ToPod, "203.0.113.1", 80),
        (Action::Drop, Reason::Startup, None)
    );
}

#[test]
fn case_51_a_pod_range_address_without_identity_is_never_the_world() {
    let mut stage = shop();
    stage.apply(Document::Node(Node {
        name: "node-1".into(),
        addresses: vec!["192.0.2.11".parse().unwrap()],
        pod_cidrs: vec!["10.1.0.0/16".parse().unwrap()],
    }));
    stage.apply(Document::DefenseRule(rule("no-world", "web", "World", Action::Drop, 1)));
    assert_eq!(
        stage.says(10, Hook::FromPod, "203.0.113.1", 80).2,
        Some("no-world".into())
    );
    assert_eq!(
        stage.says(10, Hook::FromPod, "10.1.200.1", 80),
        (Action::Pass, Reason::Unresolved, None)
    );
}

#[test]
fn case_58_a_hundred_thousand_rules_decide_like_the_naive_model() {
    let mut world = World::new("node-0", true);
    world.apply(Document::Pod(pod("web", "web", "10.0.0.1")));
    let mut state = 0x1234_5678_9abc_def0_u64;
    let mut below = |end: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % end
    };
    let mut rules = Vec::new();
    for number in 0..100_000 {
        let first = u16::try_from(1 + below(65_000)).unwrap();
        let last = first + u16::try_from(below(3)).unwrap();
        let action = [Action::Pass, Action::Alert, Action::Drop][usize::try_from(below(3)).unwrap()];
        let mut new = rule(
            &format!("rule-{number}"),
            "Any",
            "Any",
            action,
            u16::try_from(1 + below(1000)).unwrap(),
        );
        new.ports = Some(vec![PortEntry {
            protocol: ProtocolMatch::Tcp,
            ports: PortMatch::Range(first, last),
        }]);
        rules.push(((first, last), new.order(), new.name.clone()));
        world.apply(Document::DefenseRule(new));
    }
    let mut compiler = Compiler::new("node-0");
    compiler.update(&world, &[], &[link(10, "web")], 1);
    let image = compiler.image();
    for port in (0..=u16::MAX).step_by(131) {
        let applying = rules
            .iter()
            .filter(|((first, last), ..)| (*first..=*last).contains(&port));
        let naive = applying
            .min_by_key(|(_, order, _)| order)
            .map(|(.., name)| name.clone());
        let cell = image
            .verdict(10, Hook::FromPod, "203.0.113.1".parse().unwrap(), Protocol::Tcp, port)
            .unwrap();
        let credited = cell.rule.map(|slot| image.rules[&slot].name.clone());
        assert_eq!(credited, naive, "at port {port}");
    }
}
