//! Parts of the Model Context Protocol that client and server share.

/// The revision without sessions: every request says which revision it is of (MCP 2026-07-28, "Versioning and Compatibility").
pub const MCP_STATELESS_REVISION: &str = "2026-07-28";

/// The revisions whose sessions begin with `initialize`, the newest first. They differ in nothing that integ uses.
pub const MCP_SESSION_REVISIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// The member of a request's `_meta` that names its revision.
pub const MCP_META_REVISION: &str = "io.modelcontextprotocol/protocolVersion";
/// The member of `_meta` that says what the client can do.
pub const MCP_META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The member of `_meta` that names the client.
pub const MCP_META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";
/// The member of an answer's `_meta` that names the server.
pub const MCP_META_SERVER: &str = "io.modelcontextprotocol/serverInfo";

/// The error of a server that does not speak a request's revision; its data lists those it speaks.
pub const MCP_UNSUPPORTED_REVISION: i64 = -32022;
/// The error of a server for a request whose headers and body differ.
pub const MCP_HEADER_MISMATCH: i64 = -32020;
