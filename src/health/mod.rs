//! Whether connections work: the connector's harmless call, made and understood, and kept.

mod check;
pub mod junit;
mod status;

pub use check::{HealthOutcome, HealthReport, check, check_all, probe_grant};
pub use status::{ConnectionStatus, StatusSummary, status_of};
