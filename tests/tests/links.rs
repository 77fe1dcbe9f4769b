//! Interfaces and addresses of real namespaces, found without entering them.

mod namespaces;

use std::fmt::Write;
use std::time::Duration;

use cellwall_datapath::links::{Change, Links, NamespaceError, Watch};
use namespaces::{Node, run};

fn now() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn a_pod_is_found_by_the_name_of_its_namespace_with_its_host_side_and_its_addresses() {
    let mut node = Node::new();
    let pod = node.pod("veth-0", 1);
    run(&format!("ip -n {pod} address add 2001:db8::1/64 dev eth0 nodad"));
    let found = node.within(|| {
        let mut links = Links::open().unwrap();
        let namespace = links.namespace(&pod).unwrap();
        let host = links.list().unwrap();
        links.pod(&host, namespace).unwrap()
    });
    let [end] = found.ends.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(end.link.name, "veth-0");
    assert_eq!(end.link.master, None);
    let inside = end.inside.as_ref().unwrap();
    assert_eq!((inside.name.as_str(), inside.kind.as_str()), ("eth0", "veth"));
    assert_eq!(end.link.peer.unwrap().ifindex, inside.ifindex);
    let mac = run(&format!("ip netns exec {pod} cat /sys/class/net/eth0/address"));
    let text: Vec<String> = inside.mac.unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(mac.trim(), text.join(":"));
    let ips: Vec<String> = found.addresses.iter().map(|address| address.ip.to_string()).collect();
    assert!(ips.contains(&"192.0.2.1".to_owned()), "{ips:?}");
    assert!(ips.contains(&"2001:db8::1".to_owned()), "{ips:?}");
    assert!(!ips.contains(&"127.0.0.1".to_owned()), "{ips:?}");
    assert!(found.unguarded.is_empty(), "{found:?}");
}

#[test]
fn case_25_every_host_side_of_a_pod_is_found_whether_routed_or_bridged() {
    let mut node = Node::new();
    let pod = node.pod("veth-0", 1);
    run(&format!("ip -n {} link add br-0 type bridge", node.name()));
    node.join("veth-1", &pod, "eth1");
    run(&format!("ip -n {} link set veth-1 master br-0", node.name()));
    let (found, bridge) = node.within(|| {
        let mut links = Links::open().unwrap();
        let namespace = links.namespace(&format!("/run/netns/{pod}")).unwrap();
        let host = links.list().unwrap();
        let bridge = host.iter().find(|link| link.name == "br-0").unwrap().ifindex;
        (links.pod(&host, namespace).unwrap(), bridge)
    });
    let ends: Vec<_> = found
        .ends
        .iter()
        .map(|end| (end.link.name.as_str(), end.link.master))
        .collect();
    assert_eq!(ends, [("veth-0", None), ("veth-1", Some(bridge))]);
}

#[test]
fn case_25_a_way_out_that_has_no_host_side_here_is_told() {
    let mut node = Node::new();
    let pod = node.pod("veth-0", 1);
    run(&format!("ip -n {} link add up-0 type veth peer name up-1", node.name()));
    run(&format!(
        "ip -n {} link add mv-0 link up-0 netns {pod} type macvlan",
        node.name()
    ));
    let third = node.space();
    run(&format!(
        "ip -n {pod} link add eth9 type veth peer name far netns {third}"
    ));
    run(&format!("ip -n {pod} link add br-in type bridge"));
    let found = node.within(|| {
        let mut links = Links::open().unwrap();
        let namespace = links.namespace(&pod).unwrap();
        let host = links.list().unwrap();
        links.pod(&host, namespace).unwrap()
    });
    let mut unguarded: Vec<&str> = found.unguarded.iter().map(|link| link.name.as_str()).collect();
    unguarded.sort_unstable();
    assert_eq!(unguarded, ["eth9", "mv-0"]);
}

#[test]
fn two_pods_do_not_see_one_anothers_interfaces_and_addresses() {
    let mut node = Node::new();
    let pods = [node.pod("veth-0", 1), node.pod("veth-1", 2)];
    let found = node.within(|| {
        let mut links = Links::open().unwrap();
        let host = links.list().unwrap();
        pods.map(|pod| {
            let namespace = links.namespace(&pod).unwrap();
            links.pod(&host, namespace).unwrap()
        })
    });
    assert_ne!(found[0].namespace, found[1].namespace);
    for (number, pod) in found.iter().enumerate() {
        let ends: Vec<&str> = pod.ends.iter().map(|end| end.link.name.as_str()).collect();
        assert_eq!(ends, [format!("veth-{number}")]);
        let v4: Vec<String> = pod
            .addresses
            .iter()
            .filter(|a| a.ip.is_ipv4())
            .map(|a| a.ip.to_string())
            .collect();
        assert_eq!(v4, [format!("192.0.2.{}", number + 1)]);
    }
}

#[test]
fn the_nodes_own_addresses_are_listed_with_those_of_its_bridges() {
    let node = Node::new();
    run(&format!("ip -n {} link add br-0 type bridge", node.name()));
    run(&format!("ip -n {} address add 198.51.100.1/24 dev br-0", node.name()));
    let addresses = node.within(|| Links::open().unwrap().addresses().unwrap());
    let bridge = node.link("br-0").ifindex;
    let found = addresses
        .iter()
        .find(|address| address.ip.to_string() == "198.51.100.1")
        .unwrap();
    assert_eq!((found.ifindex, found.prefix), (bridge, 24));
}

#[test]
fn the_nodes_own_namespace_is_no_pods() {
    let node = Node::new();
    let own = node.within(|| Links::open().unwrap().namespace(node.name()));
    assert!(matches!(own, Err(NamespaceError::Own { .. })), "{own:?}");
}

#[test]
fn a_namespace_that_is_not_there_is_named_in_the_error() {
    let node = Node::new();
    let absent = node.within(|| Links::open().unwrap().namespace("cwd-absent"));
    let error = absent.unwrap_err();
    assert!(error.to_string().contains("/run/netns/cwd-absent"), "{error}");
}

#[test]
fn an_address_given_inside_a_pod_is_told_at_once() {
    let mut node = Node::new();
    let pod = node.pod("veth-0", 1);
    node.within(|| {
        now().block_on(async {
            let mut watch = Watch::open().unwrap();
            assert!(watch.hears_pods());
            Links::open().unwrap().namespace(&pod).unwrap();
            settle(&mut watch).await;
            run(&format!("ip -n {pod} address add 203.0.113.9/24 dev eth0"));
            let change = tokio::time::timeout(Duration::from_secs(5), watch.changed()).await;
            assert!(change.unwrap().unwrap().addresses);
        });
    });
}

#[test]
fn an_interface_that_comes_and_goes_is_told_at_once() {
    let mut node = Node::new();
    node.within(|| {
        now().block_on(async {
            let mut watch = Watch::open().unwrap();
            run(&format!("ip -n {} link add br-0 type bridge", node.name()));
            let change = settle(&mut watch).await;
            assert!(change.links && !change.overflow, "{change:?}");
            run(&format!("ip -n {} link del br-0", node.name()));
            assert!(settle(&mut watch).await.links);
        });
    });
    let _pod = node.space();
}

#[test]
fn events_that_were_lost_are_told_as_an_overflow() {
    let node = Node::new();
    node.within(|| {
        now().block_on(async {
            let mut watch = Watch::open().unwrap();
            run(&format!("ip -n {} link add br-0 type bridge", node.name()));
            let mut batch = String::new();
            for number in 0..4000 {
                let (high, low) = (number / 250, number % 250);
                writeln!(batch, "address add 10.0.{high}.{low}/32 dev br-0").unwrap();
            }
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), batch).unwrap();
            run(&format!("ip -n {} -batch {}", node.name(), file.path().display()));
            assert!(settle(&mut watch).await.overflow);
        });
    });
}

/// Everything that is told until nothing has been told for a while.
async fn settle(watch: &mut Watch) -> Change {
    let mut all = Change::default();
    while let Ok(change) = tokio::time::timeout(Duration::from_millis(300), watch.changed()).await {
        let Change {
            links,
            addresses,
            namespaces,
            filters,
            overflow,
        } = change.unwrap();
        all.links |= links;
        all.addresses |= addresses;
        all.namespaces |= namespaces;
        all.filters |= filters;
        all.overflow |= overflow;
    }
    all
}
