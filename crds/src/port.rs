//! Ports and protocols of a rule.

use crate::rule::{self, limit, validations};
use crate::schema::{self, some};
use crate::text_enum::UnknownWord;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// One entry of a rule's `ports`: a protocol, and a port or a range of ports at the destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline, extend("x-kubernetes-validations" = validations(&[
    &rule::PORT_OF_NUMBER,
    &rule::PORT_RANGE,
    &rule::ICMP_TYPE_RANGE,
    &rule::END_PORT_RANGE,
    &rule::END_PORT_ALONE,
    &rule::END_PORT_BELOW,
    &rule::END_PORT_OF_ICMP,
])), extend("allOf" = schema::no_nulls(&["port"])))]
pub struct PortEntry {
    /// TCP (when left out), UDP, SCTP, ICMP (IPv4), ICMPv6, Any (with a port TCP, UDP and SCTP on it, without one every
    /// IP protocol), or a protocol number as text, without ports: `"47"`.
    #[serde(default)]
    pub protocol: Protocol,
    /// The destination port, 1..65535, or the first of a range; for ICMP and ICMPv6 the type, 0..255. Left out, the
    /// entry is about the whole protocol.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::port")]
    pub port: Option<i64>,
    /// The last port of a range that begins at `port`.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::end_port")]
    pub end_port: Option<i64>,
}

/// The protocol of a port entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `TCP`, the default.
    #[default]
    Tcp,
    /// `UDP`.
    Udp,
    /// `SCTP`.
    Sctp,
    /// `ICMP`: protocol 1 over IPv4; `port` is the type.
    Icmp,
    /// `ICMPv6`: protocol 58 over IPv6; `port` is the type.
    Icmpv6,
    /// `Any`: with a port TCP, UDP and SCTP on it, without one every IP protocol.
    Any,
    /// An IP protocol by number, written as text: `"47"`.
    Number(u8),
}

impl Protocol {
    /// The words, without the numbers.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("TCP", Self::Tcp),
        ("UDP", Self::Udp),
        ("SCTP", Self::Sctp),
        ("ICMP", Self::Icmp),
        ("ICMPv6", Self::Icmpv6),
        ("Any", Self::Any),
    ];

    /// The protocol's number on the wire; none for `Any`.
    pub const fn number(self) -> Option<u8> {
        match self {
            Self::Tcp => Some(6),
            Self::Udp => Some(17),
            Self::Sctp => Some(132),
            Self::Icmp => Some(1),
            Self::Icmpv6 => Some(58),
            Self::Number(number) => Some(number),
            Self::Any => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Number(number) = self {
            return f.pad(&number.to_string());
        }
        let word = Self::WORDS
            .iter()
            .find(|(_, protocol)| protocol == self)
            .map_or("", |(word, _)| word);
        f.pad(word)
    }
}

impl FromStr for Protocol {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((_, protocol)) = Self::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*protocol);
        }
        // One way to write a number: what prints as it was written. `047` and `+47` are refused.
        match text.parse::<u8>() {
            Ok(number) if number.to_string() == text => Ok(Self::Number(number)),
            _ => Err(UnknownWord::new(
                text,
                Self::WORDS
                    .iter()
                    .map(|(word, _)| *word)
                    .chain(["a protocol number as text, \"0\" to \"255\""]),
            )),
        }
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Protocol {
    fn schema_name() -> Cow<'static, str> {
        "Protocol".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "maxLength": limit::PROTOCOL,
            "x-kubernetes-validations": validations(&[&rule::PROTOCOL]),
        })
    }
}
