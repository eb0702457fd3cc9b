//! The Model Context Protocol, as far as both of its sides have to agree.

/// The revisions that are spoken, the newest first. They differ in nothing that integ uses.
pub const MCP_REVISIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
