//! Whether connections work: the connector's harmless call, made and understood, and kept.

mod check;
pub mod junit;
mod status;

pub use check::{Outcome, Report, check, check_all, look};
pub use status::{Status, Summary, status_of};
