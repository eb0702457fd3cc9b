//! The log of a workspace: what its other tables record, in the order of time.

use std::fmt;
use std::str::FromStr;

use super::words::words;

/// What an entry of the log is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogSource {
    /// A change that somebody requested, or something that a caller of the API read.
    Audit,
    /// A health check.
    Check,
    /// A message that is sent to an endpoint.
    Delivery,
    /// A webhook that was received.
    Event,
    /// A sync job.
    Sync,
}

words!(LogSource {
    Audit => "audit",
    Check => "check",
    Delivery => "delivery",
    Event => "event",
    Sync => "sync",
});

/// How much an entry matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Info,
    /// It is tried again, or was refused.
    Warning,
    Error,
}

words!(LogLevel { Info => "info", Warning => "warning", Error => "error" });

/// A place in the log: for each source, the id of the last entry before it, from the newest on. Each source has its own
/// order, so that no entry is left out or repeated although clocks are set back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPosition([Option<i64>; LogSource::ALL.len()]);

impl LogPosition {
    /// Returns the id of the last entry of a source; entries with smaller ids follow.
    pub fn of(&self, source: LogSource) -> Option<i64> {
        self.0[source as usize]
    }

    /// Returns the place behind an entry.
    #[must_use]
    pub fn after(mut self, source: LogSource, id: i64) -> Self {
        self.0[source as usize] = Some(id);
        self
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.0.map(|id| id.map_or_else(|| "-".to_owned(), |id| id.to_string()));
        f.write_str(&ids.join("."))
    }
}

impl FromStr for LogPosition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ids = text.split('.').map(|id| match id {
            "-" => Some(None),
            id => id.parse().ok().map(Some),
        });
        let ids = ids.collect::<Option<Vec<_>>>().and_then(|ids| ids.try_into().ok());
        ids.map(Self).ok_or_else(|| format!("{text:?} is not a place in the log"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_text() {
        let place = LogPosition::default().after(LogSource::Audit, 12).after(LogSource::Sync, 3);
        assert_eq!(place.to_string(), "12.-.-.-.3");
        assert_eq!("12.-.-.-.3".parse(), Ok(place));
        assert_eq!((place.of(LogSource::Audit), place.of(LogSource::Event)), (Some(12), None));
        for text in ["", "1.2.3.4", "1.2.3.4.5.6", "a.-.-.-.-"] {
            assert!(text.parse::<LogPosition>().is_err(), "{text}");
        }
    }
}
