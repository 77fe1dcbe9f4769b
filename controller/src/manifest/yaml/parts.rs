//! A text cut where its documents begin.

/// One stretch of a text, from a `---` to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Lines of the text before this part.
    pub lines_before: u32,
    /// The part's text, with its `---` line.
    pub text: &'a str,
}

/// Cuts a text where its documents begin. A line that begins with `---` is that in every context, so nothing is cut
/// apart that belongs together; a text with `%` directives, which belong to the document after them, stays whole.
pub fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut from, mut lines_before, mut line) = (0, 0, 0);
    for (at, content) in lines(text) {
        if content.starts_with('%') {
            return vec![Part { lines_before: 0, text }];
        }
        if at > from && is_marker(content) {
            parts.push(Part {
                lines_before,
                text: &text[from..at],
            });
            (from, lines_before) = (at, line);
        }
        line += 1;
    }
    parts.push(Part {
        lines_before,
        text: &text[from..],
    });
    parts
}

fn is_marker(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// The lines of a text with their offsets, ends included; `\n`, `\r\n` and `\r` each end one.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = text.get(from..).filter(|rest| !rest.is_empty())?;
        let end = match rest.find(['\n', '\r']) {
            Some(at) if rest[at..].starts_with("\r\n") => at + 2,
            Some(at) => at + 1,
            None => rest.len(),
        };
        let at = from;
        from += end;
        Some((at, &rest[..end]))
    })
}
