//! A Rust file as lines of code and lines of comment, and which of them are tests. A small lexer, not a parser: it
//! knows comments, literals and braces, which is what the rules ask about.

/// One line; what stands in string and character literals is left out of `code`.
#[derive(Debug, Default, Clone)]
pub(super) struct Line {
    pub(super) code: String,
    /// With its slashes; of several on a line, all.
    pub(super) comment: String,
    /// Inside an item under `#[test]` or `#[cfg(test)]`.
    pub(super) test: bool,
}

/// The lines of `text`, and the names of modules declared under `#[cfg(test)]` whose text is elsewhere.
pub(super) fn read(text: &str) -> (Vec<Line>, Vec<String>) {
    let mut lines = Lexer::new(text).lines();
    let modules = mark_tests(&mut lines);
    (lines, modules)
}

struct Lexer<'a> {
    rest: &'a str,
    lines: Vec<Line>,
    current: Line,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            lines: Vec::new(),
            current: Line::default(),
        }
    }

    fn lines(mut self) -> Vec<Line> {
        while let Some(next) = self.rest.chars().next() {
            if self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.comment(end);
            } else if self.rest.starts_with("/*") {
                let end = block_comment(self.rest);
                self.comment(end);
            } else if let Some(length) = literal(self.rest, &self.current.code) {
                self.current.code.push_str("\"\"");
                self.skip(length);
            } else {
                if next != '\n' {
                    self.current.code.push(next);
                }
                self.skip(next.len_utf8());
            }
        }
        self.lines.push(self.current);
        self.lines
    }

    fn comment(&mut self, length: usize) {
        for (index, part) in self.rest[..length].split('\n').enumerate() {
            if index > 0 {
                self.end_line();
            }
            self.current.comment.push_str(part);
        }
        self.rest = &self.rest[length..];
    }

    fn skip(&mut self, length: usize) {
        for _ in self.rest[..length].matches('\n') {
            self.end_line();
        }
        self.rest = &self.rest[length..];
    }

    fn end_line(&mut self) {
        self.lines.push(std::mem::take(&mut self.current));
    }
}

/// Length of the block comment that `text` begins with; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of the string or character literal that `text` begins with. `before` tells `r"` from the end of a name.
fn literal(text: &str, before: &str) -> Option<usize> {
    if let Some(rest) = text.strip_prefix('"') {
        return Some(1 + quoted(rest, '"'));
    }
    if let Some(rest) = text.strip_prefix('\'') {
        // A lifetime has no closing quote right after its first character.
        let mut chars = rest.chars();
        let first = chars.next()?;
        let is_char = first == '\\' || chars.next() == Some('\'');
        return is_char.then(|| 1 + quoted(rest, '\''));
    }
    if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        text.strip_prefix(prefix)
            .is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
    })?;
    let hashes = text[prefix.len()..].chars().take_while(|c| *c == '#').count();
    let open = prefix.len() + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    let length = text[open..]
        .find(&close)
        .map_or(text.len() - open, |end| end + close.len());
    Some(open + length)
}

/// Length up to and with the closing `quote`, backslashes respected.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// Where a marked item is: seen its attribute, or inside its braces, which close at this depth.
enum Place {
    Outside,
    Announced,
    Inside(usize),
}

fn mark_tests(lines: &mut [Line]) -> Vec<String> {
    let mut modules = Vec::new();
    let mut place = Place::Outside;
    let mut depth = 0_usize;
    for line in lines {
        if matches!(place, Place::Outside) && announces_test(&line.code) {
            place = Place::Announced;
        }
        line.test = !matches!(place, Place::Outside);
        for c in line.code.chars() {
            match c {
                '{' => {
                    if matches!(place, Place::Announced) {
                        place = Place::Inside(depth);
                    }
                    depth += 1;
                }
                '}' => {
                    depth = depth.saturating_sub(1);
                    if matches!(place, Place::Inside(outer) if outer == depth) {
                        place = Place::Outside;
                    }
                }
                ';' if matches!(place, Place::Announced) => {
                    place = Place::Outside;
                    modules.extend(module_name(&line.code));
                }
                _ => {}
            }
        }
    }
    modules
}

fn announces_test(code: &str) -> bool {
    ["#[test]", "::test]", "#[cfg(test)]", "#[cfg(all(test,"]
        .iter()
        .any(|mark| code.contains(mark))
}

/// `name` of a line with `mod name;` or `mod name {`.
pub(super) fn module_name(code: &str) -> Option<String> {
    let mut words = code
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty());
    words.by_ref().find(|word| *word == "mod")?;
    words.next().map(str::to_owned)
}
