//! What is wrong with a manifest, where, and what to do about it.
//!
//! Messages carry words from files that anyone may have written; nothing of them reaches a terminal without passing
//! through [`printable`] or [`excerpt`].

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

/// Longest message or remedy in characters; the rest is cut and marked.
const LONGEST_MESSAGE: usize = 500;

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The document, or the whole file, does not take effect as written.
    Error,
    /// Something to know; what is written takes effect, or is none of ours.
    Note,
}

/// A place in a text. Both count from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Position {
    /// The place `lines` further down.
    #[must_use]
    pub fn down(self, lines: u32) -> Self {
        Self {
            line: self.line.saturating_add(lines),
            ..self
        }
    }
}

/// Something wrong inside one text, before it is known which file that is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fault {
    /// Where; `None` where the whole text is meant.
    pub position: Option<Position>,
    /// The place that the fault clashes with: where a key stood first.
    pub first: Option<Position>,
    /// What is wrong.
    pub message: String,
    /// What to do, or empty.
    pub remedy: String,
}

impl Fault {
    /// A fault at a place.
    pub fn at(position: Position, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            position: Some(position),
            first: None,
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// A fault of the text as a whole.
    pub fn whole(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            position: None,
            first: None,
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// A key that stands at `position` and stood at `first` before.
    pub fn twice(position: Position, key: &str, first: Position) -> Self {
        let message = format!("the key \"{}\" is given twice", excerpt(key, 60));
        Self {
            first: Some(first),
            ..Self::at(position, message, "remove one of them")
        }
    }

    /// The same fault, `lines` further down.
    #[must_use]
    pub fn down(mut self, lines: u32) -> Self {
        self.position = self.position.map(|position| position.down(lines));
        self.first = self.first.map(|position| position.down(lines));
        self
    }
}

/// One finding about one file: `shop.yaml:12: the key "on" ...; quote it`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The file or directory, as it was named or found.
    #[serde(serialize_with = "path_as_text")]
    pub file: PathBuf,
    /// Line from 1, where one is to blame.
    pub line: Option<u32>,
    /// Column in characters from 1, where one is to blame.
    pub column: Option<u32>,
    /// Error or note.
    pub severity: Severity,
    /// What is wrong, naming object and value; may hold characters of the input, see [`printable`].
    pub message: String,
    /// What to do about it; empty where the message says it.
    pub remedy: String,
}

impl Problem {
    /// An error in `file`.
    pub fn error(file: &Path, mut fault: Fault) -> Self {
        if let Some(first) = fault.first {
            fault.message = format!("{}, first in line {}", fault.message, first.line);
        }
        Self {
            file: file.to_owned(),
            line: fault.position.map(|position| position.line),
            column: fault.position.map(|position| position.column),
            severity: Severity::Error,
            message: fault.message,
            remedy: fault.remedy,
        }
    }

    /// A note about `file`.
    pub fn note(file: &Path, fault: Fault) -> Self {
        Self {
            severity: Severity::Note,
            ..Self::error(file, fault)
        }
    }

    /// Whether this is an error, rather than a note.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl Severity {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Note => "note",
        }
    }
}

impl Problem {
    /// Place, severity and message, as compilers print them.
    pub fn tagged(&self) -> String {
        format!("{}: {}: {}", self.place(), self.severity.name(), self.said())
    }

    /// File and, where it is known, line.
    fn place(&self) -> String {
        let file = printable(&self.file.to_string_lossy()).to_string();
        match self.line {
            Some(line) => format!("{file}:{line}"),
            None => file,
        }
    }

    /// Message and remedy.
    fn said(&self) -> String {
        let message = excerpt(&self.message, LONGEST_MESSAGE);
        if self.remedy.is_empty() {
            return message.to_string();
        }
        format!("{message}; {}", excerpt(&self.remedy, LONGEST_MESSAGE))
    }
}

/// As [`Problem::tagged`], but of errors the severity goes without saying: logs have it already.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.severity {
            Severity::Error => write!(f, "{}: {}", self.place(), self.said()),
            Severity::Note => f.write_str(&self.tagged()),
        }
    }
}

/// A path need not be UTF-8; JSON must be.
fn path_as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&printable(&path.to_string_lossy()))
}

/// Shows `text` with everything escaped that could steer a terminal or hide what stands there.
pub fn printable(text: &str) -> impl fmt::Display {
    excerpt(text, usize::MAX)
}

/// As [`printable`], at most `most` characters; what is cut off is told by `...`.
pub fn excerpt(text: &str, most: usize) -> impl fmt::Display {
    Excerpt { text, most }
}

struct Excerpt<'a> {
    text: &'a str,
    most: usize,
}

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, c) in self.text.chars().enumerate() {
            if at == self.most {
                return f.write_str("...");
            }
            if steers(c) {
                write!(f, "\\u{{{:x}}}", u32::from(c))?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Control characters, line separators, and the invisible ones that turn or join the text around them.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' |
            '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_file_and_line_and_remedy() {
        let fault = Fault::at(
            Position { line: 12, column: 3 },
            "the key \"on\" is given twice",
            "remove one",
        );
        let problem = Problem::error(Path::new("shop.yaml"), fault);
        assert_eq!(
            problem.to_string(),
            "shop.yaml:12: the key \"on\" is given twice; remove one"
        );
    }

    #[test]
    fn place_severity_and_message_stand_in_one_order_whoever_tells() {
        let fault = Fault::at(Position { line: 3, column: 1 }, "not valid", "");
        let error = Problem::error(Path::new("a.yaml"), fault);
        assert_eq!(error.tagged(), "a.yaml:3: error: not valid");
        let note = Problem::note(Path::new("a.yaml"), Fault::whole("a link", ""));
        assert_eq!(note.tagged(), "a.yaml: note: a link");
        assert_eq!(note.to_string(), note.tagged());
    }

    #[test]
    fn control_and_direction_characters_never_reach_a_terminal() {
        let fault = Fault::whole("\u{1b}[2Jred\u{202e}\n\u{9b}x", "");
        let shown = Problem::error(Path::new("a\u{7}\nb.yaml"), fault).to_string();
        assert_eq!(shown, "a\\u{7}\\u{a}b.yaml: \\u{1b}[2Jred\\u{202e}\\u{a}\\u{9b}x");
    }

    #[test]
    fn a_long_message_is_cut() {
        let shown = Problem::note(Path::new("a.yaml"), Fault::whole("x".repeat(5000), "")).to_string();
        assert!(shown.ends_with("x...") && shown.len() < 600, "{}", shown.len());
    }
}
