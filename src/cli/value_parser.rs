//! Value parsers shared by several commands.

use std::time::Duration;

use thiserror::Error;
use url::Url;

use crate::clock::{self, Timestamp};
use crate::config::parse_public_url;
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::runtime::Workspace;

/// A time that cannot be read.
#[derive(Debug, Error)]
#[error("invalid time {text:?}")]
pub(super) struct InvalidTimeError {
    pub text: String,
}

impl Remedy for InvalidTimeError {
    fn diagnostic(&self) -> Diagnostic {
        let forms = "write 90s, 2h or 7d ago, a local time such as 2026-11-28 or \"2026-11-28 03:00\", or \
                     2026-11-28T03:00:00Z";
        Diagnostic::new(Kind::Usage, "invalid_time").hint(Hint::text(forms))
    }
}

/// Parses a time: a duration before now, a time with its offset, or a local date or time.
pub(super) fn time(workspace: &Workspace, text: &str) -> Result<Timestamp, InvalidTimeError> {
    crate::duration::parse_time(text, workspace.clock.now(), &clock::local_zone())
        .ok_or_else(|| InvalidTimeError { text: text.to_owned() })
}

/// Parses the number of a webhook event.
pub(super) fn event_number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| "events have numbers, which `integ webhook events` lists".to_owned())
}

/// Parses the number of a sync run.
pub(super) fn job_number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| "runs have numbers, which `integ job list` lists".to_owned())
}

/// Parses the URL of a server: https, or http on this machine.
pub(super) fn server_url(text: &str) -> Result<Url, String> {
    let expected = "use an https URL, or an http URL of this machine, without a query";
    parse_public_url(text).ok_or_else(|| expected.to_owned())
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
