//! Labels and ordinary Kubernetes label selectors.

use std::sync::Arc;

/// A set of labels, sorted by key, shared between the many pods of one workload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// The labels given; of a repeated key the last one counts.
    pub fn new<K: Into<Arc<str>>, V: Into<Arc<str>>>(labels: impl IntoIterator<Item = (K, V)>) -> Self {
        let map: std::collections::BTreeMap<Arc<str>, Arc<str>> =
            labels.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        Self(map.into_iter().collect())
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .binary_search_by(|(k, _)| (**k).cmp(key))
            .ok()
            .map(|i| &*self.0[i].1)
    }

    /// All labels in order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (&**k, &**v))
    }
}

/// What a requirement asks of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "Kubernetes' own words")]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// One requirement of a selector.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// Label key.
    pub key: Arc<str>,
    /// Operator.
    pub operator: Operator,
    /// Values, for `In` and `NotIn`.
    pub values: Vec<Arc<str>>,
}

impl Requirement {
    /// Kubernetes' meaning: `NotIn` and `DoesNotExist` hold for labels without the key. A `NotIn` that lists nothing is
    /// an emptied list and matches nothing (case 54).
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let listed = || value.is_some_and(|v| self.values.iter().any(|w| **w == *v));
        match self.operator {
            Operator::In => listed(),
            Operator::NotIn => !self.values.is_empty() && !listed(),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

/// A label selector: every requirement holds. `matchLabels` entries have become `In` with one value.
///
/// A selector without any requirement matches nothing: an emptied selector must never widen an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LabelSelector {
    /// Requirements, all of which must hold.
    pub requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// Whether `labels` are selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        !self.requirements.is_empty() && self.requirements.iter().all(|r| r.matches(labels))
    }
}

#[cfg(test)]
mod tests {
    use super::{Labels, Operator, Requirement};

    #[test]
    fn case_54_a_not_in_that_lists_nothing_matches_nothing() {
        let requirement = |values: &[&str]| Requirement {
            key: "tier".into(),
            operator: Operator::NotIn,
            values: values.iter().map(|value| (*value).into()).collect(),
        };
        let labels = Labels::new([("app", "web")]);
        assert!(requirement(&["a"]).matches(&labels));
        assert!(!requirement(&[]).matches(&labels));
    }
}
