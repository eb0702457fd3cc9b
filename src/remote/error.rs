//! Why a server cannot be used, and what it refuses.

use thiserror::Error;

use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::http::HttpError;
use crate::view::problem::ProblemView;

/// Why a server did not do what it was asked for.
#[derive(Debug, Error)]
pub enum RemoteError {
    /// The server's own error, as it would be reported at its machine.
    #[error("{message}")]
    Refused { message: String, diagnostic: Box<Diagnostic> },
    #[error("cannot reach the server {server}: {reason}")]
    Unreachable { server: String, reason: String, diagnostic: Box<Diagnostic> },
    #[error("the server {server} answered {status}, but not as `integ serve` does")]
    Unexpected { server: String, status: u16 },
    #[error("the answer of the server {server} cannot be read")]
    Unreadable { server: String, source: serde_json::Error },
    #[error("the server {server} returned a body that cannot be read")]
    Body { server: String, source: base64::DecodeError },
    #[error("the API token is not one line of visible characters")]
    InvalidToken,
}

/// The longest code that is taken over.
const MAX_CODE_LENGTH: usize = 64;

impl RemoteError {
    /// The error of a request that got no answer.
    pub(super) fn unreachable(server: &str, error: &HttpError) -> Self {
        let diagnostic = Box::new(error.diagnostic());
        Self::Unreachable { server: server.to_owned(), reason: crate::error::on_one_line(error), diagnostic }
    }

    /// The error that a problem describes.
    pub(super) fn refused(problem: ProblemView) -> Self {
        let diagnostic = Diagnostic::new(problem.kind, static_code(&problem.code))
            .maybe_hint(problem.parsed_hint())
            .maybe_connection(problem.connection);
        Self::Refused { message: problem.detail, diagnostic: Box::new(diagnostic) }
    }

    /// Returns whether the server has no such connection, or the token may not use it.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { diagnostic, .. } if diagnostic.kind == Kind::NotFound)
    }
}

/// Returns a code of a server for the rest of the process. A command ends with its first error, so that hardly more than
/// one is ever held.
fn static_code(code: &str) -> &'static str {
    let is_code = code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if is_code && !code.is_empty() && code.len() <= MAX_CODE_LENGTH {
        Box::leak(code.to_owned().into_boxed_str())
    } else {
        "unknown"
    }
}

impl Remedy for RemoteError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Refused { diagnostic, .. } | Self::Unreachable { diagnostic, .. } => (**diagnostic).clone(),
            Self::Unexpected { status: 300..=399, .. } => Diagnostic::new(Kind::Rejected, "unexpected_answer")
                .hint(Hint::text("redirects are not followed: set INTEG_SERVER to the URL that it leads to")),
            Self::Unexpected { status: 500..=599, .. } => {
                Diagnostic::new(Kind::Temporary, "server_unavailable").hint(Hint::text("try again later"))
            }
            Self::Unexpected { .. } | Self::Unreadable { .. } | Self::Body { .. } => {
                Diagnostic::new(Kind::Rejected, "unexpected_answer")
                    .hint(Hint::text("check INTEG_SERVER, and that the server has the same version of integ"))
            }
            Self::InvalidToken => Diagnostic::new(Kind::Usage, "invalid_api_token")
                .hint(Hint::text("check INTEG_API_TOKEN or the file that INTEG_API_TOKEN_FILE names")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_code_is_not_taken_over() {
        assert_eq!(static_code("needs_reauth"), "needs_reauth");
        for code in ["", "No", "a b", "x".repeat(65).as_str()] {
            assert_eq!(static_code(code), "unknown", "{code:?}");
        }
    }
}
