//! What a DefenseRule and the ClusterDefense may say.

use super::{hold, hold_text, is_object_name, list, object, ports};
use crate::rule::{self, limit};
use crate::{ClusterDefenseSpec, DefenseRuleSpec, Peer, Violation};

pub(super) fn check_rule(spec: &DefenseRuleSpec, out: &mut Vec<Violation>) {
    let DefenseRuleSpec {
        source,
        destination,
        ports,
        action: _,
        priority,
        enabled: _,
    } = spec;
    peer("spec.source", source, out);
    peer("spec.destination", destination, out);
    if let Some(ports) = ports {
        ports::check(ports, out);
    }
    hold_text(
        &rule::PRIORITY,
        "spec.priority",
        &priority.to_string(),
        (1..=1000).contains(priority),
        out,
    );
}

fn peer(path: &str, peer: &Peer, out: &mut Vec<Violation>) {
    let Peer { object, entity } = peer;
    hold(&rule::PEER, path, object.is_some() != entity.is_some(), out);
    if let Some(object) = object {
        hold_text(
            &rule::OBJECT_NAME,
            &format!("{path}.object"),
            object,
            is_object_name(object),
            out,
        );
    }
}

pub(super) fn check_cluster(spec: &ClusterDefenseSpec, out: &mut Vec<Violation>) {
    let ClusterDefenseSpec {
        mode: _,
        recovery: _,
        local_node: _,
        startup: _,
        pod_cidrs,
        confirmed_generation,
    } = spec;
    if let Some(ranges) = pod_cidrs {
        list(
            "spec.podCIDRs",
            ranges,
            limit::CIDRS,
            "write larger ranges",
            out,
            |path, text, out| {
                object::check_cidr(path, text, out);
            },
        );
    }
    if let Some(generation) = confirmed_generation {
        let path = "spec.confirmedGeneration";
        hold_text(&rule::GENERATION, path, &generation.to_string(), *generation >= 0, out);
    }
}
