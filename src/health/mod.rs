//! Health checks: makes the connector's check, and stores its result.

mod check;
mod mcp;
mod status;

pub use crate::model::HealthOutcome;
pub use check::{HealthReport, check, check_all, probe_grant};
pub use status::{ConnectionStatus, StatusSummary, status_of};
