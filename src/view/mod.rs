//! The results of operations, as `--json`, the HTTP API and MCP print them. They contain only data; `cli` decides how
//! to show them.

pub mod alert;
pub mod api_token;
pub mod approval;
pub mod audit;
pub mod binding;
pub mod bundle;
pub mod calendar;
pub mod call;
pub mod connect_link;
pub mod connection;
pub mod connector;
pub mod consent;
pub mod doctor;
pub mod draft;
pub mod endpoint;
pub mod error;
pub mod installed_connector;
pub mod link;
pub mod listen;
pub mod log;
pub mod mcp;
pub mod metrics;
pub mod operator;
pub mod problem;
pub mod prometheus;
pub mod proxy;
pub mod records;
pub mod sandbox;
pub(crate) mod schema;
pub mod serving;
pub mod sign_in;
pub mod sync;
pub mod token;
pub mod user;
pub mod vault;
pub mod webhook;
pub mod workspace;

use std::fmt::Display;

use serde::Serializer;

/// Serializes an id, a name or a closed enum as its word.
fn word<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Serializes an optional word, or null.
fn optional_word<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// Serializes several words as an array.
fn word_list<T: Display, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(ToString::to_string))
}
