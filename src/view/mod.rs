//! What operations return: the shapes that `--json`, the HTTP API and MCP print. They hold data alone; how a person sees
//! them is decided in `cli`.

pub mod sync;
