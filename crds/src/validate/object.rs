//! What a NetworkObject may say.

use super::{hold, hold_text, list, selector};
use crate::rule::{self, limit};
use crate::{CidrBlock, NetworkObjectSpec, Violation, cidr};

const DIVIDE: &str = "divide it over several objects";

pub(super) fn check(spec: &NetworkObjectSpec, out: &mut Vec<Violation>) {
    let NetworkObjectSpec {
        namespaces,
        apps,
        images,
        pod_selector,
        namespace_selector,
        cidrs,
    } = spec;
    let of_pods = namespaces.is_some()
        || apps.is_some()
        || images.is_some()
        || pod_selector.is_some()
        || namespace_selector.is_some();
    hold(&rule::OBJECT_WITHOUT_FIELDS, "spec", of_pods || cidrs.is_some(), out);
    hold(&rule::CIDRS_WITH_OTHERS, "spec", !(of_pods && cidrs.is_some()), out);
    for (path, globs) in [
        ("spec.namespaces", namespaces),
        ("spec.apps", apps),
        ("spec.images", images),
    ] {
        if let Some(globs) = globs {
            list(path, globs, limit::LIST, DIVIDE, out, |path, text, out| {
                glob(path, text, out);
            });
        }
    }
    for (path, given) in [
        ("spec.podSelector", pod_selector),
        ("spec.namespaceSelector", namespace_selector),
    ] {
        if let Some(given) = given {
            selector::check(path, given, out);
        }
    }
    if let Some(cidrs) = cidrs {
        list("spec.cidrs", cidrs, limit::CIDRS, DIVIDE, out, block);
    }
}

fn glob(path: &str, text: &str, out: &mut Vec<Violation>) {
    hold(&rule::GLOB_EMPTY, path, !text.is_empty(), out);
    hold_text(&rule::GLOB_LONG, path, text, text.chars().count() <= limit::GLOB, out);
}

fn block(path: &str, block: &CidrBlock, out: &mut Vec<Violation>) {
    let CidrBlock { cidr, except } = block;
    check_cidr(&format!("{path}.cidr"), cidr, out);
    let Some(except) = except else { return };
    let at = format!("{path}.except");
    list(&at, except, limit::LIST, DIVIDE, out, |path, text, out| {
        check_cidr(path, text, out);
    });
    let Some(whole) = cidr::parse_block(cidr) else { return };
    for text in except.iter().take(limit::LIST) {
        let outside = cidr::parse_block(text).is_some_and(|part| !cidr::is_smaller_inside(part, whole));
        hold_text(&rule::EXCEPT_OUTSIDE, path, text, !outside, out);
    }
}

/// The two rules of an address block, wherever it stands.
pub(super) fn check_cidr(path: &str, text: &str, out: &mut Vec<Violation>) {
    match cidr::parse_block(text) {
        None => out.push(rule::CIDR.broken_by(path, text)),
        Some(block) => hold_text(&rule::CIDR_HOST_BITS, path, text, cidr::has_no_host_bits(block), out),
    }
}
