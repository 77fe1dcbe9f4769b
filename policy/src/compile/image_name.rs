//! The normal form of an image reference: registry, `library/` and `:latest` written out.

/// The normal form of `image`; none where the reference already is.
///
/// The part before the first `/` is a registry where it has a dot or a colon or is `localhost`; without one it is
/// docker.io, whose other name is index.docker.io, and there a name of one part lies in `library/`. A tag is added
/// where there is neither tag nor digest; a tag beside a digest stays.
pub(super) fn normal_form(image: &str) -> Option<String> {
    let (registry, path) = match image.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
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
    let last = path.rsplit('/').next().unwrap_or(path);
    let tag = if last.contains([':', '@']) { "" } else { ":latest" };
    let normal = format!("{registry}/{library}{path}{tag}");
    (normal != image).then_some(normal)
}

#[cfg(test)]
mod tests {
    use super::normal_form;

    fn normal(image: &str) -> String {
        normal_form(image).unwrap_or_else(|| image.to_owned())
    }

    #[test]
    fn a_bare_name_is_the_latest_of_the_library() {
        assert_eq!(normal("nginx"), "docker.io/library/nginx:latest");
        assert_eq!(normal("nginx:1.29"), "docker.io/library/nginx:1.29");
        assert_eq!(normal("docker.io/nginx"), "docker.io/library/nginx:latest");
        assert_eq!(normal("index.docker.io/nginx"), "docker.io/library/nginx:latest");
    }

    #[test]
    fn a_path_without_registry_is_docker_io() {
        assert_eq!(normal("shop/web"), "docker.io/shop/web:latest");
        assert_eq!(normal("shop/web/api:2"), "docker.io/shop/web/api:2");
    }

    #[test]
    fn a_registry_has_a_dot_a_colon_or_is_localhost() {
        assert_eq!(normal("registry.example/web"), "registry.example/web:latest");
        assert_eq!(normal("registry:5000/web"), "registry:5000/web:latest");
        assert_eq!(normal("localhost/web"), "localhost/web:latest");
        assert_eq!(normal("registry:5000/shop/web:1"), "registry:5000/shop/web:1");
    }

    #[test]
    fn a_digest_keeps_its_tag_and_gets_none() {
        assert_eq!(normal("nginx@sha256:00"), "docker.io/library/nginx@sha256:00");
        assert_eq!(normal("nginx:1@sha256:00"), "docker.io/library/nginx:1@sha256:00");
    }

    #[test]
    fn a_normal_form_is_its_own() {
        assert_eq!(normal_form("docker.io/library/nginx:latest"), None);
        assert_eq!(normal_form("registry.example/web:1"), None);
    }
}
