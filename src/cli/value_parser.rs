//! Values of arguments that several commands take.

use std::time::Duration;

use thiserror::Error;

use crate::clock::Timestamp;
use crate::error::{Diagnostic, Kind, Remedy};
use crate::runtime::Workspace;

/// A time that cannot be read.
#[derive(Debug, Error)]
#[error("{text:?} is not a time: write 90s, 15m, 2h, 7d, or a date like 2026-11-20T10:00:00Z")]
pub(super) struct InvalidTimeError {
    pub text: String,
}

impl Remedy for InvalidTimeError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Usage, "invalid_time")
    }
}

/// Parses a time: a duration before now, or a date.
pub(super) fn time(workspace: &Workspace, text: &str) -> Result<Timestamp, InvalidTimeError> {
    crate::duration::parse_time(text, workspace.engine.clock.now())
        .ok_or_else(|| InvalidTimeError { text: text.to_owned() })
}

/// Parses `NAME=VALUE`.
pub(super) fn name_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Parses a duration such as `90s` or `5m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    crate::duration::parse(text).ok_or_else(|| format!("{text:?} is not a time such as 90s or 5m"))
}
