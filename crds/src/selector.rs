//! Ordinary Kubernetes label selectors, strict in what they accept.

use crate::rule::{self, validations};
use crate::schema::{self, given};
use crate::text_enum::text_enum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A label selector: `matchLabels` and `matchExpressions` are ANDed. A selector that is given has at least one of the
/// two; one without requirements selects nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(
    inline,
    extend("x-kubernetes-validations" = validations(&[&rule::SELECTOR_EMPTY])),
    extend("allOf" = schema::no_nulls(&[
        "matchLabels",
        "matchExpressions",
    ]))
)]
pub struct LabelSelector {
    /// Labels that must be present with exactly these values.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::match_labels")]
    pub match_labels: Option<BTreeMap<String, String>>,
    /// Requirements on labels, all of which must hold.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::match_expressions")]
    pub match_expressions: Option<Vec<LabelSelectorRequirement>>,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(
    inline,
    extend("x-kubernetes-validations" = validations(&[&rule::VALUES_MISSING, &rule::VALUES_UNWANTED])),
    extend("allOf" = schema::no_nulls(&["values"]))
)]
pub struct LabelSelectorRequirement {
    /// The label's key, for instance `app.kubernetes.io/part-of`.
    #[schemars(schema_with = "schema::label_key")]
    pub key: String,
    /// How the label is compared.
    #[schemars(transform = Operator::explain)]
    pub operator: Operator,
    /// The values for `In` and `NotIn`; left out for `Exists` and `DoesNotExist`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::values")]
    pub values: Option<Vec<String>>,
}

text_enum! {
    /// How a label requirement compares.
    pub enum Operator {
        /// the label is present and its value is one of `values`.
        In = "In",
        /// the label is absent, or its value is none of `values`.
        NotIn = "NotIn",
        /// the label is present.
        Exists = "Exists",
        /// the label is absent.
        DoesNotExist = "DoesNotExist",
    }
}
