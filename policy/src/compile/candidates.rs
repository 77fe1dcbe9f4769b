//! The objects that may select pods of one namespace, findable by what a pod has.

use rustc_hash::FxHashMap;

use super::matching::{Subject, fits_pod};
use super::selector::ObjectId;
use crate::model::{Operator, WorkloadSelector};

/// Objects filed under the narrowest thing that a pod must have to be selected.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    selectors: FxHashMap<ObjectId, WorkloadSelector>,
    by_app: FxHashMap<String, Vec<ObjectId>>,
    by_label: FxHashMap<String, FxHashMap<String, Vec<ObjectId>>>,
    rest: Vec<ObjectId>,
}

impl Candidates {
    pub(super) fn new<'a>(objects: impl Iterator<Item = (ObjectId, &'a WorkloadSelector)>) -> Self {
        let mut candidates = Self::default();
        for (id, selector) in objects {
            candidates.file(id, selector);
            candidates.selectors.insert(id, selector.clone());
        }
        candidates
    }

    fn file(&mut self, id: ObjectId, selector: &WorkloadSelector) {
        let literal_apps =
            || -> Option<Vec<&str>> { selector.apps.as_ref()?.iter().map(|glob| glob.literal()).collect() };
        if let Some(apps) = literal_apps() {
            for app in apps {
                self.by_app.entry(app.to_owned()).or_default().push(id);
            }
            return;
        }
        let requirements = selector.pod_selector.iter().flat_map(|wanted| &wanted.requirements);
        let mut listed = requirements.filter(|r| r.operator == Operator::In);
        let Some(narrowest) = listed.next() else {
            self.rest.push(id);
            return;
        };
        for value in &narrowest.values {
            let by_value = self.by_label.entry(narrowest.key.to_string()).or_default();
            by_value.entry(value.to_string()).or_default().push(id);
        }
    }

    /// The objects that select the pod, sorted.
    pub(super) fn matching(&self, pod: &Subject<'_>) -> Vec<ObjectId> {
        let by_app = pod.app().and_then(|app| self.by_app.get(app));
        let labels = pod.labels().iter();
        let by_label = labels.filter(|_| !self.by_label.is_empty());
        let by_label = by_label.filter_map(|(key, value)| self.by_label.get(key)?.get(value));
        let filed = by_app.into_iter().chain(by_label).flatten().chain(&self.rest);
        let mut found: Vec<ObjectId> = filed
            .copied()
            .filter(|id| self.selectors.get(id).is_some_and(|selector| fits_pod(selector, pod)))
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}
