//! Errors in the arguments of the webhook commands.

use thiserror::Error;

use crate::error::{Diagnostic, Hint, Kind, Remedy};

#[derive(Debug, Error)]
pub(super) enum WebhookArgumentError {
    #[error("cannot read {path:?}")]
    Read { path: String, source: std::io::Error },
    #[error("the file {path:?} is empty")]
    Empty { path: String },
    #[error("{text:?} is not NAME=VALUE")]
    Pair { text: String },
    #[error("{name} is a secret and cannot be given as a flag")]
    SecretFlag { connection: String, name: String },
    #[error("{text:?} is not an HTTP request")]
    Request { text: String },
}

impl Remedy for WebhookArgumentError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Read { .. } => Diagnostic::new(Kind::Usage, "io"),
            Self::Empty { .. } => Diagnostic::new(Kind::Usage, "empty_input"),
            Self::Pair { .. } => Diagnostic::new(Kind::Usage, "invalid_value"),
            Self::SecretFlag { connection, name } => {
                Diagnostic::new(Kind::Usage, "secret_on_command_line").hint(Hint::new(
                    format!("give it in a file, or as {name}=- on stdin:"),
                    format!("integ webhook secret {connection} --param {name}=@FILE"),
                ))
            }
            Self::Request { .. } => Diagnostic::new(Kind::Usage, "invalid_request").run("integ help webhook verify"),
        }
    }
}
