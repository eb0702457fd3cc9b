//! Tokens and client secrets given to a command: from the environment, stdin, a file or a prompt, never as arguments.

use std::io;
use std::path::Path;

use thiserror::Error;

use super::terminal::{MAX_SECRET_SIZE, Terminal};
use crate::connect::{PromptQuestion, Prompter};
use crate::env;
use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::files;
use crate::model::ClientCredentials;
use crate::secret::Secret;

#[derive(Debug, Error)]
pub(super) enum SecretInputError {
    #[error("cannot read {what}")]
    Read { what: String, source: io::Error },
    #[error("{0} is empty")]
    Empty(String),
    #[error("a client secret needs a client id")]
    NoClientId,
}

impl Remedy for SecretInputError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Usage, "input")
    }
}

/// Reads a token or key from the environment, a pipe, or a prompt that does not echo.
pub(super) fn read_token(terminal: &Terminal) -> Result<Secret> {
    if let Some(token) = env::secret(&env::TOKEN) {
        return Ok(token);
    }
    if terminal.interactive {
        let question = PromptQuestion::Text {
            prompt: "Token or API key",
            example: None,
            is_secret: true,
            flag_hint: "INTEG_TOKEN",
        };
        return Ok(terminal.prompt(&question)?);
    }
    let text = files::read_limited(io::stdin(), MAX_SECRET_SIZE)
        .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other))
        .map_err(|source| SecretInputError::Read { what: "the token from stdin".to_owned(), source })?;
    let token = Secret::trimmed(text);
    if token.is_empty() { Err(SecretInputError::Empty("the token on stdin".to_owned()).into()) } else { Ok(token) }
}

/// Reads the value of a parameter from a file, or from stdin for `-`.
pub(super) fn read_secret_file(path: &str) -> Result<Secret, SecretInputError> {
    read_file(Path::new(path), path.to_owned())
}

/// Reads a secret from a file, or from stdin for `-`; `what` names it in errors.
fn read_file(path: &Path, what: String) -> Result<Secret, SecretInputError> {
    let bytes = if path.as_os_str() == "-" {
        files::read_limited(io::stdin(), MAX_SECRET_SIZE)
    } else {
        files::read_user_file(path, MAX_SECRET_SIZE)
    };
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
    let secret = match text {
        Ok(text) => Secret::trimmed(text),
        Err(source) => return Err(SecretInputError::Read { what, source }),
    };
    if secret.is_empty() { Err(SecretInputError::Empty(what)) } else { Ok(secret) }
}

/// Returns the client given on the command line, with its secret from a file, a pipe or `INTEG_CLIENT_SECRET`.
pub(super) fn client(
    id: Option<String>,
    secret_file: Option<&Path>,
) -> Result<Option<ClientCredentials>, SecretInputError> {
    let secret = match secret_file {
        Some(path) => Some(read_file(path, format!("the client secret from {}", path.display()))?),
        None => env::secret(&env::CLIENT_SECRET),
    };
    // Copied from a page, often with the line's end.
    match id.map(|id| id.trim().to_owned()) {
        Some(id) if id.is_empty() => Err(SecretInputError::Empty("the client id".to_owned())),
        Some(id) => Ok(Some(ClientCredentials { id, secret })),
        None if secret_file.is_some() => Err(SecretInputError::NoClientId),
        None => Ok(None),
    }
}
