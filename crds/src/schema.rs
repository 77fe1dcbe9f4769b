//! Pieces of schema and serde that several kinds share.

use serde::{Deserialize, Deserializer};

/// Reads a field that was given: `null` becomes an empty value, never an absent one.
///
/// An absent field does not restrict, an empty one selects nothing; a `null` that counted as absent would widen the
/// object (case 54). Use with `#[serde(default)]`, which answers for the absent field.
pub(crate) fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Some(Option::<T>::deserialize(deserializer)?.unwrap_or_default()))
}

/// A time as RFC 3339 text.
pub(crate) fn time(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "format": "date-time" })
}
