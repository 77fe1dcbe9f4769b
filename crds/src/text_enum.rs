//! One way to write an enum whose values are words in a manifest.
//!
//! The words, their documentation and the schema come from one list, so that what the CRD says is accepted is what the
//! reader accepts. Words compare byte by byte: `drop` is not `Drop`.

/// Declares an enum of words: `ALL`, `as_str`, `Display`, `FromStr`, serde, a schema and `explain`, which tells in a
/// field's description what every word means.
///
/// With `else Variant` behind it, a word that is not known reads as that variant and the schema accepts any: for
/// status fields, which another version may have written.
macro_rules! text_enum {
    (@fallback) => { None };
    (@fallback $fallback:ident) => { Some(Self::$fallback) };

    ($(#[doc = $doc:literal])+ $(#[derive($($derive:ident),+)])? pub enum $name:ident {
        $( $(#[doc = $vdoc:literal])+ $(#[$attr:ident])? $variant:ident = $word:literal ),+ $(,)?
    } $(else $fallback:ident)?) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash $($(, $derive)+)?)]
        pub enum $name { $( $(#[doc = $vdoc])+ $(#[$attr])? $variant ),+ }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// What an unknown word reads as, where that is not an error.
            const FALLBACK: Option<Self> = $crate::text_enum::text_enum!(@fallback $($fallback)?);

            /// The word that stands for this value in a manifest.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// Adds what the words mean to the description of a field's schema.
            pub(crate) fn explain(schema: &mut schemars::Schema) {
                $crate::text_enum::explain(schema, &[$(($word, concat!($($vdoc),+))),+]);
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|value| value.as_str() == text)
                    .or(Self::FALLBACK)
                    .ok_or_else(|| $crate::UnknownWord::new(text, Self::ALL.iter().map(|value| value.as_str())))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                match Self::FALLBACK {
                    Some(_) => schemars::json_schema!({ "type": "string", "maxLength": 64 }),
                    None => schemars::json_schema!({
                        "type": "string",
                        "enum": Self::ALL.iter().map(|value| value.as_str()).collect::<Vec<_>>(),
                    }),
                }
            }
        }
    };
}

pub(crate) use text_enum;

/// Appends ``One of: `word`: meaning; ...`` to a schema's description.
pub(crate) fn explain(schema: &mut schemars::Schema, words: &[(&str, &str)]) {
    let mut text = schema
        .get("description")
        .and_then(|text| text.as_str())
        .unwrap_or_default()
        .to_owned();
    for (i, (word, meaning)) in words.iter().enumerate() {
        let meaning = meaning.trim().trim_end_matches('.');
        text.extend([if i == 0 { " `" } else { "; `" }, word, "`: ", meaning]);
    }
    text.push('.');
    schema.insert("description".into(), text.into());
}

/// A word that is none of those accepted in its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not one of {accepted}")]
pub struct UnknownWord {
    /// What was written, with control characters escaped.
    pub found: String,
    /// The accepted words, for a message.
    pub accepted: String,
}

impl UnknownWord {
    pub(crate) fn new<'a>(found: &str, accepted: impl Iterator<Item = &'a str>) -> Self {
        Self {
            found: crate::violation::shortened(found),
            accepted: accepted.collect::<Vec<_>>().join(", "),
        }
    }
}
