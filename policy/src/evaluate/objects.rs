//! Which objects a pod or an address is in.

use crate::model::{
    Address, Glob, LabelSelector, Labels, Name, Operator, Pod, Requirement, Selector, WorkloadSelector,
};
use crate::world::World;

/// Names of the objects of ranges that contain `address`.
pub(super) fn containing(world: &World, address: Address) -> Vec<Name> {
    let contains = |selector: &Selector| match selector {
        Selector::Cidrs(entries) => entries.iter().any(|entry| {
            let excepted = entry.except.iter().any(|hole| hole.contains(address));
            entry.cidr.contains(address) && !excepted
        }),
        Selector::Workloads(_) => false,
    };
    names(world, contains)
}

/// Names of the objects that select `pod`. A host-network pod lends its labels to nobody.
pub(super) fn selecting(world: &World, pod: &Pod) -> Vec<Name> {
    let selects = |selector: &Selector| match selector {
        Selector::Workloads(selector) => !pod.host_network && selects(world, selector, pod),
        Selector::Cidrs(_) => false,
    };
    names(world, selects)
}

fn names(world: &World, holds: impl Fn(&Selector) -> bool) -> Vec<Name> {
    let hit = world.objects().filter(|object| holds(&object.selector));
    hit.map(|object| object.name.clone()).collect()
}

/// Fields given are ANDed; an object without any field selects nothing.
fn selects(world: &World, selector: &WorkloadSelector, pod: &Pod) -> bool {
    let mut answers = Vec::new();
    if let Some(globs) = &selector.namespaces {
        answers.push(any_matches(globs, &pod.namespace));
    }
    if let Some(globs) = &selector.apps {
        answers.push(application(pod).is_some_and(|name| any_matches(globs, name)));
    }
    if let Some(globs) = &selector.images {
        let fits = |image: &Name| any_matches(globs, image) || any_matches(globs, &normal_image(image));
        answers.push(pod.images.iter().any(fits));
    }
    if let Some(labels) = &selector.pod_selector {
        answers.push(selected(labels, &pod.labels));
    }
    if let Some(labels) = &selector.namespace_selector {
        answers.push(selected(labels, &world.namespace_labels(&pod.namespace)));
    }
    !answers.is_empty() && answers.into_iter().all(|answer| answer)
}

/// The label `app`, else `app.kubernetes.io/name`.
fn application(pod: &Pod) -> Option<&str> {
    let plain = pod.labels.get("app");
    plain.or_else(|| pod.labels.get("app.kubernetes.io/name"))
}

/// Every requirement holds; a selector without requirements, and a requirement whose list is empty, hold for nobody.
fn selected(selector: &LabelSelector, labels: &Labels) -> bool {
    let holds = |requirement: &Requirement| {
        let value = labels.get(&requirement.key);
        let listed = requirement.values.iter().any(|one| Some(&**one) == value);
        match requirement.operator {
            Operator::In => listed,
            Operator::NotIn => !requirement.values.is_empty() && !listed,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    };
    !selector.requirements.is_empty() && selector.requirements.iter().all(holds)
}

fn any_matches(globs: &[Glob], text: &str) -> bool {
    globs.iter().any(|glob| glob_matches(glob.as_str(), text))
}

/// `*` any run of characters, `?` one. Row by row: `reached[n]` says whether the pattern so far matches the first `n`
/// characters.
fn glob_matches(pattern: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for symbol in pattern.chars() {
        let mut next = vec![false; text.len() + 1];
        for end in 0..=text.len() {
            next[end] = match symbol {
                '*' => reached[end] || (end > 0 && next[end - 1]),
                '?' => end > 0 && reached[end - 1],
                plain => end > 0 && reached[end - 1] && text[end - 1] == plain,
            };
        }
        reached = next;
    }
    reached[text.len()]
}

/// The normal form of an image reference: registry, `library/` on Docker's own, `:latest` where there is neither tag
/// nor digest.
pub(super) fn normal_image(image: &str) -> String {
    let (registry, path) = match image.split_once('/') {
        Some((first, rest)) if is_registry(first) => (first, rest),
        _ => ("docker.io", image),
    };
    let registry = if registry == "index.docker.io" {
        "docker.io"
    } else {
        registry
    };
    let library = if registry == "docker.io" && !path.contains('/') {
        "library/"
    } else {
        ""
    };
    let last = path.rsplit('/').next().unwrap_or_default();
    let latest = if last.contains([':', '@']) { "" } else { ":latest" };
    format!("{registry}/{library}{path}{latest}")
}

/// What stands before the first `/` is a registry when it could not be a part of a path.
fn is_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase)
}

#[cfg(test)]
mod tests {
    use super::{glob_matches, normal_image};

    #[test]
    fn a_glob_matches_the_whole_text_with_runs_and_single_characters() {
        for (pattern, text, expected) in [
            ("shop", "shop", true),
            ("shop", "shops", false),
            ("pay*", "pay", true),
            ("pay*", "payments", true),
            ("*-prod", "a-prod", true),
            ("*-prod", "prod", false),
            ("*", "", true),
            ("?", "", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*nginx*", "docker.io/library/nginx:latest", true),
            ("a*b*c", "a/b/b/c", true),
            ("a*b*c", "a/b/b/d", false),
            ("Shop", "shop", false),
            ("\\*", "*", false),
            ("?", "é", true),
        ] {
            assert_eq!(glob_matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn an_image_gets_its_registry_library_and_latest_where_they_are_missing() {
        for (written, normal) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("team/web", "docker.io/team/web:latest"),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
            ("docker.io/library/nginx", "docker.io/library/nginx:latest"),
            ("localhost/web", "localhost/web:latest"),
            ("localhost:5000/web", "localhost:5000/web:latest"),
            ("registry.example/web", "registry.example/web:latest"),
            ("registry.example:5000/a/b:1", "registry.example:5000/a/b:1"),
            ("nginx@sha256:00", "docker.io/library/nginx@sha256:00"),
            ("nginx:1@sha256:00", "docker.io/library/nginx:1@sha256:00"),
        ] {
            assert_eq!(normal_image(written), normal);
        }
    }
}
