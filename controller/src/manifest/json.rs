//! JSON to [`Node`]s, by the letter of RFC 8259, with the place of each value and duplicate keys told.
//!
//! YAML's flow style is not quite JSON (tabs, `\/`, surrogate pairs), and JSON readers at hand do not tell places.
//! Several documents may follow each other, as `kubectl` takes them.

use std::collections::HashMap;

use super::node::{Content, Entry, Node, Scalar};
use super::problem::{Fault, Position, excerpt};
use super::scalar::{Reading, json_literal};
use super::yaml::{MAX_DEPTH, MAX_NODES};

/// Whether a text can only be meant as JSON or YAML flow style: its first character opens a collection.
pub fn looks_like_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// Reads all documents of a text. `budget` is how many nodes there may still be, and is lowered by those found.
pub fn read(text: &str, budget: &mut usize) -> Result<Vec<Node>, Fault> {
    let mut reader = Reader {
        text,
        at: 0,
        line: 1,
        column: 1,
        nodes_left: *budget,
    };
    let mut documents = Vec::new();
    loop {
        reader.skip_space();
        if reader.peek().is_none() {
            break;
        }
        let node = reader.value(0)?;
        if !node.is_null() {
            documents.push(node);
        }
    }
    *budget = reader.nodes_left;
    Ok(documents)
}

struct Reader<'a> {
    text: &'a str,
    /// Offset in bytes; always at a character's first byte when a token begins.
    at: usize,
    line: u32,
    column: u32,
    nodes_left: usize,
}

impl Reader<'_> {
    fn position(&self) -> Position {
        Position {
            line: self.line,
            column: self.column,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Goes one byte on, keeping line and column.
    fn advance(&mut self) {
        match self.peek() {
            Some(b'\n') => {
                self.line = self.line.saturating_add(1);
                self.column = 1;
            }
            // why: a character of several bytes counts once, at its first.
            Some(byte) if byte & 0b1100_0000 != 0b1000_0000 => self.column = self.column.saturating_add(1),
            _ => {}
        }
        self.at += 1;
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.advance();
        }
    }

    fn fault<T>(&self, message: &str) -> Result<T, Fault> {
        let found = match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(c) => format!("found '{}'", excerpt(&c.to_string(), 1)),
            None => "found the end of the file".to_owned(),
        };
        Err(Fault::at(
            self.position(),
            format!("not valid JSON: {message}, {found}"),
            "",
        ))
    }

    fn value(&mut self, depth: usize) -> Result<Node, Fault> {
        let at = self.position();
        let Some(left) = self.nodes_left.checked_sub(1) else {
            return Err(Fault::at(
                at,
                format!("more than {MAX_NODES} values in one file"),
                "split the file",
            ));
        };
        self.nodes_left = left;
        let (content, faults) = match self.peek() {
            Some(b'{' | b'[') if depth >= MAX_DEPTH => {
                return Err(Fault::at(at, format!("nested more than {MAX_DEPTH} levels deep"), ""));
            }
            Some(b'{') => self.object(depth)?,
            Some(b'[') => (self.array(depth)?, Vec::new()),
            Some(b'"') => (text(self.string()?), Vec::new()),
            Some(b'-' | b'0'..=b'9') => (self.number()?, Vec::new()),
            Some(b'a'..=b'z') => (self.word()?, Vec::new()),
            _ => return self.fault("expected a value"),
        };
        Ok(Node {
            content,
            line: at.line,
            column: at.column,
            faults,
        })
    }

    fn object(&mut self, depth: usize) -> Result<(Content, Vec<Fault>), Fault> {
        let (mut entries, mut faults) = (Vec::<Entry>::new(), Vec::new());
        let mut known: HashMap<Box<str>, (Position, usize)> = HashMap::new();
        self.advance();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.advance();
            return Ok((Content::Mapping(entries), faults));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return self.fault("expected a key in double quotes");
            }
            let at = self.position();
            let key: Box<str> = self.string()?.into();
            self.skip_space();
            if self.peek() != Some(b':') {
                return self.fault("expected ':' after a key");
            }
            self.advance();
            self.skip_space();
            let value = self.value(depth + 1)?;
            if let Some(&(first, index)) = known.get(&key) {
                faults.push(Fault::twice(at, &key, first));
                if let Some(entry) = entries.get_mut(index) {
                    entry.repeated = true;
                }
            } else {
                known.insert(key.clone(), (at, entries.len()));
                entries.push(Entry {
                    key,
                    at,
                    ambiguous: false,
                    repeated: false,
                    value,
                });
            }
            if self.ends(b'}', "expected ',' or '}'")? {
                return Ok((Content::Mapping(entries), faults));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Content, Fault> {
        let mut items = Vec::new();
        self.advance();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.advance();
            return Ok(Content::Sequence(items));
        }
        loop {
            self.skip_space();
            items.push(self.value(depth + 1)?);
            if self.ends(b']', "expected ',' or ']'")? {
                return Ok(Content::Sequence(items));
            }
        }
    }

    /// After an item: whether the collection ends here.
    fn ends(&mut self, end: u8, expected: &str) -> Result<bool, Fault> {
        self.skip_space();
        match self.peek() {
            Some(byte) if byte == end || byte == b',' => {
                self.advance();
                Ok(byte == end)
            }
            _ => self.fault(expected),
        }
    }

    fn word(&mut self) -> Result<Content, Fault> {
        for (word, reading) in [
            ("true", Reading::Bool(true)),
            ("false", Reading::Bool(false)),
            ("null", Reading::Null),
        ] {
            if self.text[self.at..].starts_with(word) {
                word.bytes().for_each(|_| self.advance());
                return Ok(Content::Scalar(Scalar {
                    text: word.into(),
                    reading,
                    ambiguous: false,
                }));
            }
        }
        self.fault("expected a value")
    }

    fn number(&mut self) -> Result<Content, Fault> {
        let (from, at) = (self.at, self.position());
        if self.peek() == Some(b'-') {
            self.advance();
        }
        if self.peek() == Some(b'0') {
            self.advance();
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.advance();
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.advance();
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.advance();
            }
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'.')) {
            return self.fault("expected the end of a number");
        }
        let text = &self.text[from..self.at];
        match json_literal(text) {
            Some(Reading::Float(value)) if !value.is_finite() => Err(Fault::at(
                at,
                format!("the number {} is too large", excerpt(text, 60)),
                "quote it if it is text",
            )),
            Some(reading) => Ok(Content::Scalar(Scalar {
                text: text.into(),
                reading,
                ambiguous: false,
            })),
            None => self.fault("expected a number"),
        }
    }

    fn digits(&mut self) -> Result<(), Fault> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.fault("expected a digit");
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.advance();
        }
        Ok(())
    }

    fn string(&mut self) -> Result<String, Fault> {
        let opened = self.position();
        let mut text = String::new();
        self.advance();
        loop {
            let from = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1f)) {
                self.advance();
            }
            text.push_str(&self.text[from..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.advance();
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                None => return Err(Fault::at(opened, "not valid JSON: a text in quotes does not end", "")),
                Some(_) => return self.fault("expected the end of a text in quotes on the same line"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        self.advance();
        let c = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return self.fault("expected an escape sequence after '\\'"),
        };
        self.advance();
        Ok(c)
    }

    /// `\u` and four digits, twice for what lies beyond the first plane. Half of a pair is refused.
    fn unicode(&mut self) -> Result<char, Fault> {
        let at = self.position();
        let lone = || Fault::at(at, "not valid JSON: half of a surrogate pair", "");
        let first = self.hex4()?;
        if !(0xd800..0xe000).contains(&first) {
            return char::from_u32(first).ok_or_else(lone);
        }
        if !self.text[self.at..].starts_with("\\u") {
            return Err(lone());
        }
        self.advance();
        let second = self.hex4()?;
        if !(0xd800..0xdc00).contains(&first) || !(0xdc00..0xe000).contains(&second) {
            return Err(lone());
        }
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or_else(lone)
    }

    /// `u` and four hexadecimal digits.
    fn hex4(&mut self) -> Result<u32, Fault> {
        self.advance();
        let mut value = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|byte| char::from(byte).to_digit(16)) else {
                return self.fault("expected four hexadecimal digits");
            };
            value = value * 16 + digit;
            self.advance();
        }
        Ok(value)
    }
}

fn text(text: String) -> Content {
    Content::Scalar(Scalar {
        text: text.into(),
        reading: Reading::Text,
        ambiguous: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Vec<Node>, Fault> {
        read(text, &mut MAX_NODES.clone())
    }

    fn message(text: &str) -> String {
        let fault = parse(text).expect_err("refused");
        let position = fault.position.expect("a place");
        format!("{}:{} {}", position.line, position.column, fault.message)
    }

    #[test]
    fn what_yaml_flow_style_lacks_is_read() {
        let nodes =
            parse("{\t\"a\":\"\\/\\ud83d\\ude00\", \"b\": [1e3, -0, 18446744073709551615]}\n{\"c\": null}").unwrap();
        assert_eq!(
            nodes[0].to_json().to_string(),
            "{\"a\":\"/😀\",\"b\":[1000,0,18446744073709551615]}"
        );
        assert_eq!(nodes.len(), 2);
    }

    #[test]
    fn places_are_told_in_characters() {
        let nodes = parse("{\n \"é\": 1, \"b\": {\"c\": [true,\n {\"d\": 2}]}}").unwrap();
        assert_eq!(nodes[0].entry("b").unwrap().at, Position { line: 2, column: 10 });
        assert_eq!(nodes[0].line_of("b.c[1].d"), Some(3));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        assert_eq!(
            message("{\"a\": 01}"),
            "1:8 not valid JSON: expected the end of a number, found '1'"
        );
        assert_eq!(
            message("{\"a\": 1,\n}"),
            "2:1 not valid JSON: expected a key in double quotes, found '}'"
        );
        assert_eq!(
            message("{'a': 1}"),
            "1:2 not valid JSON: expected a key in double quotes, found '''"
        );
        assert_eq!(
            message("{\"a\": \"x\ny\"}").split(',').next(),
            Some("1:9 not valid JSON: expected the end of a text in quotes on the same line")
        );
        assert_eq!(
            message("{\"a\": \"\\ud800x\"}"),
            "1:9 not valid JSON: half of a surrogate pair"
        );
        assert_eq!(message("{\"a\": 1e999}"), "1:7 the number 1e999 is too large");
        assert_eq!(message("[\"x"), "1:2 not valid JSON: a text in quotes does not end");
        assert_eq!(message(&"[".repeat(100_000)), "1:65 nested more than 64 levels deep");
        assert_eq!(message("[1] é"), "1:5 not valid JSON: expected a value, found 'é'");
    }

    #[test]
    fn a_key_given_twice_is_a_fault_of_its_object() {
        let nodes = parse("{\"a\": 1,\n \"a\": 2}").unwrap();
        assert_eq!(nodes[0].all_faults()[0].message, "the key \"a\" is given twice");
        assert_eq!(nodes[0].to_json().to_string(), "{\"a\":1}");
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::Array),
                proptest::collection::hash_map(any::<String>(), inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_another_writer_writes_is_read_back(value in json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let nodes = parse(&text).unwrap();
            if value.is_null() {
                prop_assert!(nodes.is_empty());
            } else {
                prop_assert_eq!(nodes[0].to_json(), value);
            }
        }

        #[test]
        fn it_accepts_what_another_reader_accepts(text in "[\\[\\]{}:,\"\\\\ua-f0-9eE.+\\- \n\t]{0,12}") {
            let ours = parse(&text);
            let theirs = serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>().collect::<Result<Vec<_>, _>>();
            // Numbers that follow each other without space are two documents to nobody; keys given twice differ.
            if let (Ok(ours), Ok(theirs)) = (&ours, &theirs) {
                let ours: Vec<_> = ours.iter().map(Node::to_json).collect();
                let theirs: Vec<_> = theirs.iter().filter(|value| !value.is_null()).collect();
                prop_assert_eq!(ours.len(), theirs.len());
            }
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs);
        }

        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            let _ = parse(&text);
        }
    }
}
