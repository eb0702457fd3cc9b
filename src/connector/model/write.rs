//! How the records of a stream are written: which actions create, change, read and delete one.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::connector::Pointer;

/// How to write records, for two-way bindings. Each action must respond with the record.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordWriting {
    /// The action that creates a record.
    pub create: String,
    /// The action that changes the given values of a record, and no others.
    pub update: String,
    /// The action that reads a record.
    pub read: String,
    /// The action that deletes a record.
    #[serde(default)]
    pub delete: Option<String>,
    /// Parameters that identify the record, and where a record has their values.
    pub identity: IndexMap<String, Pointer>,
    /// More parameters of `read`.
    #[serde(default)]
    pub read_params: IndexMap<String, Value>,
    /// How to find a record by a unique value. Used to check whether an interrupted creation succeeded, if its action has no
    /// idempotency key.
    #[serde(default)]
    pub find: Option<RecordLookup>,
    /// Whether the stream lists new records immediately, so that a record that is not listed was not created.
    #[serde(default)]
    pub lists_at_once: bool,
    /// The value that empties a field (default: null).
    #[serde(default)]
    pub empty: Value,
}

/// How to find a record by a unique value.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordLookup {
    pub action: String,
    /// The parameter that takes the value.
    pub param: String,
    /// Where a record has the value.
    pub at: Pointer,
    /// More parameters.
    #[serde(default)]
    pub params: IndexMap<String, Value>,
}
