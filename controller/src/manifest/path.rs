//! The way from a document's top to one of its fields: `spec.ports[2].endPort`.

use std::fmt;

use super::problem::printable;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Into a mapping, by key.
    Key(String),
    /// Into a sequence, from 0.
    Index(usize),
}

/// A path from the top of a document. Displayed as Kubernetes does: a key with other characters than letters, digits,
/// `_` and `-` stands in brackets, `metadata.labels["app.kubernetes.io/name"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldPath(pub Vec<Step>);

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if is_simple(key) => {
                    if at > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(key)?;
                }
                Step::Key(key) => write!(f, "[\"{}\"]", printable(key))?,
            }
        }
        Ok(())
    }
}

fn is_simple(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_as_kubernetes_shows_them() {
        let key = |k: &str| Step::Key(k.to_owned());
        let ports = FieldPath(vec![key("spec"), key("ports"), Step::Index(2), key("endPort")]);
        assert_eq!(ports.to_string(), "spec.ports[2].endPort");
        let label = FieldPath(vec![key("metadata"), key("labels"), key("app.kubernetes.io/name")]);
        assert_eq!(label.to_string(), "metadata.labels[\"app.kubernetes.io/name\"]");
        assert_eq!(FieldPath(vec![key("a\u{1b}")]).to_string(), "[\"a\\u{1b}\"]");
    }
}
