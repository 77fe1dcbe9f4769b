//! The rules of the schema, for objects that are already typed; the same words as an API server's.
//!
//! The rules that an API server has by its own limits (how many entries, how long a text) have their words here only.

mod defense;
mod object;
mod ports;
mod selector;

use crate::rule::{self, Rule, limit};
use crate::violation::item;
use crate::{CLUSTER_DEFENSE_NAME, ClusterDefense, DefenseRule, InterceptStatus, NetworkObject, Violation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// An object that can be held against the rules of its kind.
pub trait Validate {
    /// Everything that is wrong with the object, in the order of its fields; empty where nothing is.
    fn validate(&self) -> Vec<Violation>;
}

impl Validate for NetworkObject {
    fn validate(&self) -> Vec<Violation> {
        let mut out = name(&self.metadata);
        object::check(&self.spec, &mut out);
        out
    }
}

impl Validate for DefenseRule {
    fn validate(&self) -> Vec<Violation> {
        let mut out = name(&self.metadata);
        defense::check_rule(&self.spec, &mut out);
        out
    }
}

impl Validate for ClusterDefense {
    fn validate(&self) -> Vec<Violation> {
        let mut out = name(&self.metadata);
        if let Some(name) = self
            .metadata
            .name
            .as_deref()
            .filter(|name| *name != CLUSTER_DEFENSE_NAME)
        {
            out.push(rule::DEFENSE_NAME.broken_by("metadata.name", name));
        }
        defense::check_cluster(&self.spec, &mut out);
        out
    }
}

impl Validate for InterceptStatus {
    fn validate(&self) -> Vec<Violation> {
        let mut out = name(&self.metadata);
        let addresses = self.status.as_ref().map_or(&[][..], |status| &status.addresses);
        if addresses.len() > limit::ADDRESSES {
            out.push(too_many(
                "status.addresses",
                addresses.len(),
                limit::ADDRESSES,
                "leave some out",
            ));
        }
        for (i, address) in addresses.iter().enumerate() {
            if crate::cidr::parse_address(address).is_none() {
                out.push(rule::ADDRESS.broken_by(&item("status.addresses", i), address));
            }
        }
        out
    }
}

fn name(metadata: &ObjectMeta) -> Vec<Violation> {
    match metadata.name.as_deref() {
        None => vec![Violation {
            path: "metadata.name".into(),
            found: None,
            message: "the object has no name".into(),
            remedy: "give it one".into(),
        }],
        Some(name) if is_object_name(name) => Vec::new(),
        Some(name) => vec![rule::OBJECT_NAME.broken_by("metadata.name", name)],
    }
}

/// Whether Kubernetes takes `name` as the name of an object: a DNS-1123 subdomain.
pub(crate) fn is_object_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= limit::NAME
        && name
            .split('.')
            .all(|part| part.starts_with(inner) && part.ends_with(inner) && part.chars().all(|c| inner(c) || c == '-'))
}

fn too_many(path: &str, count: usize, most: usize, remedy: &str) -> Violation {
    Violation {
        path: path.to_owned(),
        found: None,
        message: format!("it has {count} entries, and at most {most} are possible"),
        remedy: remedy.to_owned(),
    }
}

/// The limits of a list that was given, and a check of every entry. Entries beyond the limit are not looked at.
fn list<T>(
    path: &str,
    entries: &[T],
    most: usize,
    remedy: &str,
    out: &mut Vec<Violation>,
    mut each: impl FnMut(&str, &T, &mut Vec<Violation>),
) {
    if entries.is_empty() {
        out.push(rule::EMPTY.broken(path));
    }
    if entries.len() > most {
        out.push(too_many(path, entries.len(), most, remedy));
    }
    for (i, entry) in entries.iter().take(most).enumerate() {
        each(&item(path, i), entry, out);
    }
}

/// Adds the violation of `rule` where it does not hold.
fn hold(rule: &Rule, path: &str, holds: bool, out: &mut Vec<Violation>) {
    if !holds {
        out.push(rule.broken(path));
    }
}

/// Adds the violation of `rule` by `found` where it does not hold.
fn hold_text(rule: &Rule, path: &str, found: &str, holds: bool, out: &mut Vec<Violation>) {
    if !holds {
        out.push(rule.broken_by(path, found));
    }
}
