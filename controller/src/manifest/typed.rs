//! Reading a [`Node`] into a Rust type, so that what is expected meets what was written.
//!
//! Here it is known whether text, a number or a truth value is wanted, so here a scalar that the YAML versions read
//! differently is refused where it matters: `app: on` where text is wanted, `port: 010` where a number is wanted (8 or
//! 10?), but not `enabled: yes`, which can be a truth value in one way only. A mistake is told with its place and path.
// Long because: one deserializer, whose methods serde wants in one impl.

use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::node::{Content, Entry, Node, Scalar, ambiguous_words, quote_it};
use super::path::{FieldPath, Step};
use super::problem::{Fault, Position, excerpt};
use super::scalar::{Reading, Readings};

/// Reads a node. The fault names path, place and remedy.
pub fn read<'de, T: Deserialize<'de>>(node: &'de Node) -> Result<T, Fault> {
    T::deserialize(Cursor {
        node,
        form: Form::Plain,
    })
    .map_err(|refusal| refusal.fault(node))
}

/// The first scalar that the YAML versions read differently where `T` could take it for either. `None` also where the
/// node does not fit `T` for another reason, which a stricter reader may tell better than [`read`].
pub fn ambiguity<'de, T: Deserialize<'de>>(node: &'de Node) -> Option<Fault> {
    let refusal = T::deserialize(Cursor {
        node,
        form: Form::Plain,
    })
    .err()?;
    refusal.is_ambiguity.then(|| refusal.fault(node))
}

/// Why a node does not fit the type.
#[derive(Debug)]
struct Refusal {
    message: String,
    remedy: String,
    /// Whether the YAML versions read the scalar differently.
    is_ambiguity: bool,
    /// Where, set by the innermost value concerned.
    at: Option<Position>,
    /// The steps from the value up to the top.
    path: Vec<Step>,
}

impl Refusal {
    /// Called on the way up, from the inside out.
    fn within(mut self, step: Step, at: Position) -> Self {
        self.path.push(step);
        self.at.get_or_insert(at);
        self
    }

    /// The fault of the whole that was read, `node`.
    fn fault(self, node: &Node) -> Fault {
        let path = FieldPath(self.path.into_iter().rev().collect());
        let message = if path.0.is_empty() {
            self.message
        } else {
            format!("{path}: {}", self.message)
        };
        Fault::at(self.at.unwrap_or(node.at()), message, self.remedy)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl de::Error for Refusal {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
            remedy: String::new(),
            is_ambiguity: false,
            at: None,
            path: Vec::new(),
        }
    }
}

/// What is special about the type that is read.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Plain,
    /// A time: a plain timestamp is the same time to every reader.
    Time,
    /// An amount (`cpu: 1`, `memory: 64Mi`), which Kubernetes takes as text or as a number.
    Quantity,
}

#[derive(Clone, Copy)]
struct Cursor<'de> {
    node: &'de Node,
    form: Form,
}

impl<'de> Cursor<'de> {
    fn refuse<T>(self, message: String, remedy: String) -> Result<T, Refusal> {
        Err(Refusal {
            message,
            remedy,
            is_ambiguity: false,
            at: Some(self.node.at()),
            path: Vec::new(),
        })
    }

    fn ambiguous<T>(self, scalar: &Scalar, remedy: String) -> Result<T, Refusal> {
        let message = ambiguous_words(&scalar.text, Readings::of(&scalar.text));
        self.refuse(message, remedy).map_err(|refusal| Refusal {
            is_ambiguity: true,
            ..refusal
        })
    }

    /// The value as it is, whatever it is.
    fn visit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.node.content {
            Content::Scalar(scalar) => match scalar.reading {
                Reading::Null => visitor.visit_unit(),
                Reading::Bool(value) => visitor.visit_bool(value),
                Reading::Timestamp | Reading::Special | Reading::Text => visitor.visit_borrowed_str(&scalar.text),
                number => match number.to_json(&scalar.text) {
                    Some(serde_json::Value::Number(n)) => visit_number(&n, visitor),
                    _ => self.refuse(
                        format!("\"{}\" is no number", excerpt(&scalar.text, 60)),
                        quote_it(&scalar.text),
                    ),
                },
            },
            Content::Sequence(items) => visitor.visit_seq(Items {
                rest: items.iter().enumerate(),
            }),
            Content::Mapping(entries) => visitor.visit_map(Fields {
                rest: entries.iter(),
                current: None,
            }),
        }
    }

    fn visit_text<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let Some(scalar) = self.node.as_scalar() else {
            return self.visit(visitor);
        };
        let number = scalar.reading.is_number();
        if self.form == Form::Time && scalar.reading == Reading::Timestamp || self.form == Form::Quantity && number {
            return visitor.visit_borrowed_str(&scalar.text);
        }
        if scalar.ambiguous {
            return self.ambiguous(scalar, quote_it(&scalar.text));
        }
        match scalar.reading {
            Reading::Null => self.refuse(
                "is empty where text is expected".into(),
                "give it a value, or leave it out".into(),
            ),
            reading if !reading.is_text() => {
                let message = format!("\"{}\" is {reading} where text is expected", excerpt(&scalar.text, 60));
                self.refuse(message, quote_it(&scalar.text))
            }
            _ => visitor.visit_borrowed_str(&scalar.text),
        }
    }

    fn visit_whole_number<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.node.as_scalar() {
            Some(scalar) if scalar.ambiguous && Readings::of(&scalar.text).numbers_differ() => {
                self.ambiguous(scalar, "write the number in plain decimal digits".into())
            }
            _ => self.visit(visitor),
        }
    }
}

fn visit_number<'de, V: Visitor<'de>>(number: &serde_json::Number, visitor: V) -> Result<V::Value, Refusal> {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(value), _, _) => visitor.visit_i64(value),
        (_, Some(value), _) => visitor.visit_u64(value),
        (_, _, Some(value)) => visitor.visit_f64(value),
        _ => Err(de::Error::custom("a number that cannot be represented")),
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
            self.visit_whole_number(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Cursor<'de> {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.node.as_scalar() {
            // why: what takes anything (a port's number or name) could take either reading.
            Some(scalar) if scalar.ambiguous => self.ambiguous(scalar, quote_it(&scalar.text)),
            _ => self.visit(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.visit(visitor)
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.visit_text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.visit_text(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.visit_text(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.visit_text(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.visit_text(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.visit_text(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        if self.node.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        let form = match name {
            "Time" | "MicroTime" => Form::Time,
            "Quantity" => Form::Quantity,
            _ => self.form,
        };
        visitor.visit_newtype_struct(Cursor { form, ..self })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        match &self.node.content {
            Content::Mapping(entries) => {
                let fields = Fields {
                    rest: entries.iter(),
                    current: None,
                };
                visitor.visit_enum(MapAccessDeserializer::new(fields))
            }
            Content::Scalar(scalar) if scalar.ambiguous => self.ambiguous(scalar, quote_it(&scalar.text)),
            Content::Scalar(scalar) if scalar.reading.is_text() => {
                let variant: BorrowedStrDeserializer<'de, Refusal> = BorrowedStrDeserializer::new(&scalar.text);
                visitor.visit_enum(variant)
            }
            _ => self.visit(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { unit unit_struct seq tuple tuple_struct map struct }
}

impl<'de> IntoDeserializer<'de, Refusal> for Cursor<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

struct Items<'de> {
    rest: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Refusal;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refusal> {
        let Some((index, node)) = self.rest.next() else {
            return Ok(None);
        };
        let value = seed.deserialize(Cursor {
            node,
            form: Form::Plain,
        });
        value
            .map(Some)
            .map_err(|refusal| refusal.within(Step::Index(index), node.at()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Fields<'de> {
    rest: std::slice::Iter<'de, Entry>,
    current: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Refusal;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refusal> {
        self.current = self.rest.next();
        let Some(entry) = self.current else { return Ok(None) };
        let key = BorrowedStrDeserializer::new(&entry.key);
        // why: the key is named by the message itself (`unknown field`), and the path ends above it.
        seed.deserialize(key).map(Some).map_err(|refusal: Refusal| Refusal {
            at: Some(entry.at),
            ..refusal
        })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refusal> {
        let Some(entry) = self.current else {
            return Err(de::Error::custom("a value without a key"));
        };
        let value = seed.deserialize(Cursor {
            node: &entry.value,
            form: Form::Plain,
        });
        value.map_err(|refusal| refusal.within(Step::Key(entry.key.to_string()), entry.at))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::manifest::yaml;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Rule {
        name: String,
        #[serde(default)]
        labels: BTreeMap<String, String>,
        priority: Option<u16>,
        enabled: Option<bool>,
        action: Option<Action>,
        at: Option<Time>,
        cpu: Option<Quantity>,
        any: Option<serde_json::Value>,
        #[serde(default)]
        ports: Vec<Port>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    enum Action {
        Pass,
        On,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Time(String);

    #[derive(Debug, Deserialize, PartialEq)]
    struct Quantity(String);

    #[derive(Debug, Deserialize, PartialEq)]
    struct Port {
        port: u16,
    }

    fn rule(text: &str) -> Result<Rule, Fault> {
        let nodes = yaml::read(text, &mut yaml::MAX_NODES.clone()).expect("valid YAML");
        read(&nodes[0])
    }

    /// The refusal as `line: message; remedy`.
    fn refusal(text: &str) -> String {
        let fault = rule(text).expect_err("refused");
        format!(
            "{}: {}; {}",
            fault.position.expect("a place").line,
            fault.message,
            fault.remedy
        )
    }

    #[test]
    fn what_can_be_meant_in_one_way_only_is_read() {
        let text = "name: 'on'\nlabels: {a: \"010\", b: x}\npriority: 1_000\nenabled: yes\naction: Pass\n\
            at: 2026-01-01T00:00:00Z\ncpu: 0.50\nany: [1, true, x]\nports: [{port: 0x50}, {port: 1e3}, {port: 08}]\n";
        let rule = rule(text).expect("fits");
        assert_eq!(
            (rule.name.as_str(), rule.priority, rule.enabled),
            ("on", Some(1000), Some(true))
        );
        assert_eq!(rule.labels["a"], "010");
        assert_eq!(
            (rule.action, rule.at),
            (Some(Action::Pass), Some(Time("2026-01-01T00:00:00Z".into())))
        );
        assert_eq!(rule.cpu, Some(Quantity("0.50".into())));
        assert_eq!(rule.any, Some(serde_json::json!([1, true, "x"])));
        assert_eq!(rule.ports, [Port { port: 80 }, Port { port: 1000 }, Port { port: 8 }]);
    }

    #[test]
    fn ambiguous_scalars_are_refused_where_the_readings_differ_for_the_type() {
        let cases = [
            (
                "name: y",
                "1: name: \"y\" is true in YAML 1.1, text in YAML 1.2; quote it: \"y\"",
            ),
            (
                "name: x\nlabels:\n  a: 2001-12-14",
                "3: labels.a: \"2001-12-14\" is a timestamp in YAML 1.1, text in YAML 1.2; quote it: \"2001-12-14\"",
            ),
            (
                "name: x\nlabels: {'a.b/c': 1:30}",
                "2: labels[\"a.b/c\"]: \"1:30\" is the number 90 in YAML 1.1, text in YAML 1.2; quote it: \"1:30\"",
            ),
            (
                "name: x\nports:\n- port: 1\n- port: 010",
                "4: ports[1].port: \"010\" is the number 8 in YAML 1.1, the number 10 in YAML 1.2; write the number in plain decimal digits",
            ),
            (
                "name: x\naction: On",
                "2: action: \"On\" is true in YAML 1.1, text in YAML 1.2; quote it: \"On\"",
            ),
            (
                "name: x\nany: off",
                "2: any: \"off\" is false in YAML 1.1, text in YAML 1.2; quote it: \"off\"",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(refusal(text), expected);
        }
        assert_eq!(rule("name: x\naction: 'On'").expect("fits").action, Some(Action::On));
    }

    #[test]
    fn an_ambiguity_is_told_apart_from_other_mistakes() {
        let ambiguity = |text: &str| {
            let nodes = yaml::read(text, &mut yaml::MAX_NODES.clone()).expect("valid YAML");
            super::ambiguity::<Rule>(&nodes[0]).map(|fault| fault.message)
        };
        assert!(ambiguity("name: on").expect("told").starts_with("name: \"on\" is true"));
        assert!(ambiguity("name: x\npriority: 010").is_some());
        assert_eq!(ambiguity("name: 8080"), None);
        assert_eq!(ambiguity("name: x"), None);
    }

    #[test]
    fn values_of_the_wrong_type_and_unknown_fields_are_told_with_their_place() {
        let cases = [
            (
                "name: 8080",
                "1: name: \"8080\" is the number 8080 where text is expected; quote it: \"8080\"",
            ),
            (
                "name:",
                "1: name: is empty where text is expected; give it a value, or leave it out",
            ),
            (
                "name: x\npriority: high",
                "2: priority: invalid type: string \"high\", expected u16; ",
            ),
            (
                "name: x\npriority: 70000",
                "2: priority: invalid value: integer `70000`, expected u16; ",
            ),
            (
                "name: x\nenabled: 'yes'",
                "2: enabled: invalid type: string \"yes\", expected a boolean; ",
            ),
            (
                "name: x\nports: {a: 1}",
                "2: ports: invalid type: map, expected a sequence; ",
            ),
            ("name: x\nports: [{}]", "2: ports[0]: missing field `port`; "),
            ("labels: {}", "1: missing field `name`; "),
        ];
        for (text, expected) in cases {
            assert_eq!(refusal(text), expected);
        }
        assert!(refusal("name: x\nnmae: y").starts_with("2: unknown field `nmae`, expected one of"));
    }
}
