//! Births, bindings and forgeries, worked out by hand.

use super::*;

/// A test's clock, namespaces and pods.
struct Scene {
    bindings: Bindings,
    seen: Vec<Seen>,
    pods: Vec<Wanted>,
    now: Instant,
}

fn addresses(texts: &[&str]) -> BTreeSet<Address> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

impl Scene {
    fn new() -> Self {
        Self {
            bindings: Bindings::default(),
            seen: Vec::new(),
            pods: Vec::new(),
            now: Instant::now(),
        }
    }

    /// Namespace `id`, behind interface `10 * id`, has these addresses now.
    fn space(&mut self, id: i32, inside: &[&str]) -> &mut Self {
        self.seen.retain(|seen| seen.id != NamespaceId::new(id));
        self.seen.push(Seen {
            id: NamespaceId::new(id),
            ends: BTreeSet::from([u32::try_from(id).unwrap() * 10]),
            addresses: Some(addresses(inside)),
        });
        self
    }

    fn pod(&mut self, name: &str, its: &[&str]) -> &mut Self {
        self.pods.retain(|pod| &*pod.uid != name);
        self.pods.push(Wanted {
            uid: name.into(),
            shown: format!("shop/{name}"),
            addresses: addresses(its),
        });
        self
    }

    fn without_pod(&mut self, name: &str) -> &mut Self {
        self.pods.retain(|pod| &*pod.uid != name);
        self
    }

    fn look(&mut self) -> &mut Self {
        let there: BTreeSet<Name> = self.pods.iter().map(|pod| pod.uid.clone()).collect();
        self.bindings
            .look(&self.seen, &self.pods, |uid| there.contains(uid), self.now);
        self
    }

    fn after(&mut self, passed: Duration) -> &mut Self {
        self.now += passed;
        self.look()
    }

    fn whose(&self, id: i32) -> Whose {
        self.bindings.whose(NamespaceId::new(id))
    }
}

fn is(name: &str) -> Whose {
    Whose::Pod(name.into())
}

#[test]
fn an_interface_is_nobodys_until_the_api_server_names_its_address() {
    let mut scene = Scene::new();
    assert_eq!(scene.pod("web", &[]).space(1, &[]).look().whose(1), Whose::Unknown);
    assert_eq!(scene.space(1, &["192.0.2.1"]).look().whose(1), Whose::Unknown);
    assert_eq!(scene.pod("web", &["192.0.2.1"]).look().whose(1), is("web"));
    assert!(scene.bindings.missing.is_empty());
}

#[test]
fn one_of_several_addresses_is_enough() {
    let mut scene = Scene::new();
    scene.space(1, &["192.0.2.1"]).look();
    scene.space(1, &["192.0.2.1", "2001:db8::1"]);
    assert_eq!(
        scene.pod("web", &["192.0.2.1", "2001:db8::1"]).look().whose(1),
        is("web")
    );
}

#[test]
fn an_address_that_a_pod_gives_itself_neither_moves_nor_takes_an_identity() {
    let mut scene = Scene::new();
    scene.pod("web", &["192.0.2.1"]).space(1, &["192.0.2.1"]).look();
    scene.pod("db", &["192.0.2.2"]).space(2, &["192.0.2.2"]).look();
    scene.space(1, &["192.0.2.1", "192.0.2.2"]).look();
    assert_eq!((scene.whose(1), scene.whose(2)), (is("web"), is("db")));
    assert_eq!(scene.bindings.conflicts.len(), 1);
    assert!(scene.bindings.conflicts[0].starts_with("pod shop/web has put 192.0.2.2"));
    scene.space(1, &["192.0.2.2"]).look();
    assert_eq!((scene.whose(1), scene.whose(2)), (is("web"), is("db")));
}

#[test]
fn an_address_taken_beforehand_does_not_catch_the_pod_that_gets_it() {
    let mut scene = Scene::new();
    // The API server is slow to name the first pod's address; its root guesses the next one.
    scene.pod("web", &[]).space(1, &["192.0.2.1"]).look();
    scene.space(1, &["192.0.2.1", "192.0.2.2"]).look();
    scene.pod("db", &["192.0.2.2"]).look();
    assert_eq!(scene.whose(1), Whose::Unknown);
    scene.space(2, &["192.0.2.2"]).look();
    assert_eq!((scene.whose(1), scene.whose(2)), (Whose::Unknown, is("db")));
    scene.pod("web", &["192.0.2.1"]).look();
    assert_eq!(scene.whose(1), is("web"));
}

#[test]
fn an_agent_that_starts_late_tells_a_forger_from_the_one_it_forges() {
    let mut scene = Scene::new();
    scene.pod("web", &["192.0.2.1"]).pod("db", &["192.0.2.2"]);
    scene
        .space(1, &["192.0.2.1", "192.0.2.2"])
        .space(2, &["192.0.2.2"])
        .look();
    assert_eq!((scene.whose(1), scene.whose(2)), (is("web"), is("db")));
}

#[test]
fn what_cannot_be_told_apart_is_nobodys_and_is_reported() {
    let mut scene = Scene::new();
    scene.pod("web", &["192.0.2.1"]).pod("db", &["192.0.2.2"]);
    scene.space(1, &["192.0.2.2"]).space(2, &["192.0.2.2"]).look();
    assert_eq!((scene.whose(1), scene.whose(2)), (Whose::Unknown, Whose::Unknown));
    let missing = &scene.bindings.missing;
    assert!(
        missing.iter().any(|one| one.starts_with("pod shop/db: several")),
        "{missing:?}"
    );
}

#[test]
fn two_pods_that_the_api_server_gives_one_address_share_no_interface() {
    let mut scene = Scene::new();
    scene
        .pod("one", &["192.0.2.1"])
        .pod("two", &["192.0.2.1"])
        .space(1, &["192.0.2.1"])
        .look();
    assert_eq!(scene.whose(1), Whose::Unknown);
    assert_eq!(scene.bindings.missing.len(), 2);
    assert_eq!(scene.without_pod("two").look().whose(1), is("one"));
}

#[test]
fn a_pod_made_anew_in_place_keeps_its_namespace_only_if_it_has_its_address() {
    let mut scene = Scene::new();
    scene.pod("old", &["192.0.2.1"]).space(1, &["192.0.2.1"]).look();
    assert_eq!(scene.without_pod("old").look().whose(1), Whose::Unknown);
    // A static pod's mirror was deleted and is there again with another uid.
    assert_eq!(scene.pod("new", &["192.0.2.1"]).look().whose(1), is("new"));
}

#[test]
fn a_sandbox_made_anew_moves_the_pod_when_the_api_server_says_its_new_address() {
    let mut scene = Scene::new();
    scene.pod("web", &["192.0.2.1"]).space(1, &["192.0.2.1"]).look();
    scene.space(2, &["192.0.2.2"]).look();
    assert_eq!((scene.whose(1), scene.whose(2)), (is("web"), Whose::Unknown));
    scene.pod("web", &["192.0.2.2"]).look();
    assert_eq!((scene.whose(1), scene.whose(2)), (Whose::Unknown, is("web")));
}

#[test]
fn a_number_given_to_another_namespace_carries_nothing_over() {
    let mut scene = Scene::new();
    scene.pod("web", &["192.0.2.1"]).space(1, &["192.0.2.1"]).look();
    scene.seen[0].ends = BTreeSet::from([99]);
    scene.seen[0].addresses = Some(addresses(&["192.0.2.9"]));
    assert_eq!(scene.look().whose(1), Whose::Unknown);
}

#[test]
fn a_namespace_that_cannot_be_looked_into_stays_whose_it_is() {
    let mut scene = Scene::new();
    scene.pod("web", &["192.0.2.1"]).space(1, &["192.0.2.1"]).look();
    scene.seen[0].addresses = None;
    assert_eq!(scene.look().whose(1), is("web"));
}

#[test]
fn a_namespace_is_no_pods_when_it_is_old_and_every_pod_is_accounted_for() {
    let mut scene = Scene::new();
    scene.pod("web", &["192.0.2.1"]).pod("starting", &[]);
    scene.space(1, &["192.0.2.1"]).space(2, &["203.0.113.7"]).look();
    assert_eq!(
        scene.after(FOREIGN * 2).whose(2),
        Whose::Unknown,
        "it may be the starting one's"
    );
    assert_eq!(scene.without_pod("starting").look().whose(2), Whose::Foreign);
    assert_eq!(scene.whose(1), is("web"));
    scene.pod("late", &["203.0.113.7"]);
    assert_eq!(scene.look().whose(2), is("late"), "the API server has the last word");
}

#[test]
fn a_young_namespace_and_one_without_an_address_may_be_a_pods() {
    let mut scene = Scene::new();
    scene.space(1, &["203.0.113.7"]).space(2, &[]).look();
    assert_eq!(scene.after(FOREIGN / 2).whose(1), Whose::Unknown);
    assert_eq!(scene.after(FOREIGN).whose(1), Whose::Foreign);
    assert_eq!(scene.whose(2), Whose::Unknown);
}

#[test]
fn a_pod_without_an_interface_is_reported_after_a_grace() {
    let mut scene = Scene::new();
    scene.pod("web", &["192.0.2.1"]).look();
    assert!(scene.bindings.missing.is_empty());
    scene.after(GRACE);
    assert_eq!(scene.bindings.missing.len(), 1);
    assert!(scene.bindings.await_time());
}

fn claim(scene: &mut Scene, pod: &str, id: u32, given: &[&str]) {
    scene.bindings.claim(Claim {
        pod: pod.into(),
        ends: BTreeSet::from([id * 10]),
        addresses: addresses(given),
    });
    scene.look();
}

#[test]
fn what_a_network_plugin_tells_binds_before_the_api_server_knows_an_address() {
    let mut scene = Scene::new();
    scene.pod("web", &[]).space(1, &["192.0.2.1", "192.0.2.66"]).look();
    assert_eq!(scene.whose(1), Whose::Unknown);
    claim(&mut scene, "web", 1, &["192.0.2.1", "192.0.2.2"]);
    assert_eq!(scene.whose(1), is("web"));
    // Given and seen inside: one of the two alone is not enough.
    assert_eq!(scene.bindings.given(&"web".into()), Some(&addresses(&["192.0.2.1"])));
    // The API server's word about addresses does not move it, nor does another namespace with one of them.
    scene.space(2, &["192.0.2.9"]).pod("web", &["192.0.2.9"]).look();
    assert_eq!((scene.whose(1), scene.whose(2)), (is("web"), Whose::Unknown));
}

#[test]
fn a_plugin_names_no_pod_that_the_api_server_has_not_and_no_interface_that_is_not_there() {
    let mut scene = Scene::new();
    scene.pod("web", &[]).space(1, &["192.0.2.1"]).look();
    claim(&mut scene, "nobody", 1, &["192.0.2.1"]);
    claim(&mut scene, "web", 3, &["192.0.2.1"]);
    assert_eq!(scene.whose(1), Whose::Unknown);
    // What could not be acted on is not kept for later.
    scene.pod("nobody", &[]).look();
    assert_eq!(scene.whose(1), Whose::Unknown);
}

#[test]
fn a_namespace_made_for_a_pod_stays_that_pod_s_and_a_pod_s_new_one_takes_it_along() {
    let mut scene = Scene::new();
    scene.pod("web", &[]).pod("db", &[]).space(1, &["192.0.2.1"]).look();
    claim(&mut scene, "web", 1, &["192.0.2.1"]);
    claim(&mut scene, "db", 1, &["192.0.2.1"]);
    assert_eq!(scene.whose(1), is("web"));
    scene.space(2, &["192.0.2.2"]).look();
    claim(&mut scene, "web", 2, &["192.0.2.2"]);
    assert_eq!((scene.whose(1), scene.whose(2)), (Whose::Unknown, is("web")));
    scene.without_pod("web").look();
    assert_eq!(scene.whose(2), Whose::Unknown);
}

#[test]
fn a_plugin_s_word_goes_before_what_was_guessed_by_an_address() {
    let mut scene = Scene::new();
    // The old pod's sandbox is gone, the API server does not know yet, and its address was given anew.
    scene
        .pod("old", &["192.0.2.1"])
        .pod("new", &[])
        .space(1, &["192.0.2.1"])
        .look();
    assert_eq!(scene.whose(1), is("old"));
    claim(&mut scene, "new", 1, &["192.0.2.1"]);
    assert_eq!(scene.whose(1), is("new"));
}

#[test]
fn an_address_that_a_router_told_first_does_not_keep_a_pod_from_its_namespace() {
    let mut scene = Scene::new();
    scene.pod("web", &[]).space(1, &["2001:db8::5"]).look();
    scene
        .space(1, &["2001:db8::5", "192.0.2.1"])
        .pod("web", &["192.0.2.1"])
        .look();
    assert_eq!(scene.whose(1), Whose::Unknown, "it was born with another address");
    assert!(scene.bindings.await_time());
    assert_eq!(scene.after(GRACE).whose(1), is("web"));
    assert_eq!(scene.after(GRACE).whose(1), is("web"));
    assert!(scene.bindings.missing.is_empty());
}

#[test]
fn a_late_address_binds_nothing_where_a_newer_pod_or_one_that_is_gone_may_have_put_it_there() {
    let mut scene = Scene::new();
    scene
        .pod("web", &["192.0.2.1"])
        .pod("new", &[])
        .space(1, &["192.0.2.9"])
        .look();
    scene.space(1, &["192.0.2.9", "192.0.2.1"]);
    assert_eq!(
        scene.after(GRACE * 2).whose(1),
        Whose::Unknown,
        "it may be the new pod's"
    );

    let mut scene = Scene::new();
    scene.pod("old", &["192.0.2.9"]).space(1, &["192.0.2.9"]).look();
    assert_eq!(scene.whose(1), is("old"));
    scene.without_pod("old").pod("web", &["192.0.2.1"]);
    scene.space(1, &["192.0.2.9", "192.0.2.1"]);
    assert_eq!(
        scene.after(GRACE).after(GRACE * 2).whose(1),
        Whose::Unknown,
        "it is the old pod's still"
    );
}
