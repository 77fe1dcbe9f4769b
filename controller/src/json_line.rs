//! JSON whose text is harmless on a terminal. JSON has to escape the control characters below U+0020 only; a terminal acts
//! on those from U+0080 on, too, and does not show the marks that reorder text. Here all of them are written as `\u....`,
//! which a reader takes for the same text.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let plain = |byte: u8| byte.is_ascii() && byte != 0x7f;
        if fragment.bytes().all(plain) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut bytes = [0; 4];
        for c in fragment.chars() {
            if cellwall_crds::is_invisible(c) {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            } else {
                writer.write_all(c.encode_utf8(&mut bytes).as_bytes())?;
            }
        }
        Ok(())
    }
}

/// Writes a value on one line, without the line's end.
pub fn write(to: &mut impl Write, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(to, Harmless))
}

/// A value on one line.
pub fn text(value: &impl Serialize) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    write(&mut bytes, value)?;
    // why: what the formatter writes is made of whole strings
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_escaped_and_read_as_it_was() {
        let hostile = "\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{200b}\u{e0041}\n\"\\";
        let value = json!({hostile: [hostile, "λ plain"], "n": 1.5});
        let line = text(&value).unwrap();
        assert!(!line.chars().any(cellwall_crds::is_invisible), "{line:?}");
        assert!(
            line.contains("\\u009b31m\\u007f\\u202e\\u200b\\udb40\\udc41\\n"),
            "{line}"
        );
        assert!(line.contains("λ plain"), "{line}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }
}
