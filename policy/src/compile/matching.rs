//! Whether a workload selector fits: fields given are ANDed, entries of a list ORed, nothing given fits nothing.

use std::cell::OnceCell;

use super::image_name::normal_form;
use crate::model::{Glob, Labels, Name, WorkloadSelector};

/// What a selector can see of a pod besides its namespace.
pub(super) struct Subject<'a> {
    labels: &'a Labels,
    images: &'a [Name],
    normal: OnceCell<Vec<String>>,
}

impl<'a> Subject<'a> {
    pub(super) fn new(labels: &'a Labels, images: &'a [Name]) -> Self {
        Self {
            labels,
            images,
            normal: OnceCell::new(),
        }
    }

    /// The labels.
    pub(super) fn labels(&self) -> &'a Labels {
        self.labels
    }

    /// The application name.
    pub(super) fn app(&self) -> Option<&'a str> {
        let labels = self.labels;
        labels.get("app").or_else(|| labels.get("app.kubernetes.io/name"))
    }

    fn has_image(&self, globs: &[Glob]) -> bool {
        let fits = |image: &str| globs.iter().any(|glob| glob.matches(image));
        let normal = || {
            self.normal
                .get_or_init(|| self.images.iter().filter_map(|i| normal_form(i)).collect())
        };
        self.images.iter().any(|image| fits(image)) || normal().iter().any(|image| fits(image))
    }
}

/// Whether the selector says anything at all.
fn says_something(selector: &WorkloadSelector) -> bool {
    let WorkloadSelector {
        namespaces,
        apps,
        images,
        pod_selector,
        namespace_selector,
    } = selector;
    namespaces.is_some() || apps.is_some() || images.is_some() || pod_selector.is_some() || namespace_selector.is_some()
}

/// Whether pods of the namespace `name` can be selected at all.
pub(super) fn fits_namespace(selector: &WorkloadSelector, name: &str, labels: &Labels) -> bool {
    says_something(selector)
        && selector
            .namespaces
            .as_ref()
            .is_none_or(|globs| globs.iter().any(|glob| glob.matches(name)))
        && selector
            .namespace_selector
            .as_ref()
            .is_none_or(|wanted| wanted.matches(labels))
}

/// Whether a pod of a namespace that fits is selected.
pub(super) fn fits_pod(selector: &WorkloadSelector, pod: &Subject<'_>) -> bool {
    let has_app = |globs: &Vec<Glob>| pod.app().is_some_and(|app| globs.iter().any(|glob| glob.matches(app)));
    says_something(selector)
        && selector.apps.as_ref().is_none_or(has_app)
        && selector
            .pod_selector
            .as_ref()
            .is_none_or(|wanted| wanted.matches(pod.labels))
        && selector.images.as_ref().is_none_or(|globs| pod.has_image(globs))
}
