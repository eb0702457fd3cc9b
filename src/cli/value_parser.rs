//! Values of arguments that several commands take.

use std::time::Duration;

/// Parses `NAME=VALUE`.
pub(super) fn name_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Parses a duration such as `90s` or `5m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    crate::duration::parse(text).ok_or_else(|| format!("{text:?} is not a time such as 90s or 5m"))
}
