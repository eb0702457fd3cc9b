//! Sandbox and live connections, and workspaces that do not exist.
