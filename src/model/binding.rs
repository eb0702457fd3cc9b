//! Bindings: which records or events a mapping is for, its text, and the inputs that it failed on.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::event::EventId;
use super::name::ConnectionName;
use super::record::RecordId;
use super::stream::StreamId;
use crate::clock::Timestamp;
use crate::error::{Diagnostic, Hint, Kind, Remedy};

/// The row of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BindingId(pub i64);

/// The name of a binding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BindingName(String);

/// A text that names no binding, or none of its inputs.
#[derive(Debug, Error)]
pub enum BindingNameError {
    #[error("invalid name of a binding {0:?}")]
    Name(String),
    #[error("{0:?} names neither a stream nor an event type")]
    Source(String),
}

impl Remedy for BindingNameError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Name(_) => Diagnostic::new(Kind::Usage, "invalid_name")
                .hint(Hint::text("use up to 64 letters, digits, '.', '_' and '-', a letter or digit first")),
            Self::Source(_) => Diagnostic::new(Kind::Usage, "invalid_source").hint(Hint::new(
                "write CONNECTION/STREAM or CONNECTION#EVENT, as in",
                "integ binding set NAME --from hubspot/contacts FILE",
            )),
        }
    }
}

impl BindingName {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BindingName {
    type Err = BindingNameError;

    fn from_str(text: &str) -> Result<Self, BindingNameError> {
        let is_valid = (1..=64).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
        if is_valid { Ok(Self(text.to_owned())) } else { Err(BindingNameError::Name(text.to_owned())) }
    }
}

impl fmt::Display for BindingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a binding maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindingInput {
    /// The records of a stream.
    Stream(String),
    /// The events of a type.
    Event(String),
}

/// Where the inputs of a binding come from: `hubspot/contacts`, `hubspot@work/contacts`, `stripe#charge.refunded`.
///
/// A name without an account means every connection of the connector: a binding is written once for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingOrigin {
    pub connector: String,
    /// The account of the one connection that it is for.
    pub account: Option<String>,
    pub input: BindingInput,
}

impl BindingOrigin {
    /// Whether the inputs of a connection are among them.
    pub fn includes(&self, connection: &ConnectionName) -> bool {
        self.connector == connection.connector()
            && self.account.as_deref().is_none_or(|account| Some(account) == connection.account())
    }

    /// The connection, or the connector, as it is written.
    pub fn service(&self) -> String {
        match &self.account {
            Some(account) => format!("{}@{account}", self.connector),
            None => self.connector.clone(),
        }
    }
}

impl FromStr for BindingOrigin {
    type Err = BindingNameError;

    fn from_str(text: &str) -> Result<Self, BindingNameError> {
        let wrong = || BindingNameError::Source(text.to_owned());
        let at = text.find(['/', '#']).ok_or_else(wrong)?;
        let (service, input) = (&text[..at], &text[at + 1..]);
        let is_id = |input: &str| super::link::is_id(input, 256);
        let name: ConnectionName = service.parse().map_err(|_| wrong())?;
        if !is_id(input) {
            return Err(wrong());
        }
        let is_stream = text.as_bytes()[at] == b'/';
        let input = input.to_owned();
        Ok(Self {
            connector: name.connector().to_owned(),
            account: name.account().map(str::to_owned),
            input: if is_stream { BindingInput::Stream(input) } else { BindingInput::Event(input) },
        })
    }
}

impl fmt::Display for BindingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.input {
            BindingInput::Stream(stream) => write!(f, "{}/{stream}", self.service()),
            BindingInput::Event(event) => write!(f, "{}#{event}", self.service()),
        }
    }
}

/// A binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub id: BindingId,
    pub name: BindingName,
    pub origin: BindingOrigin,
    pub text: String,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
    /// Inputs that it failed on, which are stored to be tried again.
    pub failures: u64,
    /// Failures that were not stored, because there were too many.
    pub dropped_failures: u64,
}

/// What became of a binding that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingChange {
    Added,
    Changed,
    Unchanged,
}

super::words!(BindingChange { Added => "added", Changed => "changed", Unchanged => "unchanged" });

/// An input of a binding: a record or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BoundInput {
    Record(RecordId),
    Event(EventId),
}

/// An input that a binding failed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingFailure {
    pub input: BoundInput,
    pub connection: ConnectionName,
    /// The stream and the key of a record.
    pub record: Option<(StreamId, String)>,
    pub reason: String,
    pub failed_at: Timestamp,
}

/// What a binding made of some inputs.
#[derive(Clone, Debug, Default)]
pub struct BindingResults {
    /// Inputs that it failed on, and why.
    pub failed: Vec<(BoundInput, String)>,
    /// Inputs that it failed on before, and does no longer.
    pub succeeded: Vec<BoundInput>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_names_a_stream_or_an_event() {
        let origin: BindingOrigin = "hubspot@work/contacts".parse().unwrap();
        assert!(origin.includes(&"hubspot@work".parse().unwrap()) && !origin.includes(&"hubspot".parse().unwrap()));
        let origin: BindingOrigin = "stripe#charge.refunded".parse().unwrap();
        assert_eq!(origin.input, BindingInput::Event("charge.refunded".to_owned()));
        assert!(origin.includes(&"stripe@any".parse().unwrap()) && !origin.includes(&"slack".parse().unwrap()));
        assert_eq!(origin.to_string(), "stripe#charge.refunded");
        for text in ["", "hubspot", "hubspot/", "/contacts", "a b/c", "hubspot# x"] {
            assert!(text.parse::<BindingOrigin>().is_err(), "{text:?}");
        }
        assert!("customer".parse::<BindingName>().is_ok() && "a b".parse::<BindingName>().is_err());
    }
}
