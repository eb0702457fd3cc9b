//! Whether connections work: the connector's health check is made, judged and its result stored.

mod check;
mod mcp;
mod status;

pub use check::{HealthOutcome, HealthReport, check, check_all, probe_grant};
pub use status::{ConnectionStatus, StatusSummary, status_of};
