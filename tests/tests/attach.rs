//! Programs, links and maps in a real kernel: what stays, what is taken over, what is told, what is removed.

mod namespaces;

use std::borrow::Cow;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TcAttachType};
use cellwall_datapath::attach::{Hook, HookState, Mechanism, Outcome};
use cellwall_datapath::kernel::{
    Capacities, Instance, OBJECT, OpenError, Opening, Options, Place, PlaceError, uninstall,
};
use cellwall_datapath::port::{Kernel as _, MapName, Reads as _};
use cellwall_datapath_common::{Active, switches};
use namespaces::flood::Flood;
use namespaces::{Node, inside, run, succeeds};

/// Enough for a test and quick to make.
fn small() -> Capacities {
    Capacities::tiny(64)
}

fn options(mechanism: Mechanism) -> Options {
    Options {
        capacities: small(),
        mechanism: Some(mechanism),
        object: None,
    }
}

/// Those that the running kernel has.
fn mechanisms() -> Vec<Mechanism> {
    match Mechanism::of_this_kernel() {
        Mechanism::Tcx => vec![Mechanism::Tcx, Mechanism::Clsact],
        Mechanism::Clsact => vec![Mechanism::Clsact],
    }
}

/// Whether the kernel has links at the TC hooks; tells a test that needs them off where it has not.
fn has_tcx(test: &str) -> bool {
    let has = mechanisms().contains(&Mechanism::Tcx);
    if !has {
        cellwall_tests::not_run(&format!("{test} (needs TCX, Linux 6.6)"));
    }
    has
}

/// A build that differs in one instruction: it asks the other clock. Another tag, the same verdicts.
fn another_build(mechanism: Mechanism) -> Options {
    let call = |helper| [0x85, 0, 0, 0, helper, 0, 0, 0];
    let mut object = OBJECT.to_vec();
    let mut found = 0;
    for at in 0..object.len() - 8 {
        if object[at..at + 8] == call(160) {
            object[at..at + 8].copy_from_slice(&call(5));
            found += 1;
        }
    }
    assert!(found > 0, "the object has no coarse clock to exchange");
    Options {
        object: Some(Cow::Owned(object)),
        ..options(mechanism)
    }
}

/// Opens and says that nothing is to be evaluated, so that everything passes.
fn open_off(place: &Place, options: Options) -> (Instance, Opening) {
    let (mut instance, opening) = Instance::open(place.clone(), options).unwrap();
    switch(&mut instance, switches::OFF);
    (instance, opening)
}

/// Without `OFF`, an interface that no endpoint is told for drops everything: what still passes met no program.
fn switch(instance: &mut Instance, switches: u32) {
    instance.maps_mut().activate(Active::sealed(1, switches, 0)).unwrap();
}

/// Whether the pod can open a connection to the node.
fn reaches(node: &Node, pod: &str) -> bool {
    let listener = node.within(|| TcpListener::bind("192.0.2.254:0").unwrap());
    let address = listener.local_addr().unwrap();
    inside(pod, || {
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
    })
}

fn both(outcomes: &[Outcome; 2], expected: &Outcome) -> bool {
    outcomes.iter().all(|outcome| outcome == expected)
}

fn sound(states: &[HookState; 2]) -> bool {
    states.iter().all(HookState::is_sound)
}

#[test]
fn case_68_programs_maps_and_links_stay_when_the_agent_ends_and_the_next_one_takes_them_over() {
    for mechanism in mechanisms() {
        let mut node = Node::new();
        let (place, pod) = (node.place(), node.pod("veth-0", 1));
        let link = node.link("veth-0");
        let before = node.within(|| {
            let (mut instance, opening) = open_off(&place, options(mechanism));
            assert_eq!(opening, Opening::First);
            let outcomes = instance.attach(&link).unwrap();
            assert!(both(&outcomes, &Outcome::Attached), "{outcomes:?}");
            assert!(reaches(&node, &pod));
            switch(&mut instance, 0);
            instance.program(Hook::FromPod).unwrap()
        });
        assert!(!reaches(&node, &pod), "the agent is gone, its programs are not");
        node.within(|| {
            let (mut instance, opening) = Instance::open(place.clone(), options(mechanism)).unwrap();
            assert_eq!(opening, Opening::Adopted, "{mechanism:?}");
            assert_eq!(instance.program(Hook::FromPod).unwrap(), before);
            assert!(sound(&instance.inspect(&link).unwrap()));
            let outcomes = instance.attach(&link).unwrap();
            assert!(both(&outcomes, &Outcome::Kept), "{outcomes:?}");
            let active = instance.maps().lookup(MapName::Active, &[0; 4]).unwrap().unwrap();
            assert_eq!(active[..4], 1_u32.to_ne_bytes());
        });
    }
}

#[test]
fn case_67_a_new_build_takes_the_old_ones_place_and_no_packet_finds_a_gap() {
    for mechanism in mechanisms() {
        let mut node = Node::new();
        let (place, pod) = (node.place(), node.pod("veth-0", 1));
        let link = node.link("veth-0");
        node.within(|| {
            let (mut instance, _) = open_off(&place, options(mechanism));
            instance.attach(&link).unwrap();
            switch(&mut instance, 0);
        });
        let flood = Flood::start(&node, &pod);
        for build in [another_build(mechanism), options(mechanism), another_build(mechanism)] {
            node.within(|| {
                let (instance, opening) = Instance::open(place.clone(), build).unwrap();
                assert_eq!(opening, Opening::Replaced { hooks: 2 }, "{mechanism:?}");
                let states = instance.inspect(&link).unwrap();
                assert!(sound(&states), "{states:?}");
                assert_eq!(states[0].program, Some(instance.program(Hook::FromPod).unwrap().0));
            });
        }
        assert_eq!(flood.received(), 0, "{mechanism:?}");
        node.within(|| {
            switch(
                &mut Instance::open(place.clone(), another_build(mechanism)).unwrap().0,
                switches::OFF,
            );
        });
        assert!(settled(|| flood.received() > 0), "the flood would have been seen");
    }
}

#[test]
fn a_second_agent_of_one_instance_is_refused_and_told_who_has_it() {
    let mut node = Node::new();
    let place = node.place();
    let _first = Instance::open(place.clone(), options(Mechanism::of_this_kernel())).unwrap();
    let second = Instance::open(place.clone(), options(Mechanism::of_this_kernel()))
        .err()
        .unwrap();
    let OpenError::Place(PlaceError::Locked { name, holder }) = second else {
        panic!("{second}")
    };
    assert_eq!((name.as_str(), holder), (place.name(), Some(std::process::id())));
    assert!(
        uninstall(&place).is_err(),
        "an uninstall must not pull the maps from under an agent"
    );
}

#[test]
fn case_66_a_pinned_map_of_another_size_is_named_and_left_alone() {
    let mut node = Node::new();
    let place = node.place();
    drop(open_off(&place, options(Mechanism::of_this_kernel())));
    let larger = Options {
        capacities: small().with(MapName::Policy, 65),
        ..options(Mechanism::of_this_kernel())
    };
    let error = Instance::open(place.clone(), larger).err().unwrap();
    let OpenError::Shape { name, found, expected } = error else {
        panic!("{error}")
    };
    assert_eq!((name, found.max_entries, expected.max_entries), ("POLICY", 64, 65));
    let (instance, opening) = Instance::open(place, options(Mechanism::of_this_kernel())).unwrap();
    assert_eq!(opening, Opening::Adopted);
    assert_eq!(
        instance.maps().lookup(MapName::Active, &[0; 4]).unwrap().unwrap()[..4],
        1_u32.to_ne_bytes()
    );
}

#[test]
fn case_23_a_program_that_goes_ahead_of_ours_is_told_and_we_go_ahead_of_it_without_removing_it() {
    for mechanism in mechanisms() {
        let mut node = Node::new();
        let (place, other, pod) = (node.place(), node.place(), node.pod("veth-0", 1));
        let link = node.link("veth-0");
        node.within(|| {
            let (mut ours, _) = open_off(&place, options(mechanism));
            ours.attach(&link).unwrap();
            let (mut theirs, _) = open_off(&other, options(mechanism));
            theirs.attach(&link).unwrap();
            let states = ours.inspect(&link).unwrap();
            let their = theirs.program(Hook::FromPod).unwrap().0;
            let ahead = states[0].ahead.as_ref().unwrap();
            assert_eq!(
                ahead.iter().map(|other| other.id).collect::<Vec<_>>(),
                [their],
                "{mechanism:?}"
            );
            assert!(!states[0].is_sound());
            let outcomes = ours.attach(&link).unwrap();
            assert!(
                matches!(&outcomes[0], Outcome::Reordered(others) if others[0].id == their),
                "{outcomes:?}"
            );
            assert!(settled(|| sound(&ours.inspect(&link).unwrap())));
            let theirs = theirs.inspect(&link).unwrap();
            assert_eq!(theirs[0].program, Some(their), "theirs is still there");
            assert_eq!(theirs[0].ahead.as_ref().unwrap().len(), 1);
            // Our own program comes back into the link once the old link is gone.
            assert!(settled(|| {
                ours.attach(&link).unwrap();
                ours.inspect(&link).unwrap()[0].program == Some(ours.program(Hook::FromPod).unwrap().0)
            }));
        });
        assert!(reaches(&node, &pod));
    }
}

#[test]
fn case_70_a_link_whose_interface_is_gone_is_pruned_and_a_new_interface_of_that_index_is_guarded() {
    if !has_tcx("case 70") {
        return;
    }
    let mut node = Node::new();
    let (place, _pod) = (node.place(), node.pod("veth-0", 1));
    let link = node.link("veth-0");
    let (mut instance, _) = node.within(|| open_off(&place, options(Mechanism::Tcx)));
    node.within(|| instance.attach(&link).unwrap());
    run(&format!("ip -n {} link del veth-0", node.name()));
    run(&format!(
        "ip -n {} link add veth-9 index {} type veth peer name peer-9",
        node.name(),
        link.ifindex
    ));
    let reborn = node.link("veth-9");
    let outcomes = node.within(|| instance.attach(&reborn).unwrap());
    assert!(both(&outcomes, &Outcome::Revived), "{outcomes:?}");
    run(&format!("ip -n {} link del veth-9", node.name()));
    let gone = node.within(|| instance.attach(&reborn)).err().unwrap();
    assert!(gone.to_string().contains("veth-9"), "{gone}");
    assert_eq!(instance.prune(&[]).unwrap(), 1);
    assert!(instance.place().linked().unwrap().is_empty());
}

#[test]
fn a_restart_outlives_interfaces_that_went_meanwhile() {
    let mut node = Node::new();
    let (place, _pod) = (node.place(), node.pod("veth-0", 1));
    let link = node.link("veth-0");
    node.within(|| {
        open_off(&place, options(Mechanism::of_this_kernel()))
            .0
            .attach(&link)
            .unwrap()
    });
    run(&format!("ip -n {} link del veth-0", node.name()));
    let (_instance, opening) =
        node.within(|| Instance::open(place.clone(), another_build(Mechanism::of_this_kernel())).unwrap());
    assert_eq!(opening, Opening::Replaced { hooks: 0 });
}

#[test]
fn case_69_what_an_agent_left_behind_is_found_again_and_nothing_is_there_twice() {
    if !has_tcx("case 69") {
        return;
    }
    let mut node = Node::new();
    let (place, pod) = (node.place(), node.pod("veth-0", 1));
    let link = node.link("veth-0");
    node.within(|| open_off(&place, options(Mechanism::Tcx)).0.attach(&link).unwrap());
    // One hook lost its pin while no agent ran, the other did not.
    std::fs::remove_file(place.link(link.ifindex, Hook::FromPod)).unwrap();
    node.within(|| {
        let (mut instance, opening) = Instance::open(place.clone(), options(Mechanism::Tcx)).unwrap();
        assert_eq!(opening, Opening::Adopted);
        assert_eq!(instance.attach(&link).unwrap(), [Outcome::Attached, Outcome::Kept]);
        assert!(settled(|| sound(&instance.inspect(&link).unwrap())));
        for direction in [TcAttachType::Ingress, TcAttachType::Egress] {
            let programs = || SchedClassifier::query_tcx("veth-0", direction).unwrap().1.len();
            assert!(settled(|| programs() == 1), "{direction:?}: {}", programs());
        }
        switch(&mut instance, 0);
    });
    assert!(!reaches(&node, &pod));
}

#[test]
fn a_map_whose_pin_somebody_removed_is_made_anew_and_the_programs_move_to_it() {
    let mut node = Node::new();
    let (place, pod) = (node.place(), node.pod("veth-0", 1));
    let link = node.link("veth-0");
    node.within(|| {
        open_off(&place, options(Mechanism::of_this_kernel()))
            .0
            .attach(&link)
            .unwrap()
    });
    std::fs::remove_file(place.map("ACTIVE")).unwrap();
    assert!(reaches(&node, &pod), "the programs have the map as long as they run");
    let (mut instance, opening) =
        node.within(|| Instance::open(place.clone(), options(Mechanism::of_this_kernel())).unwrap());
    assert_eq!(opening, Opening::Replaced { hooks: 2 });
    switch(&mut instance, 0);
    assert!(!reaches(&node, &pod), "what is written now is what they read");
    switch(&mut instance, switches::OFF);
    assert!(reaches(&node, &pod));
}

#[test]
fn case_76_enforcement_that_somebody_took_off_is_told_and_put_back() {
    if !has_tcx("case 76") {
        return;
    }
    let mut node = Node::new();
    let (place, pod) = (node.place(), node.pod("veth-0", 1));
    let link = node.link("veth-0");
    let (mut instance, _) = node.within(|| open_off(&place, options(Mechanism::Tcx)));
    node.within(|| instance.attach(&link).unwrap());
    std::fs::remove_file(place.link(link.ifindex, Hook::ToPod)).unwrap();
    let states = node.within(|| instance.inspect(&link).unwrap());
    assert!(states[0].is_sound());
    assert_eq!(states[1].program, None);
    let outcomes = node.within(|| instance.attach(&link).unwrap());
    assert_eq!(outcomes, [Outcome::Kept, Outcome::Attached]);
    assert!(node.within(|| settled(|| sound(&instance.inspect(&link).unwrap()))));
    assert!(reaches(&node, &pod));
}

#[test]
fn a_priority_that_another_kind_of_filter_has_is_left_to_it() {
    let mut node = Node::new();
    let (place, _pod) = (node.place(), node.pod("veth-0", 1));
    let (link, name) = (node.link("veth-0"), node.name().to_owned());
    run(&format!("tc -n {name} qdisc add dev veth-0 clsact"));
    let theirs = "matchall action ok";
    if !succeeds(&format!(
        "tc -n {name} filter add dev veth-0 ingress prio 1 protocol all {theirs}"
    )) {
        run(&format!(
            "tc -n {name} filter add dev veth-0 ingress prio 1 protocol all u32 match u32 0 0 classid 1:1"
        ));
    }
    node.within(|| {
        let (mut instance, _) = open_off(&place, options(Mechanism::Clsact));
        instance.attach(&link).unwrap();
        let states = instance.inspect(&link).unwrap();
        let ahead = states[0].ahead.as_ref().unwrap();
        assert!(
            !ahead.is_empty() && ahead.iter().all(|other| other.id == 0),
            "{states:?}"
        );
        assert!(states[0].program.is_some() && states[1].is_sound());
        assert_eq!(instance.attach(&link).unwrap()[0], Outcome::Kept);
    });
    let removed = node.within(|| uninstall(&place).unwrap());
    assert_eq!(removed.hooks, 2);
    assert!(run(&format!("tc -n {name} filter show dev veth-0 ingress")).contains("pref 1 "));
}

#[test]
fn an_uninstall_without_an_agent_leaves_nothing_of_ours_and_everything_of_others() {
    for mechanism in mechanisms() {
        let mut node = Node::new();
        let (place, other, pod) = (node.place(), node.place(), node.pod("veth-0", 1));
        let link = node.link("veth-0");
        node.within(|| {
            let (mut instance, _) = open_off(&place, options(mechanism));
            instance.attach(&link).unwrap();
            switch(&mut instance, 0);
        });
        let mut theirs = node.within(|| open_off(&other, options(mechanism)).0);
        node.within(|| theirs.attach(&link).unwrap());
        assert!(!reaches(&node, &pod));
        let removed = node.within(|| uninstall(&place).unwrap());
        assert_eq!(
            (removed.hooks, removed.maps),
            (2, MapName::ALL.len() + 1),
            "{mechanism:?}"
        );
        assert!(removed.left.is_empty());
        assert!(!place.instance().exists());
        assert!(settled(|| reaches(&node, &pod)));
        assert!(node.within(|| settled(|| sound(&theirs.inspect(&link).unwrap()))));
        let again = node.within(|| uninstall(&place).unwrap());
        assert!(!again.any());
    }
}

#[test]
fn case_66_an_older_layout_goes_when_the_new_one_says_so_and_a_strangers_file_stays() {
    let mut node = Node::new();
    let place = node.place();
    let (mut instance, _) = open_off(&place, options(Mechanism::of_this_kernel()));
    let older = place.instance().join("v0");
    std::fs::create_dir_all(older.join("maps")).unwrap();
    std::fs::create_dir_all(older.join("links/7")).unwrap();
    std::fs::create_dir_all(older.join("theirs")).unwrap();
    assert!(!instance.retire_others().unwrap().any());
    assert!(older.exists(), "what we do not know is left");
    std::fs::remove_dir(older.join("theirs")).unwrap();
    instance.retire_others().unwrap();
    assert!(!older.exists());
    assert!(place.map("ACTIVE").exists(), "our own version is untouched");
}

#[test]
fn from_one_layout_to_the_next_and_back_both_judge_until_the_old_one_goes_and_no_packet_finds_a_gap() {
    for mechanism in mechanisms() {
        let mut node = Node::new();
        let (place, pod) = (node.place(), node.pod("veth-0", 1));
        let link = node.link("veth-0");
        node.within(|| {
            let (mut instance, _) = open_off(&place, options(mechanism));
            instance.attach(&link).unwrap();
            switch(&mut instance, 0);
        });
        let flood = Flood::start(&node, &pod);
        for version in [place.version() + 1, place.version()] {
            let next = place.of_version(version);
            node.within(|| {
                let (mut instance, opening) = Instance::open(next.clone(), options(mechanism)).unwrap();
                assert_eq!(opening, Opening::First, "{mechanism:?}");
                assert_eq!(place.versions().unwrap().len(), 2, "{mechanism:?}");
                instance.attach(&link).unwrap();
                assert!(instance.retire_others().unwrap().any(), "{mechanism:?}");
                assert!(sound(&instance.inspect(&link).unwrap()), "{mechanism:?}");
            });
            assert_eq!(place.versions().unwrap(), [next], "{mechanism:?}");
        }
        assert_eq!(flood.received(), 0, "{mechanism:?}");
        node.within(|| drop(open_off(&place, options(mechanism))));
        assert!(settled(|| flood.received() > 0), "the flood would have been seen");
    }
}

#[test]
fn a_pod_that_is_none_any_more_loses_our_programs_only() {
    for mechanism in mechanisms() {
        let mut node = Node::new();
        let (place, pod) = (node.place(), node.pod("veth-0", 1));
        let link = node.link("veth-0");
        let (mut instance, _) = node.within(|| open_off(&place, options(mechanism)));
        node.within(|| instance.attach(&link).unwrap());
        switch(&mut instance, 0);
        assert!(!reaches(&node, &pod));
        node.within(|| instance.detach(&link).unwrap());
        assert!(settled(|| reaches(&node, &pod)), "{mechanism:?}");
        let states = node.within(|| instance.inspect(&link).unwrap());
        assert!(states.iter().all(|state| state.program.is_none()));
    }
}

/// Waits for what the kernel does in its own time, after the last reference to a link is gone.
fn settled(mut reached: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        if reached() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    reached()
}
