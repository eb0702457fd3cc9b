//! Views of the settings of MCP clients.

use schemars::JsonSchema;
use serde::Serialize;

/// The entry of a server in a client's settings.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ServerEntryView {
    /// The client, as on the command line.
    pub client: &'static str,
    /// The file of its settings.
    pub path: String,
    /// The server's name in the client.
    pub name: String,
    /// The program that the client starts; empty if the entry is removed.
    pub command: String,
    pub args: Vec<String>,
    /// Whether the file needs to change.
    pub is_change: bool,
    /// Whether the file was written.
    pub is_written: bool,
}
