//! What operations return: the shapes that `--json`, the HTTP API and MCP print. They hold data alone; how a person sees
//! them is decided in `cli`.

pub mod connection;
pub mod sync;
pub mod token;
pub mod webhook;
pub mod workspace;

use std::fmt::Display;

use serde::Serializer;

/// Serializes a name or a closed enum as its word.
fn word<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
