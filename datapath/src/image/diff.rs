//! Differences between two images, in words.

use std::collections::BTreeMap;
use std::fmt;

use super::{Image, text};

/// One entry that two images disagree on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Which entry, as the text form names it.
    pub entry: String,
    /// What the first image says of it; none where it has no such entry.
    pub expected: Option<String>,
    /// What the second image says.
    pub found: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "no entry".to_owned());
        write!(
            f,
            "{}: expected {}, found {}",
            self.entry,
            side(&self.expected),
            side(&self.found)
        )
    }
}

impl Image {
    /// What `found` has otherwise than this image, by section and key.
    pub fn diff(&self, found: &Self) -> Vec<Difference> {
        if self == found {
            return Vec::new();
        }
        let (expected, found) = (entries(self), entries(found));
        let mut names: Vec<_> = expected.keys().chain(found.keys()).collect();
        names.sort();
        names.dedup();
        let differing = names.into_iter().filter(|name| expected.get(*name) != found.get(*name));
        differing
            .map(|(section, key)| {
                let entry = (*section, key.clone());
                Difference {
                    entry: format!("{section} {key}"),
                    expected: expected.get(&entry).cloned(),
                    found: found.get(&entry).cloned(),
                }
            })
            .collect()
    }
}

fn entries(image: &Image) -> BTreeMap<(&'static str, String), String> {
    text::sections(image)
        .into_iter()
        .flat_map(|section| {
            section
                .entries
                .into_iter()
                .map(move |(key, value)| ((section.name, key), value))
        })
        .collect()
}
