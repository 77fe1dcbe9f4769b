//! What is wrong with an object, where, and what to write instead.

use std::fmt;

/// One fault of one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The field, as an API server writes it: `spec.ports[2].endPort`. Never raw input: keys that are no plain
    /// identifier are quoted and escaped.
    pub path: String,
    /// The value found there, escaped and cut to a readable length; absent where showing it tells nothing.
    pub found: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        if let Some(found) = &self.found {
            write!(f, "found {found}: ")?;
        }
        write!(f, "{}; {}", self.message, self.remedy)
    }
}

impl std::error::Error for Violation {}

/// Longest value shown in a message, in characters.
const SHOWN: usize = 80;

/// Text for a terminal or a log: control characters and what changes the direction or the width of text are escaped.
pub fn escaped(text: &str) -> String {
    cut(text, usize::MAX)
}

/// [`escaped`] text of at most 80 characters, so that a message stays a line; what was cut ends in `...`.
pub fn shortened(text: &str) -> String {
    cut(text, SHOWN)
}

pub(crate) fn cut(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    for (count, c) in text.chars().enumerate() {
        if count == most {
            out.push_str("...");
            break;
        }
        if is_invisible(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that a terminal acts on, or that a reader cannot see: C0, C1, line separators, zero-width characters
/// and the marks that reorder text.
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A text as a message shows it.
pub(crate) fn shown(text: &str) -> String {
    format!("`{}`", shortened(text))
}

/// The path of the field `key` of the object at `path`; a key that is no plain identifier is quoted.
pub(crate) fn join(path: &str, key: &str) -> String {
    let plain =
        !key.is_empty() && key.len() <= 63 && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    match (plain, path.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[\"{}\"]", shortened(key)),
    }
}

/// The path of entry `key` of the map at `path`, as an API server writes it: `matchLabels[app.kubernetes.io/name]`.
pub(crate) fn entry(path: &str, key: &str) -> String {
    let plain = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'));
    if plain && key.len() <= 317 {
        format!("{path}[{key}]")
    } else {
        format!("{path}[\"{}\"]", shortened(key))
    }
}

/// The path of the `index`-th entry of the list at `path`.
pub(crate) fn item(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}
