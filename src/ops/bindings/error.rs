//! Why an operation on bindings cannot be done.

use thiserror::Error;

use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::mapping::BindingError;
use crate::model::{BindingName, BindingOrigin, ConnectionName, Entity};

/// An example of a push.
const ENTITY_EXAMPLE: &str =
    "echo '{\"entity\": \"customer/42\", \"document\": {\"email\": \"ada@example.com\"}}' | integ binding push NAME -";

/// Why an operation on bindings cannot be done.
#[derive(Debug, Error)]
pub enum BindingOperationError {
    #[error("binding \"{name}\" not found")]
    NotFound { name: BindingName, suggestion: Option<String> },
    #[error("{connector} has no stream {stream:?}")]
    UnknownStream { connector: String, stream: String, suggestion: Option<String> },
    #[error("{connector} has no event {event:?}")]
    UnknownEvent { connector: String, event: String, suggestion: Option<String> },
    #[error("unknown template {template:?} for {origin}")]
    UnknownTemplate { origin: BindingOrigin, template: String, known: Vec<String> },
    #[error("binding {name} maps {origin}, not {requested}")]
    OtherOrigin { name: BindingName, origin: BindingOrigin, requested: String },
    #[error("binding {name} maps events, not records")]
    NoRecords { name: BindingName, origin: BindingOrigin },
    #[error("binding {name} maps records, not events")]
    NoEvents { name: BindingName },
    #[error("{origin} has nothing to map yet")]
    NoInputs { origin: BindingOrigin },
    #[error("{origin} has several connections, and none was named")]
    SeveralConnections { name: BindingName, origin: BindingOrigin, example: String },
    #[error("binding {name} cannot be used")]
    Unusable { name: BindingName, source: BindingError },
    #[error("binding {name} is not a two-way binding")]
    NotTwoWay { name: BindingName },
    #[error("{origin} does not support two-way bindings")]
    NotWritable { origin: BindingOrigin },
    #[error("{origin} has no delete action")]
    NotDeletable { origin: BindingOrigin },
    #[error("unknown field {field:?} in match")]
    UnknownMatch { field: String },
    #[error("{origin} is not connected")]
    NotConnected { origin: BindingOrigin },
    #[error("{origin} has several connections, and none was named")]
    ConnectionNeeded { name: BindingName, origin: BindingOrigin, example: ConnectionName },
    #[error("another process is writing entities to {connection}")]
    Locked { connection: ConnectionName },
    #[error("line {line}: {problem}")]
    InvalidEntity { line: usize, problem: String },
    #[error("{object} of {origin} is not stored")]
    NoRecord { origin: String, object: String },
    #[error("cannot sync {origin}: {reason}")]
    SyncFailed { origin: String, reason: String },
    #[error("the response to {action} has no ID of the created object")]
    NoKey { action: String },
    #[error("{entity} has no open conflict in {name}")]
    NoConflict { name: BindingName, entity: Entity },
    #[error("{field} of {entity} has no conflict; fields in conflict: {known}")]
    NoFieldConflict { entity: Entity, field: String, known: String },
    #[error("cannot read bindings from the import: {reason}")]
    InvalidImport { reason: String },
}

impl Remedy for BindingOperationError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NotFound { suggestion, .. } => {
                Diagnostic::new(Kind::NotFound, "binding_not_found").hint(match suggestion {
                    Some(likely) => Hint::new(format!("did you mean {likely}? list them:"), "integ binding list"),
                    None => Hint::run("integ binding list"),
                })
            }
            Self::UnknownStream { connector, suggestion, .. } => {
                Diagnostic::new(Kind::NotFound, "unknown_stream").hint(likely(connector, suggestion.as_deref()))
            }
            Self::UnknownEvent { connector, suggestion, .. } => {
                Diagnostic::new(Kind::NotFound, "unknown_event").hint(likely(connector, suggestion.as_deref()))
            }
            Self::UnknownTemplate { origin, known, .. } => {
                Diagnostic::new(Kind::NotFound, "unknown_template").hint(match known.first() {
                    Some(known) => Hint::run(format!("integ binding set NAME --from '{origin}' --template {known}")),
                    None => Hint::new("it has none; write a text of your own:", "integ help mapping"),
                })
            }
            Self::OtherOrigin { name, .. } => {
                Diagnostic::new(Kind::Usage, "other_origin").run(format!("integ binding show {name}"))
            }
            Self::NoRecords { name, origin } => Diagnostic::new(Kind::Usage, "other_origin").hint(Hint::new(
                "give it to the listener:",
                format!("integ webhook listen {} --binding {name}", origin.service()),
            )),
            Self::NoEvents { name } => Diagnostic::new(Kind::Usage, "other_origin")
                .hint(Hint::new("print its records:", format!("integ records --binding {name}"))),
            Self::NoInputs { origin } => {
                let command = match &origin.input {
                    crate::model::BindingInput::Stream(_) => format!("integ sync {origin}"),
                    crate::model::BindingInput::Event(event) => {
                        format!("integ webhook simulate {} {event}", origin.service())
                    }
                };
                Diagnostic::new(Kind::NotFound, "no_inputs").run(command)
            }
            Self::SeveralConnections { name, example, .. } => Diagnostic::new(Kind::Usage, "several_connections")
                .run(format!("integ records {example} --binding {name}")),
            Self::Unusable { name, .. } => {
                Diagnostic::new(Kind::Conflict, "invalid_binding").run(format!("integ binding show {name}"))
            }
            Self::NotTwoWay { .. } => Diagnostic::new(Kind::Usage, "one_way_binding")
                .hint(Hint::new("add a [sync] section to it:", "integ help mapping")),
            Self::NotWritable { origin } => {
                Diagnostic::new(Kind::Usage, "not_writable").run(format!("integ connector show {}", origin.connector))
            }
            Self::NotDeletable { .. } => Diagnostic::new(Kind::Usage, "not_deletable")
                .hint(Hint::new("use `delete = keep` in its [sync] section:", "integ help mapping")),
            Self::UnknownMatch { .. } => Diagnostic::new(Kind::Usage, "invalid_binding")
                .hint(Hint::new("use fields of the binding:", "integ help mapping")),
            Self::NotConnected { origin } => {
                Diagnostic::new(Kind::NotFound, "unknown_connection").run(format!("integ connect {}", origin.service()))
            }
            Self::ConnectionNeeded { name, example, .. } => Diagnostic::new(Kind::Usage, "several_connections")
                .run(format!("integ binding sync {name} --connection {example}")),
            Self::Locked { .. } => Diagnostic::new(Kind::Temporary, "locked").hint(Hint::text("try again later")),
            Self::InvalidEntity { .. } => Diagnostic::new(Kind::Usage, "invalid_entity")
                .hint(Hint::new("the format of a line is", ENTITY_EXAMPLE)),
            Self::NoRecord { origin, .. } => {
                Diagnostic::new(Kind::NotFound, "record_not_found").run(format!("integ sync {origin} --mode full"))
            }
            Self::SyncFailed { origin, .. } => {
                Diagnostic::new(Kind::Rejected, "sync_failed").run(format!("integ sync {origin}"))
            }
            Self::NoKey { .. } => Diagnostic::new(Kind::Rejected, "malformed_response")
                .hint(Hint::new("it may have succeeded; check", "integ binding conflicts")),
            Self::NoConflict { .. } | Self::NoFieldConflict { .. } => {
                Diagnostic::new(Kind::NotFound, "no_conflict").run("integ binding conflicts")
            }
            Self::InvalidImport { .. } => Diagnostic::new(Kind::Usage, "invalid_import")
                .hint(Hint::new("pass the output of", "integ binding export")),
        }
    }
}

fn likely(connector: &str, suggestion: Option<&str>) -> Hint {
    let show = format!("integ connector show {connector}");
    match suggestion {
        Some(likely) => Hint::new(format!("did you mean {likely}? list them:"), show),
        None => Hint::run(show),
    }
}
