//! What the agent under measurement is given: two pods of this node, pods of other nodes up to ten thousand, and as many
//! rules as asked for, all of which concern the pod that the traffic comes from.

use std::fmt::Write as _;

use super::nft::other;
use super::traffic::CLOSED;
use crate::Cluster;

/// Pods of the cluster.
pub(super) const PODS: u32 = 10_000;
/// Applications that they belong to, and objects that select one each.
const APPS: u32 = 1_000;
/// Pods in one file: a file has a largest size.
const CHUNK: u32 = 2_500;

/// Writes everything; `rules` counts the one that lets the traffic through, and not the one that refuses a port.
pub(super) fn save(cluster: &Cluster, rules: u32) {
    cluster.save_pods();
    for first in (0..PODS - 2).step_by(CHUNK as usize) {
        let last = (first + CHUNK).min(PODS - 2);
        cluster.save(
            &format!("pods-{first}.yaml"),
            &(first..last).map(pod).collect::<String>(),
        );
    }
    let objects: String = (0..APPS).map(object).collect();
    cluster.save("objects.yaml", &(objects + SOURCE));
    let mut text = String::from(LAST);
    // Writing into text does not fail.
    let _ = write!(text, "{}", refusing());
    (1..rules).for_each(|number| text.push_str(&rule(number)));
    cluster.save("rules.yaml", &text);
}

fn pod(number: u32) -> String {
    let (v4, v6) = (other(number, true), other(number, false));
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p-{number}, namespace: ns-{}, uid: uid-{number}, labels: {{app: app-{}}}}}\n\
         spec: {{nodeName: node-{}}}\nstatus: {{podIPs: [{{ip: \"{v4}\"}}, {{ip: \"{v6}\"}}]}}\n---\n",
        number % 100,
        number % APPS,
        1 + number / 110
    )
}

/// The first object selects the pod that the traffic goes to, too.
fn object(number: u32) -> String {
    let also = if number == 0 { ", b" } else { "" };
    format!(
        "apiVersion: cellwall.io/v1alpha1\nkind: NetworkObject\nmetadata: {{name: o-{number}}}\nspec: {{apps: [app-{number}{also}]}}\n---\n"
    )
}

const SOURCE: &str =
    "apiVersion: cellwall.io/v1alpha1\nkind: NetworkObject\nmetadata: {name: source}\nspec: {apps: [a]}\n";

/// The rule that the traffic goes by comes last.
const LAST: &str = "apiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {name: last}\nspec: {source: {object: source}, \
                    destination: {object: o-0}, action: Pass, priority: 1000}\n---\n";

fn refusing() -> String {
    format!(
        "apiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {{name: closed}}\nspec: {{source: {{object: source}}, \
         destination: {{object: o-0}}, ports: [{{protocol: UDP, port: {CLOSED}}}], action: Drop, priority: 1}}\n---\n"
    )
}

fn rule(number: u32) -> String {
    format!(
        "apiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {{name: rule-{number}}}\nspec: {{source: {{object: source}}, \
         destination: {{object: o-{}}}, ports: [{{protocol: TCP, port: {}}}], action: {}, priority: {}}}\n---\n",
        number % APPS,
        20_000 + number,
        if number.is_multiple_of(3) { "Drop" } else { "Pass" },
        2 + number % 900
    )
}
