//! Globs: `*` is any run of characters (also none, also over `/`), `?` exactly one, the whole text must match.
//! Case-sensitive, no escapes.

use std::fmt;
use std::sync::Arc;

/// Longest glob, in characters.
const LONGEST: usize = 512;

/// Why a text is not a glob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message says it")]
pub enum GlobError {
    #[error("a glob may not be empty; write \"*\" for everything")]
    Empty,
    #[error("a glob has at most 512 characters, this one has {characters}")]
    TooLong { characters: usize },
}

/// A glob over characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob(Arc<str>);

impl Glob {
    /// Reads a glob.
    pub fn new(text: &str) -> Result<Self, GlobError> {
        match text.chars().count() {
            0 => Err(GlobError::Empty),
            characters if characters > LONGEST => Err(GlobError::TooLong { characters }),
            _ => Ok(Self(text.into())),
        }
    }

    /// The glob as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text that is the only one matched, where there are no wildcards.
    pub fn literal(&self) -> Option<&str> {
        (!self.0.contains(['*', '?'])).then_some(&*self.0)
    }

    /// Whether all of `text` matches. Linear with one point of return, so no text makes it slow.
    pub fn matches(&self, text: &str) -> bool {
        if let Some(literal) = self.literal() {
            return literal == text;
        }
        let (mut pattern, mut rest) = (self.0.chars(), text.chars());
        let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
        loop {
            let (pattern_before, rest_before) = (pattern.clone(), rest.clone());
            match (pattern.next(), rest.next()) {
                (None, None) => return true,
                (Some('*'), _) => {
                    rest = rest_before;
                    retry = Some((pattern.clone(), rest.clone()));
                    continue;
                }
                (Some('?'), Some(_)) => continue,
                (Some(p), Some(c)) if p == c => continue,
                _ => {}
            }
            drop(pattern_before);
            let Some((after_star, from)) = retry.as_mut() else {
                return false;
            };
            if from.next().is_none() {
                return false;
            }
            pattern = after_star.clone();
            rest = from.clone();
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Glob, GlobError};

    #[test]
    fn a_glob_has_between_1_and_512_characters() {
        assert_eq!(Glob::new(""), Err(GlobError::Empty));
        for (characters, fits) in [(1, true), (511, true), (512, true), (513, false), (1_000, false)] {
            // Characters, not bytes.
            let read = Glob::new(&"é".repeat(characters));
            let error = GlobError::TooLong { characters };
            assert_eq!(read.is_ok(), fits, "{characters}");
            assert!(fits || read == Err(error));
        }
    }

    #[test]
    fn a_glob_without_wildcards_matches_one_text() {
        let literal = |text| Glob::new(text).unwrap().literal().map(str::to_owned);
        assert_eq!(literal("web"), Some("web".to_owned()));
        assert_eq!((literal("w*b"), literal("w?b")), (None, None));
    }
}
