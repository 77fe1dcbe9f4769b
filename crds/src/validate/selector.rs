//! What a label selector may say: what Kubernetes accepts, without empty parts.

use super::{hold, hold_text, list};
use crate::rule::{self, limit};
use crate::violation::entry;
use crate::{LabelSelector, LabelSelectorRequirement, Operator, Violation};

const DIVIDE: &str = "divide it over several objects";

pub(super) fn check(path: &str, selector: &LabelSelector, out: &mut Vec<Violation>) {
    let LabelSelector {
        match_labels,
        match_expressions,
    } = selector;
    hold(
        &rule::SELECTOR_EMPTY,
        path,
        match_labels.is_some() || match_expressions.is_some(),
        out,
    );
    if let Some(labels) = match_labels {
        let path = format!("{path}.matchLabels");
        hold(&rule::EMPTY, &path, !labels.is_empty(), out);
        if labels.len() > limit::LIST {
            out.push(super::too_many(&path, labels.len(), limit::LIST, DIVIDE));
        }
        for (key, value) in labels.iter().take(limit::LIST) {
            hold_text(&rule::LABEL_KEYS, &path, key, is_label_key(key), out);
            hold_text(
                &rule::LABEL_VALUE,
                &entry(&path, key),
                value,
                is_label_value(value),
                out,
            );
        }
    }
    if let Some(expressions) = match_expressions {
        list(
            &format!("{path}.matchExpressions"),
            expressions,
            limit::LIST,
            DIVIDE,
            out,
            requirement,
        );
    }
}

fn requirement(path: &str, requirement: &LabelSelectorRequirement, out: &mut Vec<Violation>) {
    let LabelSelectorRequirement { key, operator, values } = requirement;
    hold_text(&rule::LABEL_KEY, &format!("{path}.key"), key, is_label_key(key), out);
    let compares = matches!(operator, Operator::In | Operator::NotIn);
    hold(&rule::VALUES_MISSING, path, !compares || values.is_some(), out);
    hold(&rule::VALUES_UNWANTED, path, compares || values.is_none(), out);
    if let Some(values) = values {
        list(
            &format!("{path}.values"),
            values,
            limit::CIDRS,
            DIVIDE,
            out,
            |path, value, out| {
                hold_text(&rule::LABEL_VALUE, path, value, is_label_value(value), out);
            },
        );
    }
}

/// Whether `key` is a label key: at most 63 characters, after an optional DNS-1123 subdomain and a slash.
fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => super::is_object_name(prefix) && is_label_name(name),
        None => is_label_name(key),
    }
}

/// Whether `value` is a label value: empty, or a label name.
fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_label_name(value)
}

fn is_label_name(name: &str) -> bool {
    let end = |c: char| c.is_ascii_alphanumeric();
    name.len() <= limit::LABEL
        && name.starts_with(end)
        && name.ends_with(end)
        && name.chars().all(|c| end(c) || matches!(c, '-' | '_' | '.'))
}
