//! Names as words: everything that could end a word, or start another part of it, is `%` and two hexadecimal digits.

use std::fmt::Write;

/// `text` as (a part of) a word; `/` stays.
pub(super) fn encode(text: &str) -> String {
    let mut word = String::new();
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_./:*+$[]{}~^'".contains(&byte);
        // `?` opens no word of ours but the unknown pod, which is the whole word.
        if plain || (byte == b'?' && text.len() > 1) {
            word.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(word, "%{byte:02x}");
        }
    }
    word
}

/// As [`encode`], for parts that `/` or `:` separate.
pub(super) fn encode_part(text: &str) -> String {
    encode(text).replace('/', "%2f").replace(':', "%3a")
}

/// The text of a word; none where it is not one that [`encode`] writes.
pub(super) fn decode(word: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = word.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let high = char::from(rest.next()?).to_digit(16)?;
        let low = char::from(rest.next()?).to_digit(16)?;
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}
