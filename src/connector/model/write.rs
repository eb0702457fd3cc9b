//! How the records of a stream are written: which actions create, change, read and delete one.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::connector::Pointer;

/// How records are written, for bindings that go both ways. The answer of each action is the record.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordWriting {
    /// The action that adds a record.
    pub create: String,
    /// The action that changes a record, and leaves what it is not given as it is.
    pub update: String,
    /// The action that reads a record.
    pub read: String,
    /// The action that deletes a record.
    #[serde(default)]
    pub delete: Option<String>,
    /// The parameters that say which record is meant, and where a record has their values.
    pub identity: IndexMap<String, Pointer>,
    /// Further parameters of `read`.
    #[serde(default)]
    pub read_params: IndexMap<String, Value>,
    /// How to find a record by a value that no two records share. A creation whose answer was lost is looked for so, unless
    /// its action knows a repetition by a key.
    #[serde(default)]
    pub find: Option<RecordLookup>,
    /// Whether the stream lists a new record at once, so that one that it does not list was not created.
    #[serde(default)]
    pub lists_at_once: bool,
    /// What empties a value; null where absent.
    #[serde(default)]
    pub empty: Value,
}

/// Finding a record by a value that no two records share.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordLookup {
    pub action: String,
    /// The parameter that takes the value.
    pub param: String,
    /// Where a record has the value.
    pub at: Pointer,
    /// Further parameters.
    #[serde(default)]
    pub params: IndexMap<String, Value>,
}
