//! From the bytes of a file to text: encoding, and the characters that no manifest may hold.

use super::problem::{Fault, Position};

/// Largest file in bytes that is read: 8 MiB.
pub const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// The text of a file: UTF-8, without the byte order mark in front, free of control characters other than tab and line
/// breaks, of further byte order marks, and of the line separators that YAML 1.1 takes for line breaks and 1.2 does not.
pub fn decode(bytes: &[u8]) -> Result<&str, Fault> {
    for (mark, name) in [
        (&b"\xff\xfe"[..], "UTF-16, little-endian"),
        (b"\xfe\xff", "UTF-16, big-endian"),
    ] {
        if bytes.starts_with(mark) {
            return Err(Fault::whole(format!("the file is in {name}"), "save it as UTF-8"));
        }
    }
    let text = std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error.valid_up_to()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.char_indices().find(|&(_, c)| is_refused(c)) {
        Some((at, c)) => Err(refused(text, at, c)),
        None => Ok(text),
    }
}

fn not_utf8(bytes: &[u8], offset: usize) -> Fault {
    let valid = String::from_utf8_lossy(&bytes[..offset]);
    let byte = bytes.get(offset).copied().unwrap_or_default();
    let message = format!("byte {offset} (0x{byte:02x}) is not UTF-8");
    Fault::at(position_after(&valid), message, "save the file as UTF-8")
}

fn refused(text: &str, at: usize, c: char) -> Fault {
    let what = match c {
        '\0' => "a NUL character".to_owned(),
        '\u{feff}' => "a byte order mark inside the file".to_owned(),
        '\u{85}' | '\u{2028}' | '\u{2029}' => {
            format!(
                "the line separator U+{:04X}, which YAML 1.1 takes for the end of the line",
                u32::from(c)
            )
        }
        _ => format!("the control character U+{:04X}", u32::from(c)),
    };
    let remedy = format!("remove it, or write \"\\u{:04x}\" in double quotes", u32::from(c));
    Fault::at(position_after(&text[..at]), format!("{what} at byte {at}"), remedy)
}

fn is_refused(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' => false,
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => true,
        _ => c.is_control(),
    }
}

/// The place right after `text`; `\n`, `\r\n` and `\r` each end a line.
pub fn position_after(text: &str) -> Position {
    let (mut line, mut column) = (1_u32, 1_u32);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if c == '\n' || (c == '\r' && characters.peek() != Some(&'\n')) {
            line = line.saturating_add(1);
            column = 1;
        } else {
            column = column.saturating_add(1);
        }
    }
    Position { line, column }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(bytes: &[u8]) -> Fault {
        decode(bytes).expect_err("refused")
    }

    #[test]
    fn a_byte_order_mark_in_front_and_crlf_are_fine() {
        assert_eq!(decode(b"\xef\xbb\xbfa: 1\r\n"), Ok("a: 1\r\n"));
    }

    #[test]
    fn other_encodings_are_named() {
        assert_eq!(fault(b"\xff\xfea\0").message, "the file is in UTF-16, little-endian");
        assert_eq!(fault(b"\xfe\xff\0a").message, "the file is in UTF-16, big-endian");
        let latin = fault(b"a: 1\nb: caf\xe9\n");
        assert_eq!(latin.message, "byte 11 (0xe9) is not UTF-8");
        assert_eq!(latin.position, Some(Position { line: 2, column: 7 }));
        assert_eq!(fault(b"a\0").message, "a NUL character at byte 1");
    }

    #[test]
    fn control_characters_and_foreign_line_breaks_are_named_with_their_place() {
        let escape = fault("a: 1\r\nb: \u{1b}[31m\n".as_bytes());
        assert_eq!(escape.message, "the control character U+001B at byte 9");
        assert_eq!(escape.position, Some(Position { line: 2, column: 4 }));
        for c in [
            '\u{7f}', '\u{85}', '\u{9b}', '\u{2028}', '\u{2029}', '\u{feff}', '\u{ffff}', '\u{1}',
        ] {
            assert!(decode(format!("a: x{c}y").as_bytes()).is_err(), "{c:?}");
        }
    }
}
